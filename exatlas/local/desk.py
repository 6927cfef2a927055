"""The queue of one endpoint, with a clock and with people waiting at it."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from exatlas.protocols import Clock
from exatlas.providers.runpod.queue import Delivery, Queue, Topic

T = TypeVar("T")

HOLD_S = 20.0
"""How long a worker's request is held: well below the 90 s after which the `runpod` package gives up on one."""


class Desk:
    """Asks the queue, wakes whoever waits for what changed, and lets time pass in it.

    All of it happens in one event loop, and the queue never waits, so an operation is never half done.
    """

    def __init__(self, queue: Queue, clock: Clock) -> None:
        self.queue = queue
        self.clock = clock
        self.is_closed = False
        self._waiting: dict[Topic, set[asyncio.Future[None]]] = {}
        self._pump_wakes_at = float("inf")

    def ask(self, operation: Callable[..., T], *args: Any, **options: Any) -> T:
        """Run one of :class:`Queue`'s operations now, as in ``desk.ask(Queue.status, job_id)``."""
        try:
            return operation(self.queue, *args, now=self.clock.monotonic(), **options)
        finally:
            self._spread_the_news()

    async def until(self, topic: Topic, is_ready: Callable[[], bool], hold_s: float) -> None:
        """Wait until ``is_ready``, the hold is over, or the desk closes. It is asked again whenever ``topic`` changes.

        Safe to cancel: nothing has been taken from the queue yet.
        """
        await asyncio.sleep(0)  # so that a caller who loops at a closed desk still lets others run
        deadline = self.clock.monotonic() + hold_s
        while not self.is_closed and not is_ready():
            left_s = deadline - self.clock.monotonic()
            if left_s <= 0:
                return
            await self._change(topic, left_s)

    async def next_jobs(self, worker: str, limit: int, holding: bool | None) -> list[dict[str, Any]]:
        """Wait for work for a worker; none after :data:`HOLD_S`, or when the desk closes.

        Safe to cancel: jobs are taken in the very step that returns them.
        """
        jobs: list[dict[str, Any]] = []
        said: list[bool | None] = [holding]

        def look() -> bool:
            # What the worker said about its hands was true when it asked, so it counts for the first look only.
            jobs.extend(self.ask(Queue.take, worker, limit=limit, holding=said.pop() if said else None))
            return bool(jobs)

        await self.until(Topic("queue"), look, HOLD_S)
        return jobs

    async def next_stops(self, worker: str) -> list[str]:
        """Wait for jobs that a worker should stop; none after :data:`HOLD_S`, or when the desk closes."""
        job_ids: list[str] = []

        def look() -> bool:
            job_ids.extend(self.ask(Queue.take_stops, worker))
            return bool(job_ids)

        repeat_at = self.queue.next_stop(worker)
        hold_s = HOLD_S if repeat_at is None else max(repeat_at - self.clock.monotonic(), 0.0)
        await self.until(Topic("stop", worker), look, hold_s)
        return job_ids

    async def change(self, topic: Topic) -> None:
        """Wait for the next change of ``topic``, or for the desk to close."""
        if not self.is_closed:
            await self._change(topic, None)

    async def keep_time(self, deliver: Callable[[Iterable[Delivery]], None]) -> None:
        """Let time pass in the queue until the desk closes, handing on webhook calls as they fall due."""
        while not self.is_closed:
            now = self.clock.monotonic()
            if due := self.ask(Queue.take_deliveries):
                deliver(due)
            next_due = self.queue.next_deadline(now)
            self._pump_wakes_at = float("inf") if next_due is None else next_due
            await self._change(_PUMP, None if next_due is None else next_due - now)

    def close(self) -> None:
        """Send everybody home: waits end at once, and none start any more."""
        self.is_closed = True
        for topic in list(self._waiting):
            self._wake(topic)

    async def _change(self, topic: Topic, hold_s: float | None) -> None:
        news = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(topic, set()).add(news)
        timer = None if hold_s is None else asyncio.ensure_future(self.clock.sleep(hold_s))
        try:
            await asyncio.wait([news] if timer is None else [news, timer], return_when=asyncio.FIRST_COMPLETED)
        finally:
            if timer is not None:
                timer.cancel()
            waiting = self._waiting.get(topic, set())
            waiting.discard(news)
            if not waiting:
                self._waiting.pop(topic, None)

    def _spread_the_news(self) -> None:
        for topic in self.queue.changes():
            self._wake(topic)
        next_due = self.queue.next_deadline(self.clock.monotonic())
        if next_due is not None and next_due < self._pump_wakes_at:
            self._pump_wakes_at = next_due
            self._wake(_PUMP)

    def _wake(self, topic: Topic) -> None:
        for news in self._waiting.pop(topic, ()):
            if not news.done():
                news.set_result(None)


_PUMP = Topic("time")
