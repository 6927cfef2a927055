"""Events for readers at their own pace."""

import asyncio
from contextlib import aclosing
from datetime import UTC, datetime

import pytest

from exatlas.orchestrator.events import Missed, Ready
from exatlas.orchestrator.feed import Feed, Whose

START = datetime(2026, 1, 1, tzinfo=UTC)
EVERYBODY = Whose()


class World:
    """A feed, and the ledger behind it."""

    def __init__(self, kept=100, last=0):
        self.events = []
        self.number = last
        self.feed = Feed(self.older, kept)
        self.feed.last = last

    async def older(self, after, most):
        return [event for event in self.events if event.seq > after][:most]

    def tell(self, number, **whose):
        for _ in range(number):
            self.number += 1
            self.events.append(Ready(seq=self.number, at=START, **whose))
        self.feed.take(self.events[-number:])

    def trim(self, kept):
        del self.events[:-kept]

    async def read(self, after=0, whose=EVERYBODY):
        self.feed.close()
        return [event async for event in self.feed.read(after, whose)]


def numbers(events):
    return [event.seq for event in events]


async def test_events_are_read_in_order():
    world = World()
    world.tell(3)
    assert numbers(await world.read()) == [1, 2, 3]
    assert numbers(await world.read(after=2)) == [3]
    assert numbers(await world.read(after=3)) == []
    assert world.feed.last == 3


async def test_a_reader_waits_for_news():
    world = World()
    seen = []

    async def follow():
        async for event in world.feed.read(0, EVERYBODY):
            seen.append(event.seq)

    following = asyncio.create_task(follow())
    for number in range(1, 4):
        await asyncio.sleep(0)
        world.tell(1)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert seen == list(range(1, number + 1))
    world.feed.close()
    await following


async def test_only_what_concerns_the_reader():
    world = World()
    world.tell(1, session="a", tenant="t")
    world.tell(1, session="b", tenant="t")
    world.tell(1, session="c", tenant="u")
    assert [event.session for event in await world.read(whose=Whose(session="b"))] == ["b"]
    assert [event.session for event in await world.read(whose=Whose(tenant="t"))] == ["a", "b"]


@pytest.mark.parametrize("kept", [1, 3, 2000])
async def test_what_the_ring_has_no_more_is_fetched(kept):
    world = World(kept)
    world.tell(1700)
    assert numbers(await world.read(after=5)) == list(range(6, 1701))


async def test_so_is_what_was_before_it():
    world = World()
    world.tell(40)
    later = World(last=40)
    later.events = list(world.events)
    later.tell(2)
    assert numbers(await later.read(after=30)) == list(range(31, 43))


async def test_what_is_no_longer_kept_is_missed():
    world = World(kept=2)
    world.tell(5)
    world.trim(2)
    missed, *rest = await world.read(after=1)
    assert (type(missed), missed.count, missed.seq, numbers(rest)) == (Missed, 2, 3, [4, 5])


async def test_a_slow_reader_is_told_what_it_missed_and_holds_nobody_up():
    world = World(kept=3)
    async with aclosing(world.feed.read(0, EVERYBODY)) as reader:
        world.tell(1)
        assert (await anext(reader)).seq == 1
        world.tell(9)
        world.trim(3)
        missed = await anext(reader)
        assert (type(missed), missed.count, missed.seq) == (Missed, 6, 7)
        assert [(await anext(reader)).seq for _ in range(3)] == [8, 9, 10]


async def test_a_gap_in_what_is_taken_is_a_gap_for_everybody():
    world = World()
    world.tell(2)
    world.number = 7
    world.tell(1)
    assert [(type(event).__name__, event.seq) for event in await world.read()] == [
        ("Ready", 1),
        ("Ready", 2),
        ("Missed", 7),
        ("Ready", 8),
    ]


async def test_what_nobody_has_any_more_does_not_hold_up_what_is_there():
    world = World(kept=2)
    world.tell(5)
    world.events.clear()
    assert [(type(event).__name__, event.seq) for event in await world.read()] == [
        ("Missed", 3),
        ("Ready", 4),
        ("Ready", 5),
    ]
