"""PostgreSQL's LISTEN and NOTIFY, as wake-up calls between processes. Needs the extra ``postgres``.

A NOTIFY takes a lock that all committing transactions of the database share, so it is no part of the ledger's writes:
it follows them on a connection of its own, and one in a moment is all that is sent. Where it is lost, or a pooler in
between does not carry it, readers look by themselves now and then.
"""

import asyncio
import logging
from collections.abc import Callable

from psycopg import AsyncConnection, Error
from sqlalchemy import URL

CHANNEL = "exatlas"
MOMENT_S = 0.02
"""Between two notices. What is told meanwhile goes into the second one."""
RETRY_S = 5.0
"""How long after a connection failed another one is opened."""

_log = logging.getLogger("exatlas.ledger")


class Notices:
    """One connection that listens and one that tells, for one event loop; each opened when it is first needed."""

    def __init__(self, url: URL, heard: Callable[[str], None]) -> None:
        self._url = url.set(drivername="postgresql").render_as_string(hide_password=False)
        self._heard = heard
        self._listening: asyncio.Task[None] | None = None
        self._telling: asyncio.Task[None] | None = None
        self._to_tell: set[str] = set()
        self._mouth: AsyncConnection | None = None

    def listen(self) -> None:
        """Hear what others tell, from now on."""
        if self._listening is None:
            self._listening = asyncio.create_task(self._listen(), name="exatlas ledger notices")

    def tell(self, owner: str) -> None:
        """Tell everybody who listens that there is news, within a moment."""
        self._to_tell.add(owner)
        if self._telling is None:
            self._telling = asyncio.create_task(self._tell(), name="exatlas ledger notice")

    async def aclose(self) -> None:
        """Hang up. What was not told yet is not told any more."""
        tasks = [task for task in (self._listening, self._telling) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if self._mouth is not None:
            await self._mouth.close()

    async def _listen(self) -> None:
        while True:
            try:
                async with await self._connected() as connection:
                    await connection.execute(f"LISTEN {CHANNEL}")
                    async for notice in connection.notifies():
                        self._heard(notice.payload)
            except (Error, OSError) as error:
                _log.warning("the ledger's notices are not heard: %s", type(error).__name__)
            await asyncio.sleep(RETRY_S)

    async def _tell(self) -> None:
        """Tell at once, and whatever comes within a moment after it together."""
        try:
            while self._to_tell:
                owners, self._to_tell = self._to_tell, set()
                if self._mouth is None or self._mouth.closed:
                    self._mouth = await self._connected()
                for owner in owners:
                    await self._mouth.execute("SELECT pg_notify(%s, %s)", (CHANNEL, owner))
                await asyncio.sleep(MOMENT_S)
        except (Error, OSError) as error:
            _log.warning("a notice of the ledger could not be told: %s", type(error).__name__)
        finally:
            self._telling = None
        if self._to_tell:  # told while this one failed
            self.tell(self._to_tell.pop())

    async def _connected(self) -> AsyncConnection:
        return await AsyncConnection.connect(self._url, autocommit=True)
