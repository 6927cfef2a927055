"""The serverless half of the in-memory cloud: a queue per endpoint, a task per job, and every chunk kept."""

import asyncio
import logging
import traceback
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from attrs import define, field, frozen

from exatlas.errors import JobCancelledError, JobError, JobFailedError, JobTimedOutError, NotFoundError
from exatlas.protocols import Clock
from exatlas.providers.memory import handlers
from exatlas.providers.memory.handlers import Handler
from exatlas.providers.memory.news import News
from exatlas.records.job import Job, JobChunk, JobFault, JobRef, JobRequest, JobStatus

CLOSE_PATIENCE_S = 5.0
"""How long closing waits for handlers that do not give in to cancellation."""

_ERRORS: Mapping[JobStatus, type[JobError]] = {
    JobStatus.FAILED: JobFailedError,
    JobStatus.CANCELLED: JobCancelledError,
    JobStatus.TIMED_OUT: JobTimedOutError,
}

_log = logging.getLogger("exatlas.providers.memory")


@frozen(kw_only=True)
class WebhookDelivery:
    """A webhook that a real cloud would have called."""

    url: str = field(repr=False)
    job: Job


@define(kw_only=True, eq=False)
class JobRun:
    """One job: what became of it so far, and who waits for news of it."""

    id: str
    provider: str
    account: str
    request: JobRequest
    clock: Clock
    submitted_at: datetime
    status: JobStatus = JobStatus.IN_QUEUE
    started_at: datetime | None = None
    ended_at: datetime | None = None
    output: Any = None
    fault: JobFault | None = None
    expired: bool = False
    """Whether its time to live is over: it is deleted, and whoever asks for it is told that it does not exist."""
    chunks: list[JobChunk] = field(factory=list)
    task: asyncio.Task[None] | None = None
    news: News = field(factory=News)

    def record(self) -> Job:
        """The job as callers see it."""
        return Job(
            id=self.id,
            provider=self.provider,
            endpoint=self.request.endpoint,
            status=self.status,
            output=self.output,
            error=self.fault,
            execution_time=_span(self.started_at, self.ended_at),
            delay_time=_span(self.submitted_at, self.started_at),
            worker_id=None if self.started_at is None else f"worker-{self.id}",
            created_at=self.submitted_at,
        )

    def begin(self) -> None:
        """A worker takes it."""
        self.status, self.started_at = JobStatus.IN_PROGRESS, self.clock.now()
        self.news.ring()

    def emit(self, output: Any) -> None:
        """Keep a chunk and tell the readers. What a handler still yields after the job's end is lost."""
        if not self.status.is_terminal:
            self.chunks.append(JobChunk(index=len(self.chunks), output=output, received_at=self.clock.now()))
            self.news.ring()

    def end(self, status: JobStatus, *, output: Any = None, fault: JobFault | None = None) -> bool:
        """Settle it. The first end counts; later ones say False."""
        if self.status.is_terminal:
            return False
        self.status, self.output, self.fault, self.ended_at = status, output, fault, self.clock.now()
        self.news.ring()
        return True

    def expire(self) -> None:
        """Delete it."""
        self.expired = True
        self.news.ring()

    async def settled(self) -> None:
        """Wait for its end. Safe to cancel."""
        while not (self.status.is_terminal or self.expired):
            await self.news.wait()

    def error(self) -> JobError | None:
        """What a reader of the stream is told at the end, or None for a completed job."""
        cls = _ERRORS.get(self.status)
        if cls is None:
            return None
        why = f": {self.fault.message}" if self.fault else ""
        return cls(
            f"job {self.id} ended as {self.status}{why}",
            job=self.record(),
            provider=self.provider,
            operation="stream_job",
        )


