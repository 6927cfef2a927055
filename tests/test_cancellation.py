"""Deadlines by any clock, and work that outlives its caller."""

import asyncio

import anyio
import anyio.lowlevel
import pytest

from exatlas.cancellation import Deadline, outlive
from exatlas.clock import ManualClock, SystemClock

MOMENT = 0.01


async def test_a_deadline_cancels_the_block_and_says_timeout():
    clock = ManualClock(auto=True)
    limit = Deadline(clock, 5)
    with pytest.raises(TimeoutError):
        async with limit:
            await asyncio.Event().wait()
    assert limit.expired
    assert clock.monotonic() == 5
    assert asyncio.current_task().cancelling() == 0


async def test_a_deadline_works_on_real_time_too():
    with pytest.raises(TimeoutError):
        async with Deadline(SystemClock(), MOMENT):
            await asyncio.Event().wait()


async def test_work_in_time_is_left_alone():
    clock = ManualClock()
    async with Deadline(clock, 5) as limit:
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    clock.advance(10)
    await asyncio.sleep(0)
    assert not limit.expired
    assert clock.sleepers == 0


async def test_no_deadline_never_passes():
    clock = ManualClock()
    async with Deadline(clock, None) as limit:
        clock.advance(1e9)
        await asyncio.sleep(0)
    assert not limit.expired


async def test_the_blocks_own_errors_pass():
    limit = Deadline(ManualClock(), 5)
    with pytest.raises(TimeoutError, match="mine"):
        async with limit:
            raise TimeoutError("mine")
    assert not limit.expired


async def test_a_block_that_ends_well_after_all_keeps_its_result():
    clock, kept = ManualClock(auto=True), []
    async with Deadline(clock, 5) as limit:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            kept.append("result")
    assert limit.expired
    assert kept == ["result"]
    assert asyncio.current_task().cancelling() == 0


async def test_somebody_elses_cancellation_goes_on():
    clock = ManualClock()

    async def block():
        async with Deadline(clock, 5):
            await asyncio.Event().wait()

    task = asyncio.create_task(block())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    clock.advance(5)
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_deadlines_nest():
    clock = ManualClock(auto=True)
    inner = Deadline(clock, 9)
    with pytest.raises(TimeoutError):
        async with Deadline(clock, 5), inner:
            await asyncio.Event().wait()
    assert not inner.expired


def work(steps, log, clock=None):
    async def run():
        log.append("started")
        for _ in range(steps):
            await asyncio.sleep(0)
        log.append("ended")
        return "value"

    return run


async def test_outlive_gives_the_value():
    ended = await outlive(work(3, []))
    assert (ended.value, ended.interrupted) == ("value", False)


async def test_outlive_raises_what_the_work_raises():
    async def broken():
        raise KeyError("x")

    with pytest.raises(KeyError):
        await outlive(broken)


async def test_the_work_is_finished_however_often_its_caller_is_cancelled():
    log, ends = [], []

    async def caller():
        ends.append(await outlive(work(10, log)))

    task = asyncio.create_task(caller())
    for _ in range(5):
        await asyncio.sleep(0)
        task.cancel()
    await task
    assert log == ["started", "ended"]
    assert ends[0].interrupted


async def test_an_anyio_scope_that_keeps_cancelling_neither_cuts_the_work_nor_spins():
    log, rounds = [], 0
    with anyio.move_on_after(0):
        ended = await outlive(work(10, log))
        assert ended.value == "value"
        await anyio.lowlevel.checkpoint()
        rounds += 1
    assert log == ["started", "ended"]
    assert rounds == 0


async def test_work_whose_own_task_is_cancelled_starts_once_more():
    log, tasks = [], []

    async def run():
        tasks.append(asyncio.current_task())
        return await work(10, log)()

    caller = asyncio.create_task(outlive(run))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    tasks[0].cancel()
    ended = await caller
    assert ended.value == "value"
    assert log == ["started", "started", "ended"]


async def test_the_second_cancellation_of_the_work_itself_goes_through():
    tasks = []

    async def run():
        tasks.append(asyncio.current_task())
        await asyncio.Event().wait()

    caller = asyncio.create_task(outlive(run))
    for number in range(2):
        while len(tasks) <= number:
            await asyncio.sleep(0)
        tasks[number].cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller


def test_a_loop_that_shuts_down_lets_the_work_finish():
    log = []

    async def caller():
        try:
            await asyncio.Event().wait()
        finally:
            await outlive(work(10, log))

    async def main():
        task = asyncio.create_task(caller())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        # Now the work has begun, and the loop that ends here cancels both the caller and the work.

    asyncio.run(main())
    assert log[-1] == "ended"
