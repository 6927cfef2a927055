"""Streams and spawns, told to hooks and to the log. Where nobody listens, no record is made.

The log is ``exatlas.client`` at DEBUG level, with the record's fields as ``extra``.
"""

import asyncio
import logging
from itertools import count
from types import TracebackType
from typing import Self

from attrs import evolve

from exatlas.errors import AtlasError, ErrorKind
from exatlas.hooks import log_fields, tell
from exatlas.messages import (
    HookEvent,
    RequestRecord,
    SpawnEnd,
    SpawnRecord,
    StreamEnd,
    StreamOpened,
    StreamRecord,
)
from exatlas.protocols import Context
from exatlas.records.job import JobChunk

_log = logging.getLogger("exatlas.client")
_serials = count(1)


def watch_stream(ctx: Context, operation: str) -> "StreamWatch | None":
    """Tell of a stream that begins now. Gives what wants to know of its chunks and its end, or None."""
    return StreamWatch(ctx, operation) if _is_heard(ctx) else None


class StreamWatch:
    """One reading of a stream, told of when it begins and when it is closed."""

    def __init__(self, ctx: Context, operation: str) -> None:
        self._ctx = ctx
        self._operation = operation
        self._serial = next(_serials)
        self._started = ctx.clock.monotonic()
        self._chunks = 0
        self._gaps = 0
        self._first_chunk_s: float | None = None
        opened = StreamOpened(
            provider=ctx.provider,
            operation=operation,
            endpoint=ctx.endpoint,
            serial=self._serial,
            opened_at=ctx.clock.now(),
        )
        tell(ctx.hooks, opened)

    def saw(self, item: object) -> None:
        """Count one item."""
        if not self._chunks:
            self._first_chunk_s = self._ctx.clock.monotonic() - self._started
        self._chunks += 1
        if isinstance(item, JobChunk) and item.gap:
            self._gaps += 1

    def closed(self, error: BaseException | None) -> None:
        """Tell how it ended."""
        record = StreamRecord(
            provider=self._ctx.provider,
            operation=self._operation,
            endpoint=self._ctx.endpoint,
            serial=self._serial,
            end=_stream_end(error),
            chunks=self._chunks,
            gaps=self._gaps,
            duration_s=self._ctx.clock.monotonic() - self._started,
            ended_at=self._ctx.clock.now(),
            first_chunk_s=self._first_chunk_s,
            error=_name_of(error),
            kind=_kind_of(error),
        )
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug(
                "%s %s: %s after %d chunks in %.3f s",
                record.provider,
                record.operation,
                record.error or record.end,
                record.chunks,
                record.duration_s,
                extra=log_fields(record),
            )
        tell(self._ctx.hooks, record)


class SpawnWatch:
    """One spawn. It listens in on the requests that the spawn makes, to count them."""

    def __init__(self, ctx: Context) -> None:
        self._heard = _is_heard(ctx)
        self._told = ctx
        self._started = 0.0
        self._requests = 0
        self.ctx = evolve(ctx, hooks=(*ctx.hooks, self)) if self._heard else ctx
        """What the spawn has to use."""
        self.settled = True
        """Whether a cancelled spawn has surely left nothing behind."""

    def on_event(self, event: HookEvent, /) -> None:
        """Count a request."""
        self._requests += isinstance(event, RequestRecord)

    def __enter__(self) -> Self:
        if self._heard:
            self._started = self._told.clock.monotonic()
        return self

    def __exit__(
        self, cls: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._heard:
            return
        record = SpawnRecord(
            provider=self._told.provider,
            end=_spawn_end(error),
            requests=self._requests,
            duration_s=self._told.clock.monotonic() - self._started,
            ended_at=self._told.clock.now(),
            error=_name_of(error),
            kind=_kind_of(error) if self.settled else ErrorKind.OUTCOME_UNKNOWN,
        )
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug(
                "%s spawn_compute: %s after %d requests in %.3f s",
                record.provider,
                record.error or record.end,
                record.requests,
                record.duration_s,
                extra=log_fields(record),
            )
        tell(self._told.hooks, record)


def _is_heard(ctx: Context) -> bool:
    return bool(ctx.hooks) or _log.isEnabledFor(logging.DEBUG)


def _stream_end(error: BaseException | None) -> StreamEnd:
    if error is None:
        return StreamEnd.COMPLETED
    return StreamEnd.FAILED if isinstance(error, Exception) else StreamEnd.LEFT


def _spawn_end(error: BaseException | None) -> SpawnEnd:
    if error is None:
        return SpawnEnd.RENTED
    return SpawnEnd.CANCELLED if isinstance(error, asyncio.CancelledError) else SpawnEnd.FAILED


def _name_of(error: BaseException | None) -> str | None:
    return type(error).__name__ if isinstance(error, Exception) else None


def _kind_of(error: BaseException | None) -> ErrorKind | None:
    if isinstance(error, AtlasError):
        return error.kind
    return ErrorKind.UNKNOWN if isinstance(error, Exception) else None
