"""RunPod's request limits for one endpoint, enforced: so many in ten seconds, and so many at once.

Source: https://docs.runpod.io/serverless/endpoints/send-requests, read 2026-11. The limits grow with the number of
workers by a factor that is not published; these are the base values.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

from attrs import frozen

from exatlas.protocols import Clock
from exatlas.providers.runpod.submission import RefusedError

WINDOW_S = 10.0


@frozen
class Limit:
    """How much of one operation an endpoint takes."""

    per_window: int
    at_once: int | None = None


RUNPOD_LIMITS: Mapping[str, Limit] = MappingProxyType(
    {
        "run": Limit(1000, 200),
        "runsync": Limit(2000, 400),
        "status": Limit(2000, 400),
        "stream": Limit(2000, 400),
        "cancel": Limit(100, 20),
        "purge-queue": Limit(2),
    }
)
"""By operation; those not listed are not limited."""


class Gate:
    """Counts one operation's requests. Refused ones do not count."""

    def __init__(self, limit: Limit, clock: Clock) -> None:
        self._limit = limit
        self._clock = clock
        self._passed: deque[float] = deque()
        self._inside = 0

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Be inside while a request is served.

        Raises:
            RefusedError: 429, when the window or the room is full.
        """
        now = self._clock.monotonic()
        while self._passed and self._passed[0] <= now - WINDOW_S:
            self._passed.popleft()
        if len(self._passed) >= self._limit.per_window:
            raise RefusedError(429, f"too many requests: the limit is {self._limit.per_window} in {WINDOW_S:g} s")
        if self._limit.at_once is not None and self._inside >= self._limit.at_once:
            raise RefusedError(429, f"too many requests: the limit is {self._limit.at_once} at once")
        self._passed.append(now)
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1
