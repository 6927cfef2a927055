"""Many small calls: what reading a machine costs."""

import asyncio
import gc
import time

from benchmarks.clients import Client
from benchmarks.measures import Numbers
from benchmarks.scene import Stage

WARM_UP = 200


async def get_compute(client: Client, _: Stage, *, calls: int, at_once: int) -> Numbers:
    """Read one machine again and again, by several tasks at once."""
    await _call(client, WARM_UP, at_once)
    gc.collect()
    opened, started = time.perf_counter(), time.process_time()
    await _call(client, calls, at_once)
    wall_s, cpu_s = time.perf_counter() - opened, time.process_time() - started
    return {"calls_per_s": calls / wall_s, "cpu_ms": cpu_s * 1e6 / calls}


async def _call(client: Client, calls: int, at_once: int) -> None:
    left = iter(range(calls))

    async def work() -> None:
        for _ in left:
            await client.get_compute("7h9k2m4n6p")

    await asyncio.gather(*(work() for _ in range(at_once)))
