"""The latest events in a ring, and readers that come along at their own pace. No reader ever holds anybody up."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable

from attrs import frozen

from exatlas.orchestrator.events import Event, Missed

KEPT = 10_000
"""How many events are kept for slow readers and replays."""
PAGE = 500
"""How many events that the ring has no more are fetched at once."""

Older = Callable[[int, int], Awaitable[list[Event]]]
"""Fetches so many events after a number."""


@frozen
class Whose:
    """Which events a reader wants; None is all."""

    session: str | None = None
    tenant: str | None = None

    def admits(self, event: Event) -> bool:
        """Whether an event is about them."""
        about = self.session in (None, event.session) and self.tenant in (None, event.tenant)
        return about or isinstance(event, Missed)


class Feed:
    """Takes events in their order and hands them out. Belongs to one event loop.

    Args:
        older: Fetches what the ring has no more.
        kept: How many events the ring has.
    """

    def __init__(self, older: Older, kept: int = KEPT) -> None:
        self._older = older
        self._ring: deque[Event] = deque(maxlen=kept)
        self._news = asyncio.Event()
        self._closed = False
        self.last = 0
        """The number of the latest event; 0 before the first."""

    def take(self, events: Iterable[Event]) -> None:
        """Take the next events. A number that is missing is missing for all."""
        for event in events:
            if event.seq != self.last + 1:
                self._ring.clear()
            self._ring.append(event)
            self.last = event.seq
        self._wake()

    def close(self) -> None:
        """Let readers end when they have read everything."""
        self._closed = True
        self._wake()

    async def read(self, after: int, whose: Whose) -> AsyncGenerator[Event, None]:
        """Yield the events after a number that somebody wants."""
        while True:
            news = self._news
            page = self._kept_after(after)
            if page is None:
                page = [event for event in await self._older(after, PAGE) if event.seq <= self.last]
                if not page:  # what the ring had is not to be had any more
                    page = self._kept_after(self.last - len(self._ring)) or []
            for event in page:
                if event.seq > after + 1:
                    yield _missed(event, after, whose)
                after = event.seq
                if whose.admits(event):
                    yield event
            if page:
                continue
            if self._closed:
                return
            await news.wait()

    def _kept_after(self, after: int) -> list[Event] | None:
        """Some of the events after a number, none where there are none; None when the ring does not have the first."""
        oldest = self.last - len(self._ring) + 1
        if after >= self.last:
            return []
        if after + 1 < oldest:
            return None
        first = after + 1 - oldest
        return [self._ring[index] for index in range(first, min(first + PAGE, len(self._ring)))]

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


def _missed(event: Event, after: int, whose: Whose) -> Missed:
    count = event.seq - after - 1
    return Missed(seq=event.seq - 1, at=event.at, session=whose.session, tenant=whose.tenant, count=count)
