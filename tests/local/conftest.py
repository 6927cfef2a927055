from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from exatlas.local.runtime import Runtime


class Client:
    """A RunPod client that knows nothing of exatlas."""

    def __init__(self, session: aiohttp.ClientSession, root: str, key: str | None) -> None:
        self.session = session
        self.root = root
        self.headers = {} if key is None else {"Authorization": f"Bearer {key}"}

    async def call(self, method: str, path: str, body: Any = None, **options: Any) -> tuple[int, Any]:
        options.setdefault("headers", self.headers)
        if body is not None:
            options["json"] = body
        async with self.session.request(method, f"{self.root}/{path}", **options) as response:
            is_json = response.content_type == "application/json"
            return response.status, await response.json() if is_json else await response.text()

    async def run(self, **given: Any) -> str:
        status, body = await self.call("POST", "run", {"input": given})
        assert status == 200, body
        return body["id"]

    async def status(self, job_id: str) -> dict[str, Any]:
        status, body = await self.call("GET", f"status/{job_id}")
        assert status == 200, body
        return body

    async def chunks(self, job_id: str) -> AsyncIterator[tuple[str, Any]]:
        """Each chunk with the status that came with it, until the end; then the status alone with None."""
        while True:
            status, page = await self.call("GET", f"stream/{job_id}")
            assert status == 200, page
            for chunk in page["stream"]:
                yield page["status"], chunk["output"]
            if page["status"] not in ("IN_QUEUE", "IN_PROGRESS") and not page["stream"]:
                yield page["status"], None
                return

    async def outputs(self, job_id: str) -> list[Any]:
        return [output async for _, output in self.chunks(job_id) if output is not None]

    async def result(self, **given: Any) -> dict[str, Any]:
        status, body = await self.call("POST", "runsync?wait=60000", {"input": given})
        assert status == 200, body
        return body

    async def ended(self, job_id: str) -> dict[str, Any]:
        async for _ in self.chunks(job_id):
            pass
        return await self.status(job_id)


@pytest.fixture
async def session():
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
        yield session


@pytest.fixture
def client() -> type[Client]:
    return Client


@pytest.fixture
def client_of(session) -> Callable[[Runtime], Client]:
    return lambda runtime: Client(session, f"{runtime.base_url}/{runtime.endpoint}", runtime.api_key)


@asynccontextmanager
async def listening(application: web.Application) -> AsyncIterator[str]:
    """The application on a free port; gives its address."""
    runner = web.AppRunner(application, handler_cancellation=True, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.fixture
def listen() -> Callable[[web.Application], Any]:
    return listening
