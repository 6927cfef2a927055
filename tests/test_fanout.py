"""One operation on many providers: order, limits, deadlines, and losers that give back what they rented."""

import asyncio
from datetime import timedelta

import pytest

from exatlas import Atlas
from exatlas.errors import (
    AllFailedError,
    AtlasError,
    ErrorKind,
    NoCapacityError,
    RateLimitedError,
    TransportTimeoutError,
    UnauthorizedError,
    ValidationError,
)
from exatlas.fanout import UNDO_PATIENCE_S, Outcome, fan_out, first_ok, record_birth
from exatlas.providers.memory import MemoryProvider


class Runs:
    """Operations that note what they did, by a clock."""

    def __init__(self, clock):
        self.clock = clock
        self.running = 0
        self.most = 0
        self.ended = []
        self.undone = []

    async def sleep(self, seconds):
        """Take so many seconds and give them back; a negative number fails after as many."""
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.clock.sleep(abs(seconds))
            if seconds < 0:
                raise NoCapacityError(f"full after {-seconds}")
            return seconds
        finally:
            self.running -= 1
            self.ended.append(seconds)

    async def spawn(self, seconds):
        """Rent a machine at once, then be busy."""
        record_birth(lambda: self.undo(seconds))
        return await self.sleep(seconds)

    async def undo(self, what):
        await asyncio.sleep(0)
        self.undone.append(what)


@pytest.fixture
def runs(clock):
    return Runs(clock)


def others():
    return asyncio.all_tasks() - {asyncio.current_task()}


# --- fan_out ---


async def test_one_outcome_each_in_input_order(runs, clock):
    outcomes = await fan_out(runs.sleep, [3, -2, 1], clock=clock)
    assert runs.ended == [1, -2, 3]
    assert [(one.input, one.value, one.ok) for one in outcomes] == [(3, 3, True), (-2, None, False), (1, 1, True)]
    assert isinstance(outcomes[1].error, NoCapacityError)
    assert [one.elapsed for one in outcomes] == [timedelta(seconds=number) for number in (3, 2, 1)]
    assert clock.monotonic() == 3


async def test_no_provider_is_no_outcome(runs, clock):
    assert await fan_out(runs.sleep, [], clock=clock) == []


async def test_a_value_of_none_is_a_value(clock):
    async def nothing(_):
        return None

    (outcome,) = await fan_out(nothing, ["memory"], clock=clock)
    assert (outcome.ok, outcome.value) == (True, None)


@pytest.mark.parametrize(("limit", "most", "took"), [(None, 4, 1), (1, 1, 4), (3, 3, 2), (9, 4, 1)])
async def test_so_many_at_once(runs, clock, limit, most, took):
    outcomes = await fan_out(runs.sleep, [1, 1, 1, 1], limit=limit, clock=clock)
    assert (runs.most, clock.monotonic()) == (most, took)
    assert {one.elapsed for one in outcomes} == {timedelta(seconds=1)}


@pytest.mark.parametrize("timeout", [2, timedelta(seconds=2)])
async def test_a_slow_one_runs_out_of_its_own_time_only(runs, clock, timeout):
    slow, fast = await fan_out(runs.sleep, [100, 1], timeout=timeout, limit=1, clock=clock)
    assert fast.ok
    assert isinstance(slow.error, TransportTimeoutError)
    assert isinstance(slow.error, TimeoutError)
    assert (slow.error.message, slow.error.retryable, slow.error.provider) == ("no result within 2 s", False, "int")
    assert slow.elapsed == timedelta(seconds=2)
    assert runs.running == 0


async def test_a_timeout_of_the_operations_own_is_its_own(clock):
    own = TimeoutError("mine")

    async def late(_):
        raise own

    (outcome,) = await fan_out(late, ["memory"], timeout=5, clock=clock)
    assert outcome.error is own


async def test_whatever_is_raised_is_an_outcome(clock):
    async def broken(which):
        if which == "cancelled":
            raise asyncio.CancelledError
        raise which

    bug = ZeroDivisionError("bug")
    outcomes = await fan_out(broken, [bug, "cancelled"], clock=clock)
    assert outcomes[0].error is bug
    assert isinstance(outcomes[1].error, AtlasError)
    assert str(outcomes[1].error) == "cancelled: the call was cancelled"


