"""One operation on many providers at once.

Everything started here has ended when the call returns, raises or is cancelled. A slow or failing provider shows in its
own outcome and nowhere else.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, nullcontext
from contextvars import ContextVar
from datetime import timedelta
from typing import Any, Generic, TypeVar

from attrs import field, frozen

from exatlas.cancellation import Deadline, outlive
from exatlas.clock import SystemClock
from exatlas.errors import AllFailedError, AtlasError, TransportTimeoutError, ValidationError, faults_of
from exatlas.protocols import Clock
from exatlas.records import checks

P = TypeVar("P")
T = TypeVar("T")

Undo = Callable[[T], Awaitable[Any]]
"""Takes back what a losing call has done."""

UNDO_PATIENCE_S = 60.0
"""How long taking back the work of one loser may last."""

_log = logging.getLogger("exatlas.fanout")
_REAL = SystemClock()

_births: ContextVar[list[Callable[[], Awaitable[None]]] | None] = ContextVar("exatlas_births", default=None)


@frozen(kw_only=True)
class Outcome(Generic[P, T]):
    """How one call of many went."""

    input: P
    """What it was called with."""
    value: T | None = None
    """What it gave; None for a failure."""
    error: Exception | None = None
    """Why it failed, or None."""
    elapsed: timedelta = field(eq=False)
    """How long it took from its own start, the wait for its turn excluded."""

    @property
    def ok(self) -> bool:
        """Whether there is a value."""
        return self.error is None


def record_birth(undo: Callable[[], Awaitable[None]]) -> None:
    """Tell a race in progress that the present call has rented a machine, and how to give it back if the call loses."""
    births = _births.get()
    if births is not None:
        births.append(undo)


async def fan_out(
    op: Callable[[P], Awaitable[T]],
    providers: Iterable[P],
    *,
    limit: int | None = None,
    timeout: float | timedelta | None = None,
    clock: Clock = _REAL,
) -> list[Outcome[P, T]]:
    """Call ``op`` with each provider at the same time, and give one outcome each, in input order.

    Cancelling cancels every call, waits for all of them, and terminates every machine that they spawned through
    exatlas, because nobody would ever learn its id.

    Args:
        op: Takes one of the providers, in whatever form they were given.
        limit: How many calls run at once; None is all of them.
        timeout: For each call (seconds or timedelta), from its own start; then its outcome is a TransportTimeoutError.
    """
    calls = [_Call(op, provider, clock) for provider in providers]
    turn, seconds = _options("fan_out", op, limit, timeout)
    try:
        async with asyncio.TaskGroup() as group:
            for call in calls:
                group.create_task(call.run(turn, seconds))
    except BaseException:
        await outlive(lambda: _take_back(calls, None))
        raise
    for call in calls:
        call.hand_over()
    return [call.outcome() for call in calls]


async def first_ok(
    op: Callable[[P], Awaitable[T]],
    providers: Iterable[P],
    *,
    limit: int | None = None,
    timeout: float | timedelta | None = None,
    undo: Undo[T] | None = None,
    clock: Clock = _REAL,
) -> T:
    """Call ``op`` with each provider at the same time, give the first success, and cancel the others.

    The losers are waited for, and what they did is taken back before this returns: every machine that a losing call
    spawned through exatlas is terminated, even when it came up in the very moment of losing. Cancelling this call makes
    losers of them all. What could not be taken back is logged at ERROR level.

    Args:
        op: Takes one of the providers, in whatever form they were given.
        limit: How many calls run at once; 1 tries them one after the other, in order.
        timeout: For each call (seconds or timedelta), from its own start.
        undo: Takes back the value of a loser that finished, instead of terminating what it spawned.

    Raises:
        AllFailedError: none succeeded; it holds every outcome.
    """
    calls = [_Call(op, provider, clock) for provider in providers]
    turn, seconds = _options("first_ok", op, limit, timeout)
    if not calls:
        raise ValidationError("the call", ["providers: expected at least one"], operation="first_ok")

    def is_won() -> bool:
        return any(call.succeeded for call in calls)

    tasks = {asyncio.create_task(call.run(turn, seconds, is_won)): call for call in calls}
    winner: _Call[P, T] | None = None
    try:
        winner = await _first(tasks)
    finally:
        # On every way out: with a winner, with none, and when cancelled.
        settled = await outlive(lambda: _settle(tasks, winner, undo))
    if settled.interrupted:
        # The winner was never handed over, so it is a loser too.
        await outlive(lambda: _take_back(calls, undo))
        raise asyncio.CancelledError
    if winner is not None:
        winner.hand_over()
        return winner.value()
    outcomes = [call.outcome() for call in calls]
    errors = [outcome.error for outcome in outcomes if outcome.error is not None]
    raise AllFailedError("no provider succeeded", outcomes=outcomes) from ExceptionGroup("every outcome", errors)


async def _first(tasks: "dict[asyncio.Task[None], _Call[P, T]]") -> "_Call[P, T] | None":
    """Wait for the first success; among those of the same moment, input order decides."""
    pending = set(tasks)
    while pending:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for task, call in tasks.items():
            if task in done and call.succeeded:
                return call
    return None


async def _settle(
    tasks: "dict[asyncio.Task[None], _Call[P, T]]", winner: "_Call[P, T] | None", undo: Undo[T] | None
) -> None:
    """End every call but the winner's, and take back what they did. Safe to repeat."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    await _take_back([call for call in tasks.values() if call is not winner], undo)


