"""The guard under FastAPI and a real uvicorn, with real WebSocket clients; and as plain ASGI."""

import asyncio
from contextlib import asynccontextmanager

import pytest
import uvicorn
import websockets
from fastapi import FastAPI, WebSocket
from fastapi.middleware.cors import CORSMiddleware

import exatlas
from exatlas.auth import Guard, sign_url
from exatlas.auth.asgi import GuardMiddleware

SECRET = "the-present-secret-of-the-machine-0123456789"
CORS = {"origin": "https://app.test", "access_control_request_method": "GET"}


class Served:
    """A FastAPI application that answers on every path, and remembers what got through to it."""

    def __init__(self, port):
        self.port = port
        self.reached = []
        self.app = FastAPI()

        @self.app.api_route("/{path:path}", methods=["GET", "HEAD", "POST", "DELETE", "OPTIONS"])
        async def answer(path: str):
            self.reached.append(path)
            return {"path": path}

        @self.app.websocket("/{path:path}")
        async def echo(socket: WebSocket, path: str):
            self.reached.append(path)
            await socket.accept()
            await socket.send_text(await socket.receive_text())
            await socket.close()


@asynccontextmanager
async def running(app, listener):
    server = uvicorn.Server(uvicorn.Config(app, http="h11", lifespan="off", log_level="critical"))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        while not (server.started or serving.done()):
            await asyncio.sleep(0.001)
        yield
    finally:
        server.should_exit = True
        await serving


@pytest.fixture
def served(listener):
    return Served(listener.getsockname()[1])


async def test_the_table_over_http(table, walk, guard, one_time, served, listener, send, refusal):
    served.app.add_middleware(GuardMiddleware, guard=guard)
    refusals = []

    async def door(ask):
        before = len(served.reached)
        reply = await send(served.port, ask)
        if len(served.reached) > before:
            return True
        refusals.append(refusal(reply))
        assert reply.body == (b"" if ask.method == "HEAD" else b"Unauthorized\n")
        return False

    async with running(served.app, listener):
        await walk(table, door, one_time=one_time)
    assert {str(each) for each in refusals} == {str(refusals[0])}
    status, headers = refusals[0]
    assert status == 401
    assert dict(headers) | {
        "www-authenticate": "Bearer",
        "cache-control": "no-store",
        "content-type": "text/plain; charset=utf-8",
    } == dict(headers)


async def test_the_table_over_websockets(table, walk, guard, one_time, served, listener):
    served.app.add_middleware(GuardMiddleware, guard=guard)
    refusals = set()

    async def door(ask):
        headers = {} if ask.authorization is None else {"Authorization": ask.authorization}
        uri = f"ws://127.0.0.1:{served.port}{ask.target}"
        before = len(served.reached)
        try:
            async with websockets.connect(uri, additional_headers=headers, proxy=None) as socket:
                await socket.send("hello")
                assert await socket.recv() == "hello"
                return True
        except websockets.InvalidStatus as refused:
            refusals.add((refused.response.status_code, bytes(refused.response.body), len(served.reached) - before))
            return False

    async with running(served.app, listener):
        await walk([case for case in table if case.for_websockets], door, one_time=one_time)
    assert refusals == {(401, b"Unauthorized\n", 0)}


# CORS


async def test_behind_the_cors_middleware_preflights_are_answered_and_refusals_can_be_read(ask, served, listener, send):
    served.app.add_middleware(GuardMiddleware, guard=Guard(SECRET))
    served.app.add_middleware(CORSMiddleware, allow_origins=["https://app.test"], allow_headers=["authorization"])
    async with running(served.app, listener):
        asked = ask("/a", method="OPTIONS")
        preflight = await send(served.port, asked, **CORS, access_control_request_headers="authorization")
        refused = await send(served.port, ask("/a"), origin="https://app.test")
        good = await send(served.port, ask("/a", authorization=f"Bearer {SECRET}"), origin="https://app.test")
    assert [reply.status for reply in (preflight, refused, good)] == [200, 401, 200]
    for reply in (preflight, refused, good):
        assert reply.headers["access-control-allow-origin"] == "https://app.test"
    assert served.reached == ["a"]


