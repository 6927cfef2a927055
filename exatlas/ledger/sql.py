"""A durable ledger in SQLite or PostgreSQL.

SQLAlchemy's synchronous core in one thread, and not its asyncio side: the same statements awaited over aiosqlite,
where each crosses between loop and thread by itself, give a third of the writes per second to one writer and two
thirds to fifty; over asyncpg neither way is clearly faster. The bare drivers are two to three times as fast, and every
statement would have to be written twice. ``python -m benchmarks ledgers`` holds it against all of them. Needs the extra
``sqlite`` or ``postgres``.
"""

import sqlite3
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, select, text
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.pool import StaticPool

from exatlas.errors import ConfigError
from exatlas.ledger import leases, outbox, purses
from exatlas.ledger.pages import PAGE, READ, Intent, Step, launch_of, write
from exatlas.ledger.purses import Wish
from exatlas.ledger.schema import launches, migrate
from exatlas.ledger.wakeups import Wakeups, within
from exatlas.ledger.writer import GroupWriter
from exatlas.protocols import Clock
from exatlas.records.budget import Hold, Shortfall
from exatlas.records.launch import Launch, LaunchState
from exatlas.records.lease import Standing
from exatlas.records.outbox import Entry

if TYPE_CHECKING:
    from exatlas.ledger.notices import Notices

T = TypeVar("T")

NOTICES = "exatlas.ledger.notices"
"""Imported late: it needs PostgreSQL's driver."""
OFTEN_S = 1.0
"""How often to look for entries of other processes where nobody says that there are some."""
SELDOM_S = 5.0
"""How often where somebody does: a notice may be lost."""

BUSY_S = 30
"""How long an SQLite ledger waits for another process that writes to the same file."""
BUSY_STEP_S = 0.02
"""How long between two looks, where SQLite does not wait by itself."""


