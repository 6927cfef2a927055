"""Jobs against the fake's queue."""

import asyncio
from datetime import timedelta

import orjson
import pytest
from attrs import evolve

from exatlas.errors import (
    InvalidRequestError,
    JobCancelledError,
    JobFailedError,
    JobTimedOutError,
    NotFoundError,
    OutcomeUnknownError,
    ProviderBrokenError,
    RateLimitedError,
    ReplyShapeError,
    TransportError,
    UnauthorizedError,
    ValidationError,
)
from exatlas.messages import HttpReply
from exatlas.providers.runpod import jobs
from exatlas.providers.runpod.fake import Fault, script
from exatlas.providers.runpod.submission import Rules
from exatlas.records.job import Job, JobRef, JobRequest, JobStatus
from exatlas.records.serial import unstructure
from exatlas.transport.inprocess import InProcessTransport

EP = "ep1"


def request(**fields):
    return JobRequest(**{"endpoint": EP, "input": {"n": 3}, **fields})


def echo(job):
    return {"echo": job["input"]}


def boom(job):
    raise ValueError("boom")


def ref(job: Job) -> JobRef:
    return JobRef(id=job.id, endpoint=job.endpoint)


async def chunks(job, ctx):
    return [chunk.output async for chunk in jobs.stream(ref(job), ctx)]


# --- submitting ---


async def test_a_job_is_queued_and_runs_to_its_end(fake, ctx, clock):
    fake.endpoint(EP, echo, start_s=2, step_s=3)
    job = await jobs.run(request(), ctx)
    assert (job.status, job.endpoint, job.provider, job.created_at) == (JobStatus.IN_QUEUE, EP, "runpod", clock.now())
    clock.advance(2)
    assert (await jobs.get(ref(job), ctx)).status is JobStatus.IN_PROGRESS
    clock.advance(3)
    done = await jobs.get(ref(job), ctx)
    assert (done.status, done.output) == (JobStatus.COMPLETED, {"echo": {"n": 3}})
    assert (done.delay_time, done.execution_time) == (timedelta(seconds=2), timedelta(seconds=3))
    assert done.worker_id == "worker0"


async def test_a_failing_handler_is_told_with_type_and_traceback(fake, ctx):
    fake.endpoint(EP, boom)
    job = await jobs.get(ref(await jobs.run(request(), ctx)), ctx)
    assert job.status is JobStatus.FAILED
    assert (job.error.type, job.error.message) == ("ValueError", "boom")
    assert "Traceback" in job.error.traceback
    assert orjson.loads(job.error.raw)["runpod_version"] == "1.12.0"


LOST = [
    Fault.DROP_AFTER,
    Fault.STALL_AFTER,
    Fault.ERROR_AFTER,
    Fault.GARBAGE_AFTER,
    Fault.TRUNCATED_AFTER,
    Fault.WRONG_TYPES_AFTER,
    Fault.DROP_BEFORE,
    Fault.ERROR_BEFORE,
]


@pytest.mark.parametrize("fault", LOST)
@pytest.mark.parametrize(("mode", "path"), [("async", "/run"), ("sync", "/runsync")])
async def test_a_submit_whose_answer_is_lost_is_never_sent_again(fake, ctx, fault, mode, path):
    endpoint = fake.endpoint(EP, echo)
    fake.fail(fault, "POST", path)
    with pytest.raises(OutcomeUnknownError) as caught:
        await jobs.run(request(mode=mode), ctx)
    error = caught.value
    assert (error.launch_id, error.operation, error.provider) == (None, "run_job", "runpod")
    assert error.__cause__ is not None
    assert fake.calls == [("POST", f"/{EP}{path}")]
    acted = fault not in {Fault.DROP_BEFORE, Fault.ERROR_BEFORE}
    assert endpoint.queue.health(now=0.0)["jobs"]["completed"] == acted


@pytest.mark.parametrize(("mode", "path"), [("async", "/run"), ("sync", "/runsync")])
async def test_a_submit_is_repeated_after_a_clear_no(fake, ctx, mode, path):
    endpoint = fake.endpoint(EP, echo)
    fake.fail(Fault.LIMITED, "POST", path, times=2)
    await jobs.run(request(mode=mode), ctx)
    assert endpoint.queue.health(now=0.0)["jobs"]["completed"] == 1


