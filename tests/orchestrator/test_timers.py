"""One heap for everybody."""

import asyncio
from contextlib import suppress

import pytest

from exatlas.orchestrator.timers import SPARE, Timers


@pytest.fixture
async def timers(clock):
    """Timers that run, and what they called: `timers.called`."""

    def due(key):
        made.called.append((clock.monotonic(), key))

    made = Timers(clock, due)
    made.called = []
    running = asyncio.create_task(made.run())
    yield made
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def test_each_is_called_in_its_time(timers, clock):
    timers.set("b", 20)
    timers.set("a", 10)
    timers.set("now", 0)
    await clock.sleep(30)
    assert timers.called == [(0, "now"), (10, "a"), (20, "b")]
    assert len(timers) == 0


async def test_a_time_is_replaced_and_taken_out(timers, clock):
    timers.set("a", 10)
    timers.set("a", 30)
    timers.set("b", 10)
    timers.set("b", None)
    timers.set("c", 40)
    timers.set("c", 5)
    await clock.sleep(60)
    assert timers.called == [(5, "c"), (30, "a")]


async def test_a_sooner_one_is_not_kept_waiting(timers, clock):
    timers.set("late", 1000)
    await clock.sleep(1)
    timers.set("soon", 1)
    await clock.sleep(2)
    assert timers.called == [(2, "soon")]


async def test_replaced_times_do_not_pile_up(timers):
    for number in range(10_000):
        timers.set("a", 1000 + number)
    assert len(timers._heap) <= 2 + SPARE


async def test_one_that_comes_back_at_once_holds_nobody_up(clock):
    called = []

    def again(key):
        called.append(key)
        made.set(key, 0)

    made = Timers(clock, again)
    made.set("a", 0)
    running = asyncio.create_task(made.run())
    async with asyncio.timeout(5):
        while len(called) < 3:
            await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait([running])
