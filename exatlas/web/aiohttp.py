"""exatlas in aiohttp's server: ``setup``, ``get_atlas`` and streams as responses.

::

    app = web.Application()
    setup(app)

    async def stream(request: web.Request) -> web.StreamResponse:
        return await stream_job(request, request.match_info["job"], endpoint="abc123")
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from datetime import timedelta
from typing import Any, Unpack

from aiohttp import web

from exatlas.client.arguments import EventOptions, LogOptions, StreamOptions
from exatlas.client.atlas import Atlas
from exatlas.errors import ConfigError
from exatlas.records.compute import Compute
from exatlas.records.job import Job, JobRef
from exatlas.web.frames import HEADERS
from exatlas.web.relay import KEEP_ALIVE_S, Relay, Relays
from exatlas.webhooks import Webhooks

__all__ = ["get_atlas", "setup", "stream_events", "stream_job", "stream_logs", "webhook_route"]

LOOK_S = 0.5
"""How often to look whether a browser is still there, in real seconds."""

END_S = 1.0
"""How long the last bytes of a response may take, in real seconds."""

_RELAYS = web.AppKey("exatlas", Relays)


def setup(app: web.Application, make: Callable[[], Atlas] = Atlas, *, webhooks: Webhooks | None = None) -> None:
    """Let an application own one client, made by ``make`` when it starts. Applications inside it share the client.

    ``Atlas`` itself takes everything from the environment. When the application shuts down, all streams are cut, jobs
    of ``on_exit="cancel"`` are cancelled, and the client is closed.

    Args:
        webhooks: Uses the client while the application runs.
    """

    async def life(app: web.Application) -> AsyncGenerator[None, None]:
        atlas = make()
        relays = app[_RELAYS] = Relays(atlas)
        if webhooks is not None:
            webhooks.use(atlas)
        yield
        try:
            await relays.aclose()
        finally:
            await atlas.aclose()

    async def cut_streams(app: web.Application) -> None:
        if _RELAYS in app:  # not where the start failed
            await app[_RELAYS].aclose()

    app.cleanup_ctx.append(life)
    app.on_shutdown.append(cut_streams)


def get_atlas(request: web.Request) -> Atlas:
    """The application's client.

    Raises:
        ConfigError: :func:`setup` was not called for the application, or for one around it.
    """
    return _relays(request).atlas


async def stream_job(
    request: web.Request,
    job: str | Job | JobRef,
    /,
    *,
    keep_alive: float | timedelta = KEEP_ALIVE_S,
    **options: Unpack[StreamOptions],
) -> web.StreamResponse:
    """Send a job's chunks as server-sent events. Takes what :meth:`exatlas.Atlas.stream_job` takes.

    Chunks are events of the default type, with ``{"index", "output"}`` as JSON; then come ``done`` or ``error``. Where
    the browser has missed chunks that cannot be had any more, a ``gap`` event comes first: see
    :mod:`exatlas.web.frames`. A browser that has heard the end and comes back is answered 204, which stops an
    ``EventSource``. One that takes nothing for a minute, or is 1,000 chunks behind others on the job, is cut.

    With ``on_exit="cancel"`` the job is cancelled when its last browser in this application leaves before the end;
    that may be a lost connection or a server that shuts down.

    Args:
        keep_alive: Silence after which a comment is sent (seconds or timedelta).

    Raises:
        ValidationError, UnsupportedError, ConfigError: before anything is sent, for what can be seen then.
    """
    return await _respond(request, _relays(request).job(job, _last_event_id(request), keep_alive, options))


async def stream_logs(
    request: web.Request,
    compute: str | Compute,
    /,
    *,
    keep_alive: float | timedelta = KEEP_ALIVE_S,
    **options: Unpack[LogOptions],
) -> web.StreamResponse:
    """Send a machine's log lines as events, ``{"line", "at", "source"}``. Takes what ``Atlas.stream_logs`` takes.

    Lines have no numbers: a browser that comes back gets a ``gap`` event and begins with the last ``tail`` lines again.
    """
    return await _respond(request, _relays(request).logs(compute, _last_event_id(request), keep_alive, options))


async def stream_events(
    request: web.Request,
    endpoint: str,
    path: str,
    body: Any,
    /,
    *,
    keep_alive: float | timedelta = KEEP_ALIVE_S,
    **options: Unpack[EventOptions],
) -> web.StreamResponse:
    """Send on what an endpoint's own route sends. Takes what :meth:`exatlas.Atlas.stream_events` takes.

    The request is sent once: an ``EventSource`` that comes back is answered 204, which stops it.
    """
    relay = _relays(request).events(endpoint, path, body, _last_event_id(request), keep_alive, options)
    return await _respond(request, relay)


def webhook_route(webhooks: Webhooks, path: str | None = None) -> web.RouteDef:
    """The route that takes callbacks in: ``app.add_routes([webhook_route(webhooks)])``.

    Args:
        path: Where it stands in the application, if not at the path of the base URL (behind a proxy that rewrites).
    """

    async def receive(request: web.Request) -> web.Response:
        provider, endpoint, token = (request.match_info[name] for name in ("provider", "endpoint", "token"))
        answer = await webhooks.receive(provider, endpoint, token, request.content.iter_any())
        return web.Response(status=answer.status)

    return web.post(f"{webhooks.path if path is None else path}/{{provider}}/{{endpoint}}/{{token}}", receive)


def _relays(request: web.Request) -> Relays:
    try:
        return request.config_dict[_RELAYS]
    except KeyError:
        raise ConfigError(
            "the application has no exatlas client: call exatlas.web.aiohttp.setup(app) before it starts"
        ) from None


def _last_event_id(request: web.Request) -> str | None:
    return request.headers.get("Last-Event-ID")


async def _respond(request: web.Request, relay: Relay[Any] | None) -> web.StreamResponse:
    if relay is None:
        return web.Response(status=204)
    response = web.StreamResponse(headers=HEADERS)
    await response.prepare(request)
    if request.method == "HEAD":  # aiohttp sends HEAD to the handlers of GET, and a stream must not run for it
        return response
    await relay.run(response.write, lambda: _gone(request))
    try:
        async with asyncio.timeout(END_S):
            await response.write_eof()
    except (OSError, TimeoutError):
        if request.transport is not None:
            request.transport.abort()
    return response


async def _gone(request: web.Request) -> None:
    """Unless it was told to cancel handlers, aiohttp says that the browser is gone only to those who write."""
    while request.transport is not None and not request.transport.is_closing():  # noqa: ASYNC110 - nothing rings
        await asyncio.sleep(LOOK_S)
