"""How Vast says no, and which of our errors that is.

A refusal may come with 200 and `"success": false`, with a code that says too little (`invalid_args` for an offer that
is gone), as plain text, or as a gateway's HTML. The substring `no_such_ask` says more than the code, and the status
more than either where the code is `invalid_args`.

Source: vast-ai/docs `api-reference/rate-limits-and-errors` and the error examples of its per-endpoint documents; the
SDK's `api/client.py`; dstackai/dstack `backends/vastai/api_client.py`; read 2026-11-23.
"""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from exatlas.errors import (
    AtlasError,
    EdgeBlockedError,
    ForbiddenError,
    InsufficientFundsError,
    InvalidRequestError,
    NoCapacityError,
    NotFoundError,
    ProviderBrokenError,
    ProviderError,
    QuotaError,
    RateLimitedError,
    UnauthorizedError,
)
from exatlas.messages import HttpCall, HttpReply
from exatlas.providers.vast.limits import CREATE_PENALTY_S
from exatlas.providers.vast.secrets import CONTRACT, without_secrets
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
from exatlas.transport.retry import DEFAULT_POLICY, TOO_MANY

ACCEPT = "/api/v0/asks/{id}/"
"""The route that takes an offer."""

QUOTA_CODE = "search_quota_exceeded"

CODES: Mapping[str, type[ProviderError]] = MappingProxyType(
    {
        "auth_error": UnauthorizedError,
        "not_authorized": ForbiddenError,
        "invalid_price": InvalidRequestError,
        "no_ssh_key_for_vm": InvalidRequestError,
        "no_ssh_key": InvalidRequestError,
        "label_too_long": InvalidRequestError,
        "invalid_request": InvalidRequestError,
        "invalid_token": InvalidRequestError,
        "missing_input": InvalidRequestError,
        "empty_input": InvalidRequestError,
        "missing_billing": InsufficientFundsError,
        "insufficient_credit": InsufficientFundsError,
        "no_such_instance": NotFoundError,
        "not_found": NotFoundError,
        "invalid_id": NotFoundError,
        "invalid_container": NotFoundError,
        "invalid_container_id": NotFoundError,
        "invalid_instance_id": NotFoundError,
        "no_such_volume": NotFoundError,
        "no_pending_price_increase": NotFoundError,
        "no_such_ask": NoCapacityError,
        "rate_limit_exceeded": RateLimitedError,
        QUOTA_CODE: QuotaError,
        "spend_rate_limit": QuotaError,
        "delete_ssh_from_instance": ProviderBrokenError,
    }
)
"""Codes that say what is wrong by themselves. `invalid_args` is not among them: its status decides."""

_TAKEN = re.compile(r"no_such_ask", re.IGNORECASE)
_WRONG_KEY = re.compile(r"invalid user key", re.IGNORECASE)
_NO_INSTANCE = re.compile(r"invalid instance_id", re.IGNORECASE)
"""Ids that are no numbers never leave this machine, so an id that is invalid there is one that nothing has."""
_NO_FUNDS = re.compile(r"insufficient credit", re.IGNORECASE)
_FAILED = re.compile(rb'"success"\s*:\s*false')
_THRESHOLD = re.compile(rb"threshold=(\d{1,6}(?:\.\d{1,6})?)")


def refusal(reply: HttpReply, call: HttpCall, now: datetime) -> AtlasError | None:
    """The error a reply stands for, or None for a success."""
    if is_success(reply) and not _FAILED.search(reply.body):
        return None
    body = decoded(reply)
    if is_success(reply) and not (isinstance(body, Mapping) and body.get("success") is False):
        return None
    message = message_of(body, reply)
    error = refused(_class_of(body, message, reply, call), _advice(reply, message), reply, call, now)
    error.raw = without_secrets(error.raw)
    return error


def message_of(body: Any, reply: HttpReply) -> str:
    """What the body says to a person: the code and the text, or the text alone."""
    if not isinstance(body, Mapping):
        return str(without_secrets(plain_text_of(reply)))
    text = first_text(body.get("msg"), body.get("message"), body.get("detail"))
    code = first_text(body.get("error"))
    if text and code and code not in text:
        return f"{code}: {text}"
    return text or code or "no explanation"


def _class_of(body: Any, message: str, reply: HttpReply, call: HttpCall) -> type[ProviderError]:
    code = body.get("error") if isinstance(body, Mapping) else None
    if reply.status >= 500:
        return ProviderBrokenError
    if _TAKEN.search(message):
        return NoCapacityError
    if _WRONG_KEY.search(message):
        return UnauthorizedError
    if _NO_FUNDS.search(message):
        return InsufficientFundsError
    if _NO_INSTANCE.search(message):
        return NotFoundError
    if isinstance(code, str) and code in CODES:
        return CODES[code]
    if reply.status == 403 and is_from_edge(reply):
        return EdgeBlockedError
    if call.template == ACCEPT and reply.status in (404, 410):
        return NoCapacityError
    if code == "invalid_args" and reply.status != 403:
        return InvalidRequestError
    return by_status(reply.status)


def _advice(reply: HttpReply, message: str) -> str:
    if 300 <= reply.status < 400:
        return f"{message}: {REDIRECTED}"
    if reply.status == 403 and is_from_edge(reply):
        return f"the edge in front of Vast refused this client ({message})"
    return message


def advised(reply: HttpReply, call: HttpCall, now: datetime) -> HttpReply:
    """A refusal for the rate, with what its body says about waiting put where it belongs: into `Retry-After`.

    The daily quota of searches opens at midnight UTC; and a create that was refused and made something all the same
    must not be sent again at all. Both ask for more patience than any retry has.
    """
    if reply.status != TOO_MANY:
        return reply
    wait_s = _wait_of(reply, call, now)
    if wait_s is None:
        return reply
    headers = {**reply.headers, "retry-after": f"{wait_s:g}"}
    return HttpReply(status=reply.status, headers=headers, body=reply.body)


def _wait_of(reply: HttpReply, call: HttpCall, now: datetime) -> float | None:
    body = decoded(reply)
    too_long_s = DEFAULT_POLICY.longest_s + 1
    if isinstance(body, Mapping) and body.get("error") == QUOTA_CODE:
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
        return max(round((midnight - now).total_seconds(), 3), too_long_s)
    if isinstance(body, Mapping) and body.get(CONTRACT):
        return too_long_s
    if "retry-after" in reply.headers:
        return None
    threshold = _THRESHOLD.search(reply.body)
    if call.template == ACCEPT:
        return max(CREATE_PENALTY_S, float(threshold[1]) if threshold else 0.0)
    return float(threshold[1]) if threshold else None
