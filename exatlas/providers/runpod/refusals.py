"""How RunPod says no, and which of our errors that is. One table for both APIs.

Source: the error responses of REST v2 and the texts collected from its issues, read 2026-11-23. Bodies come as
problem documents, as `{"error": …}`, as `{"message": …}`, as plain text, as an edge's HTML, and empty.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from exatlas.errors import AtlasError, EdgeBlockedError, NoCapacityError, ProviderError
from exatlas.messages import HttpCall, HttpReply
from exatlas.transport.refusals import (
    REDIRECTED,
    by_status,
    decoded,
    first_text,
    is_from_edge,
    is_success,
    plain_text_of,
    refused,
)

NO_CAPACITY = re.compile(
    r"no longer any instances available|not enough free gpus|no instances (are )?(currently )?available",
    re.IGNORECASE,
)
"""A shortage is a 400 with a text for people, and no code."""


def refusal(reply: HttpReply, call: HttpCall, now: datetime) -> AtlasError | None:
    """The error a reply stands for, or None for a success."""
    if is_success(reply):
        return None
    message = message_of(decoded(reply), reply)
    return refused(_class_of(reply, message), _advice(reply, message), reply, call, now)


def message_of(body: Any, reply: HttpReply) -> str:
    """What the body says to a person, in the order its shapes are known to be useful."""
    found = None
    if isinstance(body, Mapping):
        found = first_text(_detail(body), _error(body.get("error")), body.get("message"), body.get("title"))
    return found or plain_text_of(reply)


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


def _class_of(reply: HttpReply, message: str) -> type[ProviderError]:
    if reply.status == 400 and NO_CAPACITY.search(message):
        return NoCapacityError
    if reply.status == 403 and is_from_edge(reply):
        return EdgeBlockedError
    return by_status(reply.status)


def _advice(reply: HttpReply, message: str) -> str:
    if reply.status == 401:
        return f"{message}: the key is wrong, or has no access to this API (jobs and machines are granted separately)"
    if reply.status == 403 and is_from_edge(reply):
        return f"the edge in front of RunPod refused this client ({message}); it dislikes some User-Agents and networks"
    if 300 <= reply.status < 400:
        return f"{message}: {REDIRECTED}"
    return message
