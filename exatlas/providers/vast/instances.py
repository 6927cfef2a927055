"""Machines: rent, read, stop, start, terminate."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any, TypeVar

from attrs import evolve, field, frozen

from exatlas.errors import (
    AtlasError,
    ForbiddenError,
    NoCapacityError,
    NotFoundError,
    OutcomeUnknownError,
    ProviderError,
    RateLimitedError,
    UnauthorizedError,
)
from exatlas.launch import LOOKS_S, create_once, in_order, may_have_acted, new_launch_id
from exatlas.protocols import Context
from exatlas.providers.vast import claims, gpus, labels, normalize, rules, templates, translate, words
from exatlas.providers.vast.exchange import ask
from exatlas.providers.vast.offers import Choice, choose
from exatlas.records.compute import Compute, ComputeFilter, ComputeRequest, ComputeStatus, PortBinding
from exatlas.records.gpu import nearest_gpu
from exatlas.transport.asking import all_pages, done
from exatlas.transport.shape import Fields

T = TypeVar("T")

OPERATION = "spawn_compute"

GONE_CHECKS_S = (2.0, 6.0)
"""A new instance reads as null for some seconds, so a first "no such instance" proves nothing. These are the waits
before it is asked again; the last answer is believed."""
DOUBT_LOOKS_S = (1.0, 3.0)
"""Waits before each look that follows a refused create. The next create would have to wait as long anyway."""
SCHEDULING_LOOKS_S = (0.0, 2.0, 4.0, 8.0, 16.0)
"""Waits before each look at an instance that was started. One that waits for its GPU longer than half a minute waits
for somebody else to leave."""

_CLEAR = (RateLimitedError, UnauthorizedError, ForbiddenError)
"""Refusals that come before anything is made."""


@frozen
class _Spawn:
    """One spawn on its way."""

    request: ComputeRequest
    label: str
    """Carries the launch id."""
    ctx: Context
    gone: set[str] = field(factory=set)
    """Instances that were made against our will and destroyed. The list may still show them for a moment."""

    async def find(self) -> Compute | None:
        """The instance that this spawn has made, or None. Every look costs a request."""
        read = partial(normalize.page, provider=self.ctx.provider)

        async def page(cursor: str | None) -> tuple[list[Compute], str | None]:
            return await ask(self.ctx, translate.list_instances(cursor, self.ctx, OPERATION, label=self.label), read)

        return next((item for item in await all_pages(page) if self._made(item)), None)

    def _made(self, item: Compute) -> bool:
        wanted = labels.read(self.label)
        same = (item.name, item.launch_id) == (wanted.name, wanted.launch_id)
        return same and item.id not in self.gone and not item.status.is_terminal


async def spawn(request: ComputeRequest, ctx: Context) -> Compute:
    """Rent one machine: one search, then one create per offer, the next only when the last is gone."""
    rules.check_spawn(request, ctx.provider)
    marked = ctx if ctx.launch_id else evolve(ctx, launch_id=new_launch_id())
    job = _Spawn(request, labels.write(request.name, marked.launch_id or "", marked.account), marked)
    choices = claims.each_once(await _choices(request, marked), marked)
    attempts = ((str(choice), partial(_take, choice, job)) for choice in choices)
    first = next(attempts, None)
    if first is None:
        text = f"{_nothing(request)} that no other spawn of this process has in hand"
        raise NoCapacityError(text, provider=ctx.provider, operation=OPERATION)
    return await in_order(chain([first], attempts))


async def _choices(request: ComputeRequest, ctx: Context) -> list[Choice]:
    models = [model for name in request.gpu or () for model in gpus.models_of(name)]
    machine_id = await _machine_of(request.network_volume_id, ctx)
    template = await templates.read(request.template_id, ctx)
    disk_gb = translate.disk_gb(request) or template.disk_gb or translate.SMALLEST_DISK_GB
    filters = translate.search_filters(request, models, disk_gb, machine_id=machine_id, template=template.filters)
    found = await ask(ctx, translate.search(filters, "spawn_compute", ctx), normalize.offers)
    choices = choose(found, request, models, filters, disk_gb)
    if choices:
        return choices
    raise NoCapacityError(_nothing(request), provider=ctx.provider, operation="spawn_compute")


async def _machine_of(volume_id: str | None, ctx: Context) -> int | None:
    """The machine that a volume binds the instance to."""
    if volume_id is None:
        return None
    read = partial(normalize.machine_of_volume, volume_id=volume_id)
    found = await ask(ctx, translate.list_volumes(ctx), read)
    if found is None:
        raise NotFoundError(
            f"the account has no local volume {volume_id}", provider=ctx.provider, operation="spawn_compute"
        )
    return found


def _nothing(request: ComputeRequest) -> str:
    """What was looked for in vain, and whether a name may be mistyped."""
    models = " or ".join(request.gpu or ())
    where = f" in {', '.join(request.region_hints)}" if request.region_hints else ""
    kind = "spot offer" if request.spot else "offer"
    bound = f" on the machine of volume {request.network_volume_id}" if request.network_volume_id else ""
    text = f"no {kind} fits {request.gpu_count}x {models}{where}{bound}, {request.cloud_type} cloud"
    odd = [name for name in request.gpu or () if all(model.canonical is None for model in gpus.models_of(name))]
    close = nearest_gpu(odd[0]) if odd else None
    return f"{text} (did you mean {close!r} by {odd[0]!r}?)" if close and close != odd[0].lower() else text


async def _take(choice: Choice, job: _Spawn) -> Compute:
    """Take one offer, and settle what became of it. A bid that did not win is given back."""
    try:
        compute = await create_once(partial(_accept, choice, job), job.find, job.ctx)
    except (NoCapacityError, OutcomeUnknownError):
        raise
    except AtlasError:
        claims.release(choice.offer.id, job.ctx)
        raise
    if job.request.spot and compute.status is ComputeStatus.STOPPED:
        await _give_back(compute.id, job)
        raise _lost_bid(compute.id, job.ctx)
    return compute


async def _accept(choice: Choice, job: _Spawn) -> Compute:
    """Send the create once.

    Vast may refuse and have made an instance all the same: a bid that was too low leaves a stopped one. It is told by
    its id in the refusal, or has to be looked for where the refusal cannot be read. And an offer that is "gone" may be
    gone because this very create was delivered twice.
    """
    body = translate.create_body(job.request, choice, job.label)
    try:
        made = await ask(job.ctx, translate.accept(choice, body, job.ctx), normalize.contract)
    except ProviderError as error:
        made_anyway = normalize.contract_in(error.raw)
        if made_anyway is not None:
            await _give_back(made_anyway, job)
            if job.request.spot or may_have_acted(error):
                raise _lost_bid(made_anyway, job.ctx) from error
            raise
        if may_have_acted(error) or isinstance(error, _CLEAR):
            raise
        found = await _look(job)
        if found is None:
            raise
        return found
    return _new(made, choice, body, job)


async def _look(job: _Spawn) -> Compute | None:
    """Look for an instance that a refusal denies. A look that fails says nothing."""
    for wait_s in DOUBT_LOOKS_S:
        await job.ctx.clock.sleep(wait_s)
        try:
            found = await job.find()
        except AtlasError:
            continue
        if found is not None:
            return found
    return None


async def _give_back(compute_id: str, job: _Spawn) -> None:
    """Destroy an instance that was made against our will, and its twins, or say that it could not be done.

    It is known to exist, so "no such instance" is believed only after the whole listing lag. A create that was
    delivered twice makes two, of which the refusal names the last.
    """
    unwanted: str | None = compute_id
    while unwanted is not None:
        try:
            await _destroy(unwanted, job.ctx, OPERATION, LOOKS_S)
        except AtlasError as error:
            raise OutcomeUnknownError(
                f"instance {unwanted} was made although the create was refused, and could not be destroyed; "
                "terminate it",
                launch_id=job.ctx.launch_id,
                provider=job.ctx.provider,
                operation=OPERATION,
            ) from error
        job.gone.add(unwanted)
        twin = await _look(job)
        unwanted = twin.id if twin else None


def _lost_bid(compute_id: str, ctx: Context) -> NoCapacityError:
    return NoCapacityError(
        f"the offer was taken and did not start, so instance {compute_id} was destroyed; a higher bid may win",
        provider=ctx.provider,
        operation=OPERATION,
    )


def _new(made: str, choice: Choice, body: Mapping[str, Any], job: _Spawn) -> Compute:
    """The instance as it must be: the create's reply holds nothing but its id, and a read right after may find none."""
    offer, told, ctx = choice.offer, labels.read(job.label), job.ctx
    return Compute(
        id=made,
        provider=ctx.provider,
        status=ComputeStatus.PROVISIONING,
        name=told.name,
        launch_id=told.launch_id,
        image=body.get("image"),
        gpu_type=gpus.canonical(offer.gpu_name, offer.gpu_ram_mib),
        gpu_native=offer.gpu_name,
        gpu_count=offer.gpu_count,
        cpus=None if offer.cpus is None else round(offer.cpus),
        memory_gb=offer.memory_gb,
        cost_usd_per_hour=choice.usd_per_hour,
        region=offer.country,
        ports=tuple(
            PortBinding(internal=spec.port, protocol="udp" if spec.protocol == "udp" else "tcp")
            for spec in job.request.ports
        ),
        created_at=ctx.clock.now(),
        raw={"new_contract": int(made), "offer": dict(offer.raw)},
    )