async def test_a_submit_that_never_left_is_no_unknown_outcome(ctx):
    async def refuse(_call):
        raise TransportError("no connection", delivered=False)

    with pytest.raises(TransportError):
        await jobs.run(request(), evolve(ctx, transport=InProcessTransport(refuse)))


@pytest.mark.parametrize(("mode", "most"), [("async", 10), ("sync", 20)])
async def test_a_payload_over_the_limit_is_refused_before_it_is_sent(fake, ctx, mode, most):
    fake.endpoint(EP, echo)
    with pytest.raises(ValidationError, match=f"at most {most} MB"):
        await jobs.run(request(mode=mode, input={"x": "y" * most * 1024**2}), ctx)
    assert fake.calls == []


async def test_what_runpod_would_refuse_is_refused_before_it_is_sent(fake, ctx):
    with pytest.raises(ValidationError):
        await jobs.run(request(policy={"execution_timeout": 1}), ctx)
    assert fake.calls == []


async def test_errors_do_not_show_webhook_or_storage_keys(fake, ctx):
    hook = "https://app.example/hook?k=hunter22"

    async def tell_tale(call):
        return HttpReply(status=400, body=orjson.dumps({"error": f"bad: {call.body.decode()}"}))

    with pytest.raises(InvalidRequestError) as caught:
        await jobs.run(
            request(webhook=hook, provider_opts={"s3Config": {"accessId": "AKIA7", "accessSecret": "wJalrX"}}),
            evolve(ctx, transport=InProcessTransport(tell_tale)),
        )
    shown = f"{caught.value} {caught.value!r} {caught.value.raw}"
    for secret in ("hunter22", "AKIA7", "wJalrX"):
        assert secret not in shown


async def test_policy_and_webhook_arrive(fake, ctx, clock):
    endpoint = fake.endpoint(EP, script(*range(10)), step_s=10)
    job = await jobs.run(request(policy={"execution_timeout": 25, "ttl": 100}, webhook="https://a.example/h"), ctx)
    clock.advance(26)
    assert (await jobs.get(ref(job), ctx)).status is JobStatus.TIMED_OUT
    assert [(url, body["status"]) for url, body in endpoint.webhooks] == [("https://a.example/h", "TIMED_OUT")]


# --- waiting ---


async def test_sync_gives_the_finished_job(fake, ctx, clock):
    endpoint = fake.endpoint(EP, echo, start_s=20)
    job = await jobs.run(request(mode="sync"), ctx)
    assert (job.status, job.output) == (JobStatus.COMPLETED, {"echo": {"n": 3}})
    assert job.id.startswith("sync-")
    assert endpoint.served == {"runsync": 1}
    assert clock.monotonic() == 20


async def test_sync_polls_on_after_the_hold_and_reads_the_result_in_time(fake, ctx, clock):
    endpoint = fake.endpoint(EP, echo, start_s=1000)
    submitted = clock.now()
    job = await jobs.run(request(mode="sync"), ctx)
    assert job.output == {"echo": {"n": 3}}
    assert job.created_at == submitted
    assert endpoint.served["status"] > 1
    assert 1000 <= clock.monotonic() < 1006, "results of runsync are kept for a minute; ours is read within 5 s"


@pytest.mark.parametrize("timeout", [1, 30, 89, 90, 91, 200])
async def test_sync_gives_the_job_as_it_is_when_the_time_is_up(fake, ctx, clock, timeout):
    fake.endpoint(EP, echo, start_s=10_000)
    job = await jobs.run(request(mode="sync", timeout=timeout), ctx)
    assert job.status is JobStatus.IN_QUEUE
    assert clock.monotonic() == pytest.approx(timeout)


async def test_sync_gives_a_failed_job_and_does_not_raise(fake, ctx):
    fake.endpoint(EP, boom)
    assert (await jobs.run(request(mode="sync"), ctx)).error.message == "boom"


