"""Ways a fake cloud can misbehave on purpose, one call at a time."""

from enum import StrEnum
from typing import Any

from attrs import define, field

from exatlas.errors import TransportError, TransportTimeoutError
from exatlas.messages import HttpCall, HttpReply, encode
from exatlas.protocols import Clock


class Fault(StrEnum):
    """What goes wrong. "After" means that the cloud acted first, which is what makes lost replies dangerous."""

    DROP_BEFORE = "drop_before"
    """The connection breaks before anything is done."""
    DROP_AFTER = "drop_after"
    """It is done, and the connection breaks before the reply."""
    STALL_AFTER = "stall_after"
    """It is done, and no reply comes until the caller's deadline."""
    ERROR_BEFORE = "error_before"
    """500, and nothing is done."""
    ERROR_AFTER = "error_after"
    """500, and it is done all the same."""
    GARBAGE_AFTER = "garbage_after"
    """It is done, and the reply has the right status and a body that is no JSON."""
    TRUNCATED_AFTER = "truncated_after"
    """It is done, and the reply's body ends half way."""
    WRONG_TYPES_AFTER = "wrong_types_after"
    """It is done, and the reply is JSON of another shape."""
    EDGE = "edge"
    """The edge in front of the cloud blocks the call."""
    LIMITED = "limited"
    """429 with `Retry-After: 2`, and nothing is done."""


BEFORE = frozenset({Fault.DROP_BEFORE, Fault.ERROR_BEFORE, Fault.EDGE, Fault.LIMITED})

EDGE_REPLY = HttpReply(
    status=403,
    headers={"content-type": "text/html; charset=UTF-8", "cf-ray": "8f3c1e2d4b5a6978-FRA"},
    body=b"<!DOCTYPE html><html><head><title>Access denied</title></head><body>error code: 1010</body></html>",
)


@define
class Planned:
    """A fault waiting for its call."""

    fault: Fault
    method: str
    path: str
    """The call's path, or the part of it after the last slash that matters; matched as a suffix."""
    times: int = field(default=1)

    def hits(self, method: str, path: str) -> bool:
        """Whether this is the call, using up one of its times."""
        if self.times <= 0 or method != self.method or not path.endswith(self.path):
            return False
        self.times -= 1
        return True


def problem(status: int, title: str, detail: str, **more: Any) -> HttpReply:
    """A problem document, as REST v2 sends them."""
    body = {"title": title, "status": status, "detail": detail, **more}
    return HttpReply(status=status, headers={"content-type": "application/problem+json"}, body=encode(body))


async def before(fault: Fault, call: HttpCall) -> HttpReply:
    """The end of a call that never reached the cloud's logic."""
    if fault is Fault.DROP_BEFORE:
        raise lost(call)
    if fault is Fault.EDGE:
        return EDGE_REPLY
    if fault is Fault.LIMITED:
        reply = problem(429, "Too Many Requests", "rate limit exceeded for the minute window")
        return HttpReply(status=429, headers={**reply.headers, "retry-after": "2"}, body=reply.body)
    return problem(500, "Internal Server Error", "Something went wrong. Please try again later or contact support.")


async def after(fault: Fault, call: HttpCall, reply: HttpReply, clock: Clock) -> HttpReply:
    """What becomes of the reply to a call that was carried out."""
    if fault is Fault.DROP_AFTER:
        raise lost(call)
    if fault is Fault.STALL_AFTER:
        await clock.sleep(call.timeout_s)
        raise TransportTimeoutError("no reply in time", provider=call.provider, operation=call.operation)
    if fault is Fault.ERROR_AFTER:
        return await before(Fault.ERROR_BEFORE, call)
    bodies = {
        Fault.GARBAGE_AFTER: b"upstream connect error or disconnect/reset before headers",
        Fault.TRUNCATED_AFTER: reply.body[: len(reply.body) // 2],
        Fault.WRONG_TYPES_AFTER: encode({"id": 7, "status": ["?"], "pods": {}, "gpus": 1}),
    }
    return HttpReply(status=reply.status, headers=reply.headers, body=bodies[fault])


def lost(call: HttpCall) -> TransportError:
    """The connection broke while a reply was awaited."""
    return TransportError("the connection broke", provider=call.provider, operation=call.operation)
