"""A fair share of a cloud's request limit, for everybody in the process who calls the same account and endpoint.

The theory (GCRA, the leaky bucket as a meter): one number says when the bucket will be empty. Each grant moves it
on by one interval; a grant is due when it lies no further ahead than the burst allows. Grants i and i+k are then at
least (k - burst + 1) intervals apart, so with interval = per_s / (requests - burst + 1), grant i + requests comes a
full window after grant i: no window of `per_s` seconds, wherever it starts, holds more than `requests`.

Waiting is in line, first come first served. Only the head of the line watches the clock; the others wait for their
turn to be the head. That needs no task of its own, and a cancelled waiter just hands its place on.
"""

import asyncio
from collections import deque
from collections.abc import Coroutine, Hashable
from types import TracebackType
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

from attrs import frozen

from exatlas.clock import SystemClock
from exatlas.errors import ValidationError, faults_of
from exatlas.protocols import Clock

BURST_SHARE = 50
_EARLY_S = 1e-9
"""A wait shorter than this is none: floating point cannot be trusted to count it down to zero."""
_MARGIN = 1 + 1e-6
"""Keeps rounding, and `_EARLY_S`, from ever fitting one request too many into a window."""


@frozen
class Limits:
    """What a cloud allows: stay a little below what it publishes, because requests bunch up on the way."""

    requests: int
    """At most so many requests ..."""
    per_s: float
    """... in any window of so many seconds."""
    concurrent: int
    """At most so many requests at once."""
    burst: int | None = None
    """How many may leave back to back after a quiet time; None is one in fifty of `requests`, at least one.

    A larger burst lowers the steady rate, since both have to fit into one window."""

    def __attrs_post_init__(self) -> None:
        faults = faults_of(
            {
                "requests": None if self.requests >= 1 else f"{self.requests} given, must be at least 1",
                "per_s": None if self.per_s > 0 else f"{self.per_s} given, must be more than 0",
                "concurrent": None if self.concurrent >= 1 else f"{self.concurrent} given, must be at least 1",
                "burst": None
                if self.burst is None or 1 <= self.burst <= self.requests
                else f"{self.burst} given, must be from 1 to requests",
            }
        )
        if faults:
            raise ValidationError("Limits", faults)


class Budget:
    """Hands out turns within the limits, in the order they were asked for. Belongs to one event loop."""

    def __init__(self, limits: Limits, clock: Clock) -> None:
        burst = limits.burst or max(1, limits.requests // BURST_SHARE)
        self.limits = limits
        self._clock = clock
        self._interval = limits.per_s / (limits.requests - burst + 1) * _MARGIN
        self._tolerance = (burst - 1) * self._interval
        self._empty_at = float("-inf")
        self._in_flight = 0
        self._waiting = 0
        self._led = False
        self._line: deque[asyncio.Future[None]] = deque()
        self._freed: asyncio.Future[None] | None = None

    @property
    def in_flight(self) -> int:
        """Turns taken and not given back."""
        return self._in_flight

    @property
    def waiting(self) -> int:
        """Callers in line."""
        return self._waiting

    @property
    def is_fresh(self) -> bool:
        """Whether this budget remembers nothing that a new one would not know."""
        return not (self._in_flight or self._waiting) and self._empty_at <= self._clock.monotonic()

    def turn(self) -> "Turn":
        """Wait in line for one request: `async with budget.turn() as waited_s`. Safe to cancel at any point."""
        return Turn(self)

    async def acquire(self) -> float:
        """Wait for a turn and take it; return the seconds waited. Each one needs a `release`.

        Cancelling gives the place in line up. A turn is never taken by a call that was cancelled.
        """
        now = self._clock.monotonic()
        if not self._led and self._in_flight < self.limits.concurrent and self._delay(now) <= _EARLY_S:
            self._take(now)
            return 0.0
        self._waiting += 1
        try:
            if self._led:
                await self._stand_in_line()
            self._led = True
            try:
                await self._until_due()
                taken_at = self._clock.monotonic()
                self._take(taken_at)
            finally:
                self._hand_on()
        finally:
            self._waiting -= 1
        return taken_at - now

    def release(self) -> None:
        """Give a turn back: the request is over, however it ended."""
        self._in_flight -= 1
        if self._freed is not None and not self._freed.done():
            self._freed.set_result(None)

    def slow_down(self, seconds: float) -> None:
        """Hold everybody for so long, then go on at the steady rate, without a burst. A longer hold in force stays."""
        self._empty_at = max(self._empty_at, self._clock.monotonic() + seconds + self._tolerance)

    def _delay(self, now: float) -> float:
        return self._empty_at - self._tolerance - now

    def _take(self, now: float) -> None:
        self._empty_at = max(self._empty_at, now) + self._interval
        self._in_flight += 1

    async def _stand_in_line(self) -> None:
        place = asyncio.get_running_loop().create_future()
        self._line.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if not place.cancelled():
                self._hand_on()  # the head of the line was handed over in the very moment of the cancellation
            raise

    def _hand_on(self) -> None:
        """Make the next in line the head; those who were cancelled while standing there are skipped."""
        while self._line:
            place = self._line.popleft()
            if not place.done():
                place.set_result(None)
                return
        self._led = False

    async def _until_due(self) -> None:
        while True:
            if self._in_flight >= self.limits.concurrent:
                await self._until_freed()
                continue
            delay = self._delay(self._clock.monotonic())
            if delay <= _EARLY_S:
                return
            await self._clock.sleep(delay)

    async def _until_freed(self) -> None:
        self._freed = asyncio.get_running_loop().create_future()
        try:
            await self._freed
        finally:
            self._freed = None


class Turn:
    """One place in the line of a budget, as an async context manager that gives the seconds waited."""

    __slots__ = ("_budget",)

    def __init__(self, budget: Budget) -> None:
        self._budget = budget

    def __aenter__(self) -> Coroutine[Any, Any, float]:
        return self._budget.acquire()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._budget.release()


class _Shelf:
    """The budgets of one event loop.

    Users hold budgets, the shelf only remembers them weakly. But one that still remembers recent requests is kept
    although nobody holds it: dropped, it would come back with a full burst.
    """

    def __init__(self) -> None:
        self.known: WeakValueDictionary[Hashable, Budget] = WeakValueDictionary()
        self.kept: dict[Hashable, Budget] = {}
        self.sweep_at = 64

    def keep(self, key: Hashable, budget: Budget) -> None:
        if key in self.kept:
            return
        if len(self.kept) >= self.sweep_at:
            self.kept = {key: budget for key, budget in self.kept.items() if not budget.is_fresh}
            self.sweep_at = max(64, 2 * len(self.kept))
        self.kept[key] = budget


_shelves: WeakKeyDictionary[asyncio.AbstractEventLoop, _Shelf] = WeakKeyDictionary()


def budget_for(key: Hashable, limits: Limits, clock: Clock) -> Budget:
    """Give the budget that everybody on the running event loop shares for this key and these limits.

    Callers on the system's clock share one whichever `SystemClock` they hold; any other clock has budgets of its own.
    """
    loop = asyncio.get_running_loop()
    shelf = _shelves.get(loop)
    if shelf is None:
        shelf = _shelves[loop] = _Shelf()
    full_key = (key, limits, None if isinstance(clock, SystemClock) else id(clock))
    budget = shelf.known.get(full_key)
    if budget is None:
        budget = shelf.known[full_key] = Budget(limits, clock)
    shelf.keep(full_key, budget)
    return budget