@pytest.mark.parametrize("fault", [Fault.DROP_BEFORE, Fault.DROP_AFTER, Fault.ERROR_BEFORE, Fault.LIMITED])
async def test_waiting_survives_passing_trouble(fake, ctx, fault):
    fake.endpoint(EP, echo, start_s=150)
    fake.fail(fault, "GET", "-u1", times=20)
    assert (await jobs.run(request(mode="sync"), ctx)).status is JobStatus.COMPLETED


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault.DROP_BEFORE, TransportError),
        (Fault.ERROR_BEFORE, ProviderBrokenError),
        (Fault.LIMITED, RateLimitedError),
        (Fault.GARBAGE_AFTER, ReplyShapeError),
    ],
)
async def test_trouble_that_stays_names_the_submitted_job(fake, ctx, fault, error):
    fake.endpoint(EP, echo, start_s=100_000)
    fake.fail(fault, "GET", "-u1", times=10**6)
    with pytest.raises(
        error, match="job sync-00000001-fake-u1 was submitted to endpoint ep1 and can be read with get_job"
    ):
        await jobs.run(request(mode="sync"), ctx)


async def test_a_job_that_expires_while_waited_for_is_explained(fake, ctx):
    fake.endpoint(EP, echo, start_s=100_000)
    with pytest.raises(NotFoundError, match=r"outlived its ttl.*was submitted"):
        await jobs.run(request(mode="sync", policy={"ttl": 120}), ctx)


@pytest.mark.parametrize("steps", range(16))
async def test_cancelling_a_sync_run_anywhere_cancels_it(fake, ctx, steps):
    endpoint = fake.endpoint(EP, echo, start_s=100_000)
    task = asyncio.create_task(jobs.run(request(mode="sync", timeout=300), ctx))
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert endpoint.queue.health(now=0.0)["jobs"]["inQueue"] <= 1
    assert asyncio.all_tasks() == {asyncio.current_task()}


# --- reading and ending ---


async def test_a_job_nobody_knows_is_explained(fake, ctx):
    fake.endpoint(EP, echo)
    for job in (JobRef(id="nope", endpoint=EP), JobRef(id="nope", endpoint="no-endpoint")):
        with pytest.raises(NotFoundError, match=r"ttl.*retention.*purged.*another endpoint"):
            await jobs.get(job, ctx)


async def test_results_are_gone_after_their_retention(fake, ctx, clock):
    fake.endpoint(EP, echo)
    job = await jobs.run(request(), ctx)
    clock.advance(1799)
    assert (await jobs.get(ref(job), ctx)).output
    clock.advance(2)
    with pytest.raises(NotFoundError):
        await jobs.get(ref(job), ctx)


async def test_an_odd_job_id_stays_one_path_segment(fake, ctx):
    fake.endpoint(EP, echo)
    with pytest.raises(NotFoundError):
        await jobs.get(JobRef(id="../../pods?x=1#y", endpoint=EP), ctx)
    assert fake.calls == [("GET", f"/{EP}/status/..%2F..%2Fpods%3Fx%3D1%23y")]


async def test_cancelling_a_queued_a_running_and_a_finished_job(fake, ctx, clock):
    fake.endpoint(EP, script(1, 2, 3), start_s=10, step_s=10)
    running, queued = await jobs.run(request(), ctx), await jobs.run(request(), ctx)
    clock.advance(15)
    for job in (queued, running, running):
        await jobs.cancel(ref(job), ctx)
        assert (await jobs.get(ref(job), ctx)).status is JobStatus.CANCELLED


@pytest.mark.parametrize("status", [400, 404, 405, 409, 422])
@pytest.mark.parametrize(("state", "fine"), [("COMPLETED", True), ("CANCELLED", True), ("IN_PROGRESS", False)])
async def test_a_cancel_that_is_refused_is_fine_if_the_job_is_over(ctx, status, state, fine):
    async def cloud(call):
        if call.method == "POST":
            return HttpReply(status=status, body=b'{"error":"job is not cancellable"}')
        return HttpReply(status=200, body=orjson.dumps({"id": "j", "status": state}))

    changed = evolve(ctx, transport=InProcessTransport(cloud))
    if fine:
        await jobs.cancel(JobRef(id="j", endpoint=EP), changed)
        return
    with pytest.raises(Exception, match="job is not cancellable; job j is in_progress"):
        await jobs.cancel(JobRef(id="j", endpoint=EP), changed)


