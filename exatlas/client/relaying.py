"""The one layer between a provider's generator and its reader."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from attrs import define, field

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


def relay(
    open_stream: Callable[[Context], AsyncGenerator[T, None]],
    make_context: Callable[[], Awaitable[Context]],
    *,
    operation: str | None = None,
    abandon: Callable[[], Awaitable[None]] | None = None,
    clock: Clock = _REAL,
) -> AsyncGenerator[T, None]:
    """Yield what the provider yields, and close its generator on every way out.

    ``operation`` is the stream's name for whoever listens; None tells nobody. ``abandon`` is called, shielded and
    bounded, when the reader leaves before the end; a reader that closes before the first item leaves as well.
    """
    if abandon is None:
        return _relayed(open_stream, make_context, operation, None)
    leaving = _Leaving(abandon, clock)
    return _Abandoning(_relayed(open_stream, make_context, operation, leaving), leaving)


async def _relayed(
    open_stream: Callable[[Context], AsyncGenerator[T, None]],
    make_context: Callable[[], Awaitable[Context]],
    operation: str | None,
    leaving: "_Leaving | None",
) -> AsyncGenerator[T, None]:
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
        if leaving is not None:
            leaving.is_due = not over
            await leaving.leave()


@define
class _Leaving:
    """What becomes, once, of the job of a reader who leaves before the end."""

    abandon: Callable[[], Awaitable[None]]
    clock: Clock
    is_due: bool = field(default=True, init=False)

    async def leave(self) -> None:
        if self.is_due:
            self.is_due = False
            await leave_behind(self.abandon, self.clock)


class _Abandoning(AsyncGenerator[T, None]):
    """A generator that abandons its job when it is closed, begun or not: one that was not begun runs no `finally`."""

    def __init__(self, items: AsyncGenerator[T, None], leaving: _Leaving) -> None:
        self._items = items
        self._leaving = leaving

    def __anext__(self) -> Coroutine[Any, Any, T]:
        return self._items.__anext__()

    def asend(self, value: None, /) -> Coroutine[Any, Any, T]:
        return self._items.asend(value)

    async def athrow(self, *thrown: Any) -> T:
        try:
            return await self._items.athrow(*thrown)
        finally:
            await self._leaving.leave()

    async def aclose(self) -> None:
        await self._items.aclose()
        await self._leaving.leave()


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
