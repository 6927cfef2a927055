"""A raw server on loopback that does exactly what a test tells it to, and remembers what it saw."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from ssl import SSLContext

import pytest

from exatlas.messages import HttpCall, Repeat
from exatlas.transport.aiohttp import AiohttpTransport


class Peer:
    """The server's side of one connection."""

    def __init__(self, server: "RawServer", reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.server = server
        self.reader = reader
        self.writer = writer

    async def request(self) -> bytes:
        """Read one request, head and body, and note it."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = next(
            (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
        )
        request = head + await self.reader.readexactly(length)
        self.server.requests.append(request)
        self.server.heard.set()
        return request

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def reply(self, body: bytes = b"{}", *headers: str, status: int = 200) -> None:
        lines = [f"HTTP/1.1 {status} Something", f"Content-Length: {len(body)}", *headers, "", ""]
        await self.say("\r\n".join(lines).encode() + body)

    async def gone(self) -> None:
        """Wait until the client has let go of the connection."""
        while await self.reader.read(65536):
            pass

    def reset(self) -> None:
        self.writer.transport.abort()


Behaviour = Callable[[Peer], Awaitable[None]]


class RawServer:
    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self._tasks: set[asyncio.Task[None]] = set()
        self.connections = 0
        self.open = 0
        self.requests: list[bytes] = []
        self.heard = asyncio.Event()
        """Set when a request has been read."""
        self.closed = asyncio.Event()
        """Set when a behaviour has come to its end, or the client has gone."""
        self.port = 0

    async def start(self, ssl: SSLContext | None) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=ssl)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        self.open += 1
        try:
            await self._behaviour(Peer(self, reader, writer))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except asyncio.CancelledError:
            pass  # the stream protocol of 3.11 reports a cancelled client task as an error
        finally:
            self.open -= 1
            self.closed.set()
            writer.close()
            self._tasks.discard(task)

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def call(self, path: str = "/v2/pods/p1", method: str = "GET", **facts: object) -> HttpCall:
        facts = {"template": "/v2/pods/{id}", "repeat": Repeat.SAFE, "timeout_s": 20.0, **facts}
        return HttpCall(provider="runpod", operation="get_compute", method=method, url=self.origin + path, **facts)


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[Behaviour], Awaitable[RawServer]]]:
    servers: list[RawServer] = []

    async def start(behaviour: Behaviour, ssl: SSLContext | None = None) -> RawServer:
        server = RawServer(behaviour)
        await server.start(ssl)
        servers.append(server)
        return server

    yield start
    for server in servers:
        await server.stop()
    for _ in range(10):
        await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}, "a test left something running"


@pytest.fixture
async def transport() -> AsyncIterator[AiohttpTransport]:
    transport = AiohttpTransport()
    yield transport
    await transport.aclose()
