"""Give everything back: a machine, the volume made for it, and the app made for it.

Deleting a machine leaves its volume, and deleting an app is not promised to delete volumes. So all three are deleted,
from the inside out, and each step may be repeated.
"""

import logging
from collections.abc import Mapping

from exatlas.cancellation import Deadline, outlive
from exatlas.errors import AtlasError, NotFoundError
from exatlas.protocols import Context
from exatlas.providers.fly import apps, finding, ids, normalize, translate, volumes
from exatlas.providers.fly.apps import Home
from exatlas.providers.fly.exchange import ask
from exatlas.providers.fly.ids import Place
from exatlas.transport.shape import body_of

PATIENCE_S = 60.0
"""How long a failed launch is cleared up."""
SWEEPS_S = (1.0, 4.0, 15.0)
"""Waits before each further look for what a launch in doubt may have left, over the listing lag."""

_log = logging.getLogger("exatlas.providers.fly")


async def terminate(place: Place, ctx: Context) -> None:
    """Destroy a machine and what was made for it. Safe to repeat, also after a part of it."""
    own = ids.launch_of_app(place.app)
    marks = await _marks_of(place, ctx)
    launch_id = own or marks.get(ids.LAUNCH)
    await volumes.destroy(place, ctx, "terminate")
    others = []
    if launch_id is not None:
        name, known = ids.volume_name(launch_id), marks.get(ids.VOLUME)
        others = await volumes.remove(place.app, name, ctx, "terminate", known=known)
    if own and not others and not await _has_other_machines(place, ctx):
        await apps.delete(place.app, ctx, "terminate")


async def _marks_of(place: Place, ctx: Context) -> Mapping[str, str]:
    """What we wrote on a machine. A destroyed one is listed for a while after it cannot be read."""
    try:
        return normalize.metadata_of(await ask(ctx, translate.get_machine(place, ctx, "terminate"), body_of))
    except NotFoundError:
        machines = await finding.of_app(place.app, ctx, "terminate", deleted=True)
    return next((normalize.metadata_of(one) for _, one in machines if one.text("id") == place.machine), {})


async def _has_other_machines(place: Place, ctx: Context) -> bool:
    """Whether somebody has put more machines into the app that was made for this one."""
    computes = [
        normalize.compute(machine, app, ctx.provider)
        for app, machine in await finding.of_app(place.app, ctx, "terminate")
    ]
    return any(one.id != str(place) and one.status not in finding.OVER for one in computes)


async def give_back(home: Home, ctx: Context, error: BaseException, *, in_doubt: bool) -> None:
    """Clear up after a launch that failed, whatever happens to the caller meanwhile. What cannot be done is logged."""
    ended = await outlive(lambda: _clear_up(home, ctx, in_doubt=in_doubt))
    if ended.value is None:
        return
    error.add_note(f"clearing up launch {home.launch_id} failed: {ended.value}")
    _log.error(
        "a launch at %s failed, and what it may have left in the app %s could not be removed; look for launch id %s",
        ctx.provider,
        home.app,
        home.launch_id,
        exc_info=ended.value,
    )


async def _clear_up(home: Home, ctx: Context, *, in_doubt: bool) -> Exception | None:
    failure: Exception | None = None
    try:
        async with Deadline(ctx.clock, PATIENCE_S):
            for wait_s in (0.0, *SWEEPS_S):
                await ctx.clock.sleep(wait_s)
                try:
                    await _sweep(home, ctx)
                    failure = None
                except AtlasError as error:
                    failure = error
                if failure is None and not in_doubt:
                    break
            # Whatever could not be removed is found through its app only.
            if home.own and failure is None:
                await apps.delete(home.app, ctx, "spawn_compute")
    except (AtlasError, TimeoutError) as error:
        return error
    return failure


async def _sweep(home: Home, ctx: Context) -> None:
    """Destroy every machine of a launch that can be seen, then its volumes."""
    for app, machine in await finding.of_app(home.app, ctx, "spawn_compute"):
        compute = normalize.compute(machine, app, ctx.provider)
        if (home.own or compute.launch_id == home.launch_id) and compute.status not in finding.OVER:
            await volumes.destroy(Place(app, machine.required_text("id")), ctx, "spawn_compute")
    await volumes.remove(home.app, ids.volume_name(home.launch_id), ctx, "spawn_compute")