async def _take_back(losers: "Iterable[_Call[P, T]]", undo: Undo[T] | None) -> None:
    await asyncio.gather(*(loser.take_back(undo) for loser in losers))


def _never() -> bool:
    return False


class _Call(Generic[P, T]):
    """One call of many, while it runs and after."""

    def __init__(self, op: Callable[[P], Awaitable[T]], provider: P, clock: Clock) -> None:
        self._op = op
        self._provider = provider
        self._clock = clock
        self._around = _births.get()
        self._births: list[Callable[[], Awaitable[None]]] = []
        self._values: list[T] = []
        self._undone = False
        self._error: Exception | None = None
        self._elapsed_s = 0.0

    @property
    def succeeded(self) -> bool:
        """Whether there is a value."""
        return bool(self._values)

    def value(self) -> T:
        """The value of a call that succeeded."""
        return self._values[0]

    def outcome(self) -> Outcome[P, T]:
        """How it went. A call that was cancelled before it began has failed as well."""
        return Outcome(
            input=self._provider,
            value=self._values[0] if self._values else None,
            error=None if self._values else self._error or self._cancelled(),
            elapsed=timedelta(seconds=self._elapsed_s),
        )

    async def run(
        self, turn: AbstractAsyncContextManager[Any], seconds: float | None, is_too_late: Callable[[], bool] = _never
    ) -> None:
        """Wait for a turn, call unless it is too late by then, and keep what comes of it."""
        _births.set(self._births)
        async with turn:
            if is_too_late():
                return
            started = self._clock.monotonic()
            limit = Deadline(self._clock, seconds)
            try:
                async with limit:
                    self._values.append(await self._op(self._provider))
            except asyncio.CancelledError:
                self._error = self._cancelled()
                if self._asked_to_stop():
                    raise
            except Exception as error:  # noqa: BLE001 - supervised boundary: whatever a call raises is its outcome
                self._error = error if not limit.expired else self._late(error, seconds)
            finally:
                self._elapsed_s = self._clock.monotonic() - started

    def hand_over(self) -> None:
        """Its caller gets what it did. A race around this one may still have to give it back."""
        if self._around is not None:
            self._around.extend(self._births)

    async def take_back(self, undo: Undo[T] | None) -> None:
        """Undo what a loser did. Failures are logged, for there is nobody left to raise to. Safe to repeat."""
        if undo is not None and self._values:
            if not self._undone:
                await self._attempt(lambda: undo(self.value()))
                self._undone = True
            return
        while self._births:
            await self._attempt(self._births[-1])
            self._births.pop()

    async def _attempt(self, give_back: Callable[[], Awaitable[Any]]) -> None:
        try:
            async with Deadline(self._clock, UNDO_PATIENCE_S):
                await give_back()
        except Exception:  # noqa: BLE001 - supervised boundary: the other losers must be given back all the same
            _log.exception("what %s did in a lost race could not be taken back", _name_of(self._provider))

    def _cancelled(self) -> AtlasError:
        return AtlasError("the call was cancelled", provider=_name_of(self._provider))

    @staticmethod
    def _asked_to_stop() -> bool:
        """Whether this very task was cancelled, as opposed to something that the call waited for."""
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0

    def _late(self, error: Exception, seconds: float | None) -> Exception:
        if not isinstance(error, TimeoutError) or isinstance(error, AtlasError):
            return error
        late = TransportTimeoutError(
            f"no result within {seconds:g} s", provider=_name_of(self._provider), retryable=False
        )
        late.__cause__ = error
        return late


def _name_of(provider: object) -> str:
    name = provider if isinstance(provider, str) else getattr(provider, "name", None)
    return name if isinstance(name, str) else type(provider).__name__


def _options(
    operation: str, op: object, limit: int | None, timeout: float | timedelta | None
) -> tuple[AbstractAsyncContextManager[Any], float | None]:
    span = checks.as_span(timeout)
    faults = faults_of(
        {
            "op": None if callable(op) else f"expected a function of one provider, {checks.given(op)}",
            "limit": checks.optional(checks.whole(1))(limit),
            "timeout": checks.optional(checks.positive_span)(span),
        }
    )
    if faults:
        raise ValidationError("the call", faults, operation=operation)
    turn: AbstractAsyncContextManager[Any] = nullcontext() if limit is None else asyncio.Semaphore(limit)
    return turn, None if span is None else span.total_seconds()
