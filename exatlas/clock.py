"""The clock the world runs on, and one that a test turns."""

import asyncio
import heapq
import time
from datetime import UTC, datetime, timedelta
from itertools import count


class SystemClock:
    """Real time."""

    def now(self) -> datetime:
        """The present instant, aware, UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds that never jump."""
        return time.monotonic()

    async def sleep(self, seconds: float, /) -> None:
        """Wait. Safe to cancel."""
        await asyncio.sleep(seconds)


class ManualClock:
    """Time that stands still until it is turned: by :meth:`advance`, or by itself with ``auto=True``.

    With ``auto=True`` the clock jumps to the next waiter as soon as the event loop has nothing else ready to run, so
    a test that "waits" an hour takes no time. Work that waits for a socket counts as nothing to run: a deadline by this
    clock passes at once there. Without ``auto``, nothing that sleeps wakes up until the test says so.

    Args:
        start: What the hands show at first.
        auto: Jump by itself.
        patience: Rounds of the event loop for which others may be ready to run before an automatic clock jumps all the
            same. Tests that step through the loop themselves keep it busy, and want few.
    """

    def __init__(
        self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC), *, auto: bool = False, patience: int = 1000
    ) -> None:
        self._patience = patience
        self._start = start
        self._elapsed = 0.0
        self._auto = auto
        self._order = count()
        self._waiters: list[tuple[float, int, asyncio.Future[None]]] = []
        self._turning: asyncio.AbstractEventLoop | None = None

    def now(self) -> datetime:
        """The instant the hands show."""
        return self._start + timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        """Seconds since the clock was made."""
        return self._elapsed

    @property
    def sleepers(self) -> int:
        """How many waits are pending."""
        return sum(not future.done() for _, _, future in self._waiters)

    async def sleep(self, seconds: float, /) -> None:
        """Wait until the hands have moved that far. Safe to cancel."""
        loop = asyncio.get_running_loop()
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future = loop.create_future()
        heapq.heappush(self._waiters, (self._elapsed + seconds, next(self._order), future))
        if self._auto:
            self._turn_soon(loop)
        await future

    def advance(self, seconds: float) -> None:
        """Turn the hands forward and wake everybody whose time has come; they run at the caller's next ``await``."""
        target = self._elapsed + seconds
        while self._waiters and self._waiters[0][0] <= target:
            self._wake_next()
        self._elapsed = target

    def _turn_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        # One callback for all sleepers: several would each take the others for work that is ready to run.
        if self._turning is not loop:
            self._turning = loop
            loop.call_soon(self._turn_when_idle, loop, self._patience)

    def _turn_when_idle(self, loop: asyncio.AbstractEventLoop, patience: int) -> None:
        # The standard loops keep what is ready to run in `_ready`; others are given one round.
        if patience and len(getattr(loop, "_ready", ())):
            loop.call_soon(self._turn_when_idle, loop, patience - 1)
            return
        self._turning = None
        self._wake_next()
        if self._waiters:
            self._turn_soon(loop)

    def _wake_next(self) -> None:
        while self._waiters:
            due, _, future = heapq.heappop(self._waiters)
            if not future.done():
                self._elapsed = max(self._elapsed, due)
                future.set_result(None)
                return
