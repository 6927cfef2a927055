"""Jobs: submit once, read, wait, cancel, stream, retry; and the endpoint they run on."""

from collections.abc import AsyncGenerator
from datetime import timedelta
from functools import lru_cache

from attrs import frozen

from exatlas.errors import (
    AtlasError,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    OutcomeUnknownError,
    ProviderBrokenError,
    RateLimitedError,
    TransportError,
)
from exatlas.launch import may_have_acted
from exatlas.messages import HttpCall, HttpReply
from exatlas.protocols import Context
from exatlas.providers.runpod import normalize, rules, translate
from exatlas.providers.runpod.exchange import ask, take
from exatlas.providers.runpod.limits import budget
from exatlas.records.job import Job, JobChunk, JobRef, JobRequest, JobStatus
from exatlas.streaming.pages import PollPage, PollSource
from exatlas.streaming.polled import stream_polled
from exatlas.transport.shape import body_of

FIRST_PAUSE_S = 0.5
PAUSE_GROWTH = 1.5
LONGEST_PAUSE_S = 5.0
"""Results of `/runsync` can be read for one minute, so this stays far below it."""
MOST_FAILURES = 10
"""Failed looks in a row, each already retried, that waiting for a job survives."""


async def run(request: JobRequest, ctx: Context) -> Job:
    """Submit once. In `sync` mode the reply is held, and past the hold the job is polled until it or the time ends."""
    rules.check_job(request, ctx.provider)
    body = translate.job_body(request, ctx)
    rules.check_submit_size(body, request.mode, ctx.provider)
    if request.mode == "async":
        return await _submit(translate.run(request, body, ctx), "runs", request, ctx)
    started = ctx.clock.monotonic()
    job = await _submit(translate.runsync(request, body, ctx), "sync runs", request, ctx)
    return await _wait(job, _deadline(started, request.timeout), ctx)


async def _submit(call: HttpCall, kind: str, request: JobRequest, ctx: Context) -> Job:
    submitted = ctx.clock.now()

    def read(reply: HttpReply) -> Job:
        return normalize.job(body_of(reply), request.endpoint, ctx.provider, at=submitted)

    try:
        return await ask(ctx, call, read, budget=budget(ctx, request.endpoint, kind))
    except AtlasError as error:
        if not may_have_acted(error):
            raise
        raise OutcomeUnknownError(
            f"a job may have been queued on endpoint {request.endpoint}: the submit ended in {type(error).__name__} "
            f"({error.message}), and RunPod has no way to look a job up without its id",
            provider=ctx.provider,
            operation="run_job",
            status=error.status,
            request_id=error.request_id,
        ) from error


def _deadline(started: float, timeout: timedelta | None) -> float | None:
    return None if timeout is None else started + timeout.total_seconds()


async def _wait(job: Job, deadline: float | None, ctx: Context) -> Job:
    """Look until the job has ended or the deadline passes; give it as it then is.

    The job is submitted by now, so passing trouble is sat out, and an error that ends the wait names the job.
    """
    pause_s, failures = FIRST_PAUSE_S, 0
    while not job.status.is_terminal:
        left_s = None if deadline is None else deadline - ctx.clock.monotonic()
        if left_s is not None and left_s <= 0:
            return job
        await ctx.clock.sleep(pause_s if left_s is None else min(pause_s, left_s))
        pause_s = min(pause_s * PAUSE_GROWTH, LONGEST_PAUSE_S)
        try:
            job = await _look(job, ctx)
            failures = 0
        except (TransportError, ProviderBrokenError, RateLimitedError) as error:
            failures += 1
            if failures == MOST_FAILURES:
                _name(job, error)
                raise
        except AtlasError as error:
            _name(job, error)
            raise
    return job


def _name(job: Job, error: AtlasError) -> None:
    error.extend(f"job {job.id} was submitted to endpoint {job.endpoint} and can be read with get_job")


async def _look(job: Job, ctx: Context) -> Job:
    return await _read(JobRef(id=job.id, endpoint=job.endpoint), ctx, "run_job", job)


async def get(job: JobRef, ctx: Context) -> Job:
    """Read one job."""
    return await _read(job, ctx, "get_job")


async def _read(ref: JobRef, ctx: Context, operation: str, known: Job | None = None) -> Job:
    def read(reply: HttpReply) -> Job:
        at = known.created_at if known else None
        return normalize.job(body_of(reply), ref.endpoint, ctx.provider, job_id=ref.id, at=at)

    try:
        call = translate.status(ref, ctx, operation)
        return await ask(ctx, call, read, budget=budget(ctx, ref.endpoint, "reads"))
    except NotFoundError as error:
        _explain(error, ref)
        raise


def _explain(error: NotFoundError, ref: JobRef) -> None:
    error.extend(
        f"job {ref.id} is not on endpoint {ref.endpoint}: it outlived its ttl, its result was past retention (30 "
        "minutes, one for sync jobs), it was purged, or the id belongs to another endpoint",
    )


