"""What listeners are told of streams and spawns, whichever way they end."""

import asyncio
import logging
from contextlib import aclosing

import pytest

import exatlas
from exatlas.client import watching
from exatlas.fakes.faults import Fault
from exatlas.messages import RequestRecord, SpawnEnd, SpawnRecord, StreamEnd, StreamOpened, StreamRecord
from exatlas.protocols import Listener
from exatlas.providers.memory import MemoryProvider
from exatlas.providers.runpod.fake import FakeRunPod
from exatlas.transport.inprocess import InProcessTransport

SECRET = "do-not-tell-this"


class Ear:
    def __init__(self):
        self.events = []

    def on_event(self, event, /):
        self.events.append(event)

    def of(self, kind):
        return [event for event in self.events if isinstance(event, kind)]


@pytest.fixture
def ear():
    return Ear()


@pytest.fixture
async def heard(cloud, clock, ear):
    """A client over the cloud in memory, listened to."""
    async with exatlas.Atlas(cloud, clock=clock, env={}, hooks=[ear]) as client:
        yield client


@pytest.fixture
def fake(clock):
    return FakeRunPod(clock, api_key=SECRET)


@pytest.fixture
async def runpod(fake, clock, ear):
    """A client over RunPod's fake, listened to."""
    transport = InProcessTransport(fake.handle)
    async with exatlas.Atlas(
        "runpod", credentials={"runpod": SECRET}, transport=transport, clock=clock, env={}, hooks=[ear]
    ) as client:
        yield client


async def ticks(clock, count=3, wait_s=2.0):
    for number in range(count):
        await clock.sleep(wait_s)
        yield f"{SECRET}-{number}"


# Streams


async def test_a_stream_is_told_when_it_opens_and_when_it_has_ended(heard, cloud, clock, ear):
    cloud.serve("ep", lambda _: ticks(clock))
    job = await heard.run_job(endpoint="ep", input={"prompt": SECRET})
    started = clock.monotonic()
    stream = heard.stream_job(job)
    assert ear.events == []
    await anext(stream)
    [opened] = ear.events
    assert (opened.provider, opened.operation, opened.endpoint) == ("memory", "stream_job", "ep")
    async for _ in stream:
        pass
    [_, closed] = ear.events
    assert isinstance(opened, StreamOpened)
    assert isinstance(closed, StreamRecord)
    assert (closed.provider, closed.operation, closed.endpoint) == ("memory", "stream_job", "ep")
    assert (closed.end, closed.chunks, closed.gaps, closed.error, closed.kind) == ("completed", 3, 0, None, None)
    assert closed.serial == opened.serial
    assert closed.duration_s == clock.monotonic() - started
    assert closed.first_chunk_s == pytest.approx(2.0)
    assert closed.ended_at == clock.now()
    assert SECRET not in repr(ear.events)
    assert job.id not in repr(ear.events)


async def test_streams_have_serials_of_their_own(heard, ear):
    job = await heard.run_job(endpoint="echo", input={"n": 1})
    for _ in range(2):
        assert [chunk async for chunk in heard.stream_job(job)]
    first, second = ear.of(StreamOpened)
    assert first.serial != second.serial


async def test_a_stream_of_a_failed_job_has_failed(heard, cloud, ear):
    async def fail(_job):
        yield 1
        raise RuntimeError(SECRET)

    cloud.serve("ep", fail)
    job = await heard.run_job(endpoint="ep", input={"n": 1})
    with pytest.raises(exatlas.JobFailedError):
        _ = [chunk async for chunk in heard.stream_job(job)]
    [record] = ear.of(StreamRecord)
    assert (record.end, record.chunks, record.error) == (StreamEnd.FAILED, 1, "JobFailedError")
    assert record.kind is exatlas.ErrorKind.PROVIDER
    assert SECRET not in repr(ear.events)


async def test_a_stream_that_breaks_before_its_first_chunk(heard, cloud, ear):
    job = await heard.run_job(endpoint="echo", input={"n": 1})
    cloud.fail_next("stream_job", RuntimeError("odd"))
    with pytest.raises(RuntimeError, match="odd"):
        await anext(heard.stream_job(job))
    [record] = ear.of(StreamRecord)
    assert (record.end, record.error, record.kind) == (StreamEnd.FAILED, "RuntimeError", exatlas.ErrorKind.UNKNOWN)
    assert (record.chunks, record.first_chunk_s) == (0, None)


async def test_a_stream_whose_reader_leaves_was_left(heard, cloud, clock, ear):
    cloud.serve("ep", lambda _: ticks(clock))
    job = await heard.run_job(endpoint="ep", input={"n": 1})
    async with aclosing(heard.stream_job(job)) as stream:
        async for _ in stream:
            break
    [record] = ear.of(StreamRecord)
    assert (record.end, record.chunks, record.error, record.kind) == (StreamEnd.LEFT, 1, None, None)


