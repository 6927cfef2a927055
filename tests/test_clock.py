"""Real time, and time that a test turns."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from exatlas.clock import ManualClock, SystemClock

START = datetime(2026, 1, 1, tzinfo=UTC)


async def test_the_system_clock_is_aware_and_goes_forward():
    clock = SystemClock()
    before = clock.monotonic()
    await clock.sleep(0)
    assert clock.monotonic() >= before
    assert clock.now().tzinfo is UTC


async def test_nobody_wakes_before_the_hands_have_moved():
    clock = ManualClock(START)
    woken = []

    async def sleeper(seconds):
        await clock.sleep(seconds)
        woken.append((seconds, clock.monotonic()))

    tasks = [asyncio.create_task(sleeper(seconds)) for seconds in (3, 1, 2)]
    await asyncio.sleep(0)
    assert clock.sleepers == 3
    clock.advance(2)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert sorted(woken) == [(1, 2.0), (2, 2.0)]
    assert clock.now() == START + timedelta(seconds=2)
    clock.advance(1)
    await asyncio.gather(*tasks)
    assert woken[-1] == (3, 3.0)


async def test_sleeping_for_nothing_lets_others_run():
    clock, order = ManualClock(), []

    async def other():
        order.append("other")

    task = asyncio.create_task(other())
    await clock.sleep(0)
    order.append("me")
    await task
    assert order == ["other", "me"]
    assert clock.monotonic() == 0


async def test_a_cancelled_sleeper_is_forgotten():
    clock = ManualClock()
    task = asyncio.create_task(clock.sleep(5))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert clock.sleepers == 0
    clock.advance(10)
    assert clock.monotonic() == 10


async def test_an_automatic_clock_takes_no_time_and_keeps_the_order():
    clock, woken = ManualClock(auto=True), []

    async def sleeper(seconds):
        await clock.sleep(seconds)
        woken.append((seconds, clock.monotonic()))

    await asyncio.gather(*(sleeper(seconds) for seconds in (3600, 1, 60)))
    assert woken == [(1, 1.0), (60, 60.0), (3600, 3600.0)]


async def test_an_automatic_clock_waits_while_somebody_has_something_to_do():
    clock, steps = ManualClock(auto=True), []

    async def worker():
        for _ in range(50):
            await asyncio.sleep(0)
            steps.append(clock.monotonic())

    await asyncio.gather(worker(), clock.sleep(10))
    assert steps == [0.0] * 50
    assert clock.monotonic() == 10


async def test_an_automatic_clock_loses_patience_with_a_busy_loop():
    clock = ManualClock(auto=True, patience=30)
    task = asyncio.create_task(clock.sleep(1))
    rounds = 0
    while not task.done():
        await asyncio.sleep(0)
        rounds += 1
        assert rounds < 2 * 30
    assert rounds >= 30


async def test_a_cancelled_wait_does_not_hold_up_the_next_one():
    clock = ManualClock(auto=True)
    first = asyncio.create_task(clock.sleep(1))
    await asyncio.sleep(0)
    first.cancel()
    await clock.sleep(2)
    assert clock.monotonic() == 2
