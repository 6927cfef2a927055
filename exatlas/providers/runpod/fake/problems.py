"""How RunPod, and the edge in front of it, word what went wrong."""

from typing import Any

from exatlas.fakes.replies import json_reply, text_reply
from exatlas.messages import HttpReply

EDGE_REPLY = text_reply(
    403,
    "<!DOCTYPE html><html><head><title>Access denied</title></head><body>error code: 1010</body></html>",
    {"cf-ray": "8f3c1e2d4b5a6978-FRA"},
    kind="text/html; charset=UTF-8",
)


def problem(status: int, title: str, detail: str, **more: Any) -> HttpReply:
    """A problem document, as REST v2 sends them."""
    body = {"title": title, "status": status, "detail": detail, **more}
    return json_reply(status, body, kind="application/problem+json")


def limited() -> HttpReply:
    """429 with advice."""
    reply = problem(429, "Too Many Requests", "rate limit exceeded for the minute window")
    return HttpReply(status=429, headers={**reply.headers, "retry-after": "2"}, body=reply.body)


def broken() -> HttpReply:
    """500."""
    return problem(500, "Internal Server Error", "Something went wrong. Please try again later or contact support.")