async def test_cancelling_what_is_not_there_is_not_found(fake, ctx):
    fake.endpoint(EP, echo)
    with pytest.raises(NotFoundError):
        await jobs.cancel(JobRef(id="nope", endpoint=EP), ctx)


@pytest.mark.parametrize("fault", [Fault.DROP_AFTER, Fault.ERROR_AFTER, Fault.DROP_BEFORE, Fault.LIMITED])
async def test_a_cancel_is_repeated(fake, ctx, fault):
    fake.endpoint(EP, echo, start_s=1000)
    job = await jobs.run(request(), ctx)
    fake.fail(fault, "POST", job.id, times=2)
    await jobs.cancel(ref(job), ctx)
    assert (await jobs.get(ref(job), ctx)).status is JobStatus.CANCELLED


# --- streaming ---


async def test_chunks_come_in_order_and_the_stream_ends(fake, ctx):
    fake.endpoint(EP, script("a", "b", "c"), start_s=3, step_s=2)
    job = await jobs.run(request(), ctx)
    assert await chunks(job, ctx) == ["a", "b", "c"]


@pytest.mark.parametrize("settings", [{}, {"takes_wait": False}, {"step_s": 0.14}, {"start_s": 30, "step_s": 20}])
async def test_chunks_come_however_the_server_holds(fake, ctx, settings):
    fake.endpoint(EP, script(*range(20)), **settings)
    assert await chunks(await jobs.run(request(), ctx), ctx) == list(range(20))


async def test_a_plain_handlers_stream_is_empty(fake, ctx):
    fake.endpoint(EP, echo)
    assert await chunks(await jobs.run(request(), ctx), ctx) == []


async def test_a_generator_that_fails_delivers_its_chunks_and_then_the_reason(fake, ctx):
    fake.endpoint(EP, script(1, 2, fails="out of luck"), step_s=1)
    job = await jobs.run(request(), ctx)
    got = []
    with pytest.raises(JobFailedError, match="out of luck") as caught:
        async for chunk in jobs.stream(ref(job), ctx):
            got.append(chunk.output)
    assert got == [1, 2]
    assert caught.value.job.error.type == "RuntimeError"


async def test_a_yielded_error_ends_the_job(fake, ctx):
    fake.endpoint(EP, script(1, {"error": "soft"}, 3), step_s=1)
    got = []
    with pytest.raises(JobFailedError, match="soft"):
        async for chunk in jobs.stream(ref(await jobs.run(request(), ctx)), ctx):
            got.append(chunk.output)
    assert got == [1]


async def test_a_cancelled_and_a_timed_out_job_end_the_stream_with_their_error(fake, ctx):
    fake.endpoint(EP, script(*range(100)), step_s=10)
    slow = await jobs.run(request(policy={"execution_timeout": 15}), ctx)
    with pytest.raises(JobTimedOutError):
        await chunks(slow, ctx)
    cancelled = await jobs.run(request(), ctx)
    await jobs.cancel(ref(cancelled), ctx)
    with pytest.raises(JobCancelledError):
        await chunks(cancelled, ctx)


async def test_a_job_that_expires_in_mid_stream_is_explained(fake, ctx):
    fake.endpoint(EP, script(*range(100)), step_s=10, rules=Rules(execution_timeout_s=1000))
    got = []
    with pytest.raises(NotFoundError, match="outlived its ttl"):
        async for chunk in jobs.stream(ref(await jobs.run(request(policy={"ttl": 35}), ctx)), ctx):
            got.append(chunk.output)
    assert got == [0, 1, 2]


async def test_a_wrong_key_ends_the_stream(fake, ctx):
    fake.endpoint(EP, script(1))
    job = await jobs.run(request(), ctx)
    with pytest.raises(UnauthorizedError):
        await chunks(job, evolve(ctx, api_key="another", account="another"))


