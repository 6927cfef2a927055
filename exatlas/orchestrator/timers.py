"""One heap of instants for any number of sessions, and one task that waits for the first."""

import asyncio
import heapq
from collections.abc import Callable
from typing import Any

from exatlas.protocols import Clock

SPARE = 64
"""Instants that were replaced stay in the heap until they are this many more than the others."""


class Timers:
    """Calls back with a key when its time has come. A key has one time; setting it again replaces it.

    Args:
        due: Called in the waiting task. Be quick.
    """

    def __init__(self, clock: Clock, due: Callable[[str], None]) -> None:
        self._clock = clock
        self._due = due
        self._heap: list[tuple[float, str]] = []
        self._at: dict[str, float] = {}
        self._sooner = asyncio.Event()

    def __len__(self) -> int:
        return len(self._at)

    def set(self, key: str, seconds: float | None) -> None:
        """Call back in so many seconds; None takes the key out."""
        if seconds is None:
            self._at.pop(key, None)
            return
        at = self._clock.monotonic() + max(seconds, 0.0)
        first = self._heap[0][0] if self._heap else None
        self._at[key] = at
        heapq.heappush(self._heap, (at, key))
        if len(self._heap) > 2 * len(self._at) + SPARE:
            self._heap = [(at, key) for key, at in self._at.items()]
            heapq.heapify(self._heap)
        if first is None or at < first:
            self._sooner.set()

    async def run(self) -> None:
        """Wait and call back, until cancelled."""
        while True:
            self._sooner.clear()
            self._call_due()
            if self._sooner.is_set():
                await asyncio.sleep(0)  # one that comes back at once, again and again, must not hold up all others
                continue
            await self._wait()

    def _call_due(self) -> None:
        now = self._clock.monotonic()
        due = []
        while self._heap and (self._heap[0][0] <= now or self._at.get(self._heap[0][1]) != self._heap[0][0]):
            at, key = heapq.heappop(self._heap)
            if self._at.get(key) == at:
                del self._at[key]
                due.append(key)
        for key in due:
            self._due(key)

    async def _wait(self) -> None:
        """Until the first instant, or until there is a sooner one."""
        waits: list[asyncio.Task[Any]] = [asyncio.create_task(self._sooner.wait())]
        if self._heap:
            waits.append(asyncio.create_task(self._clock.sleep(self._heap[0][0] - self._clock.monotonic())))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
