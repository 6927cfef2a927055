"""Volumes: storage of one app on one host. It bills until it is deleted, whatever becomes of its machine.

Those that `volume_gb` asks for are made with the machine and deleted with it. Their names carry the launch id, so that
every one of them is found again, also one whose create was answered by nobody.

Source: https://fly.io/docs/machines/api/volumes-resource/ and https://fly.io/docs/volumes/overview/, read 2026-11-23.
"""

from exatlas.errors import (
    AtlasError,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    OutcomeUnknownError,
    ProviderBrokenError,
)
from exatlas.launch import LOOKS_S, may_have_acted
from exatlas.protocols import Context
from exatlas.providers.fly import ids, normalize, translate
from exatlas.providers.fly.apps import Home, patiently
from exatlas.providers.fly.exchange import ask
from exatlas.providers.fly.ids import Place
from exatlas.providers.fly.normalize import Volume
from exatlas.providers.fly.sizes import Guest
from exatlas.transport.asking import done
from exatlas.transport.shape import body_of

DETACHING_S = (1.0, 2.0, 4.0, 8.0, 15.0)
"""Waits for a machine that is being destroyed to let go of its volume."""


async def create(home: Home, size_gb: int, region: str, guest: Guest, ctx: Context) -> Volume:
    """Create the volume of a launch, once, and look for it when the answer is lost.

    Raises:
        NoCapacityError: the region has no room; nothing was made.
        OutcomeUnknownError: no look found it; there may be one all the same.
    """
    name = ids.volume_name(home.launch_id)
    call = translate.create_volume(home.app, name, size_gb, region, guest, ctx)
    try:
        return await patiently(
            lambda: ask(ctx, call, lambda reply: normalize.volume(body_of(reply), home.app)), ctx, fresh=home.fresh
        )
    except AtlasError as error:
        if not may_have_acted(error):
            raise
        cause = error
    for wait_s in LOOKS_S:
        await ctx.clock.sleep(wait_s)
        try:
            found = await named(home.app, name, ctx, "spawn_compute")
        except AtlasError as trouble:
            # A failed look says nothing about the volume. The next one may get through.
            cause.add_note(f"looking for the volume {name} failed: {trouble}")
            continue
        here = next((volume for volume in found if volume.region == region and volume.attached_to is None), None)
        if here is not None:
            return here
    raise OutcomeUnknownError(
        f"a volume named {name} may have been made in the app {home.app}; no machine was rented",
        launch_id=home.launch_id,
        provider=ctx.provider,
        operation="spawn_compute",
        status=cause.status,
        request_id=cause.request_id,
    ) from cause


async def get(app: str, volume_id: str, ctx: Context) -> Volume:
    """Read one volume. Raises NotFoundError."""
    call = translate.get_volume(app, volume_id, ctx)
    return await ask(ctx, call, lambda reply: normalize.volume(body_of(reply), app))


async def list_app(app: str, ctx: Context, operation: str = "list_volumes") -> list[Volume]:
    """The volumes of an app that are not deleted. An app that is not there has none."""
    try:
        call = translate.list_volumes(app, ctx, operation)
        found = await ask(ctx, call, lambda reply: normalize.volumes(reply, app))
    except NotFoundError:
        return []
    return [volume for volume in found if not volume.is_gone]


async def named(app: str, name: str, ctx: Context, operation: str) -> list[Volume]:
    """The volumes of an app with one name; Fly lets several have it."""
    return [volume for volume in await list_app(app, ctx, operation) if volume.name == name]


async def remove(app: str, name: str, ctx: Context, operation: str, *, known: str | None = None) -> list[Volume]:
    """Delete every volume with one name, and give the volumes that the app has beside them.

    Lists lag, so one whose id is ``known`` is deleted although none shows it. A volume whose machine holds on to it is
    asked for again, and its machine destroyed, for half a minute.

    Raises:
        ProviderBrokenError: a volume could not be deleted. It goes on billing.
    """
    refused: AtlasError | None = None
    for wait_s in (*DETACHING_S, None):
        here = await list_app(app, ctx, operation)
        ours = [volume for volume in here if name == volume.name or known == volume.id]
        if known is not None and known not in [volume.id for volume in ours]:
            ours.append(Volume(id=known, app=app, name=name))
        outcomes = [await _delete(volume, ctx, operation) for volume in ours]
        refused = next((outcome for outcome in outcomes if outcome is not None), None)
        if refused is None:
            return [volume for volume in here if volume not in ours]
        if wait_s is not None:
            await ctx.clock.sleep(wait_s)
    raise ProviderBrokenError(
        f"the volume {name} in the app {app} could not be deleted and goes on billing: {refused}",
        provider=ctx.provider,
        operation=operation,
    ) from refused


async def _delete(volume: Volume, ctx: Context, operation: str) -> AtlasError | None:
    """Delete one volume; gives the refusal where a machine holds on to it."""
    try:
        await ask(ctx, translate.delete_volume(volume.app, volume.id, ctx, operation), done)
    except NotFoundError:
        return None
    except (ConflictError, InvalidRequestError) as error:
        if volume.attached_to is not None:
            await destroy(Place(volume.app, volume.attached_to), ctx, operation)
        return error
    return None


async def destroy(place: Place, ctx: Context, operation: str) -> None:
    """Destroy one machine. One that is gone is not an error."""
    try:
        await ask(ctx, translate.delete_machine(place, ctx, operation), done)
    except NotFoundError:
        return
