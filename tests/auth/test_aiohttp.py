"""The guard in front of a real aiohttp server."""

from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

import exatlas
from exatlas.auth import Guard, sign_url
from exatlas.auth.aiohttp import guard_middleware

SECRET = "the-present-secret-of-the-machine-0123456789"
CORS = {"origin": "https://app.test", "access_control_request_method": "GET"}


class Served:
    """An application that answers on one tree of paths, and remembers what got through to it."""

    def __init__(self, *middlewares):
        self.reached = []
        self.app = web.Application(middlewares=middlewares)
        self.app.router.add_route("*", "/ws", self.echo)
        for path in ("/{name}", "/a/", "/a/b", "/{name}/a"):
            self.app.router.add_route("*", path, self.answer)

    async def answer(self, request):
        self.reached.append(request.path)
        if request.headers.get("upgrade") == "websocket":
            return await self.echo(request)
        return web.json_response({})

    async def echo(self, request):
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data)
        return socket


@asynccontextmanager
async def running(app, listener):
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.SockSite(runner, listener).start()
    try:
        yield listener.getsockname()[1]
    finally:
        await runner.cleanup()


async def test_the_table_over_http(table, walk, guard, one_time, listener, send, refusal):
    served = Served(guard_middleware(guard))
    refusals = []
    async with running(served.app, listener) as port:

        async def door(ask):
            before = len(served.reached)
            reply = await send(port, ask)
            if len(served.reached) > before:
                return True
            refusals.append(refusal(reply))
            assert reply.body == (b"" if ask.method == "HEAD" else b"Unauthorized\n")
            return False

        await walk(table, door, one_time=one_time)
    assert {str(each) for each in refusals} == {str(refusals[0])}
    status, headers = refusals[0]
    assert status == 401
    assert dict(headers) | {"www-authenticate": "Bearer", "cache-control": "no-store"} == dict(headers)


async def test_the_table_over_websockets(table, walk, guard, one_time, listener):
    served = Served(guard_middleware(guard))
    refusals = set()
    async with running(served.app, listener) as port, aiohttp.ClientSession() as session:

        async def door(ask):
            headers = {} if ask.authorization is None else {"Authorization": ask.authorization}
            before = len(served.reached)
            try:
                url = URL(f"ws://127.0.0.1:{port}{ask.target}", encoded=True)
                async with session.ws_connect(url, headers=headers) as socket:
                    await socket.send_str("hello")
                    assert await socket.receive_str() == "hello"
                    return True
            except aiohttp.WSServerHandshakeError as refused:
                refusals.add((refused.status, len(served.reached) - before))
                return False

        await walk([case for case in table if case.for_websockets], door, one_time=one_time)
    assert refusals == {(401, 0)}


@pytest.mark.parametrize("preflight", [False, True])
async def test_preflights_are_let_through_only_where_that_is_wanted(ask, listener, send, preflight):
    served = Served(guard_middleware(Guard(SECRET), preflight=preflight))
    async with running(served.app, listener) as port:
        statuses = [
            (await send(port, ask("/x", method="OPTIONS"), **CORS)).status,
            (await send(port, ask("/x", method="OPTIONS"))).status,
            (await send(port, ask("/x"), **CORS)).status,
        ]
    assert statuses == [200 if preflight else 401, 401, 401]


async def test_what_is_mounted_below_is_guarded(ask, listener, send):
    outer, inner = web.Application(middlewares=[guard_middleware(Guard(SECRET))]), Served()
    outer.add_subapp("/inner", inner.app)
    async with running(outer, listener) as port:
        assert (await send(port, ask("/inner/x"))).status == 401
        assert (await send(port, ask(sign_url("/inner/x", SECRET)))).status == 200
    assert inner.reached == ["/inner/x"]


async def test_two_authorization_headers_are_none(ask, listener, send):
    served = Served(guard_middleware(Guard(SECRET)))
    async with running(served.app, listener) as port:
        twice = ask("/x", authorization=f"Bearer {SECRET}")
        assert (await send(port, twice)).status == 200
        assert (await send(port, twice, AUTHORIZATION=f"Bearer {SECRET}")).status != 200
    assert served.reached == ["/x"]


async def test_urls_may_be_bound_to_what_a_proxy_says_of_the_client(ask, listener, send):
    served = Served(guard_middleware(Guard(SECRET), client=lambda request: request.headers.get("x-forwarded-for")))
    url = sign_url("/x", SECRET, client="203.0.113.9")
    async with running(served.app, listener) as port:
        assert (await send(port, ask(url), x_forwarded_for="203.0.113.9")).status == 200
        assert (await send(port, ask(url), x_forwarded_for="203.0.113.8")).status == 401
        assert (await send(port, ask(url))).status == 401


async def test_the_secret_comes_from_the_environment(ask, monkeypatch, listener, send):
    monkeypatch.setenv("EXATLAS_PRESHARED_KEY", SECRET)
    served = Served(guard_middleware())
    async with running(served.app, listener) as port:
        assert (await send(port, ask("/x", authorization=f"Bearer {SECRET}"))).status == 200
        assert (await send(port, ask("/x"))).status == 401


def test_without_a_secret_nothing_is_served(monkeypatch):
    monkeypatch.delenv("EXATLAS_PRESHARED_KEY", raising=False)
    with pytest.raises(exatlas.ConfigError):
        guard_middleware()
