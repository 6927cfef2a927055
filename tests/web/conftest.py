"""Three real servers with the same routes, and browsers with good and bad manners."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson
import pytest
import uvicorn
from aiohttp import web
from attrs import define, field
from fastapi import Depends, FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import exatlas
from exatlas.providers.memory import MemoryProvider
from exatlas.transport.sse import SseDecoder, SseEvent
from exatlas.web import aiohttp as web_aiohttp, starlette as web_starlette
from exatlas.web.relay import Relays

LOOPBACK = "127.0.0.1"
PATIENCE_S = 15.0


class Tap:
    """A handler that yields what the test puts in, and remembers whether it was cancelled."""

    END = object()

    def __init__(self) -> None:
        self.items: asyncio.Queue[Any] = asyncio.Queue()
        self.cancelled = False

    async def __call__(self, job: dict[str, Any]) -> AsyncIterator[Any]:
        try:
            while (item := await self.items.get()) is not self.END:
                if isinstance(item, Exception):
                    raise item
                yield item
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled = True
            raise

    def put(self, *items: Any) -> None:
        for item in items:
            self.items.put_nowait(item)


class Cloud(MemoryProvider):
    """The cloud in memory, counting the streams that are open."""

    open_streams = 0

    async def stream_job(self, job, ctx, /):
        self.open_streams += 1
        try:
            async for chunk in (chunks := super().stream_job(job, ctx)):
                yield chunk
        finally:
            await chunks.aclose()
            self.open_streams -= 1


@define
class Site:
    """One running server."""

    url: str
    relays: Relays
    stop: Callable[[], Awaitable[None]] = field(repr=False)
    connections: Callable[[], int] = field(repr=False)
    app: Any = field(repr=False)

    @property
    def atlas(self) -> exatlas.Atlas:
        return self.relays.atlas

    async def at_rest(self) -> None:
        """Wait until no stream is relayed and no connection is open; fails when that never comes."""
        await eventually(lambda: len(self.relays) == 0 and self.connections() == 0)
        assert not [counting for counting in self.relays._countings._of.values() if counting.readers]


async def eventually(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not holds():
            await asyncio.sleep(0.01)


def job_options(query: Any) -> dict[str, Any]:
    options = {name: query[name] for name in ("endpoint", "provider", "on_exit") if name in query}
    return {"endpoint": "tap", **options, "keep_alive": float(query.get("keep_alive", 15))}


def fastapi_app(make: Callable[[], exatlas.Atlas], caught: list[Relays]) -> Any:
    app = FastAPI(lifespan=catching(make, caught))

    @app.get("/jobs/{job_id}")
    async def stream(job_id: str, request: Request) -> Response:
        return web_starlette.stream_job(request, job_id, **job_options(request.query_params))

    @app.get("/logs/{compute_id}")
    async def logs(compute_id: str, request: Request) -> Response:
        return web_starlette.stream_logs(request, compute_id, tail=10)

    @app.get("/events")
    async def events(request: Request) -> Response:
        return web_starlette.stream_events(request, "e", "openai/v1/chat/completions", {"stream": True})

    @app.get("/provider")
    async def provider(atlas: exatlas.Atlas = Depends(web_starlette.get_atlas)) -> dict[str, str]:  # noqa: B008
        return {"name": atlas.provider().name}

    return app


def starlette_app(make: Callable[[], exatlas.Atlas], caught: list[Relays]) -> Any:
    async def stream(request: Request) -> Response:
        return web_starlette.stream_job(request, request.path_params["job_id"], **job_options(request.query_params))

    async def logs(request: Request) -> Response:
        return web_starlette.stream_logs(request, request.path_params["compute_id"], tail=10)

    async def events(request: Request) -> Response:
        return web_starlette.stream_events(request, "e", "openai/v1/chat/completions", {"stream": True})

    async def provider(request: Request) -> Response:
        return JSONResponse({"name": (await web_starlette.get_atlas(request)).provider().name})

    routes = [
        Route("/jobs/{job_id}", stream),
        Route("/logs/{compute_id}", logs),
        Route("/events", events),
        Route("/provider", provider),
    ]
    return Starlette(routes=routes, lifespan=catching(make, caught))


def catching(make: Callable[[], exatlas.Atlas], caught: list[Relays]) -> Any:
    @asynccontextmanager
    async def life(app: Any) -> AsyncIterator[dict[str, Any]]:
        async with web_starlette.lifespan(make)(app) as state:
            caught.append(state["exatlas"])
            yield state

    return life


@asynccontextmanager
async def under_uvicorn(app: Any, caught: list[Relays], **config: Any) -> AsyncIterator[Site]:
    with socket.create_server((LOOPBACK, 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", **config))
        serving = asyncio.create_task(server.serve(sockets=[listener]))

        async def stop() -> None:
            server.should_exit = True
            async with asyncio.timeout(PATIENCE_S):
                await serving

        await eventually(lambda: server.started or serving.done())
        url = f"http://{LOOPBACK}:{listener.getsockname()[1]}"
        try:
            yield Site(url, caught[0], stop, lambda: len(server.server_state.connections), app)
        finally:
            await stop()


def aiohttp_app(make: Callable[[], exatlas.Atlas]) -> web.Application:
    async def stream(request: web.Request) -> web.StreamResponse:
        return await web_aiohttp.stream_job(request, request.match_info["job_id"], **job_options(request.query))

    async def logs(request: web.Request) -> web.StreamResponse:
        return await web_aiohttp.stream_logs(request, request.match_info["compute_id"], tail=10)

    async def events(request: web.Request) -> web.StreamResponse:
        return await web_aiohttp.stream_events(request, "e", "openai/v1/chat/completions", {"stream": True})

    async def provider(request: web.Request) -> web.Response:
        return web.json_response({"name": web_aiohttp.get_atlas(request).provider().name})

    app = web.Application()
    web_aiohttp.setup(app, make)
    app.add_routes(
        [
            web.get("/jobs/{job_id}", stream),
            web.get("/logs/{compute_id}", logs),
            web.get("/events", events),
            web.get("/provider", provider),
        ]
    )
    return app


@asynccontextmanager
async def under_aiohttp(app: web.Application, **options: Any) -> AsyncIterator[Site]:
    runner = web.AppRunner(app, access_log=None, **options)
    await runner.setup()
    listener = web.TCPSite(runner, LOOPBACK, 0)
    await listener.start()
    try:
        yield Site(
            f"http://{LOOPBACK}:{runner.addresses[0][1]}",
            app[web_aiohttp._RELAYS],
            runner.cleanup,
            lambda: len(runner.server.connections) if runner.server else 0,
            app,
        )
    finally:
        await runner.cleanup()


SHELLS = ("fastapi", "starlette", "aiohttp", "aiohttp that cancels handlers")


def site_of(shell: str, make: Callable[[], exatlas.Atlas], **config: Any) -> Any:
    caught: list[Relays] = []
    match shell:
        case "fastapi":
            return under_uvicorn(fastapi_app(make, caught), caught, **config)
        case "starlette":
            return under_uvicorn(starlette_app(make, caught), caught, http="h11", **config)
        case "aiohttp":
            return under_aiohttp(aiohttp_app(make))
        case _:
            return under_aiohttp(aiohttp_app(make), handler_cancellation=True)


@pytest.fixture(autouse=True)
def _look_often(monkeypatch) -> None:
    monkeypatch.setattr(web_starlette, "LOOK_S", 0.02)
    monkeypatch.setattr(web_aiohttp, "LOOK_S", 0.02)


@pytest.fixture
def tap() -> Tap:
    return Tap()


@pytest.fixture
def clock() -> exatlas.ManualClock:
    return exatlas.ManualClock()


@pytest.fixture
async def cloud(tap, clock) -> AsyncIterator[Cloud]:
    async with Cloud(clock=clock, handlers={"tap": tap}) as cloud:
        yield cloud


@pytest.fixture(params=SHELLS)
def shell(request) -> str:
    return request.param


@pytest.fixture(name="eventually")
def _eventually() -> Any:
    return eventually


@pytest.fixture(name="site_of")
def _site_of() -> Any:
    return site_of


@pytest.fixture
async def site(shell, cloud, clock) -> AsyncIterator[Site]:
    """A running server whose client is in the cloud in memory. Whatever a test does, nothing may be left after it."""
    before = asyncio.all_tasks()
    async with site_of(shell, lambda: exatlas.Atlas(cloud, clock=clock, env={})) as site:
        yield site
        await site.at_rest()
        assert cloud.open_streams == 0
    assert site.atlas.closed
    await eventually(lambda: not left_over(before))


@pytest.fixture
async def nothing_left() -> AsyncIterator[None]:
    """No task of ours may outlive the test."""
    before = asyncio.all_tasks()
    yield
    await eventually(lambda: not left_over(before))


def left_over(before: set[asyncio.Task[Any]]) -> set[asyncio.Task[Any]]:
    """Tasks of ours that are new. Handlers that still run are the cloud's own."""
    new = asyncio.all_tasks() - before - {asyncio.current_task()}
    return {task for task in new if not task.get_name().startswith("exatlas memory")}


