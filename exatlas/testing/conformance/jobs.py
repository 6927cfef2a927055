"""Serverless jobs and their streams."""

import asyncio
from contextlib import aclosing
from typing import Any

from exatlas.capabilities import Capability
from exatlas.errors import JobCancelledError, JobFailedError, NotFoundError
from exatlas.fakes.faults import Fault
from exatlas.records.job import Job, JobStatus
from exatlas.testing.conformance.world import World, check, cut, cuts, expect, others, raises

UNKNOWN_JOB = "00000000-0000-4000-8000-000000000000"
SERVERLESS = Capability.SERVERLESS
FEW = 5
HOMECOMING_S = 60


@check(SERVERLESS)
async def submits_a_job(world: World) -> None:
    """run_job gives a Job with id, endpoint and provider, which get_job finds."""
    job = await _run(world, world.jobs.counting(FEW))
    expect(type(job) is Job, f"run_job gave {type(job).__name__} instead of a Job")
    expect(job.id, "the job has no id")
    expect((job.provider, job.endpoint) == (world.name, world.jobs.endpoint), "the job does not know where it is from")
    found = await world.atlas.get_job(job)
    expect(found.id == job.id, f"asked for {job.id!r}, got {found.id!r}")


@check(SERVERLESS)
async def streams_every_chunk_in_order(world: World) -> None:
    """A stream gives every chunk once, in order, numbered from 0, and ends normally for a completed job."""
    job = await _run(world, world.jobs.counting(FEW))
    chunks = [chunk async for chunk in world.atlas.stream_job(job)]
    wanted = world.jobs.outputs(FEW)
    expect([chunk.output for chunk in chunks] == wanted, f"{len(wanted)} chunks were made, {len(chunks)} came")
    expect([chunk.index for chunk in chunks] == list(range(FEW)), "the chunks are not numbered 0, 1, 2 …")
    expect(not any(chunk.gap for chunk in chunks), "a stream without trouble claims a gap")
    expect((await world.atlas.get_job(job)).status is JobStatus.COMPLETED, "the job does not read as completed")


@check(SERVERLESS)
async def a_failed_job_is_no_normal_end(world: World) -> None:
    """The stream of a failed job gives its chunks and then raises JobFailedError with the job."""
    job = await _run(world, world.jobs.failing)
    seen: list[Any] = []

    async def read() -> None:
        async for chunk in world.atlas.stream_job(job):
            seen.append(chunk)  # noqa: PERF401 - what came before the error counts

    error = await raises(JobFailedError, read(), "the stream of a failed job")
    expect(len(seen) == 1, f"one chunk came before the failure, and {len(seen)} were given")
    expect(error.job.id == job.id, "the error does not hold the job")
    expect(error.job.status is JobStatus.FAILED, f"the error's job is {error.job.status.value}")


@check(SERVERLESS)
async def a_cancelled_job_is_no_normal_end(world: World) -> None:
    """cancel_job stops a running job, may be repeated, and its stream raises JobCancelledError."""
    job = await _run(world, world.jobs.endless)

    async def read() -> None:
        async for _ in world.atlas.stream_job(job):
            await world.atlas.cancel_job(job)

    await raises(JobCancelledError, read(), "the stream of a cancelled job")
    await world.atlas.cancel_job(job)
    expect((await world.atlas.get_job(job)).status is JobStatus.CANCELLED, "the job does not read as cancelled")


@check(SERVERLESS)
async def cancelling_a_finished_job_is_silence(world: World) -> None:
    """cancel_job of a completed job is not an error, and changes nothing."""
    job = await _run(world, world.jobs.counting(1))
    async for _ in world.atlas.stream_job(job):
        pass
    await world.atlas.cancel_job(job)
    expect((await world.atlas.get_job(job)).status is JobStatus.COMPLETED, "a completed job was cancelled")


@check(SERVERLESS)
async def an_unknown_job_is_not_found(world: World) -> None:
    """Reading or streaming a job that is not there is a NotFoundError."""
    endpoint = world.jobs.endpoint

    async def read() -> None:
        async for _ in world.atlas.stream_job(UNKNOWN_JOB, endpoint=endpoint):
            pass

    await raises(NotFoundError, world.atlas.get_job(UNKNOWN_JOB, endpoint=endpoint), "reading an unknown job")
    await raises(NotFoundError, read(), "streaming an unknown job")


