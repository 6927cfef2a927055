"""JSON in and out of the local server: bodies bounded, faults told as RunPod tells them."""

import hmac
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from aiohttp import web

from exatlas.providers.runpod.submission import RefusedError

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def reply(body: Any, status: int = 200) -> web.Response:
    """A JSON response."""
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/json")


@web.middleware
async def tell_faults(request: web.Request, handler: Answer) -> web.StreamResponse:
    """Turn refusals, and what aiohttp says by itself (404, 405, 413), into JSON bodies with an `error`."""
    try:
        return await handler(request)
    except RefusedError as refused:
        return reply({"error": refused.message}, refused.status)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        response = reply({"error": error.reason}, error.status)
        if "Allow" in error.headers:
            response.headers["Allow"] = error.headers["Allow"]
        return response


def is_secret(given: str | None, secret: str) -> bool:
    """Compare in constant time; None never matches."""
    return given is not None and hmac.compare_digest(given.encode("utf-8", "surrogateescape"), secret.encode())


async def read_body(request: web.Request, limit: int) -> bytes | int:
    """The body, or its length when it is longer than ``limit``: then it is read to its end, but not kept."""
    parts: list[bytes] = []
    size = 0
    async for part in request.content.iter_any():
        size += len(part)
        if size <= limit:
            parts.append(part)
        else:
            parts.clear()
    return b"".join(parts) if size <= limit else size


def whole_number(request: web.Request, name: str, default: int) -> int:
    """A query parameter that counts something; 400 when it is no number."""
    text = request.query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise RefusedError(400, f"{name} must be a whole number")
    return int(text)
