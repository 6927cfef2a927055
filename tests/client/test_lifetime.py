"""What was forgotten is closed with its loop."""

import asyncio

import pytest

from exatlas.client import lifetime
from exatlas.client.lifetime import Keeper, close_all


class Door:
    def __init__(self, error=None):
        self.closed = 0
        self.error = error

    async def close(self):
        await asyncio.sleep(0)
        self.closed += 1
        if self.error:
            raise self.error


def test_a_loop_that_shuts_down_closes_what_is_kept():
    door = Door()

    async def main():
        await Keeper(door.close).start()
        assert door.closed == 0

    asyncio.run(main())
    assert door.closed == 1


def test_what_is_forgotten_is_left_alone():
    door = Door()

    async def main():
        keeper = Keeper(door.close)
        await keeper.start()
        await keeper.forget()
        await keeper.forget()

    asyncio.run(main())
    assert door.closed == 0


def test_forgetting_from_within_the_closing_does_nothing():
    keepers = []

    async def close():
        await keepers[0].forget()
        keepers.append("closed")

    async def main():
        keepers.append(Keeper(close))
        await keepers[0].start()

    asyncio.run(main())
    assert keepers[1:] == ["closed"]


async def test_a_keeper_that_never_started_can_be_forgotten():
    await Keeper(Door().close).forget()


async def test_one_failure_keeps_nobody_from_being_closed(caplog):
    doors = [Door(), Door(RuntimeError("stuck")), Door()]
    await close_all([door.close for door in doors])
    assert [door.closed for door in doors] == [1, 1, 1]
    assert "closing Door.close failed" in caplog.text
    assert "stuck" in caplog.text


async def test_nothing_closes_for_ever(monkeypatch, caplog):
    monkeypatch.setattr(lifetime, "PATIENCE_S", 0.01)
    door = Door()
    await close_all([asyncio.Event().wait, door.close])
    assert door.closed == 1
    assert "Event.wait failed" in caplog.text


async def test_cancelling_goes_through():
    door = Door()
    closing = asyncio.create_task(close_all([asyncio.Event().wait, door.close]))
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert door.closed == 0