@check(SERVERLESS)
async def a_stream_that_is_left_can_be_opened_again(world: World) -> None:
    """Leaving a stream early loses nothing: opened again it goes on, or begins anew, without a hole."""
    job = await _run(world, world.jobs.counting(FEW))
    async with aclosing(world.atlas.stream_job(job)) as chunks:
        first = [await anext(chunks), await anext(chunks)]
    rest = [chunk async for chunk in world.atlas.stream_job(job)]
    expect(rest and rest[0].index <= 2, "the stream opened again begins after chunks that nobody has seen")
    indices = sorted({chunk.index for chunk in [*first, *rest]})
    expect(indices == list(range(FEW)), f"of {FEW} chunks, numbers {indices} were given")


@check(SERVERLESS)
async def several_readers_see_the_same_chunks(world: World) -> None:
    """Two readers that join before the first chunk is given each see every chunk."""
    job = await _run(world, world.jobs.counting(FEW))
    async with (
        aclosing(world.atlas.stream_job(job)) as one,
        aclosing(world.atlas.stream_job(job)) as other,
    ):
        seen = [chunk.output for chunk in await asyncio.gather(anext(one), anext(other))]
        expect(seen == world.jobs.outputs(FEW)[:1] * 2, "two readers began with different chunks")
        rest = [[chunk.output async for chunk in stream] for stream in (one, other)]
    expect(rest == [world.jobs.outputs(FEW)[1:]] * 2, "two readers went on with different chunks")


@check(SERVERLESS)
async def a_lost_reply_never_repeats_a_chunk(world: World) -> None:
    """When a reply of the stream is lost, no chunk is given twice, and a hole is told by `gap`."""
    job = await _run(world, world.jobs.counting(FEW))
    world.trouble(Fault.DROP_AFTER, "stream_job")
    chunks = [chunk async for chunk in world.atlas.stream_job(job)]
    outputs = [chunk.output for chunk in chunks]
    wanted = world.jobs.outputs(FEW)
    expect([output for output in wanted if output in outputs] == outputs, "chunks were repeated or out of order")
    told = any(chunk.gap for chunk in chunks) or not chunks
    expect(told or outputs == wanted, "chunks are missing, and nobody said so")


@check(SERVERLESS)
async def reads_of_jobs_survive_passing_trouble(world: World) -> None:
    """get_job is repeated after a lost reply and after a 5xx."""
    job = await _run(world, world.jobs.counting(1))
    for fault in (Fault.DROP_AFTER, Fault.ERROR_BEFORE):
        world.trouble(fault, "get_job")
        expect((await world.atlas.get_job(job)).id == job.id, f"a read did not survive {fault.value}")


@check(SERVERLESS)
async def a_cancelled_reader_leaves_nothing_and_loses_nothing(world: World) -> None:
    """A reader that is cancelled at any await leaves no task, and the job can still be streamed."""
    for steps in cuts(world.case.every_step):
        job = await _run(world, world.jobs.counting(2))
        before = others()
        late, _ = await cut(_read_all(world, job), steps)
        await _idle(world, before)
        expect(others() <= before, f"cancelling a reader after {steps} steps leaves a task behind")
        if late:
            return


@check(SERVERLESS)
async def a_sync_job_gives_its_end(world: World) -> None:
    """In sync mode run_job gives the job as it ended."""
    job = await world.atlas.run_job(
        endpoint=world.jobs.endpoint, input=world.jobs.counting(1), mode="sync", timeout=60.0
    )
    expect(job.status is JobStatus.COMPLETED, f"a sync job came back as {job.status.value}")


async def _run(world: World, given: Any) -> Job:
    return await world.atlas.run_job(endpoint=world.jobs.endpoint, input=given)


async def _read_all(world: World, job: Job) -> None:
    async with aclosing(world.atlas.stream_job(job)) as chunks:
        async for _ in chunks:
            pass


async def _idle(world: World, before: set[asyncio.Task[Any]]) -> None:
    """Give a poll that must come home the time to do so."""
    for _ in range(HOMECOMING_S):
        await world.settle()
        if others() <= before:
            return
        await world.atlas.clock.sleep(1.0)


CHECKS = (
    submits_a_job,
    streams_every_chunk_in_order,
    a_failed_job_is_no_normal_end,
    a_cancelled_job_is_no_normal_end,
    cancelling_a_finished_job_is_silence,
    an_unknown_job_is_not_found,
    a_stream_that_is_left_can_be_opened_again,
    several_readers_see_the_same_chunks,
    a_lost_reply_never_repeats_a_chunk,
    reads_of_jobs_survive_passing_trouble,
    a_cancelled_reader_leaves_nothing_and_loses_nothing,
    a_sync_job_gives_its_end,
)
