"""Close what was forgotten: an event loop that shuts down closes its async generators, and a client along with one."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

PATIENCE_S = 10.0
"""How long one thing may take to close, in real seconds."""

Close = Callable[[], Awaitable[None]]

_log = logging.getLogger("exatlas.client")


class Keeper:
    """Calls ``close`` when the event loop shuts its async generators down, unless told to forget it before."""

    def __init__(self, close: Close) -> None:
        self._close: Close | None = close
        self._generator = self._wait()

    async def start(self) -> None:
        """Register with the running loop."""
        await anext(self._generator)

    async def forget(self) -> None:
        """Leave the loop without closing anything. Does nothing from within the closing."""
        if self._close is not None:
            self._close = None
            await self._generator.aclose()

    async def _wait(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            close, self._close = self._close, None
            if close is not None:
                await close()


async def close_all(closing: Sequence[Close]) -> None:
    """Close one after the other, whatever the others do. Failures are logged. Safe to repeat."""
    for close in closing:
        try:
            async with asyncio.timeout(PATIENCE_S):
                await close()
        except Exception:  # noqa: BLE001 - supervised boundary: the others must be closed all the same
            _log.exception("closing %s failed", getattr(close, "__qualname__", close))
