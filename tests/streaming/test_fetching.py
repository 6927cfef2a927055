"""Failures, gaps, healing and the end of a job."""

import asyncio

import orjson
import pytest
from attrs import evolve

from exatlas.errors import (
    JobCancelledError,
    JobFailedError,
    JobTimedOutError,
    NotFoundError,
    ReplyShapeError,
    StreamGapError,
    TransportError,
)
from exatlas.records.job import JobStatus
from exatlas.streaming.fetching import MOST_DRAINS
from exatlas.streaming.polled import stream_polled

LOST = TransportError("the connection broke")
REFUSED = TransportError("connection refused", delivered=False)


async def collect(stream, clock):
    """Read to the end, turning the clock whenever everything waits."""
    chunks = []

    async def read() -> None:
        async for chunk in stream:
            chunks.append(chunk)

    reading = asyncio.ensure_future(read())
    try:
        for _ in range(2000):
            await asyncio.wait([reading], timeout=0)
            if reading.done():
                break
            clock.advance(0.25)
        await reading
    finally:
        await stream.aclose()
    return chunks


def seen(chunks):
    return [(chunk.output, chunk.gap) for chunk in chunks]


@pytest.mark.parametrize(
    ("word", "error"),
    [("FAILED", JobFailedError), ("CANCELLED", JobCancelledError), ("TIMED_OUT", JobTimedOutError)],
)
async def test_a_job_that_did_not_complete_raises_after_its_last_chunks(cloud, source, ctx, word, error):
    cloud.put("last")
    cloud.finish(word, error="boom")
    got = []
    with pytest.raises(error, match="boom") as caught:
        async for chunk in stream_polled(source, ctx):
            got.append(chunk.output)
    assert got == ["last"]
    assert caught.value.job.status is JobStatus(word.lower())
    assert caught.value.job.error.message == "boom"


async def test_a_failed_job_that_cannot_be_asked_still_raises_its_own_error(cloud, source, ctx):
    async def gone():
        raise NotFoundError("expired")

    cloud.finish("FAILED")
    with pytest.raises(JobFailedError) as caught:
        await anext(stream_polled(evolve(source, fetch_job=gone), ctx))
    assert caught.value.job.status is JobStatus.FAILED


async def test_a_completed_job_costs_no_status_request(cloud, source, ctx, clock):
    cloud.put(1)
    cloud.finish()
    await collect(stream_polled(source, ctx), clock)
    assert cloud.status_calls == 0
    assert len(cloud.polls) == 2


async def test_the_tail_is_drained_after_a_terminal_reply_with_chunks(cloud, source, ctx, clock):
    replies = [["a"], ["b"], []]
    drain = evolve(
        source,
        read_page=lambda reply: evolve(source.read_page(reply), items=[(o, None) for o in replies.pop(0)]),
    )
    cloud.finish()
    assert seen(await collect(stream_polled(drain, ctx), clock)) == [("a", False), ("b", False)]


async def test_a_server_that_repeats_itself_for_ever_is_not_believed(cloud, source, ctx, clock):
    cloud.finish()
    stuck = evolve(source, read_page=lambda reply: evolve(source.read_page(reply), items=[("x", None)]))
    assert len(await collect(stream_polled(stuck, ctx), clock)) == MOST_DRAINS + 1


async def test_a_lost_reply_marks_the_next_chunk(cloud, source, ctx, clock):
    cloud.faults = [None, LOST]
    stream = stream_polled(source, ctx)
    cloud.put("a")
    assert (await anext(stream)).output == "a"
    cloud.put("lost")
    waiting = asyncio.ensure_future(anext(stream))
    while len(cloud.polls) < 3:
        await asyncio.sleep(0)
        clock.advance(0.25)
    cloud.put("b", "c")
    assert seen([await waiting, await anext(stream)]) == [("b", True), ("c", False)]
    await stream.aclose()


async def test_a_strict_stream_raises_at_a_gap(cloud, source, ctx, clock):
    cloud.faults = [LOST]
    cloud.put("lost")
    stream = stream_polled(source, evolve(ctx, strict_stream=True))
    waiting = asyncio.ensure_future(anext(stream))
    while len(cloud.polls) < 2:
        await asyncio.sleep(0)
        clock.advance(0.25)
    cloud.put("next")
    with pytest.raises(StreamGapError, match="chunks before number 0"):
        await waiting


async def test_a_strict_stream_raises_when_the_tail_may_be_lost(cloud, source, ctx, clock):
    cloud.faults = [LOST]
    cloud.put("lost")
    cloud.finish()
    with pytest.raises(StreamGapError, match="the last chunks"):
        await collect(stream_polled(source, evolve(ctx, strict_stream=True)), clock)


