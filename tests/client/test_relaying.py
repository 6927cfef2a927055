"""Between a provider's generator and its reader."""

import asyncio

import pytest

from exatlas.client import relaying
from exatlas.client.relaying import relay
from exatlas.clock import ManualClock
from exatlas.errors import JobFailedError, NotFoundError, TransportError
from exatlas.protocols import Context
from exatlas.transport.inprocess import InProcessTransport


async def nobody(_call):
    raise AssertionError


class Source:
    """A provider's stream, and what became of it."""

    def __init__(self, *items, then=None):
        self.items = items
        self.then = then
        self.opened = 0
        self.closed = 0
        self.abandoned = 0
        self.waiting = asyncio.Event()
        self.clock = ManualClock(auto=True)
        self.ctx = Context(provider="p", transport=InProcessTransport(nobody), clock=self.clock)
        self.abandon_with = None

    async def stream(self, ctx):
        assert ctx is self.ctx
        self.opened += 1
        try:
            for item in self.items:
                yield item
            if self.then == "wait":
                self.waiting.set()
                await asyncio.Event().wait()
            if self.then is not None:
                raise self.then
        finally:
            await asyncio.sleep(0)
            self.closed += 1

    async def context(self):
        await asyncio.sleep(0)
        return self.ctx

    async def abandon(self):
        await asyncio.sleep(0)
        if self.abandon_with is not None:
            await self.abandon_with()
        self.abandoned += 1

    def relay(self):
        return relay(self.stream, self.context, operation="stream_job", abandon=self.abandon, clock=self.clock)


async def read(stream):
    return [item async for item in stream]


async def test_items_come_through_and_the_source_is_closed():
    source = Source(1, 2)
    assert await read(source.relay()) == [1, 2]
    assert (source.closed, source.abandoned) == (1, 0)


async def test_nothing_is_opened_before_it_is_read():
    source = Source(1)
    stream = source.relay()
    await asyncio.sleep(0)
    assert source.opened == 0
    await stream.aclose()
    assert source.opened == 0


async def closed(stream):
    await stream.aclose()
    await stream.aclose()


async def thrown_into(stream):
    with pytest.raises(KeyError):
        await stream.athrow(KeyError())


async def cut_at_once(stream):
    """A reader that is cancelled before its first step."""
    reading = asyncio.create_task(read(stream))
    reading.cancel()
    await asyncio.wait([reading])
    await stream.aclose()


@pytest.mark.parametrize("leave", [closed, thrown_into, cut_at_once])
async def test_leaving_before_the_first_item_abandons_the_job_once(leave):
    source = Source(1)
    await leave(source.relay())
    assert (source.opened, source.abandoned) == (0, 1)


async def test_a_stream_that_was_left_gives_nothing_more():
    source = Source(1)
    stream = source.relay()
    await stream.aclose()
    assert await read(stream) == []
    assert (source.opened, source.abandoned) == (0, 1)


async def test_closing_what_was_read_to_its_end_abandons_nothing():
    source = Source(1)
    stream = source.relay()
    assert await read(stream) == [1]
    await stream.aclose()
    assert source.abandoned == 0


async def test_without_an_order_an_unread_stream_leaves_the_job_to_itself():
    source = Source(1)
    await relay(source.stream, source.context, operation="stream_job").aclose()
    assert (source.opened, source.abandoned) == (0, 0)


async def test_what_is_sent_and_thrown_in_reaches_the_source():
    source = Source(1, 2)
    stream = source.relay()
    assert await stream.asend(None) == 1
    with pytest.raises(KeyError):
        await stream.athrow(KeyError())
    assert (source.closed, source.abandoned) == (1, 1)


async def test_leaving_early_closes_the_source_and_abandons_the_job():
    source = Source(1, 2)
    stream = source.relay()
    assert await anext(stream) == 1
    await stream.aclose()
    assert (source.closed, source.abandoned) == (1, 1)


async def test_a_job_is_left_to_itself_unless_told_otherwise():
    source = Source(1, 2)
    stream = relay(source.stream, source.context, operation="stream_job")
    await anext(stream)
    await stream.aclose()
    assert (source.closed, source.abandoned) == (1, 0)


@pytest.mark.parametrize("error", [JobFailedError("x", job=None), NotFoundError("gone")])
async def test_a_job_that_is_over_is_not_abandoned(error):
    source = Source(1, then=error)
    with pytest.raises(type(error)):
        await read(source.relay())
    assert (source.closed, source.abandoned) == (1, 0)


async def test_a_stream_that_broke_leaves_a_job_behind():
    source = Source(1, then=TransportError("cut"))
    with pytest.raises(TransportError):
        await read(source.relay())
    assert (source.closed, source.abandoned) == (1, 1)


async def test_a_cancelled_reader_abandons_too():
    source = Source(then="wait")
    reading = asyncio.create_task(read(source.relay()))
    await source.waiting.wait()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert (source.closed, source.abandoned) == (1, 1)


async def test_abandoning_is_finished_however_often_the_reader_is_cancelled():
    source = Source(then="wait")
    reached, go = asyncio.Event(), asyncio.Event()

    async def slowly():
        reached.set()
        await go.wait()

    source.abandon_with = slowly
    reading = asyncio.create_task(
        read(relay(source.stream, source.context, operation="stream_job", abandon=source.abandon))
    )
    await source.waiting.wait()
    reading.cancel()
    await reached.wait()
    for _ in range(3):
        reading.cancel()
        await asyncio.sleep(0)
    assert not reading.done()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert source.abandoned == 1


async def test_a_close_that_is_cancelled_meanwhile_says_so():
    source = Source(1, 2)
    reached, go = asyncio.Event(), asyncio.Event()

    async def slowly():
        reached.set()
        await go.wait()

    source.abandon_with = slowly
    stream = relay(source.stream, source.context, operation="stream_job", abandon=source.abandon)
    await anext(stream)
    closing = asyncio.create_task(stream.aclose())
    await reached.wait()
    closing.cancel()
    await asyncio.sleep(0)
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert source.abandoned == 1


async def test_a_job_that_cannot_be_cancelled_is_told_in_the_log_and_nowhere_else(caplog):
    source = Source(1, 2)

    async def fail():
        raise TransportError("cut")

    source.abandon_with = fail
    stream = source.relay()
    await anext(stream)
    await stream.aclose()
    assert "could not be cancelled, and may still be running" in caplog.text


async def test_abandoning_does_not_take_for_ever(caplog):
    source = Source(1, 2)
    source.abandon_with = asyncio.Event().wait
    stream = source.relay()
    await anext(stream)
    await stream.aclose()
    assert source.clock.monotonic() == relaying.PATIENCE_S
    assert "could not be cancelled" in caplog.text
