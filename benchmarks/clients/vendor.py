"""The `runpod` package: its asyncio client for jobs; its blocking client, in threads, for machines.

The runner points the package at the benchmark's server through the environment, because it reads that on import.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import runpod
from aiohttp import ClientSession
from runpod.http_client import AsyncClientSession

from benchmarks.clients import KEY

THREADS = 50


class Vendor:
    """What the package offers."""

    def __init__(self, session: ClientSession, threads: ThreadPoolExecutor) -> None:
        self._session = session
        self._threads = threads

    def stream(self, endpoint: str, job_id: str) -> AsyncGenerator[Any, None]:
        """The package's own generator."""
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}", "X-Request-ID": job_id}
        return runpod.AsyncioJob(endpoint, job_id, self._session, headers).stream()

    def output(self, chunk: Any) -> Any:
        """The chunk is the output."""
        return chunk

    async def get_compute(self, compute_id: str) -> Any:
        """The package has no asyncio client for machines."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, runpod.get_pod, compute_id)


@asynccontextmanager
async def open_client(_: str, __: int) -> AsyncIterator[Vendor]:
    """Open the package's session."""
    runpod.api_key = KEY
    with ThreadPoolExecutor(THREADS) as threads:
        async with AsyncClientSession() as session:
            yield Vendor(session, threads)
