"""What all clouds have in common when they say no: statuses, shapes of bodies, and edges that answer in their place."""

import re
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

import orjson

from exatlas.errors import (
    ConflictError,
    ForbiddenError,
    InsufficientFundsError,
    InvalidRequestError,
    NotFoundError,
    ProviderBrokenError,
    ProviderError,
    RateLimitedError,
    UnauthorizedError,
)
from exatlas.messages import HttpCall, HttpReply
from exatlas.transport.exchange import request_id_of
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

REDIRECTED = "redirected, and a key is never sent to another address; check the base URL"

_EDGE = re.compile(rb"cloudflare|error code: 1\d\d\d|error 1\d\d\d", re.IGNORECASE)
_HTML = re.compile(rb"\s*<(!doctype|html)", re.IGNORECASE)


def is_success(reply: HttpReply) -> bool:
    """Whether the status says so."""
    return 200 <= reply.status < 300


def by_status(status: int) -> type[ProviderError]:
    """The class a bare status stands for: other 4xx are invalid requests, 5xx a broken provider."""
    known = BY_STATUS.get(status)
    if known:
        return known
    if status >= 500:
        return ProviderBrokenError
    return InvalidRequestError if status >= 400 else ProviderError


def refused(cls: type[ProviderError], message: str, reply: HttpReply, call: HttpCall, now: datetime) -> ProviderError:
    """The error for a reply, with every fact the reply holds and without any secret of the call."""
    return cls(
        redact_text(message, call.secrets),
        provider=call.provider,
        operation=call.operation,
        status=reply.status,
        request_id=request_id_of(reply.headers),
        retry_after=retry_after_of(reply, now),
        raw=redact_json(decoded(reply), call.secrets),
    )


def decoded(reply: HttpReply) -> Any:
    """The body as JSON where it is, else the beginning of its text."""
    try:
        return orjson.loads(reply.body)
    except orjson.JSONDecodeError:
        return reply.text[:LONGEST_TEXT]


def plain_text_of(reply: HttpReply) -> str:
    """What a body that is no JSON says to a person."""
    if _HTML.match(reply.body):
        return "an HTML page instead of an answer"
    return reply.text.strip()[:LONGEST_TEXT] or "no explanation"


def first_text(*found: Any) -> str | None:
    """The first of some values that is text with something in it."""
    return next((text.strip() for text in found if isinstance(text, str) and text.strip()), None)


def is_from_edge(reply: HttpReply) -> bool:
    """Whether an edge in front of the cloud answered, and not the cloud: an HTML page, or an edge's own words."""
    is_json = isinstance(decoded(reply), Mapping)
    return bool(_EDGE.search(reply.body)) or (not is_json and bool(_HTML.match(reply.body)))