async def despite_lag(attempt: Callable[[], Awaitable[T]], ctx: Context, waits: Sequence[float] = GONE_CHECKS_S) -> T:
    """Do something with an instance that may be too new to be seen: not found is believed when it stays."""
    for wait_s in waits:
        try:
            return await attempt()
        except NotFoundError:
            await ctx.clock.sleep(wait_s)
    return await attempt()


async def get(compute_id: str, ctx: Context) -> Compute:
    """Read one machine. One that is not there is asked for again over the listing lag."""
    call = translate.get_instance(compute_id, ctx)
    item = await despite_lag(partial(_read, call, ctx), ctx)
    return normalize.compute(item, ctx.provider)


async def _read(call: Any, ctx: Context) -> Fields:
    item = await ask(ctx, call, normalize.instance)
    if item is None:
        raise NotFoundError("there is no such instance", provider=ctx.provider, operation=call.operation)
    return item


async def list_all(filters: ComputeFilter, ctx: Context) -> list[Compute]:
    """All machines that pass, over all pages."""
    read = partial(normalize.page, provider=ctx.provider)

    async def page(cursor: str | None) -> tuple[list[Compute], str | None]:
        return await ask(ctx, translate.list_instances(cursor, ctx), read)

    return [item for item in await all_pages(page) if filters.admits(item)]


