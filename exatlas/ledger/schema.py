"""The tables of an SQL ledger, and how an older database becomes a newer one."""

from collections.abc import Callable

from sqlalchemy import Column, Connection, DateTime, Index, Integer, MetaData, String, Table, Text, insert, select, text

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
    Index("exatlas_launches_open", "owner", "state"),
    Index("exatlas_launches_compute", "provider", "account", "compute_id"),
)
"""The record is the truth, as JSON; the other columns repeat what is searched by."""

MIGRATION_LOCK = 0x65786174
"""Key of the advisory lock under which one process at a time migrates a PostgreSQL database."""


def _version_1(connection: Connection) -> None:
    launches.create(connection)


MIGRATIONS: tuple[Callable[[Connection], None], ...] = (_version_1,)
"""One step each; a step that was released is never changed."""


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
