"""Machines once they are rented: read, terminate, restart, and what there is to rent."""

from collections.abc import Callable, Collection, Sequence

from attrs import frozen

from exatlas.errors import ConflictError, NotFoundError, RateLimitedError, ReplyShapeError
from exatlas.launch import launch_of
from exatlas.messages import HttpReply
from exatlas.protocols import Context
from exatlas.providers.lambda_labs import normalize, reading, rulesets, tags, translate
from exatlas.providers.lambda_labs.exchange import ask
from exatlas.records.compute import Compute, ComputeFilter
from exatlas.records.gpu import GpuType
from exatlas.transport.asking import done

NEW_WAIT_S = 2.0
"""A machine just launched may not be visible yet, so a first 404 is asked again once, after this."""
TERMINATE_WAITS_S = (1.0, 3.0, 5.0, 10.0, 20.0, 40.0)
"""While it is being launched, a machine may refuse to end; giving up would leave it billing."""
GONE_AFTER = 3
"""How many answers "no such machine" are believed, the waits above between them."""


@frozen(kw_only=True)
class Ended:
    """What a termination says of a machine."""

    id: str
    launch_id: str | None
    may_have_ruleset: bool


async def get(compute_id: str, ctx: Context) -> Compute:
    """Read one machine: from the list that all readers share, or by its id where that does not show it (any more)."""
    found = (await reading.machines(ctx)).get(compute_id)
    if found is not None:
        return normalize.compute(found, ctx.provider)
    call = translate.get_instance(compute_id, ctx)
    try:
        return await ask(ctx, call, _reader(ctx))
    except NotFoundError:
        await ctx.clock.sleep(NEW_WAIT_S)
        return await ask(ctx, call, _reader(ctx))


async def list_all(filters: ComputeFilter, ctx: Context) -> list[Compute]:
    """All machines that pass. Lambda has no filters, so they are applied here."""
    rows = await ask(ctx, translate.list_instances(ctx), normalize.rows)
    machines = [normalize.compute(row, ctx.provider) for row in rows]
    return [machine for machine in machines if filters.admits(machine)]


async def terminate(compute_id: str, ctx: Context) -> None:
    """Destroy one machine, and its firewall ruleset with it."""
    try:
        ended = await _end(compute_id, ctx)
    finally:
        reading.forget(ctx)
    if ended is None:
        # What made its ruleset known is gone with it; it is among the stale ones, now or later.
        await rulesets.remove((), ctx, "terminate")
    elif ended.launch_id and ended.may_have_ruleset:
        await rulesets.remove([ended.launch_id], ctx, "terminate", waits_s=rulesets.DETACH_WAITS_S)


async def terminate_all(ids: Collection[str], ctx: Context) -> None:
    """Destroy many machines with one call; those that are gone already are left out of it.

    One unknown id makes Lambda refuse the whole call, so they are listed first, and ended one by one should one of them
    go meanwhile.
    """
    rows = await ask(ctx, translate.list_instances(ctx, "terminate"), normalize.rows)
    there = [compute_id for row in rows if (compute_id := row.required_text("id")) in set(ids)]
    if not there:
        return
    try:
        ended = await ask(ctx, translate.terminate(there, ctx), _ended)
    except NotFoundError:
        ended = []
    finally:
        reading.forget(ctx)
    launches = [each.launch_id for each in ended if each.launch_id and each.may_have_ruleset]
    left = [compute_id for compute_id in there if compute_id not in {each.id for each in ended}]
    for compute_id in left:
        await terminate(compute_id, ctx)
    if launches:
        await rulesets.remove(launches, ctx, "terminate", waits_s=rulesets.DETACH_WAITS_S)


async def restart(compute_id: str, ctx: Context) -> None:
    """Reboot one machine. Disk and container survive.

    Raises:
        ConflictError: it is being restarted, or cannot be now.
    """
    try:
        await ask(ctx, translate.restart(compute_id, ctx), done)
    finally:
        reading.forget(ctx)


async def list_gpu_types(ctx: Context) -> list[GpuType]:
    """Models, prices and stock: one record per GPU."""
    types = await ask(ctx, translate.instance_types(ctx, "list_gpu_types"), normalize.instance_types)
    return normalize.gpu_types(types, ctx.provider)


async def _end(compute_id: str, ctx: Context) -> Ended | None:
    """Ask for the end until Lambda says so. None when there is no such machine."""
    call = translate.terminate([compute_id], ctx)
    missing = 0
    for wait_s in (*TERMINATE_WAITS_S, None):
        pause_s = wait_s or 0.0
        try:
            for ended in await ask(ctx, call, _ended):
                if ended.id == compute_id:
                    return ended
            refused: Exception = _not_ended(compute_id, ctx)
        except NotFoundError:
            missing += 1
            if missing == GONE_AFTER:
                return None
            await ctx.clock.sleep(pause_s)
            continue
        except (ConflictError, RateLimitedError, ReplyShapeError) as error:
            refused = error
            pause_s = max(pause_s, error.retry_after or 0.0)
        if wait_s is None:
            raise refused
        await ctx.clock.sleep(pause_s)
    return None


def _not_ended(compute_id: str, ctx: Context) -> ConflictError:
    return ConflictError(
        f"Lambda took the request and did not name {compute_id} among the machines it ended; it may still bill",
        provider=ctx.provider,
        operation="terminate",
        retryable=True,
    )


def _ended(reply: HttpReply) -> Sequence[Ended]:
    return [
        Ended(
            id=instance.required_text("id"),
            launch_id=tags.read(marks, tags.LAUNCH) or launch_of(instance.text("name")),
            # Tags may be missing while a machine boots; only tags that are there can say that there are no ports.
            may_have_ruleset=tags.LAUNCH not in marks or tags.PORTS in marks,
        )
        for instance in normalize.data(reply).required_objects("terminated_instances")
        for marks in [normalize.tags_of(instance)]
    ]


def _reader(ctx: Context) -> Callable[[HttpReply], Compute]:
    return lambda reply: normalize.compute(normalize.data(reply), ctx.provider)
