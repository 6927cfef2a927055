"""How Vast words what went wrong: JSON with a code, JSON without one, plain text, and a gateway's HTML."""

from typing import Any

from exatlas.fakes.replies import json_reply, text_reply
from exatlas.messages import HttpReply

EDGE_REPLY = text_reply(
    403,
    "<!DOCTYPE html><html><head><title>Attention Required! | Cloudflare</title></head><body>blocked</body></html>",
    {"cf-ray": "8f3c1e2d4b5a6978-FRA"},
    kind="text/html; charset=UTF-8",
)
RETIRED = json_reply(410, {"success": False, "error": "gone", "msg": "Use /api/v1/instances/ instead."})
FREQUENT = "API requests too frequent"


def problem(status: int, code: str, text: str, **more: Any) -> HttpReply:
    """The usual form."""
    return json_reply(status, {"success": False, "error": code, "msg": text, **more})


def wrong_key(status: int = 401) -> HttpReply:
    """401, or 404 from the search."""
    return problem(status, "auth_error", "Invalid user key")


def no_instance() -> HttpReply:
    """404 for an action on an instance that is not there."""
    return problem(404, "no_such_instance", "Instance with that ID does not exist.")


def taken(offer_id: int) -> HttpReply:
    """410 for an offer that somebody else has."""
    text = f"error 410/3907: no_such_ask Instance type {offer_id} is no longer available."
    return problem(410, "no_such_ask", text, ask_id=offer_id)


def no_offer(offer_id: int) -> HttpReply:
    """404 for an offer there is not, under a code that means something else."""
    text = f"error 404/3603: no_such_ask Instance type by id {offer_id} is not available."
    return problem(404, "invalid_args", text, ask_id=offer_id)


def limited(method: str, threshold_s: float) -> HttpReply:
    """429 in the form of the route: an object with a detail, the usual form, or plain text."""
    if method == "DELETE":
        return problem(429, "rate_limit_exceeded", f"{FREQUENT} endpoint threshold={threshold_s}")
    if method == "PUT":
        return json_reply(429, {"detail": f"{FREQUENT} endpoint threshold={threshold_s}"})
    return text_reply(429, f"{FREQUENT}: endpoint threshold={threshold_s}")


def searched_too_often() -> HttpReply:
    """429 of the search, which tells no threshold."""
    return text_reply(429, FREQUENT)


def quota() -> HttpReply:
    """429 for the rest of the day."""
    return problem(429, "search_quota_exceeded", "Daily search quota exceeded; it resets at midnight UTC.")


def broken() -> HttpReply:
    """500."""
    return text_reply(500, "Internal Server Error")
