"""How any call to RunPod is put together: base URL, path, key, what may be repeated, what must not be shown.

Two APIs take the same key: REST v2 manages machines, volumes, templates and endpoints; the serverless runtime takes
jobs. Both have "v2" in their paths and are otherwise unrelated.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from exatlas.messages import HttpCall, Repeat
from exatlas.protocols import Context
from exatlas.transport.calls import as_json, headers_for, query_of, secrets_of, segment

READ_TIMEOUT_S = 30.0
WRITE_TIMEOUT_S = 60.0
"""A create answers when the pod is placed, which takes longer than a read."""


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
        url=f"{ctx.base_urls['rest']}{path}{query_of(query)}",
        template=f"/v2{template or path}",
        headers=headers_for(ctx, body, headers),
        body=None if body is None else as_json(body, operation, ctx),
        repeat=Repeat.SAFE if safe else Repeat.REFUSED,
        timeout_s=ctx.timeout_s or (READ_TIMEOUT_S if safe else WRITE_TIMEOUT_S),
        secrets=secrets_of(ctx, secrets),
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
        url=f"{ctx.base_urls['runtime']}/{segment(endpoint, 'endpoint')}/{verb}{tail}{query_of(query)}",
        template=f"/v2/{{endpoint}}/{verb}{'/{id}' if tail else ''}",
        headers=headers_for(ctx, body, headers),
        body=body,
        repeat=repeat,
        timeout_s=timeout_s or ctx.timeout_s or READ_TIMEOUT_S,
        secrets=secrets_of(ctx, secrets),
    )
