import asyncio
import gc
import weakref

import pytest
from hypothesis import given, settings, strategies as st

from exatlas.clock import ManualClock, SystemClock
from exatlas.errors import ValidationError
from exatlas.transport.budget import Budget, Limits, budget_for


async def settle():
    """Let everything run that does not wait for the clock."""
    for _ in range(20):
        await asyncio.sleep(0)


class World:
    """A budget on a clock that jumps, and everybody who took a turn of it."""

    def __init__(self, limits):
        self.clock = ManualClock(auto=True)
        self.limits = limits
        self.budget = Budget(limits, self.clock)
        self.starts = []
        self.order = []
        self.most_at_once = 0

    async def call(self, name, *, arrives=0.0, takes=0.0):
        await self.clock.sleep(arrives)
        async with self.budget.turn() as waited_s:
            self.starts.append(self.clock.monotonic())
            self.order.append(name)
            self.most_at_once = max(self.most_at_once, self.budget.in_flight)
            await self.clock.sleep(takes)
        return waited_s

    def check(self):
        limits, starts = self.limits, self.starts
        for first, beyond in zip(starts, starts[limits.requests :], strict=False):
            assert beyond - first >= limits.per_s
        assert self.most_at_once <= limits.concurrent
        assert (self.budget.in_flight, self.budget.waiting) == (0, 0)


limits = st.builds(
    Limits, requests=st.integers(1, 60), per_s=st.sampled_from([0.1, 1.0, 10.0, 60.0]), concurrent=st.integers(1, 12)
)
calls = st.tuples(st.floats(0, 30), st.floats(0, 5))
plans = st.lists(calls, min_size=1, max_size=80)


@given(limits, plans, st.booleans())
@settings(deadline=None, max_examples=60)
def test_no_window_ever_holds_too_many(limits, plan, at_once):
    async def go():
        world = World(limits)
        await asyncio.gather(
            *(
                world.call(name, arrives=0.0 if at_once else arrives, takes=takes)
                for name, (arrives, takes) in enumerate(plan)
            )
        )
        assert len(world.starts) == len(plan)
        world.check()

    asyncio.run(go())


@given(limits, st.lists(st.tuples(st.floats(0, 5), st.floats(0, 2), st.floats(0, 5)), min_size=2, max_size=30))
@settings(deadline=None, max_examples=60)
def test_cancelling_anybody_at_any_time_leaves_no_hole(limits, plan):
    async def go():
        world = World(limits)
        tasks = [
            asyncio.create_task(world.call(name, arrives=arrives, takes=takes))
            for name, (arrives, takes, _) in enumerate(plan)
        ]

        async def cancel(task, after):
            await world.clock.sleep(after)
            task.cancel()

        killers = [
            asyncio.create_task(cancel(task, after))
            for number, (task, (_, _, after)) in enumerate(zip(tasks, plan, strict=True))
            if number % 2
        ]
        results = await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*killers)
        assert all(isinstance(result, float) for result in results[::2])
        world.check()

    asyncio.run(go())


@given(limits, st.integers(2, 40))
@settings(deadline=None, max_examples=40)
def test_first_come_first_served(limits, count):
    async def go():
        world = World(limits)
        await asyncio.gather(*(world.call(name, takes=0.5) for name in range(count)))
        assert world.order == list(range(count))

    asyncio.run(go())


async def test_nobody_waits_below_the_limit():
    world = World(Limits(requests=100, per_s=10.0, concurrent=5))
    waits = [await world.call(name, arrives=0.2) for name in range(300)]
    assert waits == [0.0] * 300


async def test_a_burst_then_the_steady_rate():
    world = World(Limits(requests=100, per_s=10.0, concurrent=100, burst=10))
    await asyncio.gather(*(world.call(name) for name in range(30)))
    assert world.starts[:10] == [0.0] * 10
    gaps = [later - earlier for earlier, later in zip(world.starts[9:], world.starts[10:], strict=False)]
    assert gaps == pytest.approx([10.0 / 91] * 20, rel=1e-5)


@pytest.mark.parametrize(("requests", "burst"), [(1, 1), (49, 1), (100, 2), (1900, 38)])
async def test_the_burst_is_one_in_fifty(requests, burst):
    world = World(Limits(requests=requests, per_s=10.0, concurrent=5000))
    await asyncio.gather(*(world.call(name) for name in range(burst + 1)))
    assert world.starts[:-1] == [0.0] * burst
    assert world.starts[-1] > 0.0


async def test_streams_at_capacity_share_the_rate_equally():
    world = World(Limits(requests=190, per_s=1.0, concurrent=400))
    turns = dict.fromkeys(range(50), 0)

    async def stream(name):
        while world.clock.monotonic() < 20.0:
            await world.call(name)
            turns[name] += 1

    await asyncio.gather(*(stream(name) for name in turns))
    assert max(turns.values()) - min(turns.values()) <= 1
    assert sum(turns.values()) == pytest.approx(20 * 190, rel=0.03)


