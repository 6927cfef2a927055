"""Replies in a line of code."""

from collections.abc import Mapping
from typing import Any

import orjson

from exatlas.messages import HttpCall, HttpReply, encode
from exatlas.transport.inprocess import StreamingReply

Reply = HttpReply | StreamingReply


def json_reply(
    status: int, body: Any, headers: Mapping[str, str] | None = None, *, kind: str = "application/json"
) -> HttpReply:
    """A JSON reply."""
    return HttpReply(status=status, headers={"content-type": kind, **(headers or {})}, body=encode(body))


def text_reply(
    status: int, text: str, headers: Mapping[str, str] | None = None, *, kind: str = "text/plain"
) -> HttpReply:
    """A reply of plain text, or of whatever `kind` says."""
    return HttpReply(status=status, headers={"content-type": kind, **(headers or {})}, body=text.encode())


def json_body(call: HttpCall) -> Any:
    """The decoded body of a call; None for no body, and for one that is not JSON."""
    try:
        return orjson.loads(call.body or b"null")
    except orjson.JSONDecodeError:
        return None


def with_headers(reply: Reply, more: Mapping[str, str]) -> Reply:
    """The reply with some headers laid over its own."""
    headers = {**reply.headers, **more}
    if isinstance(reply, HttpReply):
        return HttpReply(status=reply.status, headers=headers, body=reply.body)
    return StreamingReply(status=reply.status, headers=headers, body=reply.body)
