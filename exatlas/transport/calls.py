"""How any call to a cloud is put together: path segments, queries, bodies, headers, and what must not be shown."""

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, urlencode

from exatlas.errors import ValidationError
from exatlas.messages import encode
from exatlas.protocols import Context


def segment(value: object, field: str) -> str:
    """A value as one path segment, quoted whole. Dot segments and nothing at all would name another path."""
    if not isinstance(value, str) or not value.strip() or value in {".", ".."}:
        raise ValidationError("id", [f"{field}: expected a non-empty id, got {value!r:.60}"])
    return quote(value, safe="")


def query_of(query: Mapping[str, str] | None) -> str:
    """A query with its question mark, or nothing."""
    return f"?{urlencode(query, quote_via=quote)}" if query else ""


def as_json(body: Any, operation: str, ctx: Context) -> bytes:
    """A body as bytes; what JSON cannot hold, such as half a character, is the caller's to know."""
    try:
        return encode(body)
    except TypeError as error:
        fault = f"expected values that JSON can hold ({error})"
        raise ValidationError("request", [fault], provider=ctx.provider, operation=operation) from None


def headers_for(ctx: Context, body: Any, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a JSON API wants to see, with the key as a bearer token where there is one."""
    headers = {"accept": "application/json"}
    if ctx.api_key:
        headers["authorization"] = f"Bearer {ctx.api_key}"
    if body is not None:
        headers["content-type"] = "application/json"
    return {**headers, **(more or {})}


def secrets_of(ctx: Context, more: Iterable[str] = ()) -> tuple[str, ...]:
    """Everything that no error about a call may show: the key, and what the caller adds."""
    return tuple(dict.fromkeys(text for text in (ctx.api_key, *more) if text))


def merge(body: Mapping[str, Any], opts: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one mapping over another, mapping by mapping; every other value replaces what was there."""
    merged = dict(body)
    for key, value in opts.items():
        mine = merged.get(key)
        both = isinstance(mine, Mapping) and isinstance(value, Mapping)
        merged[key] = merge(mine, value) if both else value  # type: ignore[arg-type]
    return merged


def env_values(body: Mapping[str, Any]) -> tuple[str, ...]:
    """The values of a body's `env`: secrets of the call, and of whatever comes back."""
    env = body.get("env")
    return tuple(str(value) for value in env.values()) if isinstance(env, Mapping) else ()