async def test_leaving_early_cancels_and_awaits_all(runs, clock):
    fanning = asyncio.create_task(fan_out(runs.sleep, [100, 200, 300], limit=2, clock=clock))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    fanning.cancel()
    await asyncio.wait([fanning])
    assert fanning.cancelled()
    assert (runs.running, sorted(runs.ended)) == (0, [100, 200])
    await asyncio.sleep(0)
    assert others() == set()


async def test_leaving_early_gives_back_what_was_rented(runs, clock):
    fanning = asyncio.create_task(fan_out(runs.spawn, [100, -1], clock=clock))
    while runs.running < 2:
        await asyncio.sleep(0)
    fanning.cancel()
    await asyncio.wait([fanning])
    assert fanning.cancelled()
    assert sorted(runs.undone) == [-1, 100]


async def test_what_came_through_is_the_callers(runs, clock):
    await fan_out(runs.spawn, [1, 2], clock=clock)
    assert runs.undone == []


@pytest.mark.parametrize("function", [fan_out, first_ok])
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"limit": 0}, "limit: expected a whole number of at least 1, got 0"),
        ({"limit": True}, "limit: expected a whole number"),
        ({"timeout": 0}, "timeout: expected a positive timedelta or number of seconds, got 0"),
        ({"timeout": "1"}, "timeout: expected a positive"),
        ({"op": 5}, "op: expected a function of one provider, got 5"),
        ({"op": None, "limit": -1, "timeout": -1}, "op: expected a function of one provider, got None; limit: "),
    ],
)
async def test_wrong_arguments(runs, function, options, said):
    with pytest.raises(ValidationError) as caught:
        await function(**{"op": runs.sleep, "providers": [1], **options})
    assert said in str(caught.value)
    assert caught.value.operation == function.__name__


@pytest.mark.parametrize(
    ("given", "name"), [("runpod", "runpod"), (MemoryProvider, "memory"), (MemoryProvider(), "memory"), (5, "int")]
)
async def test_outcomes_name_their_provider(clock, given, name):
    async def never(_):
        await clock.sleep(100)

    (outcome,) = await fan_out(never, [given], timeout=1, clock=clock)
    assert outcome.error.provider == name


def test_outcomes_are_equal_whatever_time_they_took():
    one, other = (Outcome(input=1, value=2, elapsed=timedelta(seconds=number)) for number in (1, 2))
    assert one == other
    assert one.ok


# --- first_ok ---


async def test_the_first_success_wins_and_the_rest_are_cancelled(runs, clock):
    assert await first_ok(runs.sleep, [30, -1, 2, 3], clock=clock) == 2
    assert clock.monotonic() == 2
    assert (runs.running, set(runs.ended)) == (0, {30, -1, 2, 3})
    await asyncio.sleep(0)
    assert others() == set()


async def test_of_the_same_moment_the_first_in_order_wins(clock):
    async def at_once(which):
        return which

    assert await first_ok(at_once, ["b", "a"], clock=clock) == "b"


async def test_one_at_a_time_is_in_order(runs, clock):
    assert await first_ok(runs.sleep, [-5, -1, 7, 3], limit=1, clock=clock) == 7
    assert (runs.most, runs.ended) == (1, [-5, -1, 7])


async def test_nothing_is_begun_once_the_race_is_won(runs, clock):
    assert await first_ok(runs.spawn, [1, 9, 3, 4], limit=2, clock=clock) == 1
    assert (sorted(runs.ended), runs.undone) == ([1, 9], [9])


async def test_a_slow_one_makes_room_after_its_time(runs, clock):
    assert await first_ok(runs.sleep, [100, 1], limit=1, timeout=2, clock=clock) == 1


async def test_when_all_fail_every_reason_is_told(runs, clock):
    with pytest.raises(AllFailedError) as caught:
        await first_ok(runs.sleep, [-2, -1], clock=clock)
    error = caught.value
    assert str(error) == "no provider succeeded: full after 2; full after 1"
    assert [one.input for one in error.outcomes] == [-2, -1]
    assert (error.kind, error.retryable) == (ErrorKind.NO_CAPACITY, True)
    assert isinstance(error.__cause__, ExceptionGroup)
    assert len(error.__cause__.exceptions) == 2


