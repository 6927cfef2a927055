"""The firewall ruleset of a machine with ports: made before the launch, attached by it, removed with the machine.

Lambda closes every port but 22. A ruleset is regional, can be attached at launch only, and cannot be deleted while a
machine has it. Ours are named after the launch they belong to, so that they are found without remembering anything.
They cost nothing, but an account may have only so many.

Source: https://docs.lambda.ai/api/cloud (`/firewall-rulesets`), read 2026-11-23.
"""

import asyncio
import logging
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta

from attrs import frozen

from exatlas.cancellation import Deadline, outlive
from exatlas.errors import AtlasError, ConflictError, NotFoundError, ProviderBrokenError
from exatlas.launch import launch_of, mark_name, may_have_acted
from exatlas.messages import HttpReply
from exatlas.protocols import Context
from exatlas.providers.lambda_labs import normalize, options, translate
from exatlas.providers.lambda_labs.exchange import ask
from exatlas.records.compute import ComputeRequest
from exatlas.transport.asking import done
from exatlas.transport.shape import Fields

log = logging.getLogger("exatlas.providers.lambda_labs")

PREFIX = "exatlas"
MAKE_WAITS_S = (1.0, 3.0)
SHAKEN, SHAKE_WAITS_S = 409, (1.0, 3.0)
DETACH_WAITS_S = (2.0, 4.0, 8.0, 12.0)
"""A machine keeps its ruleset for a while after it was told to end. What outlasts these waits is swept later."""
PATIENCE_S = 60.0
"""How long a removal may take in all, since nobody can cancel it."""
STALE_AFTER = timedelta(minutes=30)
"""A ruleset of ours that is older and that no machine has belongs to no launch in progress, whoever launches."""
MOST_SWEPT = 5
"""In one go, since each takes a second of the request limit."""


@frozen(kw_only=True)
class Ruleset:
    """One of ours."""

    id: str
    launch_id: str
    created_at: datetime | None
    instance_ids: tuple[str, ...]


async def make(request: ComputeRequest, region: str, ctx: Context) -> str:
    """Make the ruleset for a launch and give its id. When the answer is lost, it is looked for before a second try."""
    launch_id = ctx.launch_id or ""
    source = options.read(request.provider_opts).source_network
    rules = translate.rules_for(request.ports, source)
    call = translate.add_ruleset(mark_name(PREFIX, launch_id), region, rules, ctx)
    for wait_s in (*MAKE_WAITS_S, None):
        try:
            return await ask(ctx, call, _id)
        except AtlasError as error:
            if wait_s is None or not may_have_acted(error):
                raise
        await ctx.clock.sleep(wait_s)
        for ruleset in await ours(ctx, "spawn_compute"):
            if ruleset.launch_id == launch_id:
                return ruleset.id
    raise AssertionError("the last try returns or raises")


async def remove(
    launch_ids: Collection[str],
    ctx: Context,
    operation: str,
    *,
    ids: Iterable[str] = (),
    waits_s: Sequence[float] = (),
) -> None:
    """Delete the rulesets of some launches, and stale ones with them. Finished although the caller is cancelled.

    Never raises but for that cancellation: what fails is said in the log, and swept another time.

    Args:
        ids: Rulesets known to be among them, should the list not show them yet.
        waits_s: How long to wait, and how often, for a machine to let go of its ruleset.
    """
    known = tuple(ids)
    ended = await outlive(lambda: _remove(launch_ids, ctx, operation, known, waits_s))
    if ended.interrupted:
        raise asyncio.CancelledError


async def sweep(ctx: Context, operation: str = "sweep_rulesets") -> int:
    """Delete rulesets of ours that no machine has any more, and give their number. One request, and one for each."""
    stale = [ruleset for ruleset in await ours(ctx, operation) if is_stale(ruleset, ctx.clock.now())]
    return len(stale) - len(await _delete([ruleset.id for ruleset in stale], ctx, operation))


async def ours(ctx: Context, operation: str) -> list[Ruleset]:
    """The account's rulesets that bear a launch id."""
    found = await ask(ctx, translate.list_rulesets(ctx, operation), normalize.rows)
    return [ruleset for row in found if (ruleset := _read(row))]


def is_stale(ruleset: Ruleset, now: datetime) -> bool:
    """Whether its machine is gone for good."""
    age = None if ruleset.created_at is None else now - ruleset.created_at
    return not ruleset.instance_ids and age is not None and age > STALE_AFTER


async def _remove(
    launch_ids: Collection[str], ctx: Context, operation: str, ids: Sequence[str], waits_s: Sequence[float]
) -> None:
    left: list[str] = []
    try:
        async with Deadline(ctx.clock, PATIENCE_S):
            left = await _remove_all(launch_ids, ctx, operation, ids, waits_s)
    except (AtlasError, TimeoutError) as error:
        log.warning("firewall rulesets of %s may be left at %s: %s", _launches(launch_ids), ctx.provider, error)
    if left:
        log.info("firewall rulesets %s are still in use at %s and will be swept later", ", ".join(left), ctx.provider)


async def _remove_all(
    launch_ids: Collection[str], ctx: Context, operation: str, ids: Sequence[str], waits_s: Sequence[float]
) -> list[str]:
    """Delete, and give what a machine still has at the end."""
    found = await ours(ctx, operation)
    mine = [ruleset.id for ruleset in found if ruleset.launch_id in launch_ids]
    stale = [ruleset.id for ruleset in found if is_stale(ruleset, ctx.clock.now()) and ruleset.id not in mine]
    left = await _delete(list(dict.fromkeys([*ids, *mine])), ctx, operation)
    await _delete(stale[:MOST_SWEPT], ctx, operation)
    for wait_s in waits_s:
        if not left:
            break
        await ctx.clock.sleep(wait_s)
        left = await _delete(left, ctx, operation)
    return left


async def _delete(ids: Sequence[str], ctx: Context, operation: str) -> list[str]:
    """Delete what can be deleted, and give what a machine still has."""
    left = []
    for ruleset_id in ids:
        try:
            await _delete_one(ruleset_id, ctx, operation)
        except NotFoundError:
            continue
        except ConflictError:
            left.append(ruleset_id)
    return left


async def _delete_one(ruleset_id: str, ctx: Context, operation: str) -> None:
    """Delete one. The firewall's internal errors are a 409, which the transport takes for final; they pass."""
    call = translate.delete_ruleset(ruleset_id, ctx, operation)
    for wait_s in (*SHAKE_WAITS_S, None):
        try:
            return await ask(ctx, call, done)
        except ProviderBrokenError as error:
            if wait_s is None or error.status != SHAKEN:
                raise
        await ctx.clock.sleep(wait_s)
    return None


def _read(row: Fields) -> Ruleset | None:
    name = row.text("name") or ""
    launch_id = launch_of(name)
    if launch_id is None or name != mark_name(PREFIX, launch_id):
        return None
    return Ruleset(
        id=row.required_text("id"),
        launch_id=launch_id,
        created_at=row.instant("created"),
        instance_ids=row.texts("instance_ids"),
    )


def _id(reply: HttpReply) -> str:
    return normalize.data(reply).required_text("id")


def _launches(launch_ids: Collection[str]) -> str:
    return f"launch {', '.join(sorted(launch_ids))}" if launch_ids else "earlier launches"
