"""Jobs in memory, from the queue to their end: handlers, limits, webhooks, and a closing that leaves nothing."""

import asyncio
from datetime import timedelta

import pytest

from exatlas.clock import ManualClock
from exatlas.errors import JobCancelledError, JobFailedError, JobTimedOutError, NotFoundError
from exatlas.providers.memory import jobs
from exatlas.providers.memory.jobs import Endpoints
from exatlas.records.job import JobPolicy, JobRef, JobRequest, JobStatus

HOOK = "https://hook.example/s3cr3t"


async def settle(rounds=30):
    for _ in range(rounds):
        await asyncio.sleep(0)


class Shop:
    """Endpoints with one handler, and the means to look inside."""

    def __init__(self, handler, *, workers=None, clock=None):
        self.clock = clock or ManualClock()
        self.endpoints = Endpoints("memory", {"e": handler}, workers)

    def submit(self, *, account="a", **fields):
        return self.endpoints.submit(JobRequest(**{"endpoint": "e", "input": {"n": 2}, **fields}), account, self.clock)

    async def ended(self, run):
        await asyncio.wait_for(run.settled(), 5)
        await settle()
        return run.record()


@pytest.fixture
async def shop():
    made = []

    def make(handler, **options):
        made.append(Shop(handler, **options))
        return made[-1]

    yield make
    for one in made:
        await one.endpoints.aclose()
    assert asyncio.all_tasks() == {asyncio.current_task()}


def count(job):
    yield from range(job["input"]["n"])


async def forever(job):
    await asyncio.Event().wait()


class Deaf:
    """A handler that takes no notice of the first cancellation."""

    def __init__(self):
        self.let_go = asyncio.Event()
        self.heard = False

    async def __call__(self, job):
        try:
            await self.let_go.wait()
        except asyncio.CancelledError:
            self.heard = True
            await self.let_go.wait()
        return "late"


async def test_a_job_goes_through_the_queue_to_its_end(shop):
    one = shop(count)
    run = one.submit()
    queued = run.record()
    assert (queued.status, queued.worker_id, queued.delay_time) == (JobStatus.IN_QUEUE, None, None)
    assert (queued.id, queued.provider, queued.endpoint) == ("job-000001", "memory", "e")
    assert queued.created_at == one.clock.now()
    job = await one.ended(run)
    assert (job.status, job.output, job.error, job.worker_id) == (
        JobStatus.COMPLETED, [0, 1], None, "worker-job-000001",
    )  # fmt: skip
    assert [chunk.index for chunk in run.chunks] == [0, 1]
    assert run.error() is None


async def test_the_times_are_the_clocks(shop):
    clock = ManualClock()

    async def slow(job):
        await clock.sleep(5)

    one = shop(slow, workers=1, clock=clock)
    first, second = one.submit(), one.submit()
    await settle()
    assert (first.status, second.status) == (JobStatus.IN_PROGRESS, JobStatus.IN_QUEUE)
    clock.advance(5)
    await settle()
    clock.advance(5)
    job = await one.ended(second)
    assert (job.delay_time, job.execution_time) == (timedelta(seconds=5), timedelta(seconds=5))


async def test_a_failing_handler_is_told_with_type_and_traceback(shop):
    def boom(job):
        raise ValueError("bad input")

    one = shop(boom)
    run = one.submit()
    job = await one.ended(run)
    assert job.status is JobStatus.FAILED
    assert (job.error.type, job.error.message) == ("ValueError", "bad input")
    assert "in boom" in job.error.traceback
    error = run.error()
    assert isinstance(error, JobFailedError)
    assert error.job == job
    assert str(error) == "memory stream_job: job job-000001 ended as failed: bad input"


async def test_an_error_without_words_is_told_by_its_name(shop):
    def boom(job):
        raise KeyError

    one = shop(boom)
    assert (await one.ended(one.submit())).error.message == "KeyError"


@pytest.mark.parametrize("output", [{"error": "no"}, {"error": {"code": 5}, "more": 1}])
async def test_an_error_that_is_returned_is_a_failure_as_on_runpod(shop, output):
    one = shop(lambda job: output)
    job = await one.ended(one.submit())
    assert (job.status, job.error.raw, job.error.message) == (
        JobStatus.FAILED, output["error"], str(output["error"]),
    )  # fmt: skip


