"""A durable ledger in SQLite or PostgreSQL.

SQLAlchemy's synchronous core in one thread, and not its asyncio side: the same statements awaited over aiosqlite,
where each crosses between loop and thread by itself, give a third of the writes per second to one writer and two
thirds to fifty; over asyncpg neither way is clearly faster. The bare drivers are two to three times as fast, and every
statement would have to be written twice. ``python -m benchmarks ledgers`` holds it against all of them. Needs the extra
``sqlite`` or ``postgres``.
"""

import sqlite3
import time
from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, select
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.pool import StaticPool

from exatlas.errors import ConfigError
from exatlas.ledger.pages import READ, Intent, Step, launch_of, write
from exatlas.ledger.schema import launches, migrate
from exatlas.ledger.writer import GroupWriter
from exatlas.records.launch import Launch, LaunchState

T = TypeVar("T")

BUSY_S = 30
"""How long an SQLite ledger waits for another process that writes to the same file."""
BUSY_STEP_S = 0.02
"""How long between two looks, where SQLite does not wait by itself."""


class SqlLedger:
    """Launches in a database: ``sqlite:///machines.db``, or ``postgresql://user@host/name``.

    Tables are made and migrated at the first use. SQLite (3.35 or newer) runs in WAL mode with full synchronisation;
    every write is on the disk before its call returns. Several processes may share either kind.

    Raises:
        ConfigError: the URL is wrong, or its driver is not installed.
    """

    def __init__(self, url: str) -> None:
        self._writer = GroupWriter(_engine(url))
        self._ready = False

    async def intend(self, launch: Launch, /) -> None:
        """See :class:`exatlas.Ledger`."""
        await self._write(Intent(launch))

    async def advance(
        self, launch_id: str, to: LaunchState, at: datetime, /, *, expect: LaunchState | None = None, **facts: Any
    ) -> Launch:
        """See :class:`exatlas.Ledger`."""
        return await self._write(Step(launch_id, to, at, expect, facts))

    async def get(self, launch_id: str, /) -> Launch | None:
        """See :class:`exatlas.Ledger`."""

        def work(connection: Connection) -> Launch | None:
            record = connection.scalar(READ, {"which": launch_id})
            return None if record is None else launch_of(record)

        return await self._do(work)

    async def find(
        self,
        *,
        owner: str | None = None,
        states: Collection[LaunchState] = (),
        provider: str | None = None,
        account: str | None = None,
        compute_id: str | None = None,
    ) -> list[Launch]:
        """See :class:`exatlas.Ledger`."""
        wanted = {"owner": owner, "provider": provider, "account": account, "compute_id": compute_id}
        query = select(launches.c.record).order_by(launches.c.intended_at, launches.c.launch_id)
        for name, value in wanted.items():
            if value is not None:
                query = query.where(launches.c[name] == value)
        if states:
            query = query.where(launches.c.state.in_([state.value for state in states]))

        def work(connection: Connection) -> list[Launch]:
            return [launch_of(record) for record in connection.scalars(query)]

        return await self._do(work)

    async def aclose(self) -> None:
        """See :class:`exatlas.Ledger`."""
        await self._writer.aclose()

    async def _write(self, item: Intent | Step) -> Launch:
        """Write to one launch, together with whatever else is written to launches in its transaction."""
        await self._migrated()
        launch: Launch = await self._writer.join(write, item, ("launch", item.launch_id))
        return launch

    async def _do(self, work: Callable[[Connection], T], order: tuple[str, ...] = ()) -> T:
        """Do the work in a transaction, once the tables are there."""
        await self._migrated()
        return await self._writer.do(work, order)

    async def _migrated(self) -> None:
        if not self._ready:
            await self._writer.do(migrate)
            self._ready = True


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite":
            return _sqlite(parsed)
        if parsed.get_backend_name() == "postgresql":
            return create_engine(parsed.set(drivername="postgresql+psycopg"), pool_size=1, pool_pre_ping=True)
    except (ArgumentError, NoSuchModuleError) as error:
        raise ConfigError(f"the ledger's URL is wrong: {type(error).__name__}") from None
    except ModuleNotFoundError as error:
        raise ConfigError(f"the ledger needs {error.name}: pip install 'exatlas[postgres]'") from error
    raise ConfigError(f"a ledger is kept in sqlite or postgresql, not in {parsed.get_backend_name()!r}")


def _sqlite(url: URL) -> Engine:
    engine = create_engine(
        url, poolclass=StaticPool, connect_args={"check_same_thread": False, "timeout": BUSY_S, "isolation_level": None}
    )

    @event.listens_for(engine, "connect")
    def _settings(connection: Any, _: Any) -> None:
        _switch_to_wal(connection)
        connection.execute("PRAGMA synchronous=FULL")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A transaction that begins as a reader and writes later may find the file changed, and fails at once.
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    """Processes that switch a new file at once do not wait for each other, whatever the connection's timeout."""
    patience = time.monotonic() + BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > patience:
                raise
            time.sleep(BUSY_STEP_S)
        else:
            return