@pytest.mark.parametrize(
    ("errors", "kind", "retryable"),
    [
        ([UnauthorizedError("a"), UnauthorizedError("b")], ErrorKind.UNAUTHORIZED, False),
        ([UnauthorizedError("a"), RateLimitedError("b")], ErrorKind.UNKNOWN, True),
        ([ZeroDivisionError()], ErrorKind.UNKNOWN, False),
    ],
)
async def test_the_kind_is_what_all_share(clock, errors, kind, retryable):
    async def fail(error):
        raise error

    with pytest.raises(AllFailedError) as caught:
        await first_ok(fail, errors, clock=clock)
    assert (caught.value.kind, caught.value.retryable) == (kind, retryable)


async def test_a_race_needs_somebody_in_it(runs, clock):
    with pytest.raises(ValidationError, match="providers: expected at least one"):
        await first_ok(runs.sleep, [], clock=clock)


async def test_losers_give_back_what_they_rented_and_the_winner_keeps_it(runs, clock):
    assert await first_ok(runs.spawn, [3, -1, 2, 9], clock=clock) == 2
    assert sorted(runs.undone) == [-1, 3, 9]


async def test_when_all_fail_everything_is_given_back(runs, clock):
    with pytest.raises(AllFailedError):
        await first_ok(runs.spawn, [-2, -1], clock=clock)
    assert sorted(runs.undone) == [-2, -1]


async def test_a_loser_of_the_same_moment_gives_back_too(runs, clock):
    async def at_once(which):
        record_birth(lambda: runs.undo(which))
        await asyncio.sleep(0)
        return which

    assert await first_ok(at_once, [1, 2, 3], clock=clock) == 1
    assert sorted(runs.undone) == [2, 3]


async def test_a_loser_that_rented_twice_gives_both_back_last_first(runs, clock):
    async def twice(seconds):
        record_birth(lambda: runs.undo((seconds, "first")))
        record_birth(lambda: runs.undo((seconds, "second")))
        return await runs.sleep(seconds)

    await first_ok(twice, [1, 2], clock=clock)
    assert runs.undone == [(2, "second"), (2, "first")]


async def test_undo_takes_back_a_losers_value_instead(runs, clock):
    async def at_once(which):
        record_birth(lambda: runs.undo("machine"))
        await asyncio.sleep(0)
        return which

    await first_ok(at_once, [1, 2], undo=runs.undo, clock=clock)
    assert runs.undone == [2]


async def test_what_a_loser_rented_without_a_value_is_given_back_all_the_same(runs, clock):
    await first_ok(runs.spawn, [1, 9], undo=lambda value: runs.undo(("value", value)), clock=clock)
    assert runs.undone == [9]


async def test_what_cannot_be_given_back_is_said_loudly_and_keeps_nobody_else(runs, clock, caplog):
    async def at_once(which):
        record_birth(lambda: fail() if which == "bad" else runs.undo(which))
        await asyncio.sleep(0)
        return which

    async def fail():
        raise NoCapacityError("stuck")

    assert await first_ok(at_once, ["winner", "bad", "good"], clock=clock) == "winner"
    assert runs.undone == ["good"]
    assert "what bad did in a lost race could not be taken back" in caplog.text


async def test_giving_back_does_not_take_for_ever(clock, caplog):
    async def at_once(which):
        record_birth(lambda: clock.sleep(10**6))
        await asyncio.sleep(0)
        return which

    assert await first_ok(at_once, [1, 2], clock=clock) == 1
    assert clock.monotonic() == UNDO_PATIENCE_S
    assert "could not be taken back" in caplog.text


@pytest.mark.parametrize("times", [1, 3])
async def test_a_cancelled_race_has_only_losers(runs, clock, times):
    racing = asyncio.create_task(first_ok(runs.spawn, [100, 200], clock=clock))
    while runs.running < 2:
        await asyncio.sleep(0)
    for _ in range(times):
        racing.cancel()
        await asyncio.sleep(0)
    await asyncio.wait([racing])
    assert racing.cancelled()
    assert sorted(runs.undone) == [100, 200]
    assert runs.running == 0


async def test_a_race_cancelled_while_it_settles_gives_the_winner_back_too(clock):
    undone = []
    settling, go = asyncio.Event(), asyncio.Event()

    async def undo(which):
        settling.set()
        await go.wait()
        undone.append(which)

    async def at_once(which):
        record_birth(lambda: undo(which))
        await asyncio.sleep(0)
        return which

    racing = asyncio.create_task(first_ok(at_once, ["winner", "loser"]))
    await settling.wait()
    racing.cancel()
    await asyncio.sleep(0)
    go.set()
    await asyncio.wait([racing])
    assert racing.cancelled()
    assert sorted(undone) == ["loser", "winner"]


