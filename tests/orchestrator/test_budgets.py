"""Budgets in force: nobody spends what is not there, and what was not spent is there again."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from exatlas import Atlas, Budget, LaunchState, ManualClock, Orchestrator
from exatlas.errors import BudgetError, LedgerError, NoCapacityError, UnsupportedError, ValidationError
from exatlas.ledger import MemoryLedger
from exatlas.orchestrator import events
from exatlas.providers.memory import MemoryProvider

MACHINE = {"image": "img", "gpu": "l4", "cloud_type": "secure"}
PRICE = Decimal("0.44")
DAY = {"per": "tenant", "over": "day"}


class World:
    def __init__(self, start=datetime(2026, 1, 1, tzinfo=UTC)):
        self.clock = ManualClock(start, auto=True)
        self.ledger = MemoryLedger(self.clock)
        self.cloud = MemoryProvider(clock=self.clock)
        self.atlas = Atlas(self.cloud, clock=self.clock, env={}, ledger=self.ledger, owner="tests")

    def orchestrator(self, *budgets, **options):
        return Orchestrator(self.atlas, budgets=budgets, **options)

    def spent(self):
        """By the cloud's own books."""
        return sum((line.usd for line in self.cloud.invoice()), Decimal(0))

    async def held(self, orch, **whose):
        (state,) = await orch.budgets(**whose)
        return state.budget.usd - state.left_usd


@pytest.fixture
async def world():
    made = World()
    yield made
    await made.atlas.aclose()
    await made.cloud.aclose()


async def test_a_spawn_that_is_too_dear_rents_nothing_and_says_why(world):
    async with world.orchestrator(Budget(usd=1, **DAY)) as orch:
        with pytest.raises(
            BudgetError, match=r"tenant acme, day 2026-01-01 has 1\.?0* USD left, and this needs 2\.0"
        ) as told:
            await orch.spawn(**MACHINE, tenant="acme", max_cost_usd=2)
        assert (told.value.budget, told.value.left_usd) == ("tenant acme, day 2026-01-01", 1)
        assert (world.cloud.rented, list(await orch.list())) == ([], [])
        assert {launch.state for launch in await world.ledger.find()} == {LaunchState.GONE}
        assert await world.held(orch, tenant="acme") == 0
        await orch.spawn(**MACHINE, tenant="acme", max_cost_usd=1)


async def test_what_one_holds_another_cannot(world):
    async with world.orchestrator(Budget(usd=1, **DAY)) as orch:
        one = await orch.spawn(**MACHINE, tenant="acme", max_cost_usd="0.7")
        with pytest.raises(BudgetError, match=r"0\.3"):
            await orch.spawn(**MACHINE, tenant="acme", max_cost_usd="0.4")
        await orch.spawn(**MACHINE, tenant="other", max_cost_usd="0.9")
        await orch.spawn(**MACHINE, max_cost_usd=50)
        await orch.terminate(one)
        await orch.spawn(**MACHINE, tenant="acme", max_cost_usd="0.9")


async def test_what_was_spent_stays_spent(world):
    async with world.orchestrator(Budget(usd=1, **DAY)) as orch:
        one = await orch.spawn(**MACHINE, tenant="acme", max_cost_usd="0.9")
        await world.clock.sleep(3600)
        await orch.terminate(one)
        held = await world.held(orch, tenant="acme")
        assert PRICE <= held < PRICE * Decimal("1.01")
        with pytest.raises(BudgetError):
            await orch.spawn(**MACHINE, tenant="acme", max_cost_usd="0.6")


async def test_a_failed_spawn_gives_back_at_once_what_it_held(world):
    async with world.orchestrator(Budget(usd=1, **DAY)) as orch:
        world.cloud.fail_next("spawn_compute", NoCapacityError("full"))
        with pytest.raises(NoCapacityError):
            await orch.spawn(**MACHINE, tenant="acme", max_cost_usd=1)
        await orch.spawn(**MACHINE, tenant="acme", max_cost_usd=1)