@pytest.mark.parametrize("output", [{"error": None}, {"error": ""}, {"ok": 1}, [{"error": "no"}], None, 0])
async def test_other_output_is_none(shop, output):
    one = shop(lambda job: output)
    job = await one.ended(one.submit())
    assert (job.status, job.output) == (JobStatus.COMPLETED, output)


async def test_output_that_is_not_json_fails_the_job(shop):
    one = shop(lambda job: object())
    assert (await one.ended(one.submit())).error.type == "TypeError"


async def test_a_handler_cannot_change_what_was_submitted(shop):
    def spoil(job):
        job["input"]["n"] = 99

    one = shop(spoil)
    run = one.submit()
    await one.ended(run)
    assert run.request.input == {"n": 2}


async def test_cancelling_settles_at_once_and_tells_the_handler(shop):
    stopped = []

    async def careful(job):
        try:
            await asyncio.Event().wait()
        finally:
            stopped.append(True)

    one = shop(careful)
    run = one.submit()
    await settle()
    one.endpoints.cancel(run)
    assert run.status is JobStatus.CANCELLED
    await settle()
    assert stopped == [True]
    assert isinstance(run.error(), JobCancelledError)
    one.endpoints.cancel(run)
    assert run.task.done()


async def test_cancelling_in_the_queue_never_runs_it(shop):
    ran = []
    one = shop(ran.append, workers=1)
    blocked = one.submit()
    one.endpoints.cancel(blocked)
    await settle()
    assert (ran, blocked.record().execution_time) == ([], None)
    await one.ended(one.submit())
    assert len(ran) == 1


async def test_cancelling_a_finished_job_changes_nothing(shop):
    one = shop(count)
    run = one.submit()
    await one.ended(run)
    one.endpoints.cancel(run)
    assert run.status is JobStatus.COMPLETED


async def test_what_a_deaf_handler_yields_after_the_end_is_lost(shop):
    go = asyncio.Event()

    async def deaf(job):
        yield "before"
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await go.wait()
        yield "after"

    one = shop(deaf)
    run = one.submit()
    await settle()
    one.endpoints.cancel(run)
    await settle()
    go.set()
    await asyncio.wait([run.task])
    assert (run.status, [chunk.output for chunk in run.chunks]) == (JobStatus.CANCELLED, ["before"])
    assert run.record().output is None


async def test_the_execution_timeout_ends_a_job(shop):
    one = shop(forever)
    run = one.submit(policy=JobPolicy(execution_timeout=5))
    await settle()
    one.clock.advance(4.9)
    await settle()
    assert run.status is JobStatus.IN_PROGRESS
    one.clock.advance(0.2)
    job = await one.ended(run)
    assert job.status is JobStatus.TIMED_OUT
    assert isinstance(run.error(), JobTimedOutError)
    assert isinstance(run.error(), TimeoutError)


async def test_a_handler_that_ignores_its_timeout_does_not_complete_late(shop):
    deaf = Deaf()
    one = shop(deaf)
    run = one.submit(policy=JobPolicy(execution_timeout=5))
    await settle()
    one.clock.advance(6)
    await settle()
    assert deaf.heard
    assert run.status is JobStatus.TIMED_OUT
    deaf.let_go.set()
    job = await one.ended(run)
    assert (job.status, job.output) == (JobStatus.TIMED_OUT, None)


async def test_nor_does_one_that_raises_something_else_instead(shop):
    async def stubborn(job):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ValueError("no") from None

    one = shop(stubborn)
    run = one.submit(policy=JobPolicy(execution_timeout=5))
    await settle()
    one.clock.advance(6)
    assert (await one.ended(run)).status is JobStatus.TIMED_OUT


async def test_a_timeout_of_the_handlers_own_is_a_failure(shop):
    async def own(job):
        raise TimeoutError("the model server")

    one = shop(own)
    job = await one.ended(one.submit(policy=JobPolicy(execution_timeout=5)))
    assert (job.status, job.error.message) == (JobStatus.FAILED, "the model server")


