"""Stop and start: look, ask, and wait on Fly's side until it has happened.

A wait is held by the server for a minute at most, so a longer one is several. Machines that somebody else has leased
(`fly deploy` does, for seconds) are asked again until the lease runs out.

Source: https://fly.io/docs/machines/api/machines-resource/ and superfly/fly-go `flaps/flaps_machines_wait.go`, read
2026-11-23.
"""

from attrs import frozen

from exatlas.errors import (
    AtlasError,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    ProviderBrokenError,
    TransportError,
)
from exatlas.launch import may_have_acted
from exatlas.protocols import Context
from exatlas.providers.fly import normalize, translate
from exatlas.providers.fly.exchange import ask
from exatlas.providers.fly.ids import Place
from exatlas.records.compute import ComputeStatus
from exatlas.transport.asking import done
from exatlas.transport.shape import body_of

LONGEST_HOLD_S = 55
"""A little less than the minute that Fly accepts."""
PATIENCE_S = 120.0
"""How long a stop or a start is waited for. A machine that takes longer is on its way."""
ASK_AGAIN_S = 2.0
TRIES = 3

P, S = ComputeStatus.PROVISIONING, ComputeStatus.STOPPED
_ENDED = frozenset({ComputeStatus.TERMINATING, ComputeStatus.TERMINATED})


@frozen(kw_only=True)
class Goal:
    """A state to bring a machine into."""

    action: str
    word: str
    """The state as the wait takes it."""
    reached: frozenset[ComputeStatus]
    under_way: frozenset[ComputeStatus]


STOP = Goal(
    action="stop",
    word="stopped",
    reached=frozenset({ComputeStatus.STOPPED, *_ENDED}),
    under_way=frozenset({ComputeStatus.STOPPING}),
)
START = Goal(
    action="start",
    word="started",
    reached=frozenset({ComputeStatus.RUNNING}),
    under_way=frozenset({ComputeStatus.PROVISIONING}),
)


@frozen(kw_only=True)
class _Seen:
    status: ComputeStatus
    state: str
    version: str | None


async def bring(place: Place, goal: Goal, ctx: Context) -> None:
    """Bring a machine into a state and wait for it, up to two minutes.

    Raises:
        NoCapacityError: its host is full.
        ConflictError: its state does not allow it, or it failed on the way.
    """
    seen = await _look(place, goal, ctx)
    if seen.status in goal.reached:
        return
    if seen.status not in goal.under_way:
        await _ask(place, goal, ctx)
    await _wait(place, goal, seen.version, ctx)


async def _look(place: Place, goal: Goal, ctx: Context) -> _Seen:
    machine = await ask(ctx, translate.get_machine(place, ctx, goal.action), body_of)
    status = normalize.compute(machine, place.app, ctx.provider).status
    return _Seen(status=status, state=machine.text("state") or "unknown", version=normalize.version_of(machine))


async def _ask(place: Place, goal: Goal, ctx: Context) -> None:
    """Ask for the transition; look before asking again."""
    call = translate.act(place, goal.action, ctx)
    until = ctx.clock.monotonic() + PATIENCE_S
    failures = 0
    while True:
        try:
            return await ask(ctx, call, done)
        except (ConflictError, InvalidRequestError) as error:
            seen = await _look(place, goal, ctx)
            if seen.status in goal.reached | goal.under_way:
                return None
            if not error.retryable or ctx.clock.monotonic() >= until:
                error.extend(f"it is {seen.state}")
                raise
            await ctx.clock.sleep(min(error.retry_after or ASK_AGAIN_S, ASK_AGAIN_S))
        except AtlasError as error:
            if not may_have_acted(error):
                raise
            failures += 1
            seen = await _look(place, goal, ctx)
            if seen.status in goal.reached | goal.under_way:
                return None
            if failures == TRIES:
                raise


async def _wait(place: Place, goal: Goal, version: str | None, ctx: Context) -> None:
    """Wait by slices. One that ends without the state is followed by a look, which says whether to go on."""
    until = ctx.clock.monotonic() + PATIENCE_S
    while (left_s := until - ctx.clock.monotonic()) > 0:
        started_at = ctx.clock.monotonic()
        hold_s = max(1, min(LONGEST_HOLD_S, int(ctx.timeout_s or LONGEST_HOLD_S), int(left_s)))
        try:
            wanted = version if goal is STOP else None  # without it, the stop of an older version would count
            return await ask(ctx, translate.wait(place, goal.word, hold_s, wanted, ctx, goal.action), done)
        except NotFoundError:
            if goal is STOP:
                return None  # it ended and destroyed itself
            raise
        except (ProviderBrokenError, TransportError, ConflictError):
            seen = await _look(place, goal, ctx)
        if seen.status in goal.reached:
            return None
        if seen.status not in goal.under_way:
            return _told(place, goal, seen, ctx)
        version = seen.version
        if ctx.clock.monotonic() - started_at < ASK_AGAIN_S:
            await ctx.clock.sleep(ASK_AGAIN_S)
    return None


def _told(place: Place, goal: Goal, seen: _Seen, ctx: Context) -> None:
    """What to make of a machine that went elsewhere. One that was started and has ended by itself was started."""
    if goal is START and seen.status is ComputeStatus.STOPPED:
        return
    raise ConflictError(
        f"{place} was asked to {goal.action} and is {seen.state}", provider=ctx.provider, operation=goal.action
    )