@pytest.mark.parametrize("undo", [False, True])
async def test_cancelling_anywhere_leaves_nothing_rented(cancel_everywhere, clock, undo):
    rented = set()

    async def rent(which):
        await asyncio.sleep(0)
        rented.add(which)
        record_birth(lambda: give_back(which))
        for _ in range(which):
            await asyncio.sleep(0)
        return which

    async def give_back(which):
        await asyncio.sleep(0)
        rented.discard(which)

    async def trial(cut):
        rented.clear()
        racing = first_ok(rent, [3, 1, 2], undo=give_back if undo else None, clock=clock)
        won = await cut(racing)
        assert rented == (set() if won is cut.CANCELLED else {won})

    assert await cancel_everywhere(trial) > 3


# --- races within races ---


async def test_the_loser_of_an_outer_race_gives_back_what_its_inner_race_won(runs, clock):
    async def inner(pair):
        won = await first_ok(runs.spawn, pair, clock=clock)
        await clock.sleep(10 if won == 1 else 1)
        return won

    assert await first_ok(inner, [(1, 5), (2, 6)], clock=clock) == 2
    assert sorted(runs.undone) == [1, 5, 6]


async def test_the_loser_of_an_outer_race_gives_back_what_its_fan_out_got(runs, clock):
    async def inner(numbers):
        await fan_out(runs.spawn, numbers, clock=clock)
        await clock.sleep(numbers[0])

    await first_ok(inner, [(1, 2), (30, 1)], clock=clock)
    assert sorted(runs.undone) == [1, 30]


async def test_outside_of_any_race_a_birth_is_nobodys_business(runs):
    record_birth(lambda: runs.undo(1))
    assert runs.undone == []


# --- with machines ---


@pytest.fixture
def clouds(clock):
    return [MemoryProvider(clock=clock, latency_s=seconds) for seconds in (4, 2, 8)]


@pytest.fixture
async def atlas(clock):
    async with Atlas(clock=clock, env={}) as atlas:
        yield atlas


async def test_one_machine_is_left_of_a_race(atlas, clouds, clock):
    won = await atlas.first_ok(lambda cloud: atlas.spawn_compute(image="img", provider=cloud), clouds)
    assert [cloud.rented for cloud in clouds] == [[], [won.id], []]


async def test_a_full_cloud_loses(atlas, clouds):
    clouds[1].set_capacity("cpu", 0)
    won = await atlas.first_ok(lambda cloud: atlas.spawn_compute(image="img", provider=cloud), clouds)
    assert clouds[0].rented == [won.id]
    assert clouds[2].rented == []


async def test_rentals_in_a_race_end_themselves(atlas, clouds):
    async def use(cloud):
        async with atlas.rent(image="img", provider=cloud) as compute:
            return compute.id

    assert await atlas.first_ok(use, clouds)
    assert [cloud.rented for cloud in clouds] == [[], [], []]
    assert all(len(cloud.invoice()) <= 1 for cloud in clouds)


async def test_cancelling_a_race_anywhere_leaves_no_machine(cancel_everywhere, clock):
    async def trial(cut):
        clouds = [MemoryProvider(clock=clock) for _ in range(3)]
        async with Atlas(clock=clock, env={}) as atlas:
            won = await cut(atlas.first_ok(lambda one: atlas.spawn_compute(image="img", provider=one), clouds))
        rented = [machine for cloud in clouds for machine in cloud.rented]
        assert rented == ([] if won is cut.CANCELLED else [won.id])

    assert await cancel_everywhere(trial) > 5


async def test_cancelling_a_fan_out_anywhere_leaves_no_machine(cancel_everywhere, clock):
    async def trial(cut):
        clouds = [MemoryProvider(clock=clock) for _ in range(3)]
        async with Atlas(clock=clock, env={}) as atlas:
            came = await cut(atlas.fan_out(lambda one: atlas.spawn_compute(image="img", provider=one), clouds, limit=2))
        rented = [machine for cloud in clouds for machine in cloud.rented]
        assert len(rented) == (0 if came is cut.CANCELLED else 3)

    assert await cancel_everywhere(trial) > 5
