"""Many tasks' writes in one transaction, with as little around them as can be."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any


class Grouped:
    """Hands everything that came while a batch was being written to the next one."""

    def __init__(self, transaction: Callable[[list[Any]], Awaitable[Any]]) -> None:
        self._transaction = transaction
        self._waiting: list[tuple[Any, asyncio.Future[None]]] = []
        self._flushing: asyncio.Task[None] | None = None

    async def write(self, item: Any) -> None:
        """Return when it is durable."""
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((item, done))
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._flush())
        await done

    async def _flush(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            await self._transaction([item for item, _ in batch])
            for _, done in batch:
                done.set_result(None)
        self._flushing = None