@pytest.mark.parametrize("preflight", [False, True])
async def test_preflights_are_let_through_only_where_that_is_wanted(ask, served, listener, send, preflight):
    served.app.add_middleware(GuardMiddleware, guard=Guard(SECRET), preflight=preflight)
    async with running(served.app, listener):
        statuses = [
            (await send(served.port, ask("/a", method="OPTIONS"), **CORS)).status,
            (await send(served.port, ask("/a", method="OPTIONS"))).status,
            (await send(served.port, ask("/a"), **CORS)).status,
        ]
    assert statuses == [200 if preflight else 401, 401, 401]


# Set-up


async def test_the_secret_comes_from_the_environment(ask, served, listener, send, monkeypatch):
    monkeypatch.setenv("EXATLAS_PRESHARED_KEY", SECRET)
    served.app.add_middleware(GuardMiddleware)
    async with running(served.app, listener):
        assert (await send(served.port, ask("/a", authorization=f"Bearer {SECRET}"))).status == 200
        assert (await send(served.port, ask("/a"))).status == 401


def test_without_a_secret_nothing_is_served(monkeypatch):
    monkeypatch.delenv("EXATLAS_PRESHARED_KEY", raising=False)
    with pytest.raises(exatlas.ConfigError):
        GuardMiddleware(FastAPI())


async def test_urls_may_be_bound_to_what_a_proxy_says_of_the_client(ask, served, listener, send):
    served.app.add_middleware(
        GuardMiddleware,
        guard=Guard(SECRET),
        client=lambda scope: dict(scope["headers"]).get(b"x-forwarded-for", b"").decode(),
    )
    url = sign_url("/a", SECRET, client="203.0.113.9")
    async with running(served.app, listener):
        assert (await send(served.port, ask(url), x_forwarded_for="203.0.113.9")).status == 200
        assert (await send(served.port, ask(url), x_forwarded_for="203.0.113.8")).status == 401
        assert (await send(served.port, ask(url))).status == 401


# Plain ASGI


class World:
    """An ASGI server as a pair of functions."""

    def __init__(self):
        self.sent = []
        self.received = 0
        self.reached = 0

    async def app(self, scope, receive, send):
        self.reached += 1

    async def receive(self):
        self.received += 1
        return {"type": "websocket.connect"}

    async def send(self, message):
        self.sent.append(message)

    async def call(self, **scope):
        middleware = GuardMiddleware(self.app, Guard(SECRET))
        await middleware({"headers": [], "query_string": b"", "path": "/a", **scope}, self.receive, self.send)


@pytest.fixture
def world():
    return World()


async def test_a_websocket_is_closed_where_the_server_cannot_deny_it(world):
    await world.call(type="websocket")
    assert world.sent == [{"type": "websocket.close", "code": 1008, "reason": ""}]
    assert (world.reached, world.received) == (0, 1)


async def test_a_websocket_is_denied_where_the_server_can(world):
    await world.call(type="websocket", extensions={"websocket.http.response": {}})
    start, body = world.sent
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 401)
    assert body == {"type": "websocket.http.response.body", "body": b"Unauthorized\n"}
    assert (world.reached, world.received) == (0, 1)


async def test_the_lifespan_is_the_applications(world):
    await world.call(type="lifespan")
    assert (world.reached, world.sent) == (1, [])


@pytest.mark.parametrize(
    "scope",
    [
        {"raw_path": b"/%C3%BC%20a"},
        {"raw_path": b"/%C3%BC%20a?whatever=1"},
        {"raw_path": None},
        {},
    ],
)
async def test_the_path_is_taken_as_it_was_sent_or_encoded_again(world, scope):
    url = sign_url("/%C3%BC%20a?b=1", SECRET)
    query = url.partition("?")[2].encode()
    await world.call(type="http", method="GET", path="/ü a", query_string=query, **scope)
    assert world.reached == 1


async def test_two_authorization_headers_are_none(world):
    header = (b"authorization", f"Bearer {SECRET}".encode())
    await world.call(type="http", method="GET", headers=[header])
    assert world.reached == 1
    await world.call(type="http", method="GET", headers=[header, header])
    assert world.reached == 1
    assert world.sent[0]["status"] == 401