class Endpoints:
    """Every endpoint with its handler, and every job submitted to one."""

    def __init__(self, provider: str, handler_of: Mapping[str, Handler], workers: int | None) -> None:
        self.handlers = dict(handler_of)
        self.deliveries: list[WebhookDelivery] = []
        self._provider = provider
        self._workers = workers
        self._slots: dict[str, asyncio.Semaphore] = {}
        self._runs: dict[JobRef, JobRun] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def submit(self, request: JobRequest, account: str, clock: Clock) -> JobRun:
        """Queue a job."""
        if request.endpoint not in self.handlers:
            raise NotFoundError(
                f"there is no endpoint {request.endpoint!r}; there are {', '.join(sorted(self.handlers)) or 'none'}"
            )
        run = JobRun(
            id=f"job-{len(self._runs) + 1:06d}",
            provider=self._provider,
            account=account,
            request=request,
            clock=clock,
            submitted_at=clock.now(),
        )
        self._runs[JobRef(id=run.id, endpoint=request.endpoint)] = run
        run.task = asyncio.create_task(self._live(run), name=f"exatlas memory {run.id}")
        self._tasks.add(run.task)
        run.task.add_done_callback(self._tasks.discard)
        return run

    def get(self, ref: JobRef, account: str) -> JobRun:
        """A job of that account that is not deleted."""
        run = self._runs.get(ref)
        if run is None or run.account != account or run.expired:
            raise NotFoundError(
                f"endpoint {ref.endpoint!r} has no job {ref.id!r}: wrong id, wrong account, or its time to live is over"
            )
        return run

    def cancel(self, run: JobRun) -> None:
        """Settle the job as cancelled, and let its handler know by cancelling it."""
        if self._end(run, JobStatus.CANCELLED) and run.task is not None:
            run.task.cancel()

    async def aclose(self) -> None:
        """Cancel everything that still runs and wait for it."""
        tasks = set(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            _, deaf = await asyncio.wait(tasks, timeout=CLOSE_PATIENCE_S)
            for task in deaf:
                _log.error("%s does not give in to cancellation", task.get_name())

    async def _live(self, run: JobRun) -> None:
        """One job from queue to end."""
        policy = run.request.policy
        slot = self._slots.setdefault(run.request.endpoint, asyncio.Semaphore(self._workers or 1_000_000))
        limits = [asyncio.create_task(_cut(run, policy.ttl, run.expire))]
        try:
            async with slot:
                run.begin()
                limits.append(
                    asyncio.create_task(
                        _cut(run, policy.execution_timeout, lambda: self._end(run, JobStatus.TIMED_OUT))
                    )
                )
                await self._work(run)
        finally:
            for limit in limits:
                limit.cancel()
            self._end(run, JobStatus.CANCELLED)

    async def _work(self, run: JobRun) -> None:
        job = {"id": run.id, "input": handlers.as_json(run.request.input)}
        try:
            output = await handlers.run(self.handlers[run.request.endpoint], job, run.emit)
        except Exception as error:  # noqa: BLE001 - the handler is the user's, and its failure is the job's result
            self._end(run, JobStatus.FAILED, fault=_fault(error))
            return
        reported = output.get("error") if isinstance(output, dict) else None
        if reported:
            self._end(run, JobStatus.FAILED, fault=JobFault(message=str(reported), raw=reported))
        else:
            self._end(run, JobStatus.COMPLETED, output=output)

    def _end(self, run: JobRun, status: JobStatus, *, output: Any = None, fault: JobFault | None = None) -> bool:
        ended = not run.expired and run.end(status, output=output, fault=fault)
        if ended and run.request.webhook:
            self.deliveries.append(WebhookDelivery(url=run.request.webhook, job=run.record()))
        return ended


def _fault(error: Exception) -> JobFault:
    return JobFault(
        message=str(error) or type(error).__name__,
        type=type(error).__name__,
        traceback="".join(traceback.format_exception(error)),
    )


async def _cut(run: JobRun, limit: timedelta | None, settle: Callable[[], object]) -> None:
    """Settle the job when its time is over, and let its handler know. One that does not listen changes nothing."""
    if limit is None:
        return
    await run.clock.sleep(limit.total_seconds())
    settle()
    if run.task is not None:
        run.task.cancel()


def _span(since: datetime | None, until: datetime | None) -> timedelta | None:
    return None if since is None or until is None else until - since
