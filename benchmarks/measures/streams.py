"""Many streams at once: when chunks arrive, when the end does, and what it costs."""

import asyncio
import gc
import sys
import time
from random import Random
from statistics import fmean

from attrs import define, field

from benchmarks.clients import Client
from benchmarks.jobs import WINDOW_REQUESTS, WINDOW_S
from benchmarks.measures import Numbers
from benchmarks.measures.memory import peak_mb, present_mb
from benchmarks.scene import Scene, Stage

STREAMS_PER_ENDPOINT = 10
"""Without limits, streams are spread over endpoints: exatlas keeps to RunPod's limit per endpoint, asked or not."""
SETTING_S = 0.04
"""How long setting one scene may take; everything starts after the last."""
COMING = 4.0
"""Within so many pauses the readers come."""
STARVED = 2.0
"""A stream that waits more than so many times as long as the average one is starved."""


@define
class Seen:
    """One stream, as its reader saw it."""

    endpoint: str
    job_id: str
    comes_at: float
    delays_s: list[float] = field(factory=list)
    in_order: bool = True
    ended_at: float | None = None


async def free(client: Client, stage: Stage, *, streams: int, chunks: int, every_s: float) -> Numbers:
    """Streams without limits."""
    return await _streams(client, stage, streams, chunks, every_s, limited=False)


async def limited(client: Client, stage: Stage, *, streams: int, chunks: int, every_s: float) -> Numbers:
    """Streams on one endpoint whose server enforces RunPod's limits.

    With so many requests a second for so many streams, everybody's turn comes every streams ÷ rate seconds, and a
    chunk waits half of that on average. No fair client can do better.
    """
    numbers = await _streams(client, stage, streams, chunks, every_s, limited=True)
    if "mean_ms" in numbers:
        numbers["of_arithmetic"] = numbers["mean_ms"] / (streams / (2 * WINDOW_REQUESTS / WINDOW_S) * 1000)
    return numbers


async def _streams(
    client: Client, stage: Stage, streams: int, chunks: int, every_s: float, *, limited: bool
) -> Numbers:
    """Read jobs while their workers post chunks at random moments, `every_s` apart on average.

    The readers come at random moments too, spread out, because opening all at once is another matter. A chunk that was
    there before its reader counts from the reader's coming.
    """
    random = Random()
    scenes = _set_scenes(stage, random, streams, chunks, every_s, limited=limited)
    readers = [
        Seen(scene.endpoint, job_id, scene.start + random.uniform(0, COMING * every_s))
        for scene in scenes
        for job_id in scene.ids
    ]
    gc.collect()
    before_mb, started = present_mb(), time.process_time()
    await asyncio.gather(*(_read(client, seen) for seen in readers))
    cpu_s = time.process_time() - started
    counts = [stage.counts(scene) for scene in scenes]
    ended_at = {scene.endpoint: count["ended_at"] for scene, count in zip(scenes, counts, strict=True)}
    whole = [seen for seen in readers if seen.ended_at and seen.in_order and len(seen.delays_s) == chunks]
    delays = sorted(delay for seen in readers for delay in seen.delays_s)
    return {
        "lost": streams - len(whole),
        "refused": sum(count["refused"] for count in counts),
        "requests": sum(count["requests"] for count in counts) / streams,
        "cpu_ms": cpu_s * 1e6 / max(len(delays), 1),
        "peak_mb": peak_mb(),
        "grown_kb": (peak_mb() - before_mb) * 1000 / streams,
    } | (_delays(delays, whole, ended_at) if whole else {})


def _set_scenes(
    stage: Stage, random: Random, streams: int, chunks: int, every_s: float, *, limited: bool
) -> list[Scene]:
    """Jobs on as many endpoints as it takes, all of them beginning at the same time."""
    per_endpoint = streams if limited else STREAMS_PER_ENDPOINT
    start = time.monotonic() + SETTING_S * (1 + streams / per_endpoint)
    return [
        stage.set(
            min(per_endpoint, streams - first),
            chunks,
            every_s=every_s,
            lead_s=start - time.monotonic(),
            limited=limited,
            seed=random.randrange(1 << 30),
        )
        for first in range(0, streams, per_endpoint)
    ]


async def _read(client: Client, seen: Seen) -> None:
    delays, output_of = seen.delays_s, client.output
    await asyncio.sleep(seen.comes_at - time.monotonic())
    came_at = time.monotonic()
    try:
        async for chunk in client.stream(seen.endpoint, seen.job_id):
            now = time.monotonic()
            output = output_of(chunk)
            seen.in_order = seen.in_order and output["i"] == len(delays)
            delays.append(now - max(output["t"], came_at))
    except Exception as error:  # noqa: BLE001 - a contender may break in its own way; a lost stream is the result
        print(f"{seen.job_id}: {error!r}", file=sys.stderr)
    else:
        seen.ended_at = time.monotonic()


def _delays(delays: list[float], whole: list[Seen], ended_at: dict[str, dict[str, float]]) -> Numbers:
    mean = fmean(delays)
    return {
        "mean_ms": mean * 1000,
        "p95_ms": delays[int(len(delays) * 0.95)] * 1000,
        "starved": sum(fmean(seen.delays_s) > STARVED * mean for seen in whole),
        "first_ms": fmean(seen.delays_s[0] for seen in whole) * 1000,
        "end_ms": fmean((seen.ended_at or 0.0) - ended_at[seen.endpoint][seen.job_id] for seen in whole) * 1000,
    }
