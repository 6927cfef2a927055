"""What happens between workers: how soon the sessions of a killed one are another's, and how soon news gets around."""

import asyncio
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager
from statistics import median, quantiles
from typing import Any

import psycopg

from benchmarks.books import database
from benchmarks.measures import Numbers
from benchmarks.workers import ReadyCloud, adopted, fill, working
from exatlas.ledger import SqlLedger
from exatlas.orchestrator import events

BOUND = 1.25
"""Leases after its last renewal within which a worker that is gone has lost everything to the others."""
CHANNEL = "benchmark"
APART_S = 0.03
"""Between two pieces of news: each travels alone."""

Tell = Callable[[], Coroutine[Any, Any, None]]
Hear = Callable[[], Coroutine[Any, Any, Any]]


def taken(contender: str, *, kind: str, sessions: int, lease_s: float) -> Numbers:
    """Kill the worker that holds all sessions, and wait until another one has them."""
    with database(kind) as url:
        return asyncio.run(_taken(url, sessions, lease_s))


async def _taken(url: str, sessions: int, lease_s: float) -> Numbers:
    cloud, ledger = ReadyCloud(), SqlLedger(url)
    await fill(ledger, cloud, sessions)
    order = ("-m", "benchmarks.workers.other", url, str(lease_s), str(sessions))
    other = await asyncio.create_subprocess_exec(sys.executable, *order, stdout=PIPE)
    try:
        assert other.stdout
        claimed_s = float(await other.stdout.readline())
        async with working(cloud, ledger, lease=lease_s) as worker:
            other.kill()
            killed = worker.now
            last = await adopted(worker, sessions, after=None)
    finally:
        if other.returncode is None:
            other.kill()
        await other.wait()
        await ledger.aclose()
    since_renewal_s = last.timestamp() - _renewed(url, other.pid)
    return {
        "claimed_per_s": sessions / claimed_s,
        "kill_leases": (last - killed).total_seconds() / lease_s,
        "renewal_leases": since_renewal_s / lease_s,
        "late_s": since_renewal_s - BOUND * lease_s,
    }


def _renewed(url: str, pid: int) -> float:
    """When a worker last said that it lives, by the clock of the database."""
    with psycopg.connect(url) as connection:
        question = "SELECT renewed FROM exatlas_workers WHERE worker LIKE %s"
        row = connection.execute(question, (f"%-{pid}-%",)).fetchone()
    assert row
    return float(row[0])


def woken(contender: str, *, kind: str, times: int) -> Numbers:
    """Tell a piece of news at one worker and read it at another. The floor sends a notice and hears it."""
    opened = _bare if contender == "floor" else _workers
    with database(kind) as url:
        return asyncio.run(_woken(opened(url), times))


async def _woken(opened: Any, times: int) -> Numbers:
    took_ms = []
    async with opened as (tell, hear):
        for _ in range(times):
            await asyncio.sleep(APART_S)
            began = time.perf_counter()
            await tell()
            await hear()
            took_ms.append((time.perf_counter() - began) * 1000)
    return {"median_ms": median(took_ms), "p99_ms": quantiles(took_ms, n=100)[98]}


@asynccontextmanager
async def _workers(url: str) -> AsyncGenerator[tuple[Tell, Hear], None]:
    """Two workers on ledgers of their own. A session that was not used for long is news when it is."""
    cloud, ledger, ledger_of_other = ReadyCloud(), SqlLedger(url), SqlLedger(url)
    await fill(ledger, cloud, 1000)
    async with working(cloud, ledger) as teller:
        await adopted(teller, 1000)
        sessions = iter(await teller.list())
        async with working(cloud, ledger_of_other) as reader, aclosing(reader.events()) as news:

            async def tell() -> None:
                await teller.touch(next(sessions))

            async def hear() -> events.Event:
                return await anext(news)

            yield tell, hear
    await ledger.aclose()
    await ledger_of_other.aclose()


@asynccontextmanager
async def _bare(url: str) -> AsyncGenerator[tuple[Tell, Hear], None]:
    connect = psycopg.AsyncConnection.connect
    async with await connect(url, autocommit=True) as teller, await connect(url, autocommit=True) as listener:
        await listener.execute(f"LISTEN {CHANNEL}")
        async with aclosing(listener.notifies()) as notices:

            async def tell() -> None:
                await teller.execute("SELECT pg_notify(%s, %s)", (CHANNEL, "news"))

            async def hear() -> Any:
                return await anext(notices)

            yield tell, hear
