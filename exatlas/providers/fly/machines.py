"""Machines: rent, read, list, terminate."""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from attrs import evolve, frozen

from exatlas.errors import (
    AtlasError,
    ConflictError,
    ForbiddenError,
    NoCapacityError,
    NotFoundError,
    OutcomeUnknownError,
    ProviderBrokenError,
    QuotaError,
    RateLimitedError,
    ValidationError,
)
from exatlas.launch import create_once, in_order, mark_name, may_have_acted, new_launch_id
from exatlas.protocols import Context
from exatlas.providers.fly import apps, finding, ids, normalize, regions, release, rules, translate, volumes
from exatlas.providers.fly.apps import Home, patiently
from exatlas.providers.fly.exchange import ask
from exatlas.providers.fly.normalize import Volume
from exatlas.providers.fly.options import Options, Settings, options_of
from exatlas.providers.fly.ports import Addresses
from exatlas.providers.fly.sizes import Guest
from exatlas.records.compute import Compute, ComputeFilter, ComputeRequest
from exatlas.transport.shape import body_of

GONE_CHECK_S = 1.0
"""A machine may be unknown to the server that is asked for a moment; the second 404 is believed."""
NAME_TAKEN = 409
PASSED_OVER = (NoCapacityError, QuotaError, ForbiddenError)
"""What one region may answer and the next may not: quotas are kept for each region."""


@frozen(kw_only=True)
class _Launch:
    """Everything a create needs but the region."""

    request: ComputeRequest
    options: Options
    guest: Guest
    home: Home
    name: str
    marks: Mapping[str, str]


async def spawn(request: ComputeRequest, settings: Settings, ctx: Context) -> Compute:
    """Rent one machine: app, addresses, volume, machine, and one create per region until one has room.

    Whatever was made on the way is removed when the machine does not come to be, also when nobody waits any more.
    """
    options = options_of(request, settings)
    guest = rules.check_spawn(request, options, ctx.provider)
    marked = ctx if ctx.launch_id else evolve(ctx, launch_id=new_launch_id())
    launch_id = marked.launch_id or ""
    home = apps.home_of(options, launch_id)
    ensured = False
    try:
        home = await apps.ensure(home, options, marked)
        ensured = True
        addresses = await _addresses(request, options, home, marked)
        launch = _Launch(
            request=request,
            options=options,
            guest=guest,
            home=home,
            name=mark_name(request.name, launch_id),
            marks=translate.marks(launch_id, options.owner or ctx.account, addresses),
        )
        return await in_order(await _attempts(launch, marked), PASSED_OVER)
    except BaseException as error:
        if ensured or _may_have_made_an_app(error):
            await release.give_back(home, marked, error, in_doubt=_is_in_doubt(error))
        raise


def _may_have_made_an_app(error: BaseException) -> bool:
    """Whether there may be one although its create ended so: a 429 may be the last of several attempts at it."""
    return not isinstance(error, AtlasError) or may_have_acted(error) or isinstance(error, RateLimitedError)


def _is_in_doubt(error: BaseException) -> bool:
    """Whether something may still turn up: after an unknown outcome, and when the launch was cut off anywhere."""
    return isinstance(error, OutcomeUnknownError) or not isinstance(error, AtlasError)


async def _addresses(request: ComputeRequest, options: Options, home: Home, ctx: Context) -> Addresses:
    kinds = apps.address_kinds(translate.services_of(request, options), dedicated=options.dedicated_ipv4)
    return await apps.give_addresses(home, kinds, ctx)


async def _attempts(launch: _Launch, ctx: Context) -> list[tuple[str, Callable[[], Awaitable[Compute]]]]:
    """One attempt per region, in the order of the hints. A volume to attach has decided the region already."""
    if launch.options.volume_id is not None:
        volume = await _volume_to_attach(launch, launch.options.volume_id, ctx)
        return [(f"{volume.region} (where the volume is)", partial(_rent, launch, volume.region, volume.id, ctx))]
    hints: tuple[str | None, ...] = launch.request.region_hints or (None,)
    if launch.request.volume_gb is None:
        return [(hint or "any region", partial(_rent, launch, hint, None, ctx)) for hint in hints]
    size_gb = launch.request.volume_gb
    near = None if launch.request.region_hints else await regions.nearest(ctx)
    return [
        (place, partial(_rent_with_volume, launch, place, size_gb, ctx))
        for place in (launch.request.region_hints or (near or regions.FALLBACK,))
    ]


