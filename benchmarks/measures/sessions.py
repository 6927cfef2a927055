"""What sessions cost the worker that looks after them: memory, CPU while nothing happens, and what happens to them."""

import asyncio
import gc
import time
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any

from benchmarks.books import database
from benchmarks.measures import Numbers
from benchmarks.measures.memory import present_mb
from benchmarks.workers import LIMITS, REQUEST, ReadyCloud, adopted, fill, working
from exatlas import ledger as ledgers
from exatlas.orchestrator import Orchestrator, Session
from exatlas.providers.memory.provider import MemoryProvider

AT_ONCE = 50
POLL_EVERY_S = 30.0
"""An orchestrator's own, for which the price of polling is given."""
LEASE_S = 30.0
"""An orchestrator's own: it renews its lease every 7.5 s."""


def held(contender: str, *, sessions: int, poll_every_s: float, idle_s: float) -> Numbers:
    """Take over so many sessions with limits hours away, and let them be."""
    return asyncio.run(_held(sessions, poll_every_s, idle_s))


async def _held(sessions: int, poll_every_s: float, idle_s: float) -> Numbers:
    cloud, ledger = ReadyCloud(), ledgers.MemoryLedger()
    gc.collect()
    empty_mb = present_mb()
    await fill(ledger, cloud, sessions)
    gc.collect()
    filled_mb = present_mb()
    async with working(cloud, ledger, poll_every=poll_every_s, lease=LEASE_S) as worker:
        began = worker.now
        taken_s = (await adopted(worker, sessions) - began).total_seconds()
        await _polled(cloud)
        collected_s = _collected_s()
        grown_mb = present_mb() - filled_mb
        cloud.prepare()
        tasks = len(asyncio.all_tasks())
        began_cpu_s, opened = time.process_time(), time.perf_counter()
        await asyncio.sleep(idle_s)
        idle = (time.process_time() - began_cpu_s) / (time.perf_counter() - opened)
        listed = await _polled(cloud)
        poll_s = time.process_time() - listed
    return {
        "kb_per_session": grown_mb * 1000 / sessions,
        "kb_per_page": (filled_mb - empty_mb) * 1000 / sessions,
        "tasks": tasks,
        "idle_percent": idle * 100,
        "poll_ms": poll_s * 1000,
        "polling_percent": (idle + poll_s / POLL_EVERY_S) * 100,
        "taken_per_s": sessions / taken_s,
        "collect_ms": collected_s * 1000,
    }


async def _polled(cloud: ReadyCloud) -> float:
    """Wait until the next poll is over: it goes on from the list call in one piece, where nothing has to be written.

    Gives the CPU time at which that call ended.
    """
    while not cloud.asked.empty():
        cloud.asked.get_nowait()
    return await cloud.asked.get()


def _collected_s() -> float:
    """How long a full collection stops everything."""
    gc.collect()
    began = time.perf_counter()
    gc.collect()
    return time.perf_counter() - began


def lived(contender: str, *, sessions: int, touches: int) -> Numbers:
    """Spawn sessions in memory, fifty at once, use them so many times each, and end them by leaving."""
    return asyncio.run(_lived(sessions, touches))


async def _lived(sessions: int, touches: int) -> Numbers:
    limits = {"idle_ttl": LIMITS.idle_ttl, "max_runtime": LIMITS.max_runtime, "tenant": "studio", "user": "ada"}
    async with MemoryProvider() as cloud:
        async with working(cloud, ledgers.MemoryLedger()) as worker:
            ids: list[str] = []

            async def spawn(_: int) -> None:
                ids.append((await worker.spawn(**REQUEST, **limits)).id)

            spawned_s = await _timed(spawn(number) for number in range(sessions))
            told_s = await _timed((worker.touch(session) for session in ids), at_once=1)
            touched_s = await _touched_s(worker, ids, touches)
            left = time.perf_counter()
        ended_s = time.perf_counter() - left
        if cloud.rented:
            raise RuntimeError("machines were left")
    return {
        "spawned_per_s": sessions / spawned_s,
        "told_per_s": sessions / told_s,
        "touched_per_s": sessions * touches / touched_s,
        "ended_per_s": sessions / ended_s,
    }


async def _touched_s(worker: Orchestrator, ids: Sequence[str], touches: int) -> float:
    began = time.perf_counter()
    for _ in range(touches):
        for session in ids:
            await worker.touch(session)
    return time.perf_counter() - began


def foreign(contender: str, *, kind: str, sessions: int, touches: int) -> Numbers:
    """Two workers on one ledger: use, read and list at one what the other holds."""
    with database(kind) as url:
        return asyncio.run(_foreign(url, sessions, touches))


async def _foreign(url: str, sessions: int, touches: int) -> Numbers:
    cloud, ledger, ledger_of_other = ReadyCloud(), ledgers.SqlLedger(url), ledgers.SqlLedger(url)
    await fill(ledger, cloud, sessions)
    async with working(cloud, ledger) as holder:
        await adopted(holder, sessions)
        async with working(cloud, ledger_of_other) as worker:
            ids = [session.id for session in await worker.list()]
            first_s = await _timed(worker.touch(session) for session in ids)
            again_s = await _touched_s(worker, ids, touches)
            info_s = await _timed(worker.info(session) for session in ids)
            list_s = await _timed([worker.list()])
    await ledger.aclose()
    await ledger_of_other.aclose()
    return {
        "first_per_s": sessions / first_s,
        "again_per_s": sessions * touches / again_s,
        "info_per_s": sessions / info_s,
        "list_per_s": sessions / list_s,
    }


async def _timed(
    work: Iterable[Coroutine[Any, Any, Session | Sequence[Session] | None]], at_once: int = AT_ONCE
) -> float:
    left = iter(work)

    async def one_after_the_other() -> None:
        for item in left:
            await item

    began = time.perf_counter()
    await asyncio.gather(*(one_after_the_other() for _ in range(at_once)))
    return time.perf_counter() - began