@pytest.mark.parametrize("fault", [Fault.GARBAGE_AFTER, Fault.DROP_AFTER, Fault.TRUNCATED_AFTER])
async def test_a_lost_drain_is_healed_or_known(fake, ctx, fault):
    fake.endpoint(EP, script(*range(5)), step_s=3, aggregate=True)
    job = await jobs.run(request(), ctx)
    got = []
    async for chunk in jobs.stream(ref(job), ctx):
        got.append(chunk)
        if len(got) == 2:
            fake.fail(fault, "GET", job.id)
    assert [chunk.output for chunk in got][-1] == 4
    assert [chunk.output for chunk in got] == list(range(5)) or any(chunk.gap for chunk in got)


async def test_polls_of_one_job_never_repeat_by_themselves(fake, ctx):
    fake.endpoint(EP, script(*range(5)), step_s=3)
    job = await jobs.run(request(), ctx)
    fake.fail(Fault.ERROR_AFTER, "GET", job.id)
    got = [chunk async for chunk in jobs.stream(ref(job), ctx)]
    assert [chunk.output for chunk in got][-1] == 4
    assert any(chunk.gap for chunk in got)


async def test_streams_and_status_calls_share_a_budget_below_the_limit(context, fake, clock):
    endpoint = fake.endpoint(EP, script(*range(10)), workers=60, step_s=0.14, limited=True)
    ctx = context(fake)
    made = [await jobs.run(request(), ctx) for _ in range(60)]
    streams = [chunks(job, ctx) for job in made]
    looks = [jobs.get(ref(made[n % 60]), ctx) for n in range(2000)]
    results = await asyncio.gather(*streams, *looks)
    assert results[:60] == [list(range(10))] * 60
    assert endpoint.refused == 0
    assert clock.monotonic() >= 10, "more than 2,000 calls cannot fit into ten seconds"


# --- what only RunPod has ---


async def test_a_failed_job_is_retried_under_its_id(fake, ctx):
    outcomes = iter([ValueError("first"), {"fine": 1}])

    def moody(_job):
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    fake.endpoint(EP, moody)
    job = await jobs.get(ref(await jobs.run(request(), ctx)), ctx)
    assert job.status is JobStatus.FAILED
    again = await jobs.retry(job, ctx)
    assert (again.id, again.status) == (job.id, JobStatus.IN_QUEUE)
    assert (await jobs.get(ref(job), ctx)).output == {"fine": 1}


async def test_only_failed_jobs_can_be_retried(fake, ctx):
    fake.endpoint(EP, echo)
    job = await jobs.run(request(), ctx)
    with pytest.raises(InvalidRequestError):
        await jobs.retry(job, ctx)
    with pytest.raises(NotFoundError, match="retention"):
        await jobs.retry(JobRef(id="nope", endpoint=EP), ctx)


@pytest.mark.parametrize("fault", LOST)
async def test_a_retry_whose_answer_is_lost_is_looked_at_and_not_repeated(fake, ctx, fault):
    calls = []

    def failing(_job):
        calls.append(1)
        raise ValueError("boom")

    fake.endpoint(EP, failing, start_s=5)
    job = await jobs.run(request(mode="sync"), ctx)
    fake.fail(fault, "POST", job.id)
    if fault in {Fault.DROP_BEFORE, Fault.ERROR_BEFORE, Fault.STALL_AFTER}:
        with pytest.raises(OutcomeUnknownError, match="failed, which may be its old end or a new one"):
            await jobs.retry(job, ctx)
    else:
        assert (await jobs.retry(job, ctx)).status is JobStatus.IN_QUEUE
    assert sum(path.endswith(f"retry/{job.id}") for _, path in fake.calls) == 1


def test_health_reads_as_expected(health_sample):
    found = unstructure(jobs._health(health_sample.reply))
    assert {key: found[key] for key in health_sample.expect} == health_sample.expect


async def test_health_and_purge(fake, ctx, clock):
    fake.endpoint(EP, echo, start_s=100)
    for _ in range(3):
        await jobs.run(request(), ctx)
    assert (await jobs.health(EP, ctx)).in_queue == 3
    assert await jobs.purge(EP, ctx) == 3
    assert (await jobs.health(EP, ctx)).in_queue == 0


async def test_purges_keep_to_their_two_in_ten_seconds(fake, ctx, clock):
    endpoint = fake.endpoint(EP, echo, limited=True)
    for _ in range(6):
        await jobs.purge(EP, ctx)
    assert endpoint.refused == 0
    assert clock.monotonic() > 10