async def test_a_stream_whose_reader_is_cancelled_was_left(heard, cloud, ear):
    job = await heard.run_job(endpoint="echo", input={"n": 1})
    hold = cloud.hold_next("stream_job")
    reading = asyncio.create_task(anext(heard.stream_job(job)))
    await hold.reached()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    [record] = ear.of(StreamRecord)
    assert (record.end, record.chunks) == (StreamEnd.LEFT, 0)


async def test_wherever_a_reader_is_cancelled_what_was_opened_is_closed_once(cancel_everywhere):
    async def trial(cut):
        ear = Ear()
        clock = exatlas.ManualClock(auto=True)
        async with (
            MemoryProvider(clock=clock) as cloud,
            exatlas.Atlas(cloud, clock=clock, env={}, hooks=[ear]) as atlas,
        ):
            job = await atlas.run_job(endpoint="echo", input={"n": 1})

            async def read():
                async with aclosing(atlas.stream_job(job, on_exit="cancel")) as stream:
                    return [chunk async for chunk in stream]

            await cut(read())
        assert [event.serial for event in ear.of(StreamOpened)] == [event.serial for event in ear.of(StreamRecord)]

    assert await cancel_everywhere(trial) > 1


async def test_a_machines_log_is_a_stream_without_an_endpoint(heard, cloud, ear):
    compute = await heard.spawn_compute(gpu="h100", image="x")
    cloud.log(compute.id, SECRET)
    ear.events.clear()
    lines = [line async for line in heard.stream_logs(compute, follow=False)]
    opened, closed = ear.events
    assert (opened.operation, opened.endpoint) == ("stream_logs", None)
    assert (closed.chunks, closed.end) == (len(lines), StreamEnd.COMPLETED)
    assert SECRET not in repr(ear.events)
    assert compute.id not in repr(ear.events)


async def test_lost_chunks_are_counted_as_gaps(runpod, fake, clock, ear):
    async def slowly(_job):
        for number in range(6):
            yield number

    fake.endpoint("ep", slowly, step_s=20)
    job = await runpod.run_job(endpoint="ep", input={"n": 1})
    stream = runpod.stream_job(job)
    await anext(stream)
    fake.fail(Fault.DROP_AFTER, "GET", f"/stream/{job.id}")
    chunks = [chunk async for chunk in stream]
    [record] = ear.of(StreamRecord)
    assert record.gaps == sum(chunk.gap for chunk in chunks) == 1
    assert record.chunks == len(chunks) + 1


async def test_requests_say_which_endpoint_they_were_about(runpod, fake, ear):
    async def once(_job):
        yield 1

    fake.endpoint("ep", once)
    job = await runpod.run_job(endpoint="ep", input={"n": 1})
    assert [chunk async for chunk in runpod.stream_job(job)]
    await runpod.get_job(job)
    await runpod.cancel_job(job)
    await runpod.list_compute()
    said = {(record.operation, record.endpoint) for record in ear.of(RequestRecord)}
    assert {(name, "ep") for name in ("run_job", "stream_job", "get_job", "cancel_job")} <= said
    assert ("list_compute", None) in said


# Spawns


async def test_a_spawn_is_told_when_it_has_rented(heard, clock, ear):
    before = clock.monotonic()
    await heard.spawn_compute(gpu="h100", image="x", name=SECRET, env={"TOKEN": SECRET}, auth="bearer")
    [record] = ear.events
    assert record == SpawnRecord(
        provider="memory",
        end=SpawnEnd.RENTED,
        requests=0,
        duration_s=clock.monotonic() - before,
        ended_at=clock.now(),
    )


async def test_a_rental_is_a_spawn(heard, ear):
    async with heard.rent(gpu="h100", image="x"):
        assert [record.end for record in ear.of(SpawnRecord)] == [SpawnEnd.RENTED]
    assert len(ear.of(SpawnRecord)) == 1


async def test_a_spawn_that_is_refused_says_why(heard, cloud, ear):
    cloud.set_capacity("h100", 0)
    with pytest.raises(exatlas.NoCapacityError):
        await heard.spawn_compute(gpu="h100", image="x")
    [record] = ear.events
    assert (record.end, record.error, record.kind) == (SpawnEnd.FAILED, "NoCapacityError", "no_capacity")


async def test_nothing_is_told_of_what_was_never_tried(heard, ear):
    with pytest.raises(exatlas.ValidationError):
        await heard.spawn_compute(gpu="h100", image="x", gpu_count=0)
    assert ear.events == []


