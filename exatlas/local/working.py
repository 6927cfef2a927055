"""The built-in worker: takes jobs over a link, runs them with a handler, and stops those it is told to stop."""

import asyncio
import functools
from typing import Any, Protocol

from exatlas.local.handlers import Options, run_job


class Link(Protocol):
    """A worker's way to its endpoint."""

    async def take(self, limit: int, held: list[str]) -> list[dict[str, Any]]:
        """Wait for work, up to ``limit`` jobs; an empty list when there was none for a while. Tell what is in hand."""
        ...

    async def stops(self, held: list[str]) -> list[str]:
        """Wait for jobs to stop; an empty list when there were none for a while. Tell what is in hand."""
        ...

    async def stream(self, job_id: str, text: str) -> None:
        """Deliver one chunk, as JSON text."""
        ...

    async def done(self, job_id: str, text: str) -> None:
        """Deliver the end of a job, as JSON text."""
        ...


class Worker:
    """Runs up to ``concurrency`` jobs at once, each in a task of its own."""

    def __init__(self, link: Link, options: Options, concurrency: int) -> None:
        self._link = link
        self._options = options
        self._concurrency = concurrency
        self._running: dict[str, asyncio.Task[None]] = {}
        self._room = asyncio.Event()
        self._taking: asyncio.Task[None] | None = None

    @property
    def held(self) -> list[str]:
        """Ids of the jobs in hand, stopped ones included while they have not let go."""
        return list(self._running)

    async def run(self) -> None:
        """Work until :meth:`retire` is called and what was taken is done. Cancelling cancels the jobs in hand.

        Waits for handlers to let go, which those in threads do only when they return; see :meth:`abandon`.
        """
        async with asyncio.TaskGroup() as group:
            stopping = group.create_task(self._obey_stops())
            self._taking = group.create_task(self._take_jobs(group))
            await asyncio.wait([self._taking])
            while self._running:
                await asyncio.wait(self._running.values())
            stopping.cancel()

    def retire(self) -> None:
        """Take no more jobs; :meth:`run` ends when the ones in hand have."""
        if self._taking is not None:
            self._taking.cancel()

    def abandon(self) -> None:
        """Cancel the jobs in hand once more: handlers in threads are left behind, running on with nobody to hear."""
        for task in self._running.values():
            task.cancel()

    async def _take_jobs(self, group: asyncio.TaskGroup) -> None:
        while True:
            self._room.clear()
            free = self._concurrency - len(self._running)
            if free <= 0:
                await self._room.wait()
                continue
            for job in await self._link.take(free, self.held):
                task = group.create_task(self._work(job))
                self._running[job["id"]] = task
                task.add_done_callback(functools.partial(self._let_go, job["id"]))

    def _let_go(self, job_id: str, _: asyncio.Task[None]) -> None:
        self._running.pop(job_id, None)
        self._room.set()

    async def _work(self, job: dict[str, Any]) -> None:
        job_id = job["id"]

        async def emit(text: str) -> None:
            await self._link.stream(job_id, text)

        await self._link.done(job_id, await run_job(self._options, job, emit))

    async def _obey_stops(self) -> None:
        stopped: set[asyncio.Task[None]] = set()
        while True:
            for job_id in await self._link.stops(self.held):
                task = self._running.get(job_id)
                if task is not None and task not in stopped:  # signals repeat, and a second cancellation abandons
                    stopped = {other for other in stopped if not other.done()} | {task}
                    task.cancel()
