"""How any call to Vast is put together: base URL, path, key, what may be repeated, what must not be shown.

Paths keep their trailing slash, as Vast's own client sends them: a redirect would lose the method or the key.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from exatlas.errors import NotFoundError
from exatlas.messages import HttpCall, Repeat
from exatlas.protocols import Context
from exatlas.transport.calls import as_json, headers_for, query_of, secrets_of

READ_TIMEOUT_S = 30.0
WRITE_TIMEOUT_S = 60.0
"""A create answers when the host has taken the contract, which takes longer than a read."""


def rest(
    ctx: Context,
    operation: str,
    method: str,
    template: str,
    *,
    compute_id: str | None = None,
    query: Mapping[str, str] | None = None,
    body: Mapping[str, Any] | None = None,
    repeat: Repeat = Repeat.SAFE,
    secrets: Iterable[str] = (),
) -> HttpCall:
    """A call to the REST API. Every call but a create may be repeated: Vast's actions set a state, they do not toggle.

    A body goes with everything but a GET, an empty object if need be.
    """
    path = template.replace("{id}", number(compute_id, operation, ctx)) if "{id}" in template else template
    sent = None if method == "GET" else dict(body or {})
    return HttpCall(
        provider=ctx.provider,
        operation=operation,
        method=method,
        url=f"{ctx.base_urls['rest']}{path}{query_of(query)}",
        template=template,
        headers=headers_for(ctx, sent),
        body=None if sent is None else as_json(sent, operation, ctx),
        repeat=repeat,
        timeout_s=ctx.timeout_s or (READ_TIMEOUT_S if repeat is Repeat.SAFE else WRITE_TIMEOUT_S),
        secrets=secrets_of(ctx, secrets),
    )


def number(compute_id: object, operation: str, ctx: Context) -> str:
    """An instance's id as a path segment. Vast's ids are numbers; anything else names nothing there.

    Raises:
        NotFoundError: it is no number. Nothing was sent.
    """
    if isinstance(compute_id, str) and compute_id.isascii() and compute_id.isdecimal():
        return compute_id
    raise NotFoundError(
        f"no instance is named {compute_id!r:.60}; Vast's ids are whole numbers",
        provider=ctx.provider,
        operation=operation,
    )
