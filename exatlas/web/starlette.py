"""exatlas in Starlette and FastAPI: ``lifespan``, ``get_atlas`` and streams as responses.

::

    app = FastAPI(lifespan=lifespan())

    @app.get("/jobs/{job_id}")
    async def stream(job_id: str, request: Request) -> Response:
        return stream_job(request, job_id, endpoint="abc123")
"""

import asyncio
import signal
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from typing import Any, Unpack

import anyio

from exatlas.client.arguments import EventOptions, LogOptions, StreamOptions
from exatlas.client.atlas import Atlas
from exatlas.errors import ConfigError
from exatlas.records.compute import Compute
from exatlas.records.job import Job, JobRef
from exatlas.web.frames import HEADERS
from exatlas.web.relay import KEEP_ALIVE_S, Relay, Relays
from exatlas.webhooks import Webhooks

try:
    from starlette.requests import HTTPConnection, Request
    from starlette.responses import Response
    from starlette.routing import Route
    from starlette.types import Receive, Scope, Send
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "exatlas.web.starlette needs an extra: pip install 'exatlas[starlette]'", name=error.name
    ) from error

__all__ = ["get_atlas", "lifespan", "stream_events", "stream_job", "stream_logs", "webhook_route"]

STATE = "exatlas"
"""The name in the application's lifespan state."""

LOOK_S = 0.25
"""How often to look whether the server is leaving, in real seconds."""

END_S = 1.0
"""How long the last bytes of a response may take, in real seconds."""

Lifespan = Callable[[Any], AbstractAsyncContextManager[dict[str, Any]]]


def lifespan(make: Callable[[], Atlas] = Atlas, *, webhooks: Webhooks | None = None) -> Lifespan:
    """A lifespan for Starlette and FastAPI that owns one client, made by ``make`` at each start of the application.

    ``Atlas`` itself takes everything from the environment. An application with a lifespan of its own enters this one in
    it, and adds what it gives to its own state::

        @asynccontextmanager
        async def own(app):
            async with lifespan()(app) as state:
                yield {**state, "database": ...}

    On the way out all streams are cut, jobs of ``on_exit="cancel"`` are cancelled, and the client is closed. Under
    uvicorn streams are cut as soon as it begins to shut down, so that it need not wait for browsers to leave. Where
    uvicorn does not handle signals (in a thread), give it ``timeout_graceful_shutdown``: it waits for ever without.

    Args:
        webhooks: Uses the client while the application runs.
    """

    @asynccontextmanager
    async def life(app: Any) -> AsyncGenerator[dict[str, Any], None]:
        async with make() as atlas:
            relays = Relays(atlas)
            watch = asyncio.create_task(_close_when_server_leaves(relays), name="exatlas watches the server")
            if webhooks is not None:
                webhooks.use(atlas)
            try:
                yield {STATE: relays}
            finally:
                watch.cancel()
                await relays.aclose()

    return life


async def get_atlas(connection: HTTPConnection) -> Atlas:
    """The application's client. As it is for FastAPI's ``Depends``, or with a request or websocket as argument.

    Raises:
        ConfigError: the application does not have :func:`lifespan`, or it has not started.
    """
    return _relays(connection).atlas


def stream_job(
    request: HTTPConnection,
    job: str | Job | JobRef,
    /,
    *,
    keep_alive: float | timedelta = KEEP_ALIVE_S,
    **options: Unpack[StreamOptions],
) -> Response:
    """A job's chunks as server-sent events. Takes what :meth:`exatlas.Atlas.stream_job` takes.

    Chunks are events of the default type, with ``{"index", "output"}`` as JSON; then come ``done`` or ``error``. Where
    the browser has missed chunks that cannot be had any more, a ``gap`` event comes first: see
    :mod:`exatlas.web.frames`. A browser that has heard the end and comes back is answered 204, which stops an
    ``EventSource``. One that takes nothing for a minute, or is 1,000 chunks behind others on the job, is cut.

    With ``on_exit="cancel"`` the job is cancelled when its last browser in this application leaves before the end;
    that may be a lost connection or a server that shuts down.

    Args:
        keep_alive: Silence after which a comment is sent (seconds or timedelta).

    Raises:
        ValidationError, UnsupportedError, ConfigError: at once, for what can be seen before the stream starts.
    """
    return _response(_relays(request).job(job, _last_event_id(request), keep_alive, options))


