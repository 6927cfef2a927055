"""What a database says of workers and carries between two, without a ledger. `psycopg` is loaded here alone."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import psycopg

CHANNEL = "benchmark"


def renewed(url: str, pid: int) -> float:
    """When a worker last said that it lives, by the clock of the database."""
    with psycopg.connect(url) as connection:
        question = "SELECT renewed FROM exatlas_workers WHERE worker LIKE %s"
        row = connection.execute(question, (f"%-{pid}-%",)).fetchone()
    assert row
    return float(row[0])


@asynccontextmanager
async def notices(url: str) -> AsyncGenerator[tuple[Callable[[], Awaitable[Any]], Callable[[], Awaitable[Any]]], None]:
    """Give what sends a notice and what hears one."""
    connect = psycopg.AsyncConnection.connect
    async with await connect(url, autocommit=True) as teller, await connect(url, autocommit=True) as listener:
        await listener.execute(f"LISTEN {CHANNEL}")
        async with aclosing(listener.notifies()) as heard:

            async def tell() -> None:
                await teller.execute("SELECT pg_notify(%s, %s)", (CHANNEL, "news"))

            yield tell, lambda: anext(heard)
