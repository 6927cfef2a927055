"""Tell everybody who waits that something changed."""

import asyncio


class News:
    """A bell. Whoever waits hears the next ring; nobody hears an old one. Waiting is safe to cancel."""

    def __init__(self) -> None:
        self._bell = asyncio.Event()

    def ring(self) -> None:
        """Wake everybody who waits now."""
        rung, self._bell = self._bell, asyncio.Event()
        rung.set()

    async def wait(self) -> None:
        """Wait for the next ring."""
        await self._bell.wait()
