"""The same writes in each contender: a launch is written down, and then moved on once its machine is there.

``ours``      the ledger
``bare``      the floor: the same statements by `sqlite3` or `psycopg`, on rows that were made before
``awaited``   the ledger's own statements by SQLAlchemy's asyncio side, over `aiosqlite` or `asyncpg`
``grouping``  how the last two share transactions

SQLAlchemy is loaded by the contenders alone: what is loaded here is in every process that measures anything.
"""

from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from importlib import import_module
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from benchmarks.postgres import postgres, programs
from exatlas.records.launch import Launch, RateSegment

AT = datetime(2026, 1, 1, tzinfo=UTC)
REQUEST = {
    "gpu": ["h100"],
    "gpu_count": 1,
    "image": "pytorch/pytorch:2.5.0-cuda12.1-cudnn9-runtime",
    "ports": [{"internal": 8000, "protocol": "http"}],
    "region_hints": ["EU-RO-1"],
    "container_disk_gb": 40,
    "name": "render-worker",
}


class Book(Protocol):
    """A contender, opened."""

    def life(self, launch_id: str) -> tuple[Any, Any]:
        """The two writes of one machine's start, made ready as far as a caller would have them ready."""
        ...

    async def alone(self, write: Any) -> None:
        """Write when nobody else does."""
        ...

    async def among_others(self, write: Any) -> None:
        """Write while others do."""
        ...

    def commits_per_s(self, times: int) -> float | None:
        """How often one number can be changed durably in a second; only the floor says so."""
        ...


_HOMES = {
    "exatlas": "benchmarks.books.ours",
    "floor": "benchmarks.books.bare",
    "SQLAlchemy asyncio": "benchmarks.books.awaited",
}


def open_book(contender: str, url: str) -> AbstractAsyncContextManager[Book]:
    """The contender on a database that has the ledger's tables, for the length of an ``async with`` block."""
    opened: AbstractAsyncContextManager[Book] = import_module(_HOMES[contender]).open_book(url)
    return opened


@contextmanager
def database(kind: str) -> Iterator[str]:
    """The URL of an empty database. Both kinds are on the disk that temporary files are on."""
    home = programs()
    if kind == "postgres" and home:
        with postgres(home) as url:
            yield url
    else:
        with TemporaryDirectory(prefix="exatlas-") as folder:
            yield f"sqlite:///{folder}/ledger.db"


def wanted(launch_id: str) -> Launch:
    """A machine that is about to be rented."""
    home = {"owner": "render-farm", "provider": "runpod", "account": "0123456789abcdef"}
    return Launch(launch_id=launch_id, **home, request=REQUEST, intended_at=AT, updated_at=AT)


def facts(launch_id: str) -> dict[str, Any]:
    """What is known of it once it is `created`."""
    rate = RateSegment(since=AT, usd_per_hour=Decimal("2.49"))
    return {"compute_id": f"pod-{launch_id}", "rates": (rate,), "reason": None}
