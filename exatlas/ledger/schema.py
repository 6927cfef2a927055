"""The tables of an SQL ledger, and how an older database becomes a newer one."""

from collections.abc import Callable, Iterable
from typing import Any

import orjson
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    DateTime,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    bindparam,
    cast,
    collate,
    func,
    insert,
    literal_column,
    select,
    text,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateColumn

from exatlas.errors import ConfigError

metadata = MetaData()

versions = Table("exatlas_schema", metadata, Column("version", Integer, primary_key=True))

launches = Table(
    "exatlas_launches",
    metadata,
    Column("launch_id", String(64), primary_key=True),
    Column("owner", String(255), nullable=False),
    Column("provider", String(64), nullable=False),
    Column("account", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("compute_id", String(255)),
    Column("intended_at", DateTime(timezone=True), nullable=False),
    Column("record", Text, nullable=False),
    Column("tenant", String(255)),
    Column("user", String(255)),
    Column("is_session", Boolean, nullable=False, server_default=text("false")),
    Column("worker", String(255)),
)
"""The record is the truth, as JSON; the other columns repeat what is searched by. But who looks after a launch stands
in `worker` alone."""

# Written out: a database takes a partial index only where it sees that the query asks for nothing else.
is_open = launches.c.state != literal_column("'gone'")
is_free = is_open & launches.c.worker.is_(None) & launches.c.is_session

workers = Table(
    "exatlas_workers",
    metadata,
    Column("worker", String(255), primary_key=True),
    Column("owner", String(255), nullable=False),
    Column("lease_s", Float, nullable=False),
    Column("enlisted", Float, nullable=False),
    Column("renewed", Float, nullable=False),
    Column("gone", Boolean, nullable=False, server_default=text("false")),
    Index("exatlas_workers_owner", "owner"),
)
"""Instants here are seconds since 1970 by the ledger's clock."""

seizures = Table(
    "exatlas_seizures",
    metadata,
    Column("worker", String(255), primary_key=True),
    Column("launch_id", String(64), primary_key=True),
)
"""Launches that were taken from a worker, which was not told yet."""

touches = Table(
    "exatlas_touches",
    metadata,
    Column("launch_id", String(64), primary_key=True),
    Column("touched", Float, nullable=False),
)

outboxes = Table(
    "exatlas_outboxes",
    metadata,
    Column("owner", String(255), primary_key=True),
    Column("last", BigInteger, nullable=False),
)
"""Whoever holds a row here gives the owner's next numbers: they are in the order of the commits, without gaps."""

entries = Table(
    "exatlas_entries",
    metadata,
    Column("owner", String(255), primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("at", String(40), nullable=False),
    Column("kind", String(64), nullable=False),
    Column("session", String(64)),
    Column("tenant", String(255)),
    Column("facts", Text, nullable=False),
)

purses = Table(
    "exatlas_purses",
    metadata,
    Column("purse", String(700), primary_key=True),
    Column("total", BigInteger, nullable=False),
)
"""Amounts here and below are millionths of a dollar."""

holds = Table(
    "exatlas_holds",
    metadata,
    Column("purse", String(700), primary_key=True),
    Column("launch_id", String(64), primary_key=True),
    Column("amount", BigInteger, nullable=False),
    Column("settled", Boolean, nullable=False),
    Index("exatlas_holds_launch", "launch_id"),
)

_WHOSE = (
    Index("exatlas_launches_tenant", launches.c.owner, launches.c.tenant),
    Index("exatlas_launches_user", launches.c.owner, launches.c.user),
    Index(
        "exatlas_launches_free",
        launches.c.owner,
        launches.c.intended_at,
        launches.c.launch_id,
        postgresql_where=is_free,
        sqlite_where=is_free,
    ),
    Index("exatlas_launches_worker", launches.c.worker, postgresql_where=is_open, sqlite_where=is_open),
    Index("exatlas_holds_open", holds.c.launch_id, postgresql_where=~holds.c.settled, sqlite_where=~holds.c.settled),
)

MIGRATION_LOCK = 0x65786174
"""Key of the advisory lock under which one process at a time migrates a PostgreSQL database."""


def _version_1(connection: Connection) -> None:
    """Launches alone."""
    table = Table(
        launches.name,
        MetaData(),
        Column("launch_id", String(64), primary_key=True),
        Column("owner", String(255), nullable=False),
        Column("provider", String(64), nullable=False),
        Column("account", String(64), nullable=False),
        Column("state", String(16), nullable=False),
        Column("compute_id", String(255)),
        Column("intended_at", DateTime(timezone=True), nullable=False),
        Column("record", Text, nullable=False),
        Index("exatlas_launches_open", "owner", "state"),
        Index("exatlas_launches_compute", "provider", "account", "compute_id"),
    )
    table.create(connection)


def _version_2(connection: Connection) -> None:
    """Workers, their outbox, and purses."""
    for name in ("tenant", "user", "is_session", "worker"):
        column = CreateColumn(launches.c[name]).compile(dialect=connection.dialect)
        connection.exec_driver_sql(f"ALTER TABLE {launches.name} ADD COLUMN {column}")
    metadata.create_all(connection, tables=[workers, seizures, touches, outboxes, entries, purses, holds])
    for index in _WHOSE:
        index.create(connection, checkfirst=True)
    _fill_in_whose(connection)


def _fill_in_whose(connection: Connection) -> None:
    def values(row: Any) -> dict[str, Any]:
        record = orjson.loads(row.record)
        whose = {"tenant": record.get("tenant"), "user": record.get("user")}
        return {"one": row.launch_id, "is_session": bool(record.get("session")), **whose}

    known = [values(row) for row in connection.execute(select(launches.c.launch_id, launches.c.record))]
    if known:
        connection.execute(update(launches).where(launches.c.launch_id == bindparam("one")), known)


MIGRATIONS: tuple[Callable[[Connection], None], ...] = (_version_1, _version_2)
"""One step each; a step that was released is never changed."""


def insert_missing(connection: Connection, table: Table, **values: Any) -> bool:
    """Insert a row, unless there is one with its key; gives whether there was none.

    Others that do so at the same time are waited for.
    """
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    adding = dialect.insert(table).values(**values).on_conflict_do_nothing()
    return connection.execute(adding.returning(*table.primary_key)).first() is not None


def by_code_point(connection: Connection, column: Any) -> Any:
    """The column to sort by as Python sorts, whatever the database's own collation is.

    Rows that several transactions lock are taken in this order, so that no two wait for each other.
    """
    return collate(column, "C") if connection.dialect.name == "postgresql" else column


def given(connection: Connection, names: Iterable[str]) -> Any:
    """A query for these very names, of which there may be more than a statement can have parameters."""
    if connection.dialect.name == "postgresql":
        array: Any = func.jsonb_array_elements_text(cast(list(names), postgresql.JSONB))
    else:
        array = func.json_each(orjson.dumps(list(names)).decode())
    return select(array.table_valued("value").c.value)


def migrate(connection: Connection) -> int:
    """Bring the database to the newest version, inside the caller's transaction, and give that version.

    Raises:
        ConfigError: the database is newer than this library.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
    versions.create(connection, checkfirst=True)
    present = max(connection.execute(select(versions.c.version)).scalars(), default=0)
    if present > len(MIGRATIONS):
        known = len(MIGRATIONS)
        raise ConfigError(
            f"the ledger's database has version {present}, and this exatlas knows {known}: update exatlas"
        )
    for number, step in enumerate(MIGRATIONS[present:], start=present + 1):
        step(connection)
        connection.execute(insert(versions).values(version=number))
    return len(MIGRATIONS)
