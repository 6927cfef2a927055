"""One stream after the other: the way to the first chunk."""

import time
from statistics import median

from benchmarks.clients import Client
from benchmarks.measures import Numbers
from benchmarks.scene import Stage


async def first(client: Client, stage: Stage, *, jobs: int) -> Numbers:
    """Open streams whose only chunk is there already, and read them to their end."""
    scenes = [stage.set(1, 1, every_s=0) for _ in range(jobs)]
    to_first, to_end = [], []
    for scene in scenes:
        opened = time.perf_counter()
        async for _ in client.stream(scene.endpoint, scene.ids[0]):
            to_first.append(time.perf_counter() - opened)  # noqa: PERF401 - there is one, and its moment counts
        to_end.append(time.perf_counter() - opened)
    return {"first_ms": median(to_first) * 1000, "whole_ms": median(to_end) * 1000}
