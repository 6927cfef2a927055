"""How any call to Fly is put together: base URL, path, token, what may be repeated, what must not be shown."""

from collections.abc import Iterable, Mapping
from typing import Any

from exatlas.messages import HttpCall, Repeat
from exatlas.protocols import Context
from exatlas.providers.fly import auth
from exatlas.transport.calls import as_json, headers_for, query_of, secrets_of, segment

MACHINES, PLATFORM = "machines", "platform"
"""The two APIs, by the names of their base URLs."""
READ_TIMEOUT_S = 30.0
WRITE_TIMEOUT_S = 60.0
"""A create answers when a host has taken the machine, which takes longer than a read."""


def call(
    ctx: Context,
    operation: str,
    method: str,
    template: str,
    ids: Mapping[str, str] | None = None,
    *,
    api: str = MACHINES,
    query: Mapping[str, str] | None = None,
    body: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
    secrets: Iterable[str] = (),
    repeat: Repeat | None = None,
    timeout_s: float | None = None,
) -> HttpCall:
    """A call to one of the APIs. Reads and deletes may be repeated; anything else only after Fly clearly refused it."""
    safe = method in {"GET", "DELETE"}
    path = template.format(**{name: segment(value, name) for name, value in (ids or {}).items()})
    key = ctx.api_key or ""
    authorization = {"authorization": auth.header_of(key, ctx.provider)} if key else {}
    return HttpCall(
        provider=ctx.provider,
        operation=operation,
        method=method,
        url=f"{ctx.base_urls[api]}{path}{query_of(query)}",
        template=template,
        headers=headers_for(ctx, body, {**authorization, **(headers or {})}),
        body=None if body is None else as_json(body, operation, ctx),
        repeat=repeat or (Repeat.SAFE if safe else Repeat.REFUSED),
        timeout_s=timeout_s or ctx.timeout_s or (READ_TIMEOUT_S if safe else WRITE_TIMEOUT_S),
        secrets=secrets_of(ctx, (*auth.parts_of(key), *secrets)),
    )
