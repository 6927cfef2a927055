"""A guard in front of an ASGI application: FastAPI, Starlette, Quart, Django, or none of them. Needs no framework."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import quote

from exatlas.auth.guard import (
    POLICY_VIOLATION,
    REFUSAL_BODY,
    REFUSAL_HEADERS,
    REFUSAL_STATUS,
    Guard,
    is_preflight,
)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

DENIAL = "websocket.http.response"
"""The extension of servers that can answer a WebSocket's upgrade with plain HTTP."""


class GuardMiddleware:
    """Lets requests and WebSockets through that have the secret. ``app.add_middleware(GuardMiddleware, guard=Guard())``

    Everybody else gets 401 and always the same words, and the application hears nothing. A WebSocket is refused before
    it is accepted: with the same 401 where the server has the denial response extension (uvicorn has), else by closing
    it with 1008, of which servers make 403.

    `OPTIONS` and `HEAD` need credentials like everything else. A browser's CORS preflight has none, so let the CORS
    middleware stand in front: add it after this one. It also gives the refusals the headers that let scripts read them.

    Args:
        guard: None makes one that takes the secret from the environment.
        client: What URLs may be bound to, from the scope; None is the address of whoever connects, which behind a proxy
            is the proxy's.
        preflight: Let CORS preflights through, for applications that answer them further in.
    """

    def __init__(
        self,
        app: App,
        guard: Guard | None = None,
        *,
        client: Callable[[Scope], str | None] | None = None,
        preflight: bool = False,
    ) -> None:
        self._app = app
        self._guard = guard or Guard()
        self._client = client or _address
        self._preflight = preflight

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or self._may_in(scope):
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await _answer("http.response", scope, send)
        elif DENIAL in (scope.get("extensions") or {}):
            await receive()
            await _answer(DENIAL, scope, send)
        else:
            await receive()
            await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": ""})

    def _may_in(self, scope: Scope) -> bool:
        method = scope.get("method", "GET")  # a WebSocket's upgrade is a GET
        headers, authorization = _headers(scope)
        if self._preflight and is_preflight(method, headers):
            return True
        return bool(self._guard.check(method, _target(scope), authorization, client=self._client(scope)))


async def _answer(kind: str, scope: Scope, send: Send) -> None:
    headers = {**REFUSAL_HEADERS, "content-length": str(len(REFUSAL_BODY))}
    await send(
        {
            "type": f"{kind}.start",
            "status": REFUSAL_STATUS,
            "headers": [(name.encode("ascii"), value.encode("ascii")) for name, value in headers.items()],
        }
    )
    await send({"type": f"{kind}.body", "body": b"" if scope.get("method") == "HEAD" else REFUSAL_BODY})


def _headers(scope: Scope) -> tuple[dict[str, str], str | None]:
    """All headers, and the one that may come once only: two of it are as good as none."""
    pairs = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"]]
    given = [value for name, value in pairs if name == "authorization"]
    return dict(pairs), given[0] if len(given) == 1 else None


def _target(scope: Scope) -> bytes:
    """Path and query as the client sent them. Servers without `raw_path` have decoded the path, so it is encoded."""
    raw: bytes = scope.get("raw_path") or quote(scope["path"]).encode("ascii")
    path = raw.partition(b"?")[0]
    query: bytes = scope.get("query_string") or b""
    return path + b"?" + query if query else path


def _address(scope: Scope) -> str | None:
    client = scope.get("client")
    return client[0] if client else None
