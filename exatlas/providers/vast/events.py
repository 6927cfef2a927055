"""Streams of a serverless endpoint, through the OpenAI-compatible proxy that Vast runs in front of all of them.

The proxy takes the account's key and finds a worker by itself. Other routes of a worker are reached at the worker's own
address, under a certificate of Vast's own root, which no client trusts by itself; they are not offered here.

Source: vast-ai/docs `guides/serverless/openai-compatible-api`, read 2026-11-23.
"""

from collections.abc import AsyncGenerator
from typing import Any

from exatlas.errors import UnsupportedError
from exatlas.messages import HttpCall, Repeat
from exatlas.protocols import Context
from exatlas.providers.vast.refusals import refusal
from exatlas.records.job import StreamEvent
from exatlas.streaming.events import stream_events
from exatlas.transport.calls import as_json, headers_for, secrets_of, segment

ROUTES = ("v1/chat/completions", "v1/completions")
FIRST_BYTE_S = 600.0
"""A worker that has to be started first delays the head of the reply by minutes."""


def stream(
    endpoint: str, path: str, body: Any, ctx: Context, *, done: str | None, idle_s: float
) -> AsyncGenerator[StreamEvent, None]:
    """Send the body once and yield the answer's events."""
    return stream_events(ctx, event_call(endpoint, path, body, ctx), refusal, done=done, idle_s=idle_s)


def event_call(endpoint: str, path: str, body: Any, ctx: Context) -> HttpCall:
    """The one request behind the stream. An `openai/` in front of the path, as other clouds want it, may stay."""
    route = path.strip("/").removeprefix("openai/")
    if route not in ROUTES:
        raise UnsupportedError(
            f"path: Vast's proxy answers {' and '.join(ROUTES)} only, got {path!r:.80}",
            provider=ctx.provider,
            operation="stream_events",
        )
    return HttpCall(
        provider=ctx.provider,
        operation="stream_events",
        method="POST",
        url=f"{ctx.base_urls['openai']}/{segment(endpoint, 'endpoint')}/{route}",
        template=f"/{{endpoint}}/{route}",
        headers=headers_for(ctx, body, {"accept": "text/event-stream, application/json"}),
        body=as_json(body, "stream_events", ctx),
        repeat=Repeat.NEVER,
        timeout_s=ctx.timeout_s or FIRST_BYTE_S,
        secrets=secrets_of(ctx),
    )