async def terminate(compute_id: str, ctx: Context) -> None:
    """Destroy one machine and its disk; one that is gone is no error."""
    await _destroy(compute_id, ctx, "terminate", GONE_CHECKS_S)


async def _destroy(compute_id: str, ctx: Context, operation: str, waits: Sequence[float]) -> None:
    try:
        call = translate.destroy(compute_id, ctx, operation)
    except NotFoundError:
        return
    try:
        await despite_lag(partial(ask, ctx, call, done), ctx, waits)
    except NotFoundError:
        return


async def stop(compute_id: str, ctx: Context) -> None:
    """Give the GPU away and keep the disk."""
    await _set(compute_id, "stopped", "stop", ctx)


async def start(compute_id: str, ctx: Context) -> None:
    """Ask for the GPU again, and see whether it comes. Vast says yes in any case, and has the instance wait.

    Raises NoCapacityError, and takes the wish back, when somebody else has the GPU.
    """
    await _set(compute_id, "running", "start", ctx)
    call = translate.get_instance(compute_id, ctx, "start")
    for wait_s in SCHEDULING_LOOKS_S:
        await ctx.clock.sleep(wait_s)
        state = normalize.state(await despite_lag(partial(_read, call, ctx), ctx))
        status = words.status(state)
        if status.is_terminal:
            raise NotFoundError(f"{compute_id} is gone for good", provider=ctx.provider, operation="start")
        if not state.is_scheduling and status is not ComputeStatus.STOPPED:
            return
    await _set(compute_id, "stopped", "start", ctx)
    raise NoCapacityError(
        f"{compute_id} does not get its GPU back now: somebody else has it, or bids more. It is stopped again and its "
        "disk bills; start it later, bid more, or terminate it and spawn a new one",
        provider=ctx.provider,
        operation="start",
    )


async def _set(compute_id: str, state: str, operation: str, ctx: Context) -> None:
    call = translate.set_state(compute_id, state, ctx, operation)
    await despite_lag(partial(ask, ctx, call, done), ctx)


async def change_bid(compute_id: str, usd_per_hour: float, ctx: Context) -> None:
    """Bid another price for a spot machine."""
    await ask(ctx, translate.change_bid(compute_id, usd_per_hour, ctx), done)


async def restart(compute_id: str, ctx: Context) -> None:
    """Stop and start the container in place."""
    await ask(ctx, translate.reboot(compute_id, ctx), done)
