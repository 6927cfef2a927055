"""How Lambda says no, and which of our errors that is.

Every refusal is `{"error": {"code", "message", "suggestion"?, "request_id"?}}`. Only the code counts: texts may change,
and statuses mislead (a shortage and a quota are a 400, a failure of the firewall a 409). What comes without a code is
an edge's answer, judged by its status.

Source: https://docs.lambda.ai/api/cloud (error responses and the error schemas of each operation), read 2026-11-23.
"""

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

from exatlas.errors import (
    AtlasError,
    ConflictError,
    EdgeBlockedError,
    ForbiddenError,
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
from exatlas.transport.redact import redact_text
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

CODES: Mapping[str, type[ProviderError]] = MappingProxyType(
    {
        "global/invalid-api-key": UnauthorizedError,
        "global/account-inactive": ForbiddenError,
        "global/forbidden": ForbiddenError,
        "global/invalid-address": ForbiddenError,
        "global/invalid-parameters": InvalidRequestError,
        "global/quota-exceeded": QuotaError,
        "global/duplicate": ConflictError,
        "global/object-does-not-exist": NotFoundError,
        "global/not-found": NotFoundError,
        "global/conflict": ConflictError,
        "global/internal-error": ProviderBrokenError,
        "global/rate-limited": RateLimitedError,
        "instance-operations/launch/insufficient-capacity": NoCapacityError,
        "instance-operations/launch/file-system-in-wrong-region": InvalidRequestError,
        "instance-operations/launch/file-systems-not-supported": InvalidRequestError,
        "filesystems/filesystem-in-use": ConflictError,
        "firewall-rulesets/firewall-ruleset-in-use": ConflictError,
        "ssh-keys/key-in-use": ConflictError,
    }
)
"""The last row, `global/rate-limited` and `file-systems-not-supported` stand in clients of older builds only."""
UPSTREAM = "provider/"
"""Codes of Lambda's own suppliers begin like this; whether anything was done is not said."""
LAUNCH = "/instance-operations/launch"

_ADVICE: Mapping[str, str] = MappingProxyType(
    {
        "global/invalid-api-key": "the key is wrong or was revoked",
        "global/account-inactive": "the account is not active: see its billing page",
        "global/invalid-address": "the account has no valid billing address",
        "global/quota-exceeded": "new accounts may run few machines at once; support raises the limit",
    }
)


def refusal(reply: HttpReply, call: HttpCall, now: datetime) -> AtlasError | None:
    """The error a reply stands for, or None for a success."""
    if is_success(reply):
        return None
    told = _told(decoded(reply))
    code = told.get("code") if isinstance(told.get("code"), str) else None
    error = refused(_class_of(reply, call, code), _message(reply, told, code), reply, call, now)
    request_id = told.get("request_id")
    if isinstance(request_id, str) and request_id:
        error.request_id = redact_text(request_id, call.secrets)
    return error


def _told(body: Any) -> Mapping[str, Any]:
    error = body.get("error") if isinstance(body, Mapping) else None
    if isinstance(error, str):
        return {"message": error}
    return error if isinstance(error, Mapping) else {}


def _class_of(reply: HttpReply, call: HttpCall, code: str | None) -> type[ProviderError]:
    if code is None and reply.status == 403 and is_from_edge(reply):
        return EdgeBlockedError
    if code is None:
        return by_status(reply.status)
    if code.startswith(UPSTREAM):
        return ProviderBrokenError
    cls = CODES.get(code) or by_status(reply.status)
    # A launch names a region, a type, a key and more; "does not exist" is about one of those, and 400 or 404.
    return InvalidRequestError if cls is NotFoundError and call.template.endswith(LAUNCH) else cls


def _message(reply: HttpReply, told: Mapping[str, Any], code: str | None) -> str:
    if code is None and reply.status == 403 and is_from_edge(reply):
        return f"the edge in front of Lambda refused this client ({plain_text_of(reply)})"
    said = first_text(told.get("message")) or (code or plain_text_of(reply))
    fields = told.get("field_errors")
    parts = [said, *_field_faults(fields)]
    if suggestion := first_text(told.get("suggestion")):
        parts.append(suggestion)
    if advice := _ADVICE.get(code or ""):
        parts.append(advice)
    if code:
        parts.append(f"[{code}]")
    if 300 <= reply.status < 400:
        parts.append(REDIRECTED)
    return " ".join(part if part.endswith((".", "]")) else f"{part};" for part in parts).rstrip(";")


def _field_faults(fields: Any) -> list[str]:
    """The complaints per field that older builds add."""
    if not isinstance(fields, Mapping):
        return []
    texts = {
        name: first_text(fault.get("message") if isinstance(fault, Mapping) else fault)
        for name, fault in fields.items()
    }
    return [f"{name}: {text}" for name, text in texts.items() if text]