@pytest.mark.parametrize("workers", [None, 1])
async def test_a_job_is_deleted_when_its_time_to_live_is_over(shop, workers):
    one = shop(forever, workers=workers)
    first, run = one.submit(), one.submit(policy=JobPolicy(ttl=5), webhook=HOOK)
    await settle()
    assert run.status is (JobStatus.IN_QUEUE if workers else JobStatus.IN_PROGRESS)
    ref = JobRef(id=run.id, endpoint="e")
    assert one.endpoints.get(ref, "a") is run
    one.clock.advance(5)
    await one.ended(run)
    with pytest.raises(NotFoundError, match="time to live is over"):
        one.endpoints.get(ref, "a")
    assert run.task.done()
    assert not first.task.done()
    assert one.endpoints.deliveries == []


async def test_a_handler_that_ignores_the_end_of_its_time_does_not_complete(shop):
    deaf = Deaf()
    one = shop(deaf)
    run = one.submit(policy=JobPolicy(ttl=5), webhook=HOOK)
    await settle()
    one.clock.advance(6)
    await settle()
    assert run.expired
    deaf.let_go.set()
    await settle()
    assert run.record().output is None
    assert one.endpoints.deliveries == []


async def test_a_finished_job_outlives_its_ttl_until_nobody_asks(shop):
    one = shop(count)
    run = one.submit(policy=JobPolicy(ttl=5))
    await one.ended(run)
    one.clock.advance(100)
    await settle()
    assert one.endpoints.get(JobRef(id=run.id, endpoint="e"), "a").status is JobStatus.COMPLETED


@pytest.mark.parametrize(
    ("handler", "status"),
    [(count, JobStatus.COMPLETED), (lambda job: 1 / 0, JobStatus.FAILED), (forever, JobStatus.CANCELLED)],
)
async def test_a_webhook_is_called_once_at_the_end(shop, handler, status):
    one = shop(handler)
    run = one.submit(webhook=HOOK)
    await settle()
    one.endpoints.cancel(run)
    job = await one.ended(run)
    (delivery,) = one.endpoints.deliveries
    assert (delivery.url, delivery.job, job.status) == (HOOK, job, status)
    assert "s3cr3t" not in repr(delivery)


async def test_as_many_run_at_once_as_there_are_workers(shop):
    running = 0
    most = 0
    go = asyncio.Event()

    async def busy(job):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await go.wait()
        running -= 1

    one = shop(busy, workers=2)
    runs = [one.submit() for _ in range(5)]
    await settle()
    assert (running, most) == (2, 2)
    go.set()
    for run in runs:
        assert (await one.ended(run)).status is JobStatus.COMPLETED
    assert most == 2


async def test_an_endpoint_that_does_not_exist_is_told_what_there_is(shop):
    with pytest.raises(NotFoundError, match="no endpoint 'x'; there are e"):
        shop(count).submit(endpoint="x")


async def test_jobs_belong_to_their_endpoint_and_account(shop):
    one = shop(count)
    one.endpoints.handlers["f"] = count
    run = one.submit()
    for ref, account in [
        (JobRef(id=run.id, endpoint="f"), "a"),
        (JobRef(id=run.id, endpoint="e"), "b"),
        (JobRef(id="job-9", endpoint="e"), "a"),
    ]:
        with pytest.raises(NotFoundError):
            one.endpoints.get(ref, account)


async def test_closing_ends_what_runs_and_waits_for_it(shop):
    steps = []

    async def tidy(job):
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            steps.append("tidied")

    one = shop(tidy, workers=1)
    running, queued = one.submit(), one.submit()
    await settle()
    await one.endpoints.aclose()
    assert steps == ["tidied"]
    assert [run.status for run in (running, queued)] == [JobStatus.CANCELLED] * 2
    assert running.task.done()
    assert queued.task.done()
    await one.endpoints.aclose()


async def test_closing_tells_of_a_handler_that_does_not_give_in(shop, monkeypatch, caplog):
    monkeypatch.setattr(jobs, "CLOSE_PATIENCE_S", 0.01)
    deaf = Deaf()
    one = shop(deaf)
    one.submit()
    await settle()
    await one.endpoints.aclose()
    assert "exatlas memory job-000001 does not give in to cancellation" in caplog.text
    deaf.let_go.set()
    await settle()
