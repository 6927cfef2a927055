"""The floor: what a careful person writes by hand in aiohttp, and nothing besides.

orjson, no cookies, kept-alive connections, enough of them, URLs that are not encoded twice, polls held open, no silent
repeats. No records, no checks, no retries but after a 429, no gaps noticed. Less than this cannot work.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from random import uniform
from typing import Any, Self

import aiohttp
import orjson
from yarl import URL

from benchmarks.clients import KEY

HOLD_MS = 5000
OVER = {"COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"}
SILENCE_S = 20.0
"""A server that says nothing for longer is gone. Without this, a dead connection would be waited for for ever."""
PAUSE_AFTER_429_S = 1.0
RATE_PER_S = 190
MOST_AT_ONCE = 380


class Floor:
    """A bare session."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str, budget: "Budget | None") -> None:
        self._session = session
        self._base_url = base_url
        self._budget = budget or nullcontext()

    async def stream(self, endpoint: str, job_id: str) -> AsyncGenerator[Any, None]:
        """Poll until the end, or read events where the server pushes them."""
        url = URL(f"{self._base_url}/{endpoint}/stream/{job_id}?wait={HOLD_MS}", encoded=True)
        while True:
            async with self._budget:
                reply = await self._session.get(url)
                body = None if reply.content_type == "text/event-stream" else await reply.read()
            if body is None:
                async for output in _events(reply):
                    yield output
                return
            if reply.status == 429:
                await asyncio.sleep(PAUSE_AFTER_429_S * uniform(0.5, 1.5))
                continue
            page = orjson.loads(body)
            for item in page["stream"]:
                yield item["output"]
            if page["status"] in OVER and not page["stream"]:
                return

    def output(self, chunk: Any) -> Any:
        """The chunk is the output."""
        return chunk

    async def get_compute(self, compute_id: str) -> Any:
        """The decoded body."""
        async with self._session.get(URL(f"{self._base_url}/pods/{compute_id}", encoded=True)) as reply:
            return orjson.loads(await reply.read())


async def _events(reply: aiohttp.ClientResponse) -> AsyncGenerator[Any, None]:
    """Events of one data line each, which is all that this server sends."""
    rest = b""
    try:
        async for data in reply.content.iter_any():
            *events, rest = (rest + data).split(b"\n\n")
            for event in events:
                page = orjson.loads(event[6:])
                for item in page["stream"]:
                    yield item["output"]
                if page["status"] in OVER:
                    return
    finally:
        reply.close()


class Budget:
    """The smallest shared budget: every request has its slot, and there are never too many at once."""

    def __init__(self) -> None:
        self._next = 0.0
        self._room = asyncio.Semaphore(MOST_AT_ONCE)

    async def __aenter__(self) -> Self:
        await self._room.acquire()
        now = asyncio.get_running_loop().time()
        slot = max(now, self._next)
        self._next = slot + 1 / RATE_PER_S
        if slot > now:
            await asyncio.sleep(slot - now)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._room.release()


@asynccontextmanager
async def open_client(contender: str, port: int) -> AsyncIterator[Floor]:
    """Open a session; the contender's name says whether it shares a budget between its streams."""
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_read=SILENCE_S),
        headers={"Authorization": f"Bearer {KEY}"},
    )
    session._retry_connection = False  # a poll that is repeated in silence loses the chunks of the first reply
    async with session:
        yield Floor(session, f"http://127.0.0.1:{port}/v2", Budget() if "budget" in contender else None)