async def test_the_requests_of_a_spawn_are_counted(runpod, fake, ear):
    fake.fail(Fault.LIMITED, "POST", "/pods", times=2)
    fake.fail(Fault.DROP_AFTER, "POST", "/pods")
    await runpod.spawn_compute(gpu="h100", image="x")
    [record] = ear.of(SpawnRecord)
    sent = [event for event in ear.of(RequestRecord) if event.operation == "spawn_compute"]
    assert record.requests == len(sent) > 3
    assert ear.events[-1] is record
    assert SECRET not in repr(ear.events)


async def test_a_spawn_in_doubt_says_so(runpod, fake, ear):
    fake.fail(Fault.DROP_BEFORE, "POST", "/pods")
    with pytest.raises(exatlas.OutcomeUnknownError):
        await runpod.spawn_compute(gpu="h100", image="x")
    [record] = ear.of(SpawnRecord)
    assert (record.end, record.kind) == (SpawnEnd.FAILED, exatlas.ErrorKind.OUTCOME_UNKNOWN)


async def cancelled_spawn(heard, cloud):
    hold = cloud.hold_next("spawn_compute", after_acting=True)
    spawning = asyncio.create_task(heard.spawn_compute(gpu="h100", image="x"))
    await hold.reached()
    spawning.cancel()
    await asyncio.sleep(0)
    hold.release()
    with pytest.raises(asyncio.CancelledError):
        await spawning


async def test_a_cancelled_spawn_is_told_when_its_machine_is_gone(heard, cloud, ear):
    await cancelled_spawn(heard, cloud)
    [record] = ear.events
    assert (record.end, record.error, record.kind) == (SpawnEnd.CANCELLED, None, None)
    assert cloud.rented == []


async def test_a_cancelled_spawn_whose_machine_stays_says_so(heard, cloud, ear):
    cloud.fail_next("terminate", exatlas.ForbiddenError("no"), times=10)
    await cancelled_spawn(heard, cloud)
    [record] = ear.events
    assert (record.end, record.kind) == (SpawnEnd.CANCELLED, exatlas.ErrorKind.OUTCOME_UNKNOWN)
    assert len(cloud.rented) == 1


# Hooks, and nobody listening


async def test_a_function_still_hears_requests_and_nothing_else(fake, clock):
    statuses = []
    async with exatlas.Atlas(
        "runpod",
        credentials={"runpod": SECRET},
        transport=InProcessTransport(fake.handle),
        clock=clock,
        env={},
        hooks=[lambda record: statuses.append(record.status)],
    ) as atlas:
        await atlas.spawn_compute(gpu="h100", image="x")
    assert statuses == [201]


def test_hooks_are_functions_or_listeners():
    assert isinstance(Ear(), Listener)
    exatlas.Atlas("memory", hooks=[Ear(), print])
    with pytest.raises(
        exatlas.ValidationError, match="hooks: expected a list of functions of one RequestRecord, got tuple; Listeners"
    ):
        exatlas.Atlas("memory", hooks=[object()])


async def test_where_nobody_listens_nothing_is_made(atlas, cloud, monkeypatch, caplog):
    caplog.set_level(logging.INFO, logger="exatlas.client")

    def made(*args, **kwargs):
        raise AssertionError("a record was made")

    for name in ("StreamOpened", "StreamRecord", "SpawnRecord"):
        monkeypatch.setattr(watching, name, made)
    compute = await atlas.spawn_compute(gpu="h100", image="x")
    job = await atlas.run_job(endpoint="echo", input={"n": 1})
    assert [chunk async for chunk in atlas.stream_job(job)]
    await atlas.terminate(compute)
    caplog.set_level(logging.DEBUG, logger="exatlas.client")
    with pytest.raises(AssertionError, match="a record was made"):
        await atlas.spawn_compute(gpu="h100", image="x")


async def test_the_log_tells_streams_and_spawns_with_fields(atlas, caplog):
    caplog.set_level(logging.DEBUG, logger="exatlas.client")
    await atlas.spawn_compute(gpu="h100", image="x", env={"TOKEN": SECRET})
    job = await atlas.run_job(endpoint="echo", input={"prompt": SECRET})
    assert [chunk async for chunk in atlas.stream_job(job)]
    spawned, streamed = caplog.records
    assert spawned.getMessage().startswith("memory spawn_compute: rented after 0 requests in 0.")
    assert streamed.getMessage().startswith("memory stream_job: completed after 1 chunks in 0.")
    assert vars(spawned) | {"exatlas.provider": "memory", "exatlas.end": "rented"} == vars(spawned)
    assert vars(streamed) | {"exatlas.endpoint": "echo", "exatlas.stream.chunks": 1} == vars(streamed)
    assert SECRET not in repr([vars(entry) for entry in caplog.records])
