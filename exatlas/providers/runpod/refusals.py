"""How RunPod says no, and which of our errors that is. One table for both APIs.

Source: the error responses of REST v2 and the texts collected from its issues, read 2026-11-23. Bodies come as
problem documents, as `{"error": …}`, as `{"message": …}`, as plain text, as an edge's HTML, and empty.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

import orjson

from exatlas.errors import (
    AtlasError,
    ConflictError,
    EdgeBlockedError,
    ForbiddenError,
    InsufficientFundsError,
    InvalidRequestError,
    NoCapacityError,
    NotFoundError,
    ProviderBrokenError,
    ProviderError,
    RateLimitedError,
    UnauthorizedError,
)
from exatlas.messages import HttpCall, HttpReply
from exatlas.transport.redact import redact_json, redact_text
from exatlas.transport.retry import retry_after_of

LONGEST_TEXT = 200

BY_STATUS: Mapping[int, type[ProviderError]] = MappingProxyType(
    {
        401: UnauthorizedError,
        402: InsufficientFundsError,
        403: ForbiddenError,
        404: NotFoundError,
        408: ProviderBrokenError,
        409: ConflictError,
        410: NotFoundError,
        429: RateLimitedError,
    }
)
"""Other 4xx are invalid requests, 5xx a broken provider, and anything else a plain no."""

NO_CAPACITY = re.compile(
    r"no longer any instances available|not enough free gpus|no instances (are )?(currently )?available",
    re.IGNORECASE,
)
"""A shortage is a 400 with a text for people, and no code."""

_EDGE = re.compile(rb"cloudflare|error code: 1\d\d\d|error 1\d\d\d", re.IGNORECASE)
_HTML = re.compile(rb"\s*<(!doctype|html)", re.IGNORECASE)


def refusal(reply: HttpReply, call: HttpCall, now: datetime) -> AtlasError | None:
    """The error a reply stands for, or None for a success."""
    if 200 <= reply.status < 300:
        return None
    body = _decoded(reply)
    text = redact_text(_advice(reply, message_of(body, reply)), call.secrets)
    return _class_of(reply, body)(
        text,
        provider=call.provider,
        operation=call.operation,
        status=reply.status,
        request_id=request_id(reply),
        retry_after=retry_after_of(reply, now),
        raw=redact_json(body, call.secrets),
    )


def request_id(reply: HttpReply) -> str | None:
    """The cloud's id for the request, or the edge's when the cloud gave none."""
    return reply.headers.get("x-request-id") or reply.headers.get("cf-ray")


def message_of(body: Any, reply: HttpReply) -> str:
    """What the body says to a person, in the order its shapes are known to be useful."""
    if isinstance(body, Mapping):
        for found in (_detail(body), _error(body.get("error")), body.get("message"), body.get("title")):
            if isinstance(found, str) and found.strip():
                return found.strip()
    text = reply.text.strip()
    if _HTML.match(reply.body):
        return "an HTML page instead of an answer"
    return text[:LONGEST_TEXT] or "no explanation"


def _decoded(reply: HttpReply) -> Any:
    try:
        return orjson.loads(reply.body)
    except orjson.JSONDecodeError:
        return reply.text[:LONGEST_TEXT]


def _detail(body: Mapping[str, Any]) -> str | None:
    """A problem document's text, with the validator's complaints where there are any."""
    detail = body.get("detail")
    if not isinstance(detail, str):
        return None
    errors = body.get("errors")
    complaints = [item for item in errors if isinstance(item, str)] if isinstance(errors, list) else []
    return f"{detail} {'; '.join(complaints)}" if complaints else detail


def _error(error: Any) -> Any:
    return error.get("message") if isinstance(error, Mapping) else error


def _class_of(reply: HttpReply, body: Any) -> type[ProviderError]:
    if reply.status == 400 and NO_CAPACITY.search(message_of(body, reply)):
        return NoCapacityError
    if reply.status == 403 and _is_edge(reply, body):
        return EdgeBlockedError
    known = BY_STATUS.get(reply.status)
    if known:
        return known
    if reply.status >= 500:
        return ProviderBrokenError
    return InvalidRequestError if reply.status >= 400 else ProviderError


def _is_edge(reply: HttpReply, body: Any) -> bool:
    """Whether the edge answered, and not RunPod: an HTML page, or an edge's own words in any dress."""
    is_json = isinstance(body, Mapping)
    return bool(_EDGE.search(reply.body)) or (not is_json and bool(_HTML.match(reply.body)))


def _advice(reply: HttpReply, message: str) -> str:
    if reply.status == 401:
        return f"{message}: the key is wrong, or has no access to this API (jobs and machines are granted separately)"
    if reply.status == 403 and _is_edge(reply, _decoded(reply)):
        return f"the edge in front of RunPod refused this client ({message}); it dislikes some User-Agents and networks"
    if 300 <= reply.status < 400:
        return f"{message}: redirected, and a key is never sent to another address; check the base URL"
    return message
