"""Streams of an endpoint's own HTTP routes: OpenAI-compatible on queue endpoints, anything on load-balanced ones.

Sources: runpod/docs `serverless/vllm/*` and `serverless/load-balancing/*`, read 2026-11-23. How an error looks in the
middle of a stream, and whether closing the connection cancels the work behind it, is unverified.
"""

from collections.abc import AsyncGenerator
from typing import Any

from exatlas.errors import ValidationError
from exatlas.messages import HttpCall, Repeat, encode
from exatlas.protocols import Context
from exatlas.providers.runpod.refusals import refusal
from exatlas.records.job import StreamEvent
from exatlas.streaming.events import stream_events
from exatlas.transport.calls import segment

OPENAI = "openai/"
"""Paths below this are answered by the runtime, which queues them as jobs; others go to the endpoint's own host."""
FIRST_BYTE_S = 330.0
"""A cold worker delays the head of the reply; RunPod itself gives a request five and a half minutes."""


def stream(
    endpoint: str, path: str, body: Any, ctx: Context, *, done: str | None, idle_s: float
) -> AsyncGenerator[StreamEvent, None]:
    """Send the body once and yield the answer's events."""
    return stream_events(ctx, event_call(endpoint, path, body, ctx), refusal, done=done, idle_s=idle_s)


def event_call(endpoint: str, path: str, body: Any, ctx: Context) -> HttpCall:
    """The one request behind the stream."""
    route = path.lstrip("/")
    if not route or "://" in path or ".." in route.split("/"):
        raise ValidationError(
            "stream_events", [f"path: expected a path such as 'openai/v1/chat/completions', got {path!r:.80}"]
        )
    host = ctx.base_urls["balanced"].replace("{endpoint}", segment(endpoint, "endpoint"))
    queued = f"{ctx.base_urls['runtime']}/{segment(endpoint, 'endpoint')}"
    headers = {"accept": "text/event-stream, application/json", "content-type": "application/json"}
    if ctx.api_key:
        headers["authorization"] = f"Bearer {ctx.api_key}"
    return HttpCall(
        provider=ctx.provider,
        operation="stream_events",
        method="POST",
        url=f"{queued if route.startswith(OPENAI) else host}/{route}",
        template=f"/{{endpoint}}/{OPENAI}…" if route.startswith(OPENAI) else "/…",
        headers=headers,
        body=encode(body),
        repeat=Repeat.REFUSED,
        timeout_s=ctx.timeout_s or FIRST_BYTE_S,
        secrets=(ctx.api_key,) if ctx.api_key else (),
    )
