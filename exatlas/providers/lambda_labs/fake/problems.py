"""How Lambda, and the edge in front of it, word what went wrong."""

from exatlas.fakes.replies import json_reply, text_reply
from exatlas.messages import HttpReply

EDGE_REPLY = text_reply(
    403,
    "<!DOCTYPE html><html><head><title>Access denied</title></head><body>error code: 1010</body></html>",
    kind="text/html; charset=UTF-8",
)


def problem(status: int, code: str, message: str, suggestion: str | None = None) -> HttpReply:
    """A refusal."""
    error = {"code": code, "message": message, **({"suggestion": suggestion} if suggestion else {})}
    return json_reply(status, {"error": error})


def invalid(message: str) -> HttpReply:
    """A request that is wrong."""
    return problem(400, "global/invalid-parameters", message, "Check the request parameters.")


def missing(message: str, status: int = 404) -> HttpReply:
    """Something named that is not there."""
    return problem(status, "global/object-does-not-exist", message, "Check that it exists.")


def unauthorized() -> HttpReply:
    """401."""
    return problem(401, "global/invalid-api-key", "API key was invalid, expired, or deleted.", "Check your API key.")


def inactive() -> HttpReply:
    """403: the account is closed for now."""
    return problem(
        403, "global/account-inactive", "Your account is inactive.", "Make sure you have verified your email."
    )


def no_address() -> HttpReply:
    """403: nobody to send the bill to."""
    return problem(403, "global/invalid-address", "Your billing address is invalid.", "Update your billing address.")


def quota(what: str) -> HttpReply:
    """400: enough for this account."""
    return problem(
        400, "global/quota-exceeded", f"Quota exceeded for {what}.", "Contact Support to increase your quota."
    )


def no_capacity() -> HttpReply:
    """400: a shortage."""
    return problem(
        400,
        "instance-operations/launch/insufficient-capacity",
        "Not enough capacity to fulfill launch request.",
        "Choose an instance type with more availability, or try again later.",
    )


def limited(retry_after_s: int | None = None) -> HttpReply:
    """429: not in the published document; the code has been seen in one client only."""
    reply = problem(429, "global/rate-limited", "Too many requests.", "Slow down.")
    advice = {} if retry_after_s is None else {"retry-after": str(retry_after_s)}
    return HttpReply(status=429, headers={**reply.headers, **advice}, body=reply.body)


def broken() -> HttpReply:
    """500: not in the published document, as no 5xx is."""
    return problem(
        500,
        "global/internal-error",
        "An internal server error occurred.",
        "Try again later. Contact Support if the problem persists.",
    )


def shaken() -> HttpReply:
    """409 of the firewall, which is an internal error."""
    return HttpReply(status=409, headers=broken().headers, body=broken().body)