def stream_logs(
    request: HTTPConnection,
    compute: str | Compute,
    /,
    *,
    keep_alive: float | timedelta = KEEP_ALIVE_S,
    **options: Unpack[LogOptions],
) -> Response:
    """A machine's log lines as events, ``{"line", "at", "source"}``. Takes what ``Atlas.stream_logs`` takes.

    Lines have no numbers: a browser that comes back gets a ``gap`` event and begins with the last ``tail`` lines again.
    """
    return _response(_relays(request).logs(compute, _last_event_id(request), keep_alive, options))


def stream_events(
    request: HTTPConnection,
    endpoint: str,
    path: str,
    body: Any,
    /,
    *,
    keep_alive: float | timedelta = KEEP_ALIVE_S,
    **options: Unpack[EventOptions],
) -> Response:
    """What an endpoint's own route sends, event by event. Takes what :meth:`exatlas.Atlas.stream_events` takes.

    The request is sent once: an ``EventSource`` that comes back is answered 204, which stops it.
    """
    return _response(_relays(request).events(endpoint, path, body, _last_event_id(request), keep_alive, options))


def webhook_route(webhooks: Webhooks, path: str | None = None) -> Route:
    """The route that takes callbacks in: ``app.routes.append(webhook_route(webhooks))``.

    Args:
        path: Where it stands in the application, if not at the path of the base URL (behind a proxy that rewrites).
    """

    async def receive(request: Request) -> Response:
        provider, endpoint, token = (request.path_params[name] for name in ("provider", "endpoint", "token"))
        answer = await webhooks.receive(provider, endpoint, token, request.stream())
        return Response(status_code=answer.status)

    return Route(
        f"{webhooks.path if path is None else path}/{{provider}}/{{endpoint}}/{{token}}", receive, methods=["POST"]
    )


def _relays(connection: HTTPConnection) -> Relays:
    relays = connection.scope.get("state", {}).get(STATE)
    if not isinstance(relays, Relays):
        raise ConfigError(
            "the application has no exatlas client: pass lifespan=exatlas.web.starlette.lifespan(), and run it with a "
            "server (or test client) that runs lifespans"
        )
    return relays


def _last_event_id(request: HTTPConnection) -> str | None:
    return request.headers.get("last-event-id")


def _response(relay: Relay[Any] | None) -> Response:
    return Response(status_code=204) if relay is None else EventResponse(relay)


class EventResponse(Response):
    """A response that a relay writes."""

    def __init__(self, relay: Relay[Any]) -> None:
        super().__init__(headers=HEADERS)
        del self.headers["content-length"]
        self._relay = relay

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def write(piece: bytes) -> None:
            await send({"type": "http.response.body", "body": piece, "more_body": True})

        async def gone() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        if scope["method"] != "HEAD":  # Starlette sends HEAD to the routes of GET, and a stream must not run for it
            await self._relay.run(write, gone)
        with anyio.move_on_after(END_S):
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _close_when_server_leaves(relays: Relays) -> None:
    """Uvicorn waits for open responses before it tells the application that it shuts down, and streams do not end."""
    while not _server_is_leaving():  # noqa: ASYNC110 - nothing rings
        await asyncio.sleep(LOOK_S)
    relays.close()


def _server_is_leaving() -> bool:
    """Uvicorn handles signals by a method of the server, which knows whether it should exit."""
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return getattr(server, "should_exit", False) is True
