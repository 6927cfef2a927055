"""Trouble on order."""

import asyncio

import pytest

from exatlas.errors import NoCapacityError, ValidationError
from exatlas.providers.memory import MemoryProvider
from exatlas.providers.memory.faults import OPERATIONS, Fault, Faults, Hold


def test_orders_are_carried_out_first_come_first_served_per_operation():
    faults = Faults()
    first, second, other = (Fault(after_acting=False) for _ in range(3))
    faults.order("stop", first)
    faults.order("start", other)
    faults.order("stop", second)
    assert [faults.take("stop") for _ in range(3)] == [first, second, None]
    assert faults.take("start") is other
    assert faults.take("get_compute") is None


@pytest.mark.parametrize("name", ["spawn", "", "stream_events"])
def test_an_operation_that_does_not_exist_is_told(name):
    with pytest.raises(ValidationError, match="operation: expected one of spawn_compute"):
        Faults().order(name, Fault(after_acting=False))


def test_every_operation_of_the_provider_can_fail():
    assert all(callable(getattr(MemoryProvider, name)) for name in OPERATIONS)


async def test_a_strike_waits_and_then_raises():
    hold = Hold()
    striking = asyncio.create_task(Fault(after_acting=False, error=NoCapacityError("x"), hold=hold).strike())
    await hold.reached()
    assert not striking.done()
    hold.release()
    with pytest.raises(NoCapacityError):
        await striking


async def test_a_fault_without_orders_does_nothing():
    await Fault(after_acting=True).strike()


async def test_a_hold_that_was_released_before_holds_nobody():
    hold = Hold()
    hold.release()
    await hold.wait()
    await hold.reached()


async def test_a_held_call_can_be_cancelled():
    hold = Hold()
    waiting = asyncio.create_task(hold.wait())
    await hold.reached()
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
