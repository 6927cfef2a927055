"""Who waits for news of an outbox, and how they are woken. Every wake-up is a hint: correctness rests on rows."""

import asyncio
from contextlib import suppress


class Wakeups:
    """Wakes waiters of this process. Belongs to one event loop."""

    def __init__(self) -> None:
        self._news: dict[str, asyncio.Event] = {}

    def expect(self, owner: str) -> asyncio.Event:
        """What is set by the next wake-up."""
        return self._news.setdefault(owner, asyncio.Event())

    def wake(self, owner: str) -> None:
        """There may be news."""
        if owner in self._news:
            self._news.pop(owner).set()

    def wake_all(self) -> None:
        """There may be news of anybody."""
        for owner in list(self._news):
            self.wake(owner)


async def within(news: asyncio.Event, seconds: float) -> bool:
    """Wait for a wake-up. Gives whether one came within so many real seconds."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await news.wait()
    return news.is_set()
