"""PostgreSQL's LISTEN and NOTIFY, as wake-up calls between processes. Needs the extra ``postgres``.

A NOTIFY takes a lock that all committing transactions of the database share, so it is no part of the ledger's writes:
it follows them on a connection of its own, one for all that came within a moment. Where it is lost, or a pooler in
between does not carry it, readers look by themselves now and then.
"""

import asyncio
import logging
from typing import Any

from psycopg import AsyncConnection, Error
from sqlalchemy import Engine

from exatlas.ledger.wakeups import Wakeups

CHANNEL = "exatlas"
MOMENT_S = 0.02
"""Between two notices of one process there is so much time at least, and one tells of all that came meanwhile."""
RETRY_S = 5.0
"""How long after a connection failed another one is opened."""
LAST_WORDS_S = 1.0
"""How long to try to tell what is left when the ledger is closed."""

_log = logging.getLogger("exatlas.ledger")


class Notices:
    """One connection that listens and one that tells, for one event loop; each opened when it is first needed."""

    def __init__(self, engine: Engine, wakeups: Wakeups) -> None:
        self._engine = engine
        self._wakeups = wakeups
        self._listening: asyncio.Task[None] | None = None
        self._telling: asyncio.Task[None] | None = None
        self._to_tell: set[str] = set()
        self._mouth: AsyncConnection | None = None
        self._closed = False

    def listen(self) -> None:
        """Hear what others tell, from now on."""
        if self._listening is None and not self._closed:
            self._listening = asyncio.create_task(self._listen(), name="exatlas ledger notices")

    def tell(self, owner: str) -> None:
        """Tell everybody who listens that there is news: at once, or a moment after the last time."""
        self._to_tell.add(owner)
        if self._telling is None and not self._closed:
            self._telling = asyncio.create_task(self._tell(), name="exatlas ledger notice")

    async def aclose(self) -> None:
        """Tell what is left, as far as that goes at once, and hang up. Safe to repeat."""
        self._closed = True
        if self._telling is not None:
            await asyncio.wait([self._telling], timeout=LAST_WORDS_S)
        tasks = [task for task in (self._listening, self._telling) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if self._mouth is not None:
            await self._mouth.close()

    async def _listen(self) -> None:
        is_away = False
        while True:
            try:
                async with await self._connected() as connection:
                    await connection.execute(f"LISTEN {CHANNEL}")
                    is_away = False
                    self._wakeups.wake_all()  # whatever was told until now was not heard
                    async for notice in connection.notifies():
                        self._wakeups.wake(notice.payload)
            except (Error, OSError) as error:
                if not is_away:
                    _log.warning("the ledger's notices are not heard: %s", type(error).__name__)
                is_away = True
            await asyncio.sleep(RETRY_S)

    async def _tell(self) -> None:
        try:
            while self._to_tell:
                owners, self._to_tell = self._to_tell, set()
                await self._say(owners)
                await asyncio.sleep(MOMENT_S)
        finally:
            self._telling = None

    async def _say(self, owners: set[str]) -> None:
        try:
            if self._mouth is None or self._mouth.closed:
                self._mouth = await self._connected()
            await self._mouth.execute("SELECT pg_notify(%s, one) FROM unnest(%s::text[]) one", (CHANNEL, list(owners)))
        except (Error, OSError) as error:
            _log.warning("a notice of the ledger could not be told: %s", type(error).__name__)

    async def _connected(self) -> AsyncConnection:
        """One like those of the engine."""
        url: Any = self._engine.url
        args, options = self._engine.dialect.create_connect_args(url)
        return await AsyncConnection.connect(*args, **{**options, "autocommit": True})
