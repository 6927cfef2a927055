"""exatlas as its README uses it: one client, the public methods, nothing tuned."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import exatlas
from benchmarks.clients import KEY


class Ours:
    """An Atlas whose RunPod is the benchmark's server."""

    def __init__(self, atlas: exatlas.Atlas) -> None:
        self._atlas = atlas

    def stream(self, endpoint: str, job_id: str) -> AsyncGenerator[exatlas.JobChunk, None]:
        """The public generator itself."""
        return self._atlas.stream_job(job_id, endpoint=endpoint)

    def output(self, chunk: exatlas.JobChunk) -> object:
        """What the worker yielded."""
        return chunk.output

    async def get_compute(self, compute_id: str) -> exatlas.Compute:
        """A whole record."""
        return await self._atlas.get_compute(compute_id)


@asynccontextmanager
async def open_client(_: str, port: int) -> AsyncIterator[Ours]:
    """Open the client; its budget is on, as always."""
    async with exatlas.Atlas(
        default_provider="runpod",
        credentials={"runpod": KEY},
        base_urls={"runpod": f"http://127.0.0.1:{port}/v2"},
    ) as atlas:
        yield Ours(atlas)
