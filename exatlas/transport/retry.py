"""When to send a call again, and after how long. Pure: the time, the dice and the outcome are arguments."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from attrs import frozen

from exatlas.errors import TransportError
from exatlas.messages import HttpCall, HttpReply, Repeat

_WINDOW = re.compile(r'"[^"]*"((?:\s*;\s*[a-z]+\s*=\s*[^;,"]*)*)')
_SECONDS = re.compile(r"\s*(-?\d{1,9}(?:\.\d+)?)\s*", re.ASCII)
_PARAMETER = re.compile(r"([a-z]+)\s*=\s*(\d{1,9})(?!\d)", re.ASCII)


@frozen(kw_only=True)
class RetryPolicy:
    """How often and how patiently."""

    tries: int = 3
    """Attempts in all, the first included."""
    base_s: float = 0.5
    """Wait after the first failure; it doubles with every further one."""
    longest_s: float = 60.0
    """Where the cloud asks for more patience than this, the caller gets its refusal instead."""


DEFAULT_POLICY = RetryPolicy()
TOO_MANY = 429


def decide(
    call: HttpCall,
    attempt: int,
    outcome: HttpReply | TransportError,
    *,
    now: datetime,
    jitter: float,
    policy: RetryPolicy = DEFAULT_POLICY,
) -> float | None:
    """Say how many seconds to wait before sending the call again, or None to leave it at this outcome.

    `attempt` is 1 after the first try; `jitter` is a number from [0, 1) that spreads callers out.
    """
    if attempt >= policy.tries or not worth_repeating(call, outcome):
        return None
    backoff_s = policy.base_s * 2.0 ** (attempt - 1)
    advised_s = retry_after_of(outcome, now) if isinstance(outcome, HttpReply) else None
    if advised_s is None:
        return backoff_s * (0.5 + jitter)
    if advised_s > policy.longest_s:
        return None
    # Everybody who was refused wakes at the same moment; spreading goes on top, never below what was asked.
    return max(advised_s, backoff_s * 0.5) + backoff_s * jitter


def worth_repeating(call: HttpCall, outcome: HttpReply | TransportError) -> bool:
    """Whether the call may be sent again after this outcome, and whether it could help."""
    if isinstance(outcome, TransportError):
        return call.repeat is Repeat.SAFE and outcome.retryable
    if outcome.status == TOO_MANY:
        return call.repeat is not Repeat.NEVER
    return call.repeat is Repeat.SAFE and (outcome.status == 408 or outcome.status >= 500)


def retry_after_of(reply: HttpReply, now: datetime) -> float | None:
    """Seconds the cloud asks to wait, or None if it does not say.

    The longer of `Retry-After` and the used-up windows of `RateLimit`.

    Source: RFC 9110 section 10.2.3; the IETF draft "RateLimit header fields for HTTP".
    """
    said = reply.headers.get("retry-after")
    waits = (_retry_after(said, now) if said else None, exhausted_for(reply.headers))
    return max((wait for wait in waits if wait is not None), default=None)


def exhausted_for(headers: Mapping[str, str]) -> float | None:
    """Seconds until the last used-up window of the `RateLimit` header opens again, or None if none is used up.

    The header reads `"minute";r=0;t=12, "hour";r=2800;t=1812`: r calls remain, t seconds to the reset.
    """
    said = headers.get("ratelimit")
    if not said:
        return None
    longest: float | None = None
    for window in _WINDOW.finditer(said):
        parameters = dict(_PARAMETER.findall(window[1]))
        if parameters.get("r", "").strip("0") == "" and "r" in parameters and "t" in parameters:
            longest = max(longest or 0.0, float(parameters["t"]))
    return longest


def _retry_after(said: str, now: datetime) -> float | None:
    """Read seconds or an HTTP date; a moment in the past is no wait, nonsense is nothing said."""
    if seconds := _SECONDS.fullmatch(said):
        return max(float(seconds[1]), 0.0)
    try:
        moment = parsedate_to_datetime(said)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max((moment - now).total_seconds(), 0.0)
