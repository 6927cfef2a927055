"""The floor: what `sqlite3` and `psycopg` do with the same statements, on rows that were made before.

One writer calls the driver from where it stands; many are grouped by a thread, as the ledger groups them.
"""

import asyncio
import sqlite3
import time
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from attrs import frozen

from benchmarks.books import AT, facts, wanted
from benchmarks.books.grouping import Grouped
from exatlas.ledger.pages import row_of
from exatlas.records.launch import Launch, LaunchState

COLUMNS = ("launch_id", "owner", "provider", "account", "state", "compute_id", "intended_at", "record")


@frozen
class _Speech:
    """One database's way to say the same."""

    mark: str
    begin: str
    these: str
    order: str = ""

    @property
    def add(self) -> str:
        marks = ", ".join(self.mark for _ in COLUMNS)
        return f"INSERT INTO exatlas_launches ({', '.join(COLUMNS)}) VALUES ({marks}) ON CONFLICT DO NOTHING"

    @property
    def change(self) -> str:
        settings = ", ".join(f"{name} = {self.mark}" for name in COLUMNS)
        return f"UPDATE exatlas_launches SET {settings} WHERE launch_id = {self.mark}"

    @property
    def lock(self) -> str:
        return f"SELECT launch_id, record FROM exatlas_launches WHERE launch_id {self.these} {self.order}"


_SQLITE = _Speech("?", "BEGIN IMMEDIATE", "IN (SELECT value FROM json_each(?))")
_POSTGRES = _Speech("%s", "BEGIN", "= ANY(%s)", 'ORDER BY launch_id COLLATE "C" FOR UPDATE')


class _Bare:
    def __init__(self, connection: Any, speech: _Speech, thread: ThreadPoolExecutor) -> None:
        self._connection = connection
        self._speech = speech
        self._thread = thread
        self.among_others = Grouped(self._in_thread).write

    def life(self, launch_id: str) -> tuple[Any, Any]:
        launch = wanted(launch_id)
        there = launch.advanced(LaunchState.CREATED, AT, **facts(launch_id))
        return (self._speech.add, self._row(launch)), (self._speech.change, (*self._row(there), launch_id))

    async def alone(self, write: Any) -> None:
        self._transaction([write])

    def commits_per_s(self, times: int) -> float:
        execute = self._connection.execute
        execute("CREATE TABLE one (number INTEGER)")
        execute("INSERT INTO one VALUES (0)")
        started = time.perf_counter()
        for _ in range(times):
            execute("UPDATE one SET number = number + 1")
        return times / (time.perf_counter() - started)

    async def _in_thread(self, batch: list[Any]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._transaction, batch)

    def _transaction(self, batch: list[Any]) -> None:
        added = [row for statement, row in batch if statement == self._speech.add]
        changed = [row for statement, row in batch if statement == self._speech.change]
        cursor = self._connection.cursor()
        cursor.execute(self._speech.begin)
        if added:
            _many(cursor, self._speech.add, added)
        if changed:
            ids = [row[-1] for row in changed]
            cursor.execute(self._speech.lock, (ids if self._speech is _POSTGRES else _json(ids),))
            cursor.fetchall()
            _many(cursor, self._speech.change, changed)
        cursor.execute("COMMIT")

    def _row(self, launch: Launch) -> tuple[Any, ...]:
        row = row_of(launch)
        if self._speech is _SQLITE:
            row["intended_at"] = f"{row['intended_at']:%Y-%m-%d %H:%M:%S.%f}"
        return tuple(row[name] for name in COLUMNS)


def _many(cursor: Any, statement: str, rows: Sequence[Any]) -> None:
    if len(rows) == 1:
        cursor.execute(statement, rows[0])
    else:
        cursor.executemany(statement, rows)


def _json(ids: list[str]) -> str:
    return "[" + ",".join(f'"{launch_id}"' for launch_id in ids) + "]"


@asynccontextmanager
async def open_book(url: str) -> AsyncGenerator[_Bare, None]:
    """See :func:`benchmarks.books.open_book`."""
    with ThreadPoolExecutor(1) as thread:
        if url.startswith("sqlite"):
            path = url.removeprefix("sqlite:///")
            connection: Any = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            yield _Bare(connection, _SQLITE, thread)
        else:
            connection = psycopg.connect(url, autocommit=True)
            yield _Bare(connection, _POSTGRES, thread)
        connection.close()
