"""Events for readers at their own pace."""

import asyncio
from contextlib import aclosing
from datetime import UTC, datetime

from exatlas.orchestrator.events import Missed, Ready
from exatlas.orchestrator.feed import Feed

START = datetime(2026, 1, 1, tzinfo=UTC)


def told(feed, number, **whose):
    for _ in range(number):
        feed.tell(Ready(at=START, **whose))


async def read(feed, after=0, session=None, tenant=None):
    feed.close()
    return [event async for event in feed.read(after, session, tenant)]


async def test_events_are_numbered_and_read_in_order():
    feed = Feed()
    told(feed, 3)
    assert [event.seq for event in await read(feed)] == [1, 2, 3]
    assert [event.seq for event in await read(feed, after=2)] == [3]
    assert feed.last == 3


async def test_a_reader_waits_for_news():
    feed = Feed()
    seen = []

    async def follow():
        async for event in feed.read(0, None, None):
            seen.append(event.seq)

    following = asyncio.create_task(follow())
    for number in range(1, 4):
        await asyncio.sleep(0)
        told(feed, 1)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert seen == list(range(1, number + 1))
    feed.close()
    await following


async def test_only_what_concerns_the_reader():
    feed = Feed()
    told(feed, 1, session="a", tenant="t")
    told(feed, 1, session="b", tenant="t")
    told(feed, 1, session="c", tenant="u")
    assert [event.session for event in await read(feed, session="b")] == ["b"]
    assert [event.session for event in await read(feed, tenant="t")] == ["a", "b"]


async def test_a_slow_reader_is_told_what_it_missed_and_holds_nobody_up():
    feed = Feed(kept=3)
    async with aclosing(feed.read(0, None, None)) as reader:
        told(feed, 1)
        assert (await anext(reader)).seq == 1
        told(feed, 9)
        missed = await anext(reader)
        assert (type(missed), missed.count, missed.seq) == (Missed, 6, 7)
        assert [(await anext(reader)).seq for _ in range(3)] == [8, 9, 10]


async def test_what_is_no_longer_kept_is_missed_in_a_replay():
    feed = Feed(kept=2)
    told(feed, 5)
    missed, *rest = await read(feed, after=1)
    assert (missed.count, [event.seq for event in rest]) == (2, [4, 5])
