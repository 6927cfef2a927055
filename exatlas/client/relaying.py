"""The one layer between a provider's generator and its reader."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TypeVar

from exatlas.cancellation import Deadline, outlive
from exatlas.client.watching import StreamWatch, watch_stream
from exatlas.clock import SystemClock
from exatlas.errors import JobError, NotFoundError
from exatlas.protocols import Clock, Context

T = TypeVar("T")

PATIENCE_S = 30.0
"""How long cancelling a job that was left behind may take."""

_log = logging.getLogger("exatlas.client")
_REAL = SystemClock()


async def relay(
    open_stream: Callable[[Context], AsyncGenerator[T, None]],
    make_context: Callable[[], Awaitable[Context]],
    *,
    operation: str | None = None,
    abandon: Callable[[], Awaitable[None]] | None = None,
    clock: Clock = _REAL,
) -> AsyncGenerator[T, None]:
    """Yield what the provider yields, and close its generator on every way out.

    ``operation`` is the stream's name for whoever listens; None tells nobody. ``abandon`` is called, shielded and
    bounded, when the reader leaves before the end.
    """
    over = False
    watch: StreamWatch | None = None
    try:
        ctx = await make_context()
        watch = watch_stream(ctx, operation) if operation else None
        items = open_stream(ctx)
        try:
            async for item in items:
                if watch is not None:
                    watch.saw(item)
                yield item
            over = True
        finally:
            await items.aclose()
    except BaseException as error:
        over = over or isinstance(error, JobError | NotFoundError)
        if watch is not None:
            watch.closed(error)
        raise
    else:
        if watch is not None:
            watch.closed(None)
    finally:
        if abandon is not None and not over:
            await leave_behind(abandon, clock)


async def leave_behind(abandon: Callable[[], Awaitable[None]], clock: Clock) -> None:
    """Call ``abandon``, shielded and bounded. A failure is logged; a cancellation goes on afterwards."""
    ended = await outlive(lambda: _abandoned(abandon, clock))
    if ended.interrupted:
        raise asyncio.CancelledError


async def _abandoned(abandon: Callable[[], Awaitable[None]], clock: Clock) -> None:
    try:
        async with Deadline(clock, PATIENCE_S):
            await abandon()
    except Exception:  # noqa: BLE001 - supervised boundary: the reader leaves, and must not trip over this
        _log.exception("a job whose reader left could not be cancelled, and may still be running")