class SqlLedger:
    """Launches in a database: ``sqlite:///machines.db``, or ``postgresql://user@host/name``.

    Tables are made and migrated at the first use. SQLite (3.35 or newer) runs in WAL mode with full synchronisation;
    every write is on the disk before its call returns. Several processes may share either kind, and several hosts
    PostgreSQL. Belongs to the event loop that first uses it.

    Args:
        url: Where it is.
        clock: By which leases run out; without one, the database server's, or the host's for SQLite.

    Raises:
        ConfigError: the URL is wrong, or its driver is not installed.
    """

    def __init__(self, url: str, *, clock: Clock | None = None) -> None:
        parsed = _parsed(url)
        engine = _engine(parsed)
        self._writer = GroupWriter(engine)
        self._ready = False
        self._clock = clock
        self._wakeups = Wakeups()
        self._notices: Notices | None = None
        if parsed.get_backend_name() == "postgresql":
            self._notices = import_module(NOTICES).Notices(engine, self._wakeups)
        self._look_s = SELDOM_S if self._notices else OFTEN_S

    async def intend(self, launch: Launch, /) -> None:
        """See :class:`exatlas.Ledger`."""
        await self._write(Intent(launch))

    async def advance(
        self,
        launch_id: str,
        to: LaunchState,
        at: datetime,
        /,
        *,
        expect: LaunchState | None = None,
        worker: str | None = None,
        **facts: Any,
    ) -> Launch:
        """See :class:`exatlas.Ledger`."""
        return await self._write(Step(launch_id, to, at, expect, worker, facts))

    async def get(self, launch_id: str, /) -> Launch | None:
        """See :class:`exatlas.Ledger`."""

        def work(connection: Connection) -> Launch | None:
            row = connection.execute(READ, {"which": launch_id}).first()
            return None if row is None else launch_of(row)

        return await self._do(work)

    async def find(
        self,
        *,
        owner: str | None = None,
        states: Collection[LaunchState] = (),
        provider: str | None = None,
        account: str | None = None,
        compute_id: str | None = None,
        tenant: str | None = None,
        user: str | None = None,
    ) -> list[Launch]:
        """See :class:`exatlas.Ledger`."""
        wanted = {"owner": owner, "provider": provider, "account": account, "compute_id": compute_id}
        wanted |= {"tenant": tenant, "user": user}
        query = select(*PAGE).order_by(launches.c.intended_at, launches.c.launch_id)
        for name, value in wanted.items():
            if value is not None:
                query = query.where(launches.c[name] == value)
        if states:
            query = query.where(launches.c.state.in_([state.value for state in states]))

        def work(connection: Connection) -> list[Launch]:
            return [launch_of(row) for row in connection.execute(query)]

        return await self._do(work)

    # ---- workers

    async def enlist(self, worker: str, owner: str, lease_s: float, /) -> Standing:
        """See :class:`exatlas.Ledger`."""
        return await self._apart(lambda to: leases.enlist(to, self._now(to), worker, owner, lease_s))

    async def renew(self, worker: str, /) -> Standing:
        """See :class:`exatlas.Ledger`."""
        return await self._apart(lambda to: leases.renew(to, self._now(to), worker))

    async def bury(self, owner: str, /) -> frozenset[str]:
        """See :class:`exatlas.Ledger`."""
        return await self._apart(lambda to: leases.bury(to, self._now(to), owner))

    async def claim(self, worker: str, most: int, /) -> list[Launch]:
        """See :class:`exatlas.Ledger`."""
        return await self._apart(lambda to: [launch_of(row) for row in leases.claim(to, worker, most)])

    async def seize(self, launch_id: str, worker: str, /) -> Launch:
        """See :class:`exatlas.Ledger`."""
        return await self._apart(lambda to: launch_of(leases.seize(to, launch_id, worker)))

    async def leave(self, worker: str, /) -> None:
        """See :class:`exatlas.Ledger`."""
        await self._apart(lambda to: leases.leave(to, worker))

    async def touch(self, idle_s: Mapping[str, float], /) -> frozenset[str]:
        """See :class:`exatlas.Ledger`."""
        await self._migrated()
        present: frozenset[str] = await self._writer.join(self._touch, idle_s, ("touch",), apart=True)
        return present

    async def touched(self, launch_ids: Collection[str], /) -> Mapping[str, float]:
        """See :class:`exatlas.Ledger`."""
        return await self._do(lambda to: leases.touched(to, self._now(to), launch_ids))

    # ---- outbox

    async def publish(self, owner: str, entries: Sequence[Entry], keep: int, /) -> int:
        """See :class:`exatlas.Ledger`."""
        last = await self._do(lambda to: outbox.publish(to, owner, entries, keep), ("outbox", owner))
        self._wakeups.wake(owner)
        if self._notices:
            self._notices.tell(owner)
        return last

    async def entries(self, owner: str, after: int, most: int, /) -> list[Entry]:
        """See :class:`exatlas.Ledger`."""
        return await self._do(lambda to: outbox.read(to, owner, after, most))

    async def last_entry(self, owner: str, /) -> int:
        """See :class:`exatlas.Ledger`."""
        return await self._do(lambda to: outbox.last(to, owner))

    async def await_entries(self, owner: str, after: int, within_s: float, /) -> None:
        """See :class:`exatlas.Ledger`."""
        if self._notices:
            self._notices.listen()
        until = time.monotonic() + within_s
        while True:
            news = self._wakeups.expect(owner)  # before looking: what comes while we look is not overheard
            if await self.last_entry(owner) > after:
                return
            left = until - time.monotonic()
            if left <= 0 or await within(news, min(self._look_s, left)):
                return

    # ---- purses

    async def hold(self, launch_id: str, holds: Sequence[Hold], /, *, settled: bool = False) -> Shortfall | None:
        """See :class:`exatlas.Ledger`."""
        await self._migrated()
        wish = Wish(launch_id, holds, settled)
        shortfall: Shortfall | None = await self._writer.join(purses.hold, wish, ("purse",))
        return shortfall

    async def held(self, names: Collection[str], /) -> Mapping[str, Decimal]:
        """See :class:`exatlas.Ledger`."""
        return await self._do(lambda to: purses.held(to, names))

    async def holds_of(self, launch_id: str, /) -> Mapping[str, Decimal]:
        """See :class:`exatlas.Ledger`."""
        return await self._do(lambda to: purses.holds_of(to, launch_id))

    async def unsettled(self, owner: str, /) -> list[Launch]:
        """See :class:`exatlas.Ledger`."""

        def work(connection: Connection) -> list[Launch]:
            return [launch_of(row) for row in purses.unsettled(connection, owner)]

        return await self._do(work)

    async def aclose(self) -> None:
        """See :class:`exatlas.Ledger`."""
        await self._writer.aclose()
        if self._notices:
            await self._notices.aclose()
        self._wakeups.wake_all()  # who still waits is told that it is closed

    async def _write(self, item: Intent | Step) -> Launch:
        """Write to one launch, together with whatever else is written to launches in its transaction."""
        await self._migrated()
        launch: Launch = await self._writer.join(write, item, _locking(item.launch_id))
        return launch

    async def _do(self, work: Callable[[Connection], T], order: tuple[str, ...] = ()) -> T:
        """Do the work in a transaction, once the tables are there."""
        await self._migrated()
        return await self._writer.do(work, order)

    async def _apart(self, work: Callable[[Connection], T]) -> T:
        """Do the work in a transaction of its own: work on workers, which may lock much of what they hold."""
        await self._migrated()
        return await self._writer.do(work, ("worker",), apart=True)

    def _touch(self, connection: Connection, idle_s: Sequence[Mapping[str, float]]) -> list[frozenset[str]]:
        return leases.touch(connection, self._now(connection), idle_s)

    async def _migrated(self) -> None:
        if not self._ready:
            await self._writer.do(migrate)
            self._ready = True

    def _now(self, connection: Connection) -> float:
        """Seconds since 1970, by the clock that all who share this database have in common."""
        if self._clock is not None:
            return self._clock.now().timestamp()
        if connection.dialect.name == "postgresql":
            return float(connection.execute(_SERVER_TIME).scalar_one())
        return time.time()


_SERVER_TIME = text("SELECT extract(epoch FROM clock_timestamp())")


def _locking(launch_id: str) -> tuple[str, ...]:
    """The place in a transaction of work that locks one launch."""
    return ("launch", launch_id)


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() in ("sqlite", "postgresql"):
            return parsed
    except (ArgumentError, NoSuchModuleError) as error:
        raise ConfigError(f"the ledger's URL is wrong: {type(error).__name__}") from None
    raise ConfigError(f"a ledger is kept in sqlite or postgresql, not in {parsed.get_backend_name()!r}")


def _engine(url: URL) -> Engine:
    if url.get_backend_name() == "sqlite":
        return _sqlite(url)
    try:
        # Whoever waited for a lock looks at what its holder has left, which other levels refuse.
        return create_engine(
            url.set(drivername="postgresql+psycopg"),
            pool_size=1,
            pool_pre_ping=True,
            isolation_level="READ COMMITTED",
        )
    except ModuleNotFoundError as error:
        raise ConfigError(f"the ledger needs {error.name}: pip install 'exatlas[postgres]'") from error


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