@pytest.mark.parametrize("fault", [LOST, "garbage", 502])
async def test_a_gap_is_healed_from_the_aggregate_of_a_completed_job(cloud, source, ctx, clock, fault):
    cloud.faults = [None, fault]
    cloud.put("a")
    stream = stream_polled(source, ctx)
    first = await anext(stream)
    cloud.put("b", "c")
    cloud.finish(output=["a", "b", "c"])
    rest = await collect(stream, clock)
    if fault == 502:
        assert seen([first, *rest])[1:] == [("b", False), ("c", False)]
    assert [chunk.output for chunk in [first, *rest]] == ["a", "b", "c"]
    assert [chunk.index for chunk in [first, *rest]] == [0, 1, 2]
    assert not any(chunk.gap for chunk in rest)


async def test_an_aggregate_that_is_too_short_heals_nothing(cloud, source, ctx, clock):
    cloud.faults = [LOST]
    cloud.put("a")
    cloud.finish(output=[])
    replies = await collect(stream_polled(source, ctx), clock)
    assert replies == []


async def test_a_refused_connection_loses_nothing(cloud, source, ctx, clock):
    cloud.faults = [REFUSED, REFUSED]
    cloud.put("a")
    cloud.finish()
    assert seen(await collect(stream_polled(source, ctx), clock)) == [("a", False)]


async def test_too_many_429_never_fail_a_stream(cloud, source, ctx, clock):
    cloud.faults = [429] * 40
    cloud.put("a")
    cloud.finish()
    assert seen(await collect(stream_polled(source, ctx), clock)) == [("a", False)]


async def test_failures_in_a_row_are_bounded_and_a_success_starts_the_count_again(cloud, source, ctx, clock):
    cloud.faults = [LOST] * 5 + [None] + [LOST] * 6
    cloud.put("a")
    stream = stream_polled(source, ctx)
    with pytest.raises(TransportError, match="the connection broke"):
        await collect(stream, clock)
    assert len(cloud.polls) == 12


async def test_an_unreadable_reply_that_stays_unreadable_is_reported(cloud, source, ctx, clock):
    cloud.faults = ["garbage"] * 6
    with pytest.raises(ReplyShapeError):
        await collect(stream_polled(source, ctx), clock)


async def test_a_missing_job_is_reported_at_once(cloud, source, ctx):
    cloud.faults = [404]
    with pytest.raises(NotFoundError):
        await anext(stream_polled(source, ctx))
    assert len(cloud.polls) == 1


async def test_a_server_that_refuses_to_hold_is_polled_without(cloud, source, ctx, clock):
    cloud.faults = [400]
    cloud.put("a")
    cloud.finish()
    assert seen(await collect(stream_polled(source, ctx), clock)) == [("a", False)]
    assert cloud.polls[0] > 0
    assert set(cloud.polls[1:]) == {0.0}


def event(number, *outputs, status="IN_PROGRESS"):
    body = {"status": status, "stream": [{"output": output} for output in outputs]}
    return f"id: {number}\ndata: {orjson.dumps(body).decode()}\n\n".encode()


async def pushed(*pieces, then=None):
    for piece in pieces:
        yield piece
    if then:
        raise then


async def test_a_server_that_answers_with_events_is_read_as_such(cloud, source, ctx, clock):
    cloud.pushes = pushed(event(1, "a"), event(2, "b", "c"), event(3, status="COMPLETED"))
    assert seen(await collect(stream_polled(source, ctx), clock)) == [("a", False), ("b", False), ("c", False)]
    assert len(cloud.polls) == 1


async def test_a_broken_event_stream_is_taken_up_after_the_last_event_id(cloud, source, ctx, clock):
    cloud.pushes = pushed(event(7, "a"), then=LOST)
    stream = stream_polled(source, ctx)
    assert (await anext(stream)).output == "a"
    cloud.pushes = pushed(event(8, "b", status="COMPLETED"))
    rest = await collect(stream, clock)
    assert seen(rest) == [("b", False)]
    assert cloud.event_ids == [None, "7"]


async def test_leaving_an_event_stream_closes_it_at_once(cloud, source, ctx):
    closed = asyncio.Event()

    async def endless():
        try:
            yield event(1, "a")
            await asyncio.Event().wait()
        finally:
            closed.set()

    cloud.pushes = endless()
    reading = asyncio.ensure_future(collect_forever(stream_polled(source, ctx)))
    for _ in range(50):
        await asyncio.sleep(0)
    reading.cancel()
    await asyncio.wait_for(closed.wait(), 5)


async def collect_forever(stream):
    async for _ in stream:
        pass