async def test_a_cancelled_one_does_soon(world):
    async with world.orchestrator(Budget(usd=1, **DAY)) as orch:
        hold = world.cloud.hold_next("spawn_compute")
        spawning = asyncio.create_task(orch.spawn(**MACHINE, tenant="acme", max_cost_usd=1))
        await hold.reached()
        spawning.cancel()
        hold.release()
        await asyncio.wait([spawning])
        await world.clock.sleep(60)
        assert world.cloud.rented == []
        await orch.spawn(**MACHINE, tenant="acme", max_cost_usd=1)


@pytest.mark.parametrize("limits", [{}, {"idle_ttl": 10**6}, {"max_runtime": 3600 * 2, "idle_ttl": 10**6}])
async def test_a_session_ends_when_its_budget_is_spent(world, limits):
    async with world.orchestrator(Budget(usd=PRICE * 2, **DAY)) as orch:
        session = await orch.spawn(**MACHINE, tenant="acme", **limits)
        await world.clock.sleep(3600 * 2 - 5)
        assert world.cloud.rented == [session.compute.id]
        await world.clock.sleep(30)
        assert world.cloud.rented == []
        assert world.spent() <= PRICE * 2 * Decimal("1.001")
        told = [event async for event in so_far(orch) if isinstance(event, events.BudgetExhausted)]
        if not limits.get("max_runtime"):
            assert [event.budget for event in told] == ["tenant acme, day 2026-01-01"]


async def so_far(orch):
    for _ in range(20):
        await asyncio.sleep(0)
    reader = orch.events(after=0)
    try:
        while True:
            yield await asyncio.wait_for(anext(reader), 0.02)
    except TimeoutError:
        return
    finally:
        await reader.aclose()


async def test_two_share_what_there_is_and_both_end(world):
    async with world.orchestrator(Budget(usd=PRICE * 2, **DAY)) as orch:
        await orch.spawn(**MACHINE, tenant="acme")
        await orch.spawn(**MACHINE, tenant="acme")
        await world.clock.sleep(3000)
        assert len(world.cloud.rented) == 2
        await world.clock.sleep(1000)
        assert world.cloud.rented == []
        assert PRICE * Decimal("1.9") < world.spent() <= PRICE * 2 * Decimal("1.001")


async def test_a_new_day_is_a_new_budget(world):
    async with world.orchestrator(Budget(usd=PRICE * 24 + 1, **DAY)) as orch:
        session = await orch.spawn(**MACHINE, tenant="acme", max_cost_usd=1000)
        await world.clock.sleep(3600 * 24 * 3 + 60)
        assert world.cloud.rented == [session.compute.id]
        assert await world.held(orch, tenant="acme") == PRICE * 24


async def test_a_new_day_without_enough_for_it_ends_when_that_is_spent(world):
    ledger, cloud, clock = world.ledger, world.cloud, world.clock
    async with world.orchestrator(Budget(usd=PRICE * 12, **DAY)) as orch:
        await clock.sleep(3600 * 18)
        await orch.spawn(**MACHINE, tenant="acme", max_runtime=3600 * 48)
        await clock.sleep(3600 * 17.9)
        assert len(cloud.rented) == 1
        await clock.sleep(3600 * 0.2)
        assert cloud.rented == []
        assert world.spent() <= PRICE * 18 * Decimal("1.001")
    assert await ledger.unsettled("tests") == []


async def test_every_budget_that_applies_must_have_room(world):
    budgets = Budget(usd=10, **DAY), Budget(usd=1, per="user", over="month")
    async with world.orchestrator(*budgets) as orch:
        with pytest.raises(BudgetError, match="user u of tenant acme, month 2026-01"):
            await orch.spawn(**MACHINE, tenant="acme", user="u", max_cost_usd=2)
        states = await orch.budgets(tenant="acme", user="u")
        assert [state.left_usd for state in states] == [10, 1]
        await orch.spawn(**MACHINE, tenant="acme", user="else", max_cost_usd=1)