class Page:
    """What a browser sees of one stream."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response
        self.decoder = SseDecoder()
        self.ready: list[SseEvent] = []
        self.raw = b""
        self.last_event_id = ""

    async def event(self) -> SseEvent:
        async with asyncio.timeout(PATIENCE_S):
            while not self.ready:
                data = await self.response.content.readany()
                assert data, "the stream ended without an event"
                self.raw += data
                self.ready += self.decoder.feed(data)
        event = self.ready.pop(0)
        self.last_event_id = event.id
        return event

    async def data(self) -> Any:
        return orjson.loads((await self.event()).data)

    async def outputs(self, count: int) -> list[Any]:
        return [(await self.data())["output"] for _ in range(count)]

    async def rest(self) -> list[tuple[str, Any]]:
        """Every event to the end: type and data."""
        async with asyncio.timeout(PATIENCE_S):
            data = await self.response.content.read()
        self.raw += data
        events, self.ready = self.ready + self.decoder.feed(data), []
        self.last_event_id = self.decoder.last_event_id
        return [(event.event, orjson.loads(event.data)) for event in events]

    def leave(self) -> None:
        self.response.close()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    alone = aiohttp.TCPConnector(force_close=True)  # so that an open connection is an open stream
    async with aiohttp.ClientSession(connector=alone, timeout=aiohttp.ClientTimeout(total=None)) as session:
        yield session


@pytest.fixture
def visit(session) -> Callable[..., Awaitable[Page]]:
    """Open a stream as a browser does."""

    async def visit(url: str, last_event_id: str | None = None) -> Page:
        headers = {"Accept": "text/event-stream"}
        if last_event_id is not None:
            headers["Last-Event-ID"] = last_event_id
        response = await session.get(url, headers=headers)
        return Page(response)

    return visit


class RudeClient:
    """A bare socket: for resets, half-closes and not reading at all."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    @classmethod
    async def get(cls, url: str) -> "RudeClient":
        host, _, path = url.removeprefix("http://").partition("/")
        name, _, port = host.partition(":")
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, (name, int(port)))
        await loop.sock_sendall(sock, f"GET /{path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        return cls(sock)

    async def read_until(self, text: bytes) -> bytes:
        got = b""
        async with asyncio.timeout(PATIENCE_S):
            while text not in got:
                piece = await asyncio.get_running_loop().sock_recv(self.sock, 4096)
                assert piece, got
                got += piece
        return got

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def half_close(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.sock.close()


@pytest.fixture
async def rude() -> AsyncIterator[Callable[[str], Awaitable[RudeClient]]]:
    clients: list[RudeClient] = []

    async def get(url: str) -> RudeClient:
        clients.append(await RudeClient.get(url))
        return clients[-1]

    yield get
    for client in clients:
        client.close()
