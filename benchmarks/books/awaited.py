"""SQLAlchemy's asyncio side: the ledger's own statements, awaited in the loop instead of run in a thread."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import event, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from benchmarks.books import AT, facts, wanted
from benchmarks.books.grouping import Grouped
from exatlas.ledger.pages import Intent, Step, write
from exatlas.records.launch import LaunchState

DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}


class _Awaited:
    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self.alone = self.among_others = Grouped(self._transaction).write

    def life(self, launch_id: str) -> tuple[Intent, Step]:
        return Intent(wanted(launch_id)), Step(launch_id, LaunchState.CREATED, AT, None, facts(launch_id))

    def commits_per_s(self, _: int) -> None:
        return None

    async def _transaction(self, batch: list[Intent | Step]) -> None:
        async with self._engine.begin() as connection:
            await connection.run_sync(write, batch)


@asynccontextmanager
async def open_book(url: str) -> AsyncGenerator[_Awaited, None]:
    """See :func:`benchmarks.books.open_book`."""
    parsed = make_url(url)
    engine = create_async_engine(parsed.set(drivername=DRIVERS[parsed.drivername]), pool_size=1, pool_pre_ping=True)
    if parsed.drivername == "sqlite":
        _as_the_ledger_has_it(engine)
    yield _Awaited(engine)
    await engine.dispose()


def _as_the_ledger_has_it(engine: AsyncEngine) -> None:
    @event.listens_for(engine.sync_engine, "connect")
    def _settings(connection: Any, _: Any) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")

    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
