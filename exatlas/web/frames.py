"""What travels to the browser: records as server-sent events, in bytes.

A job's chunk is an event of the default type, so that ``source.onmessage`` hears it. Three more types are ours:

``gap``    chunks are missing here: ``{"reason", "from", "to"}``, see :class:`Missing`
``error``  the last event of a stream that failed: ``{"kind", "message", "retryable"}`` and what else is known
``done``   the last event of a stream that ended well

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import orjson

from exatlas.errors import AtlasError, ErrorKind, JobError
from exatlas.records.job import JobChunk, LogLine, StreamEvent

HEADERS: Mapping[str, str] = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store, no-transform",
    "X-Accel-Buffering": "no",
}
"""The last two keep proxies from compressing the stream or holding it back; nginx listens to the third."""

RETRY_MS = 2000
"""How long a browser waits before it connects again."""

OPENING = b"retry: %d\n\n" % RETRY_MS
"""The first bytes. They make servers and proxies let the head of the response go."""

KEEP_ALIVE = b": keep-alive\n\n"
"""A comment: browsers ignore it, and whatever sits between keeps the connection."""

LONGEST_MESSAGE = 1000
"""Characters of an error's text that are passed on."""


class Missing(StrEnum):
    """Why chunks are missing."""

    GONE = "gone"
    """They were handed out before and are not kept: `from` and `to` are the first and the last of them."""
    LOST = "lost"
    """They were lost on the way from the cloud. How many is not known."""
    UNKNOWN = "unknown"
    """The browser's `Last-Event-ID` says nothing here: what it has missed, if anything, is not known."""


def frame(data: Any, *, event: str | None = None, event_id: str | None = None) -> bytes:
    """One event. The data is JSON, which has no line breaks, so it is one line."""
    head = b""
    if event is not None:
        head += b"event: %b\n" % _one_line(event)
    if event_id is not None:
        head += b"id: %b\n" % _one_line(event_id)
    return b"%bdata: %b\n\n" % (head, orjson.dumps(data))


def mark(event_id: str) -> bytes:
    """No event, only a new position to come back with."""
    return b"id: %b\n\n" % _one_line(event_id)


def chunk(piece: JobChunk, event_id: str) -> bytes:
    """A job's chunk: ``{"index", "output"}``, and ``"metrics"`` where the worker attached some."""
    data = {"index": piece.index, "output": piece.output}
    if piece.metrics is not None:
        data["metrics"] = piece.metrics
    return frame(data, event_id=event_id)


def log_line(line: LogLine) -> bytes:
    """A machine's log line: ``{"line", "at", "source"}``."""
    return frame({"line": line.line, "at": line.at, "source": line.source})


def stream_event(event: StreamEvent) -> bytes:
    """An endpoint's own event, under its own type."""
    return frame(event.data, event=None if event.event == "message" else event.event)


def gap(reason: Missing, first: int | None = None, last: int | None = None) -> bytes:
    """Chunks are missing here."""
    return frame({"reason": reason, "from": first, "to": last}, event="gap")


def done(event_id: str, **facts: Any) -> bytes:
    """The end of a stream that ended well."""
    return frame(facts, event="done", event_id=event_id)


def failure(error: Exception, event_id: str | None) -> bytes:
    """The end of a stream that failed."""
    return frame(describe(error), event="error", event_id=event_id)


def describe(error: Exception) -> dict[str, Any]:
    """What a stranger may read about an error. Only ours are known to hold no secret; others keep their text."""
    if not isinstance(error, AtlasError):
        return {"kind": ErrorKind.UNKNOWN, "message": "the stream failed inside the service", "retryable": False}
    told: dict[str, Any] = {
        "kind": error.kind,
        "message": str(error)[:LONGEST_MESSAGE],
        "retryable": error.retryable,
    }
    if error.retry_after is not None:
        told["retry_after"] = error.retry_after
    if isinstance(error, JobError) and error.job is not None:
        told["status"] = error.job.status
    return told


def _one_line(text: str) -> bytes:
    """What a line may hold; names come from other servers."""
    return text.replace("\r", "").replace("\n", "").replace("\0", "").encode("utf-8", "replace")
