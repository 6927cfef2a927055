"""What it costs to write every machine down: writes a second, and what a ledger adds to renting and ending one."""

import asyncio
import gc
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from benchmarks.books import database, open_book
from benchmarks.measures import Numbers
from exatlas import ledger as ledgers
from exatlas.client.atlas import Atlas
from exatlas.protocols import Ledger
from exatlas.providers.memory.provider import MemoryProvider

WARM_UP = 100
"""Enough for SQLite's log to reach the length at which it stays: to lengthen a file makes a commit dearer."""
AT_ONCE = 50


def written(contender: str, *, kind: str, alone: int, together: int) -> Numbers:
    """Write the start of so many machines by one writer, and of so many by fifty: two writes for each."""
    with database(kind) as url:
        return asyncio.run(_written(contender, url, alone, together))


async def _written(contender: str, url: str, alone: int, together: int) -> Numbers:
    await _make_tables(url)
    async with open_book(contender, url) as book:
        lives = [book.life(f"launch-{number:08}") for number in range(2 * WARM_UP + alone + together)]
        await _live(book.among_others, lives[:WARM_UP], AT_ONCE)
        await _live(book.alone, lives[WARM_UP : 2 * WARM_UP], 1)
        one_s, _ = await _live(book.alone, lives[2 * WARM_UP : -together], 1)
        fifty_s, cpu_s = await _live(book.among_others, lives[-together:], AT_ONCE)
        commits_per_s = book.commits_per_s(alone)
    numbers = {
        "one_per_s": 2 * alone / one_s,
        "fifty_per_s": 2 * together / fifty_s,
        "gain": (together / fifty_s) / (alone / one_s),
        "cpu_ms": cpu_s * 1e6 / (2 * together),
    }
    return numbers if commits_per_s is None else numbers | {"commits_per_s": commits_per_s}


async def _make_tables(url: str) -> None:
    ledger = ledgers.SqlLedger(url)
    await ledger.find()
    await ledger.aclose()


async def _live(
    write: Callable[[Any], Coroutine[Any, Any, None]], lives: Sequence[tuple[Any, Any]], writers: int
) -> tuple[float, float]:
    """Seconds by the clock, and of this process's CPUs."""

    async def one(life: tuple[Any, Any]) -> None:
        for item in life:
            await write(item)

    return await _timed(one, lives, writers)


def booked(contender: str, *, kind: str, machines: int) -> Numbers:
    """Rent machines in memory and end them again, one at a time and fifty at once. The floor has no ledger."""
    return asyncio.run(_booked(None if contender == "floor" else kind, machines))


async def _booked(kind: str | None, machines: int) -> Numbers:
    async with _ledger(kind) as ledger, MemoryProvider() as cloud, Atlas(cloud, ledger=ledger, env={}) as atlas:

        async def rent(_: int) -> None:
            await atlas.terminate(await atlas.spawn_compute(gpu="l4", image="app:1"))

        await _timed(rent, range(WARM_UP), AT_ONCE)
        alone_s, alone_cpu_s = await _timed(rent, range(machines), 1)
        crowd_s, crowd_cpu_s = await _timed(rent, range(machines), AT_ONCE)
    return {
        "alone_ms": alone_s * 1000 / machines,
        "alone_cpu_ms": alone_cpu_s * 1000 / machines,
        "crowd_ms": crowd_s * 1000 / machines,
        "crowd_cpu_ms": crowd_cpu_s * 1000 / machines,
    }


@asynccontextmanager
async def _ledger(kind: str | None) -> AsyncGenerator[Ledger | None, None]:
    if kind in (None, "memory"):
        yield ledgers.MemoryLedger() if kind else None
        return
    with database(kind) as url:
        ledger = ledgers.SqlLedger(url)
        yield ledger
        await ledger.aclose()


async def _timed(
    work: Callable[[Any], Coroutine[Any, Any, None]], items: Iterable[Any], at_once: int
) -> tuple[float, float]:
    left = iter(items)

    async def worker() -> None:
        for item in left:
            await work(item)

    gc.collect()
    opened, started = time.perf_counter(), time.process_time()
    await asyncio.gather(*(worker() for _ in range(at_once)))
    return time.perf_counter() - opened, time.process_time() - started
