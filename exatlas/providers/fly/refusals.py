"""How Fly says no, and which of our errors that is.

A shortage of capacity comes under half a dozen statuses. Newer replies name it in the field `status`, which is trusted
before any text.

Source: the error schema of the Machines API and the texts its clients have met, read 2026-11-23; see README.md.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from exatlas.errors import (
    AtlasError,
    ConflictError,
    EdgeBlockedError,
    InsufficientFundsError,
    NoCapacityError,
    ProviderError,
    QuotaError,
)
from exatlas.messages import HttpCall, HttpReply
from exatlas.providers.fly import auth
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
    r"insufficient resources|insufficient memory|could not reserve resource|no capacity", re.IGNORECASE
)
QUOTA = re.compile(r"over the allowed quota", re.IGNORECASE)
NEEDS_PAYMENT = re.compile(r"please add a payment method", re.IGNORECASE)
NAME_TAKEN = re.compile(r"has already been taken|name_taken", re.IGNORECASE)
LEASED = re.compile(r"lease currently held", re.IGNORECASE)
REPLACED = re.compile(r"getting replaced|currently replaced", re.IGNORECASE)
_LEASED_UNTIL = re.compile(r"expires at (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d))")


def refusal(reply: HttpReply, call: HttpCall, now: datetime) -> AtlasError | None:
    """The error a reply stands for, or None for a success."""
    if is_success(reply):
        return None
    body = decoded(reply)
    message = message_of(body, reply)
    error = refused(_class_of(reply, body, message), _advice(reply, call, message), reply, call, now)
    if isinstance(error, ConflictError) and LEASED.search(message):
        error.retryable, error.retry_after = True, _lease_ends_in(message, now)
    elif isinstance(error, ConflictError) and REPLACED.search(message):
        error.retryable = True
    return error


def message_of(body: Any, reply: HttpReply) -> str:
    """What the body says to a person. Some of Fly's services say `message` where the others say `error`."""
    found = first_text(body.get("error"), body.get("message")) if isinstance(body, Mapping) else None
    return found or plain_text_of(reply)


def _class_of(reply: HttpReply, body: Any, message: str) -> type[ProviderError]:
    word = body.get("status") if isinstance(body, Mapping) else None
    if word == "insufficient_capacity":
        return NoCapacityError
    if reply.status >= 500:
        return by_status(reply.status)
    for pattern, cls in (
        (NO_CAPACITY, NoCapacityError),
        (QUOTA, QuotaError),
        (NEEDS_PAYMENT, InsufficientFundsError),
    ):
        if reply.status >= 400 and pattern.search(message):
            return cls
    if reply.status == 422 and (word == "name_taken" or NAME_TAKEN.search(message)):
        return ConflictError
    if reply.status == 412:
        return ConflictError
    if reply.status == 403 and is_from_edge(reply):
        return EdgeBlockedError
    return by_status(reply.status)


def _advice(reply: HttpReply, call: HttpCall, message: str) -> str:
    if reply.status == 401:
        return f"{message}: {auth.diagnosis(call.headers.get('authorization', ''))}"
    if 300 <= reply.status < 400:
        return f"{message}: {REDIRECTED}"
    return message


def _lease_ends_in(message: str, now: datetime) -> float | None:
    """Seconds until a lease that blocks us runs out, where the refusal says it."""
    found = _LEASED_UNTIL.search(message)
    if found is None:
        return None
    try:
        until = datetime.fromisoformat(found[1])
    except ValueError:
        return None
    return max((until.astimezone(UTC) - now).total_seconds(), 0.0)
