"""Sharing, leaving, coming back: chunks belong to the client, not to the reader."""

import asyncio
from contextlib import aclosing

import pytest
from attrs import evolve

from exatlas.errors import TransportError
from exatlas.streaming import feed as feed_module
from exatlas.streaming.feed import feed_for
from exatlas.streaming.polled import stream_polled


async def settle() -> None:
    """Let every ready task run until nothing is ready."""
    for _ in range(50):
        await asyncio.sleep(0)


async def outputs(stream):
    return [chunk.output async for chunk in stream]


async def test_chunks_come_in_order_and_end_with_the_job(cloud, source, ctx):
    cloud.put("a", "b")
    cloud.finish()
    chunks = [chunk async for chunk in stream_polled(source, ctx)]
    assert [(chunk.index, chunk.output, chunk.gap) for chunk in chunks] == [(0, "a", False), (1, "b", False)]
    assert chunks[0].received_at == ctx.clock.now()


async def test_a_chunk_is_handed_on_while_the_job_still_runs(cloud, source, ctx):
    async with aclosing(stream_polled(source, ctx)) as stream:
        first = asyncio.ensure_future(anext(stream))
        await settle()
        assert not first.done()
        cloud.put("now")
        assert (await first).output == "now"


async def test_a_reader_cancelled_in_mid_poll_loses_nothing(cloud, source, ctx):
    reading = asyncio.ensure_future(outputs(stream_polled(source, ctx)))
    await settle()
    assert cloud.held == 1
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    cloud.put("kept")
    await settle()
    assert cloud.buffer == []
    cloud.finish()
    assert await outputs(stream_polled(source, ctx)) == ["kept"]


async def test_nobody_polls_after_the_poll_under_way_has_come_home(cloud, source, ctx, clock):
    reading = asyncio.ensure_future(outputs(stream_polled(source, ctx)))
    await settle()
    reading.cancel()
    await settle()
    clock.advance(60)
    await settle()
    assert len(cloud.polls) == 1
    assert cloud.held == 0


async def test_leaving_between_chunks_keeps_the_rest_and_the_count(cloud, source, ctx):
    cloud.put("a", "b", "c")
    cloud.finish()
    async with aclosing(stream_polled(source, ctx)) as stream:
        assert (await anext(stream)).output == "a"
    chunks = [chunk async for chunk in stream_polled(source, ctx)]
    assert [(chunk.index, chunk.output) for chunk in chunks] == [(1, "b"), (2, "c")]


async def test_two_readers_each_see_every_chunk(cloud, source, ctx):
    both = [asyncio.ensure_future(outputs(stream_polled(source, ctx))) for _ in range(2)]
    await settle()
    cloud.put(1)
    await settle()
    cloud.put(2, 3)
    cloud.finish()
    assert await asyncio.gather(*both) == [[1, 2, 3], [1, 2, 3]]


async def test_a_late_reader_starts_beside_the_one_that_is_furthest_on(cloud, source, ctx):
    cloud.put(1, 2)
    async with aclosing(stream_polled(source, ctx)) as early:
        assert [(await anext(early)).output, (await anext(early)).output] == [1, 2]
        cloud.put(3)
        cloud.finish()
        assert await outputs(stream_polled(source, ctx)) == [3]
        assert await outputs(early) == [3]


async def test_a_slow_reader_is_not_left_behind(cloud, source, ctx):
    slow = stream_polled(source, ctx)
    cloud.put(1)
    assert (await anext(slow)).output == 1
    fast = stream_polled(source, ctx)
    cloud.put(2, 3)
    cloud.finish()
    assert await outputs(fast) == [2, 3]
    assert await outputs(slow) == [2, 3]


async def test_one_reader_leaving_does_not_disturb_the_other(cloud, source, ctx):
    one, two = (asyncio.ensure_future(outputs(stream_polled(source, ctx))) for _ in range(2))
    await settle()
    one.cancel()
    await settle()
    cloud.put("x")
    cloud.finish()
    assert await two == ["x"]


async def test_a_finished_and_read_feed_is_forgotten(cloud, source, ctx):
    cloud.put(1)
    cloud.finish()
    await outputs(stream_polled(source, ctx))
    feeds = feed_module._feeds[asyncio.get_running_loop()]
    assert not [key for key in feeds if key.startswith(ctx.account)]


async def test_a_feed_that_nobody_reads_again_is_forgotten_in_the_end(cloud, source, ctx, monkeypatch):
    monkeypatch.setattr(feed_module, "IDLE_FEED_S", 0.0)
    cloud.put(1, 2)
    async with aclosing(stream_polled(source, ctx)) as stream:
        await anext(stream)
    feeds = feed_module._feeds[asyncio.get_running_loop()]
    while any(key.startswith(ctx.account) for key in feeds):
        await asyncio.sleep(0)


async def test_other_accounts_have_feeds_of_their_own(source, ctx):
    assert feed_for(source, ctx) is feed_for(source, ctx)
    assert feed_for(source, ctx) is not feed_for(source, evolve(ctx, account="another"))


async def test_a_failure_reaches_every_reader_and_streaming_again_goes_on(cloud, source, ctx, clock):
    refused = TransportError("connection refused", delivered=False)
    cloud.faults = [refused] * 6
    both = [asyncio.ensure_future(outputs(stream_polled(source, ctx))) for _ in range(2)]
    while not all(task.done() for task in both):
        await settle()
        clock.advance(10)
    assert all(task.exception() is refused for task in both)
    cloud.put("later")
    cloud.finish()
    assert await outputs(stream_polled(source, ctx)) == ["later"]


async def test_a_fault_of_the_library_itself_reaches_the_reader(cloud, source, ctx):
    cloud.put(1)
    broken = evolve(source, read_page=lambda reply: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        await outputs(stream_polled(broken, ctx))


async def test_no_task_outlives_a_stream_read_to_its_end(cloud, source, ctx):
    before = asyncio.all_tasks()
    cloud.put(1)
    cloud.finish()
    await outputs(stream_polled(source, ctx))
    await settle()
    assert asyncio.all_tasks() == before
