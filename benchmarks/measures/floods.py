"""One long stream that is there from the start, read as fast as it goes."""

import gc
import time
from statistics import median

from benchmarks.clients import Client
from benchmarks.measures import Numbers
from benchmarks.scene import Stage


async def flood(client: Client, stage: Stage, *, chunks: int, repeats: int, events: bool = False) -> Numbers:
    """Read it several times over; chunks of 100 bytes, by poll or as server-sent events."""
    walls_s, cpus_s = [], []
    for _ in range(repeats):
        scene = stage.set(1, chunks, every_s=0, events=events)
        gc.collect()
        opened, started = time.perf_counter(), time.process_time()
        received = 0
        async for _chunk in client.stream(scene.endpoint, scene.ids[0]):
            received += 1
        walls_s.append(time.perf_counter() - opened)
        cpus_s.append(time.process_time() - started)
        if received != chunks:
            raise RuntimeError(f"{received} chunks came, of {chunks}")
    return {"chunks_per_s": chunks / median(walls_s), "cpu_ms": median(cpus_s) * 1e6 / chunks}
