"""The demo: a local endpoint, a real worker process, and its output as it comes."""

import asyncio
import itertools
import json
import sys
import time
from importlib.resources import files
from statistics import mean
from typing import Any

from rich.console import Console

from exatlas import local
from exatlas.client.atlas import Atlas
from exatlas.errors import JobCancelledError

JOBS = 3
CHUNKS = 7


async def play(console: Console, *, as_json: bool = False) -> None:
    """Serve the sample handler, stream several jobs from it at once, cancel one, and tell the timings."""
    script = str(files("exatlas.local").joinpath("sample_handler.py"))
    shown = Console(file=sys.stderr) if as_json else console
    shown.print("starting a worker process …")
    async with (
        local.serve(script) as runtime,
        Atlas(
            default_provider="runpod",
            base_urls={"runpod": runtime.base_url},
            credentials={"runpod": runtime.api_key},
        ) as atlas,
        asyncio.TaskGroup() as group,
    ):
        reads = [
            group.create_task(_read(atlas, runtime.endpoint, number, shown, cancel=number == JOBS))
            for number in range(1, JOBS + 1)
        ]
    results = [read.result() for read in reads]
    if as_json:
        sys.stdout.write(json.dumps(results) + "\n")
        return
    for result in results:
        console.print(
            f"job {result['job']}: {result['end']}, {result['chunks']} chunks, "
            f"first after {result['first_s']:.3f} s, {result['mean_gap_s']:.3f} s between chunks"
        )


async def _read(atlas: Atlas, endpoint: str, number: int, console: Console, *, cancel: bool) -> dict[str, Any]:
    job = await atlas.run_job(endpoint=endpoint, input={"text": f"job {number} " + "streams its output word by"})
    started = time.monotonic()
    arrivals: list[float] = []
    end = "completed"
    try:
        async for chunk in atlas.stream_job(job):
            arrivals.append(time.monotonic() - started)
            console.print(f"{arrivals[-1]:6.2f} s  job {number}  {chunk.output}", markup=False)
            if cancel and len(arrivals) == CHUNKS // 2:
                await atlas.cancel_job(job)
    except JobCancelledError:
        end = "cancelled"
    gaps = [later - earlier for earlier, later in itertools.pairwise(arrivals)]
    return {
        "job": number,
        "end": end,
        "chunks": len(arrivals),
        "first_s": arrivals[0] if arrivals else 0.0,
        "mean_gap_s": mean(gaps) if gaps else 0.0,
    }