async def test_a_dearer_price_is_held_when_it_is_seen(world):
    async with world.orchestrator(Budget(usd=PRICE * 3, **DAY), poll_every=30) as orch:
        session = await orch.spawn(**MACHINE, tenant="acme")
        await world.clock.sleep(3600)
        world.cloud.set_price(session.compute.id, PRICE * 4)
        await world.clock.sleep(1850)
        assert world.cloud.rented == []
        # It may be dearer for one poll before anybody knows.
        assert world.spent() <= PRICE * 3 + PRICE * 4 * 31 / 3600


async def test_a_machine_without_a_price_needs_a_cost_limit(world):
    async with world.orchestrator(Budget(usd=1, **DAY)) as orch:
        with pytest.raises(UnsupportedError, match="max_cost_usd"):
            await orch.spawn(image="img", tenant="acme")
        assert world.cloud.rented == []
        await orch.spawn(image="img", tenant="acme", max_cost_usd="0.5")


async def test_a_dead_workers_holds_are_taken_over_and_settled(world):
    budget = Budget(usd=1, **DAY)
    dead = await world.orchestrator(budget).__aenter__()
    await dead.spawn(**MACHINE, tenant="acme", max_cost_usd="0.9")
    for loop in dead._loops:
        loop.cancel()
    async with world.orchestrator(budget) as orch:
        await world.clock.sleep(1800)
        assert await world.held(orch, tenant="acme") == Decimal("0.9")
        with pytest.raises(BudgetError):
            await orch.spawn(**MACHINE, tenant="acme", max_cost_usd="0.2")
        await orch.terminate((await orch.list())[0])
        assert PRICE / 2 <= await world.held(orch, tenant="acme") < PRICE * Decimal("0.51")
    await asyncio.wait(dead._loops)


async def test_what_a_recovery_has_ended_is_settled(world):
    budget = Budget(usd=1, **DAY)
    async with world.orchestrator(budget) as orch:
        await orch.spawn(**MACHINE, tenant="acme", max_cost_usd="0.9", keep_on_exit=True)
    await world.atlas.recover("terminate", older_than=0)
    async with world.orchestrator(budget) as orch:
        await world.clock.sleep(60)
        assert await world.held(orch, tenant="acme") < Decimal("0.01")


async def test_without_the_ledger_nothing_is_rented(world, monkeypatch):
    async def away(*args, **options):
        raise LedgerError("away")

    async with world.orchestrator(Budget(usd=1, **DAY)) as orch:
        monkeypatch.setattr(world.ledger, "hold", away)
        with pytest.raises(LedgerError):
            await orch.spawn(**MACHINE, tenant="acme", max_cost_usd="0.5")
        assert world.cloud.rented == []


async def test_two_who_want_the_last_dollar(world):
    async with world.orchestrator(Budget(usd=1, **DAY)) as orch, world.orchestrator(Budget(usd=1, **DAY)) as other:
        spawns = [one.spawn(**MACHINE, tenant="acme", max_cost_usd="0.6") for one in (orch, other, orch, other)]
        ends = await asyncio.gather(*spawns, return_exceptions=True)
        assert sum(isinstance(end, BudgetError) for end in ends) == 3
        assert len(world.cloud.rented) == 1


async def test_a_spawn_may_be_cut_at_every_step(cancel_everywhere):
    async def trial(cut):
        world = World()
        world.clock = world.atlas.clock
        async with world.orchestrator(Budget(usd=1, **DAY)) as orch:
            await cut(orch.spawn(**MACHINE, tenant="acme", max_cost_usd=1))
            for session in await orch.list():
                await orch.terminate(session)
            await world.clock.sleep(400)
            assert world.cloud.rented == []
            assert await world.held(orch, tenant="acme") == 0
        await world.atlas.aclose()
        await world.cloud.aclose()

    assert await cancel_everywhere(trial) > 5


def test_budgets_are_budgets():
    world = World()
    with pytest.raises(ValidationError, match="budgets"):
        world.orchestrator("a lot")


def test_wrong_amounts_are_named():
    with pytest.raises(ValidationError, match="usd"):
        Budget(usd=timedelta(1), per="tenant", over="day")
