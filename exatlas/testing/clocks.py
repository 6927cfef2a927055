"""A clock that runs faster than the world, for tests over real sockets."""

from datetime import UTC, datetime, timedelta

from exatlas.clock import SystemClock

_REAL = SystemClock()


class FastClock:
    """Real time, so many times as fast: a wait of a minute takes a minute divided by `speed`.

    An automatic :class:`exatlas.ManualClock` takes a wait for a socket for idleness and jumps; this one does not.
    """

    def __init__(self, speed: float = 100.0, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._speed = speed
        self._start = start
        self._began = _REAL.monotonic()

    def now(self) -> datetime:
        """The instant the hands show."""
        return self._start + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        """Seconds since the clock was made, as it counts them."""
        return (_REAL.monotonic() - self._began) * self._speed

    async def sleep(self, seconds: float, /) -> None:
        """Wait. Safe to cancel."""
        await _REAL.sleep(seconds / self._speed)
