"""The latest events in a ring, and readers that come along at their own pace. No reader ever holds anybody up."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator

from attrs import evolve

from exatlas.orchestrator.events import Event, Missed

KEPT = 10_000
"""How many events are kept for slow readers and replays."""


class Feed:
    """Numbers events and hands them out. Belongs to one event loop."""

    def __init__(self, kept: int = KEPT) -> None:
        self._ring: deque[Event] = deque(maxlen=kept)
        self._last = 0
        self._news = asyncio.Event()
        self._closed = False

    @property
    def last(self) -> int:
        """The number of the latest event; 0 before the first."""
        return self._last

    def tell(self, event: Event) -> None:
        """Number an event and keep it."""
        self._last += 1
        self._ring.append(evolve(event, seq=self._last))
        self._wake()

    def close(self) -> None:
        """Let readers end when they have read everything."""
        self._closed = True
        self._wake()

    async def read(self, after: int, session: str | None, tenant: str | None) -> AsyncGenerator[Event, None]:
        """Yield the events after a number that concern a session, a tenant, or everybody."""
        while True:
            news = self._news
            oldest = self._last - len(self._ring) + 1
            if after + 1 < oldest:
                first = self._ring[0]
                yield Missed(seq=oldest - 1, at=first.at, session=session, tenant=tenant, count=oldest - 1 - after)
                after = oldest - 1
                continue
            if after < self._last:
                after += 1
                event = self._ring[after - oldest]
                if session in (None, event.session) and tenant in (None, event.tenant):
                    yield event
                continue
            if self._closed:
                return
            await news.wait()

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()
