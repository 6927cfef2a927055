"""How Fly words what went wrong."""

from collections.abc import Mapping
from types import MappingProxyType

from exatlas.fakes.replies import json_reply, text_reply
from exatlas.messages import HttpReply

EDGE_REPLY = text_reply(
    403,
    "<!DOCTYPE html><html><head><title>Access denied</title></head><body>error code: 1010</body></html>",
    kind="text/html; charset=UTF-8",
)

SHORTAGES: Mapping[str, tuple[int, str, str | None]] = MappingProxyType(
    {
        "412": (412, "insufficient resources available to fulfill request", None),
        "409": (409, "could not reserve resource for machine: insufficient memory available to fulfill request", None),
        "422": (422, "insufficient resources to create new machine", None),
        "status": (503, "the region is full", "insufficient_capacity"),
        "400": (400, "invalid_argument: no capacity available in region", None),
    }
)
"""The many ways to say that there is no room: status, text, and the word in the field `status`."""


def problem(status: int, text: str, word: str | None = "unknown") -> HttpReply:
    """An error body of the Machines API."""
    return json_reply(status, {"error": text, **({"status": word} if word else {})})


def shortage(form: str) -> HttpReply:
    """No room, in one of the forms."""
    status, text, word = SHORTAGES[form]
    return problem(status, text, word)


def not_found(noun: str) -> HttpReply:
    """404."""
    return problem(404, f"not_found: {noun} not found")


def limited() -> HttpReply:
    """429, with no advice: Fly gives none."""
    return problem(429, "rate limit exceeded")


def broken() -> HttpReply:
    """500."""
    return problem(500, "internal: server error")
