"""What a serverless endpoint accepts as a job, and the numbers it lives by.

Source: https://docs.runpod.io/serverless/endpoints/send-requests, read 2026-11.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from attrs import field, frozen

MEBIBYTE = 1024 * 1024
DAY_S = 86_400.0


class RefusedError(Exception):
    """The endpoint says no. `status` is the HTTP status that says it on the wire."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@frozen(kw_only=True)
class Rules:
    """The numbers an endpoint lives by; the defaults are RunPod's."""

    execution_timeout_s: float = 600.0
    """For jobs whose policy does not say."""
    shortest_execution_timeout_s: float = 5.0
    ttl_s: float = DAY_S
    """For jobs whose policy does not say."""
    shortest_ttl_s: float = 10.0
    longest_policy_s: float = 7 * DAY_S
    keep_run_s: float = 1800.0
    """How long a finished job of `run` can be read."""
    keep_runsync_s: float = 60.0
    redispatches: int = 1
    """How often a job whose worker was lost goes to another one before it fails."""
    run_bytes: int = 10 * MEBIBYTE
    """Longest body of a `run` request, and longest result of its job."""
    runsync_bytes: int = 20 * MEBIBYTE
    webhook_attempts: int = 3
    webhook_gap_s: float = 10.0
    stop_repeat_s: float = 2.0
    """A stop signal is told again this often until the worker lets the job go: replies can be lost."""
    stop_grace_s: float | None = None
    """A worker that still holds a job so long after it should have stopped is reported as stuck. None: never."""
    worker_silence_s: float | None = None
    """A worker unheard of for so long counts as lost. None: only :meth:`Queue.worker_lost` says so."""


@frozen(kw_only=True)
class Submission:
    """What a client asked for, checked."""

    input: Mapping[str, Any] = field(repr=False)
    sync: bool
    execution_timeout_s: float
    ttl_s: float
    webhook: str | None = field(repr=False)
    extras: Mapping[str, Any] = field(repr=False)
    """Fields that only the worker reads."""


def read_submission(body: Any, sync: bool, rules: Rules) -> Submission:
    """Check a decoded request body; 400 names the first field that is wrong. Unknown fields are ignored."""
    if not isinstance(body, Mapping):
        raise RefusedError(400, "the request body must be a JSON object")
    if "input" not in body:
        raise RefusedError(400, "input is required")
    given = _mapping(body, "input")
    policy = _mapping(body, "policy") if body.get("policy") is not None else {}
    extras: dict[str, Any] = {}
    if body.get("s3Config") is not None:
        extras["s3Config"] = _mapping(body, "s3Config")
    webhook = body.get("webhook")
    if webhook is not None:
        _check_webhook(webhook)
        extras["webhook"] = webhook
    if not isinstance(policy.get("lowPriority", False), bool):
        raise RefusedError(400, "policy.lowPriority must be true or false")
    longest_s = rules.longest_policy_s
    return Submission(
        input=given,
        sync=sync,
        execution_timeout_s=_span(
            policy, "executionTimeout", rules.execution_timeout_s, rules.shortest_execution_timeout_s, longest_s
        ),
        ttl_s=_span(policy, "ttl", rules.ttl_s, rules.shortest_ttl_s, longest_s),
        webhook=webhook,
        extras=extras,
    )


def _mapping(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = body[name]
    if not isinstance(value, Mapping):
        raise RefusedError(400, f"{name} must be a JSON object")
    return value


def _check_webhook(url: Any) -> None:
    try:
        parts = urlsplit(url) if isinstance(url, str) else None
    except ValueError:
        parts = None
    if parts is None or parts.scheme not in ("http", "https") or not parts.netloc:
        raise RefusedError(400, "webhook must be an http or https URL")


def _span(policy: Mapping[str, Any], name: str, default_s: float, shortest_s: float, longest_s: float) -> float:
    """A policy value, milliseconds on the wire, as seconds."""
    value = policy.get(name)
    if value is None:
        return default_s
    if not isinstance(value, int) or isinstance(value, bool) or not shortest_s <= value / 1000 <= longest_s:
        bounds = f"{milliseconds(shortest_s)} to {milliseconds(longest_s)}"
        raise RefusedError(400, f"policy.{name} must be a whole number of milliseconds, {bounds}")
    return value / 1000


def milliseconds(seconds: float) -> int:
    """Seconds as the wire has them."""
    return round(seconds * 1000)