async def _volume_to_attach(launch: _Launch, volume_id: str, ctx: Context) -> Volume:
    volume = await volumes.get(launch.home.app, volume_id, ctx)
    hints = launch.request.region_hints
    named = [place for hint in hints for place in hint.split(",")]
    fault = None
    if volume.attached_to is not None:
        fault = f"network_volume_id: {volume_id} is attached to the machine {volume.attached_to} already"
    elif named and volume.region not in named and not rules.PLACES.intersection(named):
        fault = f"region_hints: the volume {volume_id} is in {volume.region}, and so must be its machine"
    if fault:
        raise ValidationError("ComputeRequest", [fault], provider=ctx.provider, operation="spawn_compute")
    return volume


async def _rent_with_volume(launch: _Launch, region: str, size_gb: int, ctx: Context) -> Compute:
    """Rent in one region, on a volume made for it. A clear refusal takes the volume along before the next region."""
    volume = await volumes.create(launch.home, size_gb, region, launch.guest, ctx)
    marked = evolve(launch, marks={**launch.marks, ids.VOLUME: volume.id})
    try:
        return await _rent(marked, region, volume.id, ctx)
    except OutcomeUnknownError:
        raise  # a machine may yet turn up with the volume; both are looked for when the launch is cleared up
    except AtlasError:
        name = ids.volume_name(launch.home.launch_id)
        await volumes.remove(launch.home.app, name, ctx, "spawn_compute", known=volume.id)
        raise


async def _rent(launch: _Launch, region: str | None, volume_id: str | None, ctx: Context) -> Compute:
    body = translate.machine_body(
        launch.request,
        launch.options,
        name=launch.name,
        marks=launch.marks,
        guest=launch.guest,
        region=region,
        volume_id=volume_id,
    )
    find = partial(finding.of_launch, launch.home.app, launch.home.launch_id, ctx)
    return await create_once(partial(_create, launch.home, body, ctx), find, ctx)


async def _create(home: Home, body: Mapping[str, Any], ctx: Context) -> Compute:
    """Send the create. Only our own machine can have the name, so one that is taken says that the call came twice."""
    call = translate.create_machine(home.app, body, ctx)
    try:
        return await patiently(
            lambda: ask(ctx, call, lambda reply: normalize.compute(body_of(reply), home.app, ctx.provider)),
            ctx,
            fresh=home.fresh,
        )
    except ConflictError as error:
        if error.status != NAME_TAKEN:
            raise
        raise ProviderBrokenError(
            f"the create was carried out more than once: {error.message}",
            provider=ctx.provider,
            operation="spawn_compute",
            status=error.status,
            request_id=error.request_id,
        ) from error


async def get(compute_id: str, settings: Settings, ctx: Context) -> Compute:
    """Read one machine. A 404 is asked again once."""
    place = await finding.locate(compute_id, settings, ctx, "get_compute")
    call = translate.get_machine(place, ctx)
    for wait_s in (GONE_CHECK_S, None):
        try:
            return await ask(ctx, call, lambda reply: normalize.compute(body_of(reply), place.app, ctx.provider))
        except NotFoundError:
            if wait_s is None:
                raise
        await ctx.clock.sleep(wait_s)
    raise AssertionError("the last look returns or raises")


async def list_all(filters: ComputeFilter, settings: Settings, ctx: Context) -> list[Compute]:
    """All machines of ours that pass the filter, which is applied here."""
    found = await finding.everywhere(settings, ctx, "list_compute")
    computes = [normalize.compute(machine, app, ctx.provider) for app, machine in found if normalize.is_ours(machine)]
    return [compute for compute in computes if filters.admits(compute)]


async def terminate(compute_id: str, settings: Settings, ctx: Context) -> None:
    """Destroy one machine, its volume and its app, as far as they were made for it."""
    try:
        place = await finding.locate(compute_id, settings, ctx, "terminate")
    except NotFoundError:
        return
    await release.terminate(place, ctx)
