"""A worker without a process of its own: the built-in worker on a direct line to the queue."""

import asyncio
import json
import logging
from typing import Any

from exatlas.local.desk import Desk
from exatlas.local.working import Worker
from exatlas.providers.runpod.queue import Queue
from exatlas.providers.runpod.submission import RefusedError

log = logging.getLogger("exatlas.local")

LAST_CHANCE_S = 1.0
"""How long handlers have after the second cancellation."""


class DirectLink:
    """A :class:`exatlas.local.working.Link` inside the server's own process and loop.

    Everything is copied through JSON text on its way, so that a handler cannot change what the queue holds.
    """

    def __init__(self, desk: Desk, worker: str) -> None:
        self._desk = desk
        self._worker = worker

    async def take(self, limit: int, held: list[str]) -> list[dict[str, Any]]:
        """Wait for work until there is some, or until the desk closes."""
        self._tell(held)
        jobs = await self._desk.next_jobs(self._worker, limit, holding=None)
        copies: list[dict[str, Any]] = json.loads(json.dumps(jobs))
        return copies

    async def stops(self, held: list[str]) -> list[str]:
        """Wait for stop signals."""
        self._tell(held)
        return await self._desk.next_stops(self._worker)

    async def stream(self, job_id: str, text: str) -> None:
        """Post one chunk. One over the payload limit fails the job, since nobody else would hear of it."""
        try:
            self._desk.ask(Queue.post_stream, self._worker, job_id, json.loads(text), size=len(text.encode()))
        except RefusedError as refused:
            self._desk.ask(Queue.post_output, self._worker, job_id, {"error": refused.message})

    async def done(self, job_id: str, text: str) -> None:
        """Post the end."""
        self._desk.ask(Queue.post_output, self._worker, job_id, json.loads(text), size=len(text.encode()))

    def _tell(self, held: list[str]) -> None:
        self._desk.ask(Queue.ping, self._worker, job_ids=held)


async def run_in_process(worker: Worker, grace_s: float) -> None:
    """Run the worker until cancelled; then give its jobs ``grace_s`` to let go, and leave behind those that do not.

    Cancelled again, it leaves them behind at once. Only threads, and handlers that ignore cancellation, can stay.
    """
    running = asyncio.ensure_future(worker.run())
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        running.cancel()
        try:
            await asyncio.wait([running], timeout=grace_s)
        finally:
            worker.abandon()
        await asyncio.wait([running], timeout=LAST_CHANCE_S)
        if not running.done():
            log.warning("handlers of %d jobs do not end; they are left running", len(worker.held))
        raise
