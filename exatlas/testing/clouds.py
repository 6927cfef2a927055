"""Serve a fake cloud on loopback, so that a real client meets it over real sockets.

The fake is the same function from call to reply that an in-process transport takes. An error of transport that it
raises becomes a broken connection here.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from aiohttp import web

from exatlas.errors import TransportError
from exatlas.messages import HttpCall, HttpReply
from exatlas.transport.inprocess import Handler, StreamingReply

PATIENCE_S = 1_000_000.0
"""The deadline that a fake sees: the client's own is not known on this side of the socket."""


@asynccontextmanager
async def serve(handler: Handler) -> AsyncGenerator[str, None]:
    """Serve the handler on a free loopback port and give the base URL, such as ``http://127.0.0.1:49152``.

    Leaving cuts every connection and cancels what the handler was doing.
    """
    tasks: set[asyncio.Task[None]] = set()

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        tasks.add(request.task)
        try:
            return await _reply(request, await handler(await _call(request)))
        except TransportError:
            return _cut(request)
        finally:
            tasks.discard(request.task)

    runner = web.ServerRunner(web.Server(answer, handler_cancellation=True), shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        for task in tuple(tasks):
            task.cancel()
        await runner.cleanup()


async def _call(request: web.BaseRequest) -> HttpCall:
    return HttpCall(
        provider="loopback",
        operation="serve",
        method=request.method,
        url=f"http://{request.host}{request.raw_path}",
        template=request.path,
        headers={name.lower(): value for name, value in request.headers.items()},
        body=await request.content.read() or None,
        timeout_s=PATIENCE_S,
    )


async def _reply(request: web.BaseRequest, reply: HttpReply | StreamingReply) -> web.StreamResponse:
    if isinstance(reply, HttpReply):
        return web.Response(status=reply.status, headers=dict(reply.headers), body=reply.body)
    response = web.StreamResponse(status=reply.status, headers=dict(reply.headers))
    await response.prepare(request)
    try:
        async for piece in reply.body:
            await response.write(piece)
        await response.write_eof()
    except (ConnectionResetError, TransportError):
        return _cut(request)
    finally:
        close = getattr(reply.body, "aclose", None)
        if close is not None:
            await close()
    return response


def _cut(request: web.BaseRequest) -> web.StreamResponse:
    """Break the connection with no further byte."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