@pytest.mark.parametrize(("requests", "per_s", "waiters"), [(190, 1.0, 1000), (1900, 10.0, 1000), (60, 60.0, 200)])
async def test_a_crowd_is_done_when_the_limits_arithmetic_says(requests, per_s, waiters):
    world = World(Limits(requests=requests, per_s=per_s, concurrent=5000))
    await asyncio.gather(*(world.call(name) for name in range(waiters)))
    burst = max(1, requests // 50)
    interval = per_s / (requests - burst + 1)
    assert world.starts[-1] == pytest.approx((waiters - burst) * interval, rel=1e-5)
    assert world.starts[-1] <= waiters * per_s / requests * 1.03
    assert world.order == list(range(waiters))
    world.check()


async def test_a_crowd_that_may_be_only_so_many_at_once():
    world = World(Limits(requests=10_000, per_s=1.0, concurrent=7))
    await asyncio.gather(*(world.call(name, takes=2.0) for name in range(700)))
    assert world.clock.monotonic() == pytest.approx(700 / 7 * 2.0, rel=1e-2)
    assert world.most_at_once == 7
    world.check()


async def test_a_crowd_that_leaves_lets_the_last_one_through_at_once():
    clock = ManualClock()
    budget = Budget(Limits(requests=100, per_s=1.0, concurrent=1, burst=50), clock)
    await budget.acquire()
    crowd = [asyncio.create_task(budget.acquire()) for _ in range(1000)]
    last = asyncio.create_task(budget.acquire())
    await settle()
    for task in crowd:
        task.cancel()
    await settle()
    assert budget.waiting == 1
    budget.release()
    await settle()
    assert last.done()
    assert (budget.in_flight, budget.waiting) == (1, 0)


async def test_the_seconds_waited_are_told():
    world = World(Limits(requests=1, per_s=3.0, concurrent=5))
    assert await asyncio.gather(*(world.call(name) for name in range(3))) == pytest.approx([0.0, 3.0, 6.0], rel=1e-5)


async def test_a_turn_that_fails_is_given_back():
    budget = Budget(Limits(requests=100, per_s=1.0, concurrent=1), ManualClock())
    with pytest.raises(RuntimeError, match="mine"):
        async with budget.turn():
            assert budget.in_flight == 1
            raise RuntimeError("mine")
    assert budget.in_flight == 0


async def test_one_slot_passes_from_hand_to_hand():
    clock = ManualClock()
    budget = Budget(Limits(requests=100, per_s=1.0, concurrent=1, burst=50), clock)
    await budget.acquire()
    waiting = [asyncio.create_task(budget.acquire()) for _ in range(3)]
    await settle()
    assert (budget.in_flight, budget.waiting) == (1, 3)
    for left in (2, 1, 0):
        budget.release()
        await settle()
        assert (budget.in_flight, budget.waiting) == (1, left)
    budget.release()
    assert [task.result() for task in waiting] == [0.0, 0.0, 0.0]


async def test_nobody_steps_in_front_of_those_who_wait():
    budget = Budget(Limits(requests=100, per_s=1.0, concurrent=1, burst=50), ManualClock())
    order = []

    async def take(name):
        async with budget.turn():
            order.append(name)

    await budget.acquire()
    waiting = asyncio.create_task(take("first"))
    await settle()
    budget.release()
    await take("newcomer")  # asks at once, before the one in line has had time to wake up
    await waiting
    assert order == ["first", "newcomer"]


@pytest.mark.parametrize("who", [0, 1, 2])
async def test_a_cancelled_waiter_hands_its_place_on(who):
    budget = Budget(Limits(requests=100, per_s=1.0, concurrent=1, burst=50), ManualClock())
    await budget.acquire()
    waiting = [asyncio.create_task(budget.acquire()) for _ in range(3)]
    await settle()
    waiting[who].cancel()
    await settle()
    assert (budget.in_flight, budget.waiting) == (1, 2)
    for _ in range(2):
        budget.release()
        await settle()
    assert [task.cancelled() for task in waiting] == [number == who for number in range(3)]
    assert (budget.in_flight, budget.waiting) == (1, 0)


async def test_cancelled_in_the_very_moment_of_becoming_the_head():
    budget = Budget(Limits(requests=100, per_s=1.0, concurrent=1, burst=50), ManualClock())
    await budget.acquire()
    waiting = [asyncio.create_task(budget.acquire()) for _ in range(3)]
    await settle()
    waiting[0].cancel()
    await asyncio.sleep(0)  # the head has handed on, and the next has not run yet
    waiting[1].cancel()
    await settle()
    budget.release()
    await settle()
    assert waiting[2].done()
    assert not waiting[2].cancelled()
    assert (budget.in_flight, budget.waiting) == (1, 0)


async def test_cancelled_in_the_very_moment_a_slot_is_freed():
    budget = Budget(Limits(requests=100, per_s=1.0, concurrent=1, burst=50), ManualClock())
    await budget.acquire()
    waiting = [asyncio.create_task(budget.acquire()) for _ in range(2)]
    await settle()
    budget.release()
    waiting[0].cancel()
    await settle()
    assert waiting[0].cancelled()
    assert waiting[1].done()
    assert (budget.in_flight, budget.waiting) == (1, 0)


async def test_cancelled_while_the_head_watches_the_clock():
    clock = ManualClock()
    budget = Budget(Limits(requests=1, per_s=10.0, concurrent=9), clock)
    await budget.acquire()
    waiting = [asyncio.create_task(budget.acquire()) for _ in range(2)]
    await settle()
    waiting[0].cancel()
    await settle()
    clock.advance(10.001)
    await settle()
    assert waiting[1].done()
    assert budget.in_flight == 2


async def test_slowing_down_holds_everybody_and_ends_the_burst():
    clock = ManualClock(auto=True)
    world = World(Limits(requests=100, per_s=10.0, concurrent=100, burst=10))
    world.clock = world.budget._clock = clock
    world.budget.slow_down(7.0)
    await asyncio.gather(*(world.call(name) for name in range(3)))
    assert world.starts == pytest.approx([7.0, 7.0 + 10 / 91, 7.0 + 20 / 91], rel=1e-5)


async def test_slowing_down_reaches_who_already_waits():
    clock = ManualClock()
    budget = Budget(Limits(requests=1, per_s=1.0, concurrent=9), clock)
    await budget.acquire()
    waiting = asyncio.create_task(budget.acquire())
    await settle()
    budget.slow_down(5.0)
    clock.advance(1.5)
    await settle()
    assert not waiting.done()
    clock.advance(3.6)
    await settle()
    assert await waiting == pytest.approx(5.1)


async def test_a_shorter_hold_does_not_replace_a_longer_one():
    world = World(Limits(requests=100, per_s=1.0, concurrent=9))
    world.budget.slow_down(5.0)
    world.budget.slow_down(1.0)
    assert await world.call("a") == pytest.approx(5.0)


async def test_real_time():
    budget = Budget(Limits(requests=20, per_s=0.2, concurrent=3), SystemClock())
    loop = asyncio.get_running_loop()

    async def call():
        async with budget.turn():
            assert budget.in_flight <= 3

    started = loop.time()
    await asyncio.gather(*(call() for _ in range(30)))
    assert loop.time() - started >= 29 * 0.01


@pytest.mark.parametrize(
    ("facts", "fault"),
    [
        ({"requests": 0}, "requests"),
        ({"per_s": 0.0}, "per_s"),
        ({"per_s": float("nan")}, "per_s"),
        ({"concurrent": 0}, "concurrent"),
        ({"burst": 0}, "burst"),
        ({"burst": 11}, "burst"),
    ],
)
def test_limits_that_cannot_be(facts, fault):
    with pytest.raises(ValidationError, match=fault):
        Limits(**{"requests": 10, "per_s": 1.0, "concurrent": 1, **facts})


# Shared budgets

LIMITS = Limits(requests=10, per_s=1.0, concurrent=5)


async def test_one_budget_for_each_key_limits_and_kind_of_time():
    budget = budget_for("a", LIMITS, SystemClock())
    assert budget_for("a", LIMITS, SystemClock()) is budget
    assert budget_for("b", LIMITS, SystemClock()) is not budget
    assert budget_for("a", Limits(requests=11, per_s=1.0, concurrent=5), SystemClock()) is not budget
    clock = ManualClock()
    manual = budget_for("a", LIMITS, clock)
    assert manual is not budget
    assert budget_for("a", LIMITS, clock) is manual
    assert budget_for("a", LIMITS, ManualClock()) is not manual


async def test_two_loops_share_no_budget():
    async def mine():
        return budget_for("a", LIMITS, SystemClock())

    assert await asyncio.to_thread(asyncio.run, mine()) is not await mine()


async def test_a_budget_that_nobody_holds_is_kept_while_it_remembers():
    clock = ManualClock(auto=True)
    waits = []
    for _ in range(3):
        async with budget_for("a", Limits(requests=1, per_s=5.0, concurrent=1), clock).turn() as waited_s:
            waits.append(waited_s)
        gc.collect()
    assert waits == pytest.approx([0.0, 5.0, 5.0], rel=1e-5)


async def test_budgets_that_remember_nothing_are_forgotten():
    clock = ManualClock()
    held = budget_for("held", LIMITS, clock)
    busy = weakref.ref(budget_for("busy", LIMITS, clock))
    async with held.turn():
        pass
    await busy().acquire()
    idle = weakref.ref(budget_for("idle", LIMITS, clock))
    clock.advance(100.0)
    for number in range(200):
        budget_for(number, LIMITS, clock)
    gc.collect()
    assert idle() is None
    assert busy() is budget_for("busy", LIMITS, clock)
    assert held is budget_for("held", LIMITS, clock)


def test_a_loop_takes_its_budgets_with_it():
    async def make():
        budget = budget_for("a", LIMITS, SystemClock())
        async with budget.turn():
            return weakref.ref(budget)

    gone = asyncio.run(make())
    gc.collect()
    assert gone() is None