async def cancel(job: JobRef, ctx: Context) -> None:
    """Stop a queued or running job. What RunPod answers for a finished job is undocumented, so the job is asked."""
    try:
        await ask(ctx, translate.cancel(job, ctx), lambda _: None, budget=budget(ctx, job.endpoint, "cancels"))
    except (NotFoundError, InvalidRequestError, ConflictError) as error:
        found = await _read(job, ctx, "cancel_job")
        if not found.status.is_terminal:
            error.extend(f"job {job.id} is {found.status.value}")
            raise


def stream(job: JobRef, ctx: Context) -> AsyncGenerator[JobChunk, None]:
    """Yield the job's chunks as they come. Each is handed out once by RunPod; see `exatlas.streaming`."""
    return stream_polled(_source(job, ctx), ctx)


def _source(job: JobRef, ctx: Context) -> PollSource:
    @lru_cache(maxsize=2)
    def poll_call(hold_s: float, last_event_id: str | None) -> HttpCall:
        """Polls of one stream are alike, and building one costs as much as a third of sending it."""
        return translate.stream_poll(job, hold_s, last_event_id, ctx)

    facts = poll_call(0.0, None)

    def read_page(reply: HttpReply) -> PollPage:
        try:
            return take(ctx, facts, reply, normalize.stream_page)
        except NotFoundError as error:
            _explain(error, job)
            raise

    async def fetch_job() -> Job:
        return await _read(job, ctx, "stream_job")

    return PollSource(
        job=job,
        poll_call=poll_call,
        read_page=read_page,
        read_events=normalize.stream_events,
        fetch_job=fetch_job,
        budget=budget(ctx, job.endpoint, "reads"),
    )


async def retry(job: JobRef | Job, ctx: Context) -> Job:
    """Queue a failed or timed-out job again: same id, same input, old output removed.

    Raises:
        InvalidRequestError, ConflictError: the job is in no state to be retried.
        NotFoundError: the job is past its retention.
        OutcomeUnknownError: the answer was lost, and the job still shows its old end.
    """
    ref = JobRef(id=job.id, endpoint=job.endpoint)
    call = translate.retry(ref, ctx)
    try:
        return await ask(ctx, call, lambda reply: _retried(reply, ref, ctx))
    except NotFoundError as error:
        _explain(error, ref)
        raise
    except AtlasError as error:
        if not may_have_acted(error):
            raise
        found = await _read(ref, ctx, "retry_job")
        if found.status not in {JobStatus.FAILED, JobStatus.TIMED_OUT}:
            return found
        raise OutcomeUnknownError(
            f"job {ref.id} may have been queued again: the retry ended in {type(error).__name__}, and the job shows "
            f"{found.status.value}, which may be its old end or a new one",
            provider=ctx.provider,
            operation="retry_job",
            status=error.status,
        ) from error


def _retried(reply: HttpReply, ref: JobRef, ctx: Context) -> Job:
    return normalize.job(body_of(reply), ref.endpoint, ctx.provider, job_id=ref.id)


@frozen(kw_only=True)
class EndpointHealth:
    """An endpoint's own count of its jobs and workers; None where it did not say. The worker list may differ."""

    completed: int | None
    failed: int | None
    in_progress: int | None
    in_queue: int | None
    retried: int | None
    idle: int | None
    """Workers, from here on."""
    initializing: int | None
    ready: int | None
    running: int | None
    throttled: int | None
    unhealthy: int | None
    """Workers that crash when they start; a queue that does not move is often due to these."""


async def health(endpoint: str, ctx: Context) -> EndpointHealth:
    """Count an endpoint's jobs and workers. Works for load-balancer endpoints too."""
    return await ask(ctx, translate.health(endpoint, ctx), _health)


def _health(reply: HttpReply) -> EndpointHealth:
    body = body_of(reply)
    jobs, workers = body.object("jobs"), body.object("workers")
    return EndpointHealth(
        completed=jobs.whole("completed") if jobs else None,
        failed=jobs.whole("failed") if jobs else None,
        in_progress=jobs.whole("inProgress") if jobs else None,
        in_queue=jobs.whole("inQueue") if jobs else None,
        retried=jobs.whole("retried") if jobs else None,
        idle=workers.whole("idle") if workers else None,
        initializing=workers.whole("initializing") if workers else None,
        ready=workers.whole("ready") if workers else None,
        running=workers.whole("running") if workers else None,
        throttled=workers.whole("throttled") if workers else None,
        unhealthy=workers.whole("unhealthy") if workers else None,
    )


async def purge(endpoint: str, ctx: Context) -> int | None:
    """Drop every queued job of an endpoint and give their number; running jobs go on. Two calls in 10 s at most."""
    call = translate.purge(endpoint, ctx)
    return await ask(ctx, call, lambda reply: body_of(reply).whole("removed"), budget=budget(ctx, endpoint, "purges"))
