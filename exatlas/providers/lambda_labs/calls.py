"""How any call to Lambda is put together: base URL, path, key, what may be repeated, what must not be shown."""

from collections.abc import Iterable, Mapping
from typing import Any

from exatlas.messages import HttpCall, Repeat
from exatlas.protocols import Context
from exatlas.transport.calls import as_json, headers_for, secrets_of

READ_TIMEOUT_S = 30.0
"""For terminations too: asked again soon, Lambda still tells which machine it ended."""
WRITE_TIMEOUT_S = 120.0
"""A launch answers when a machine is placed, which can take long."""


def api(
    ctx: Context,
    operation: str,
    method: str,
    path: str,
    *,
    template: str | None = None,
    body: Mapping[str, Any] | None = None,
    repeat: Repeat | None = None,
    secrets: Iterable[str] = (),
) -> HttpCall:
    """A call to the Cloud API. Reads and deletes may be repeated; the rest only after Lambda clearly refused it."""
    chosen = repeat or (Repeat.SAFE if method in {"GET", "DELETE"} else Repeat.REFUSED)
    return HttpCall(
        provider=ctx.provider,
        operation=operation,
        method=method,
        url=f"{ctx.base_urls['api']}{path}",
        template=f"/api/v1{template or path}",
        headers=headers_for(ctx, body),
        body=None if body is None else as_json(body, operation, ctx),
        repeat=chosen,
        timeout_s=ctx.timeout_s or (READ_TIMEOUT_S if chosen is Repeat.SAFE else WRITE_TIMEOUT_S),
        secrets=secrets_of(ctx, secrets),
    )
