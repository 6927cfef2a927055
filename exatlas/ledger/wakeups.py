"""Who waits for news of an outbox, and how they are woken. Every wake-up is a hint: correctness rests on rows."""

import asyncio
from contextlib import suppress


class Wakeups:
    """Wakes waiters of this process. Belongs to one event loop."""

    def __init__(self) -> None:
        self._news: dict[str, asyncio.Event] = {}

    def wake(self, owner: str) -> None:
        """There may be news."""
        if owner in self._news:
            self._news.pop(owner).set()

    async def wait(self, owner: str, within_s: float) -> bool:
        """Wait for a wake-up. Gives whether one came within so many real seconds."""
        news = self._news.setdefault(owner, asyncio.Event())
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await news.wait()
        return news.is_set()
