"""Endings under control: deadlines by any clock, and work that outlives the cancellation of its caller."""

import asyncio
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import anyio
from attrs import frozen

from exatlas.protocols import Clock

T = TypeVar("T")


class Deadline:
    """``asyncio.timeout`` by a :class:`Clock`: cancels the block when the seconds are over and raises TimeoutError.

    A block that ends by itself after all keeps its result, however late. Never hold one across a ``yield``.
    """

    def __init__(self, clock: Clock, seconds: float | None) -> None:
        self.expired = False
        """Whether the time ran out, as opposed to the block raising a TimeoutError of its own."""
        self._clock = clock
        self._seconds = seconds
        self._block: asyncio.Task[Any] | None = None
        self._cancelling = 0
        self._timer: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._block = asyncio.current_task()
        if self._block is None:
            raise RuntimeError("a deadline needs a running task")
        self._cancelling = self._block.cancelling()
        if self._seconds is not None:
            self._timer = asyncio.create_task(self._run(self._block, self._seconds))
        return self

    async def __aexit__(
        self, cls: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if not self.expired or self._block is None:
            return
        # As in asyncio.timeout: when somebody else has cancelled the task as well, that cancellation goes on.
        alone = self._block.uncancel() <= self._cancelling
        if alone and isinstance(error, asyncio.CancelledError):
            raise TimeoutError from error

    async def _run(self, block: asyncio.Task[Any], seconds: float) -> None:
        await self._clock.sleep(seconds)
        self.expired = True
        block.cancel()


@frozen
class Outlived(Generic[T]):
    """What became of work that had to be finished."""

    value: T
    interrupted: bool
    """Whether the caller was cancelled meanwhile, and has to raise CancelledError when it is done."""


async def outlive(work: Callable[[], Coroutine[Any, Any, T]]) -> Outlived[T]:
    """Do the work to its end, no matter how often the caller is cancelled meanwhile.

    The work runs in a task of its own and has to bound itself. It is started once more if something cancels that very
    task, as an event loop does that shuts down; so it must be safe to repeat. The second time a cancel goes through.
    """
    interrupted = restarted = False
    task = asyncio.create_task(work())
    # The loop takes asyncio's cancellations; the shield keeps AnyIO from repeating its own without end.
    with anyio.CancelScope(shield=True):
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError:
                interrupted = True
            if task.done() and task.cancelled() and not restarted:
                restarted = True
                task = asyncio.create_task(work())
    return Outlived(task.result(), interrupted)
