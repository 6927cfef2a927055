"""A guard in front of an aiohttp server."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from exatlas.auth.guard import REFUSAL_BODY, REFUSAL_HEADERS, REFUSAL_STATUS, Guard, is_preflight

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Middleware = Callable[[web.Request, Handler], Awaitable[web.StreamResponse]]


def guard_middleware(
    guard: Guard | None = None,
    *,
    client: Callable[[web.Request], str | None] | None = None,
    preflight: bool = False,
) -> Middleware:
    """Lets requests and WebSockets through that have the secret: ``web.Application(middlewares=[guard_middleware()])``.

    Everybody else gets 401 and always the same words, before any handler runs and before a WebSocket is upgraded.
    Put it on the outermost application; it guards what is mounted below, and routes that do not exist.

    `OPTIONS` and `HEAD` need credentials like everything else. A browser's CORS preflight has none: answer it in a
    middleware in front of this one, or let it through with `preflight`.

    Args:
        guard: None makes one that takes the secret from the environment.
        client: What URLs may be bound to, from the request; None is its `remote`, which behind a proxy is the proxy's.
        preflight: Let CORS preflights through, for applications that answer them further in.
    """
    checked = guard or Guard()

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if preflight and is_preflight(request.method, {name.lower(): value for name, value in request.headers.items()}):
            return await handler(request)
        given = request.headers.getall("authorization", [])
        authorization = given[0] if len(given) == 1 else None
        known_as = request.remote if client is None else client(request)
        if checked.check(request.method, request.raw_path, authorization, client=known_as):
            return await handler(request)
        return web.Response(status=REFUSAL_STATUS, body=REFUSAL_BODY, headers=REFUSAL_HEADERS)

    return middleware
