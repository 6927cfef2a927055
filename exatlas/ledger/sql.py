"""A durable ledger in SQLite or PostgreSQL.

SQLAlchemy's synchronous core in one thread, and not its asyncio side: every statement of a grouped transaction would
cross between loop and thread otherwise, which costs more than the statement. Needs the extra ``sqlite`` or
``postgres``.
"""

import sqlite3
import time
from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any, TypeVar

import orjson
from sqlalchemy import URL, Connection, Engine, Row, bindparam, create_engine, event, make_url, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.pool import StaticPool

from exatlas.errors import ConfigError, ConflictError
from exatlas.ledger.memory import missing
from exatlas.ledger.schema import launches, migrate
from exatlas.ledger.writer import GroupWriter
from exatlas.records.launch import Launch, LaunchState
from exatlas.records.serial import structure, unstructure

T = TypeVar("T")

BUSY_S = 30
"""How long an SQLite ledger waits for another process that writes to the same file."""
BUSY_STEP_S = 0.02
"""How long between two looks, where SQLite does not wait by itself."""

# Made once: to build a statement costs several times what it costs to run it.
_WHICH = launches.c.launch_id == bindparam("which")
_READ = select(launches.c.record).where(_WHICH)
_LOCK = _READ.with_for_update()
_CHANGE = update(launches).where(_WHICH)
_ADD = {
    name: insert(launches).on_conflict_do_nothing().execution_options(preserve_rowcount=True)
    for name, insert in (("sqlite", sqlite.insert), ("postgresql", postgresql.insert))
}
"""Writes nothing where the launch is there: an error would fail a whole transaction of PostgreSQL."""


class SqlLedger:
    """Launches in a database: ``sqlite:///machines.db``, or ``postgresql://user@host/name``.

    Tables are made and migrated at the first use. SQLite runs in WAL mode with full synchronisation; every write is on
    the disk before its call returns. Several processes may share either kind.

    Raises:
        ConfigError: the URL is wrong, or its driver is not installed.
    """

    def __init__(self, url: str) -> None:
        self._writer = GroupWriter(_engine(url))
        self._ready = False

    async def intend(self, launch: Launch, /) -> None:
        """See :class:`exatlas.Ledger`."""
        row = _row_of(launch)

        def work(connection: Connection) -> None:
            if not connection.execute(_ADD[connection.dialect.name], row).rowcount:
                raise ConflictError(f"launch {launch.launch_id} is in the ledger already")

        await self._do(work, _locking(launch.launch_id))

    async def advance(
        self, launch_id: str, to: LaunchState, at: datetime, /, *, expect: LaunchState | None = None, **facts: Any
    ) -> Launch:
        """See :class:`exatlas.Ledger`."""

        def work(connection: Connection) -> Launch:
            row = connection.execute(_LOCK, {"which": launch_id}).first()
            if row is None:
                raise missing(launch_id)
            launch = _launch_of(row).advanced(to, at, expect=expect, **facts)
            connection.execute(_CHANGE, {"which": launch_id, **_row_of(launch)})
            return launch

        return await self._do(work, _locking(launch_id))

    async def get(self, launch_id: str, /) -> Launch | None:
        """See :class:`exatlas.Ledger`."""

        def work(connection: Connection) -> Launch | None:
            row = connection.execute(_READ, {"which": launch_id}).first()
            return None if row is None else _launch_of(row)

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
            return [_launch_of(row) for row in connection.execute(query)]

        return await self._do(work)

    async def aclose(self) -> None:
        """See :class:`exatlas.Ledger`."""
        await self._writer.aclose()

    async def _do(self, work: Callable[[Connection], T], order: tuple[str, ...] = ()) -> T:
        """Do the work in a transaction, once the tables are there."""
        if not self._ready:
            await self._writer.do(migrate)
            self._ready = True
        return await self._writer.do(work, order)


def _locking(launch_id: str) -> tuple[str, ...]:
    """The place in a transaction of work that locks one launch."""
    return ("launch", launch_id)


def _row_of(launch: Launch) -> dict[str, Any]:
    return {
        "launch_id": launch.launch_id,
        "owner": launch.owner,
        "provider": launch.provider,
        "account": launch.account,
        "state": launch.state.value,
        "compute_id": launch.compute_id,
        "intended_at": launch.intended_at,
        "record": orjson.dumps(unstructure(launch)).decode(),
    }


def _launch_of(row: Row[Any]) -> Launch:
    return structure(orjson.loads(row.record), Launch)


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
