"""What happens between workers: how soon the sessions of a killed one are another's, and how soon news gets around."""

import asyncio
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager
from importlib import import_module
from statistics import median, quantiles
from typing import Any

from benchmarks.books import database
from benchmarks.measures import Numbers
from benchmarks.workers import ReadyCloud, adopted, fill, working
from exatlas import ledger as ledgers
from exatlas.orchestrator import events

BOUND = 1.25
"""Leases after its last renewal within which a worker that is gone has lost everything to the others."""
BARE = "benchmarks.workers.bare"
"""Imported late: not all who measure anything should pay for it."""
NEWS = 200
"""Sessions to be used once each: more than there are pieces of news."""
APART_S = 0.03
"""Between two pieces of news: each travels alone."""

Act = Callable[[], Coroutine[Any, Any, Any]]


def taken(contender: str, *, kind: str, sessions: int, lease_s: float) -> Numbers:
    """Kill the worker that holds all sessions, and wait until another one has them."""
    with database(kind) as url:
        return asyncio.run(_taken(url, sessions, lease_s))


async def _taken(url: str, sessions: int, lease_s: float) -> Numbers:
    bare = import_module(BARE)
    cloud, ledger = ReadyCloud(), ledgers.SqlLedger(url)
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
    since_renewal_s = last.timestamp() - bare.renewed(url, other.pid)
    return {
        "claimed_per_s": sessions / claimed_s,
        "kill_leases": (last - killed).total_seconds() / lease_s,
        "renewal_leases": since_renewal_s / lease_s,
        "late_s": since_renewal_s - BOUND * lease_s,
    }


def woken(contender: str, *, kind: str, times: int) -> Numbers:
    """Tell a piece of news at one worker and read it at another. The floor sends a notice and hears it."""
    opened = import_module(BARE).notices if contender == "floor" else _workers
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
async def _workers(url: str) -> AsyncGenerator[tuple[Act, Act], None]:
    """Two workers on ledgers of their own. A session that was not used for long is news when it is."""
    cloud, ledger, ledger_of_other = ReadyCloud(), ledgers.SqlLedger(url), ledgers.SqlLedger(url)
    await fill(ledger, cloud, NEWS)
    async with working(cloud, ledger) as teller:
        await adopted(teller, NEWS)
        sessions = iter(await teller.list())
        async with working(cloud, ledger_of_other) as reader, aclosing(reader.events()) as news:

            async def tell() -> None:
                await teller.touch(next(sessions))

            async def hear() -> events.Event:
                return await anext(news)

            yield tell, hear
    await ledger.aclose()
    await ledger_of_other.aclose()
