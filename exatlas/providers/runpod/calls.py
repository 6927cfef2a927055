"""How any call to RunPod is put together: base URL, path, key, what may be repeated, what must not be shown.

Two APIs take the same key: REST v2 manages machines, volumes, templates and endpoints; the serverless runtime takes
jobs. Both have "v2" in their paths and are otherwise unrelated.
"""

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, urlencode

from exatlas.errors import ValidationError
from exatlas.messages import HttpCall, Repeat, encode
from exatlas.protocols import Context

READ_TIMEOUT_S = 30.0
WRITE_TIMEOUT_S = 60.0
"""A create answers when the pod is placed, which takes longer than a read."""


def segment(value: object, field: str) -> str:
    """A value as one path segment, quoted whole. Dot segments and nothing at all would name another path."""
    if not isinstance(value, str) or not value.strip() or value in {".", ".."}:
        raise ValidationError("id", [f"{field}: expected a non-empty id, got {value!r:.60}"])
    return quote(value, safe="")


def as_json(body: Any, operation: str, ctx: Context) -> bytes:
    """A body as bytes; what JSON cannot hold, such as half a character, is the caller's to know."""
    try:
        return encode(body)
    except TypeError as error:
        fault = f"expected values that JSON can hold ({error})"
        raise ValidationError("request", [fault], provider=ctx.provider, operation=operation) from None


def rest(
    ctx: Context,
    operation: str,
    method: str,
    path: str,
    *,
    template: str | None = None,
    query: Mapping[str, str] | None = None,
    body: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
    secrets: Iterable[str] = (),
) -> HttpCall:
    """A call to REST v2. Reads and deletes may be repeated; anything else only after RunPod clearly refused it."""
    safe = method in {"GET", "DELETE"}
    return HttpCall(
        provider=ctx.provider,
        operation=operation,
        method=method,
        url=f"{ctx.base_urls['rest']}{path}{_query(query)}",
        template=f"/v2{template or path}",
        headers=_headers(ctx, body, headers),
        body=None if body is None else as_json(body, operation, ctx),
        repeat=Repeat.SAFE if safe else Repeat.REFUSED,
        timeout_s=ctx.timeout_s or (READ_TIMEOUT_S if safe else WRITE_TIMEOUT_S),
        secrets=_secrets(ctx, secrets),
    )


def runtime(
    ctx: Context,
    operation: str,
    method: str,
    endpoint: str,
    verb: str,
    *,
    job_id: str | None = None,
    query: Mapping[str, str] | None = None,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    repeat: Repeat = Repeat.SAFE,
    timeout_s: float | None = None,
    secrets: Iterable[str] = (),
) -> HttpCall:
    """A call to one endpoint of the serverless runtime."""
    tail = f"/{segment(job_id, 'job id')}" if job_id is not None else ""
    return HttpCall(
        provider=ctx.provider,
        operation=operation,
        method=method,
        url=f"{ctx.base_urls['runtime']}/{segment(endpoint, 'endpoint')}/{verb}{tail}{_query(query)}",
        template=f"/v2/{{endpoint}}/{verb}{'/{id}' if tail else ''}",
        headers=_headers(ctx, body, headers),
        body=body,
        repeat=repeat,
        timeout_s=timeout_s or ctx.timeout_s or READ_TIMEOUT_S,
        secrets=_secrets(ctx, secrets),
    )


def _query(query: Mapping[str, str] | None) -> str:
    return f"?{urlencode(query, quote_via=quote)}" if query else ""


def _headers(ctx: Context, body: Any, more: Mapping[str, str] | None) -> dict[str, str]:
    headers = {"accept": "application/json"}
    if ctx.api_key:
        headers["authorization"] = f"Bearer {ctx.api_key}"
    if body is not None:
        headers["content-type"] = "application/json"
    return {**headers, **(more or {})}


def _secrets(ctx: Context, more: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for text in (ctx.api_key, *more) if text))
