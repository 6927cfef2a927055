"""A create is always finished, and a machine that nobody will get is given back."""

import asyncio
import contextlib

import pytest

from exatlas.client import spawning
from exatlas.client.connection import OwnTransport
from exatlas.client.spawning import PATIENCE_S, WAITS_S, Rental, spawn, terminate_surely
from exatlas.clock import ManualClock
from exatlas.errors import (
    CleanupError,
    ConfigError,
    ConflictError,
    ForbiddenError,
    NoCapacityError,
    OutcomeUnknownError,
    ProviderBrokenError,
    RateLimitedError,
    TransportError,
    UnauthorizedError,
)
from exatlas.launch import LOOKS_S
from exatlas.protocols import Context
from exatlas.records.compute import Compute, ComputeRequest, ComputeStatus

LAUNCH = "0123456789ab"
REQUEST = ComputeRequest(image="img")


class Cloud:
    """A provider that rents one machine and is told how to behave."""

    name = "p"

    def __init__(self, clock):
        self.clock = clock
        self.rented = []
        self.terminations = []
        self.creating = asyncio.Event()
        self.go = asyncio.Event()
        self.go.set()
        self.before = None
        self.after = None
        self.refusals = []
        self.hidden_looks = 0
        self.looks = 0
        self.gives = None

    async def spawn_compute(self, request, ctx):
        self.creating.set()
        await self.go.wait()
        if self.before:
            raise self.before
        made = Compute(id="m", provider="p", status=ComputeStatus.RUNNING, launch_id=ctx.launch_id)
        self.rented.append("m")
        await asyncio.sleep(0)
        if self.after:
            raise self.after
        return self.gives or made

    async def list_compute(self, filters, ctx):
        self.looks += 1
        if self.looks <= self.hidden_looks:
            raise TransportError("cut")
        other = Compute(id="other", provider="p", status=ComputeStatus.RUNNING)
        return [
            other,
            *(Compute(id=found, provider="p", status=ComputeStatus.RUNNING, launch_id=LAUNCH) for found in self.rented),
        ]

    async def terminate(self, compute_id, ctx):
        self.terminations.append(self.clock.monotonic())
        await asyncio.sleep(0)
        if self.refusals:
            raise self.refusals.pop(0)
        assert compute_id == "m"
        self.rented.clear()


@pytest.fixture
def clock():
    return ManualClock(auto=True)


@pytest.fixture
def cloud(clock):
    return Cloud(clock)


@pytest.fixture
def ctx(clock):
    return Context(provider="p", transport=OwnTransport(), clock=clock, launch_id=LAUNCH)


async def cut(cloud, ctx, times=1):
    """Spawn, and cancel while the create is in flight."""
    cloud.go.clear()
    spawning_ = asyncio.create_task(spawn(cloud, REQUEST, ctx))
    await cloud.creating.wait()
    for _ in range(times):
        spawning_.cancel()
        await asyncio.sleep(0)
    cloud.go.set()
    await asyncio.wait([spawning_])
    assert spawning_.cancelled()


# --- spawn ---


async def test_a_machine_comes(cloud, ctx):
    assert (await spawn(cloud, REQUEST, ctx)).id == "m"
    assert cloud.terminations == []


@pytest.mark.parametrize(
    "error", [NoCapacityError("full"), OutcomeUnknownError("?", launch_id=LAUNCH), TransportError("x")]
)
async def test_an_error_comes_as_it_is(cloud, ctx, error, caplog):
    cloud.before = error
    with pytest.raises(type(error)) as caught:
        await spawn(cloud, REQUEST, ctx)
    assert caught.value is error
    assert caplog.text == ""


async def test_a_bug_of_a_provider_is_told_with_the_launch_id(cloud, ctx, caplog):
    cloud.after = ZeroDivisionError("x")
    with pytest.raises(ZeroDivisionError):
        await spawn(cloud, REQUEST, ctx)
    assert f"there may be a machine with launch id {LAUNCH}" in caplog.text


async def test_what_is_no_machine_is_not_given_to_anybody(cloud, ctx):
    cloud.gives = {"id": "m"}
    with pytest.raises(OutcomeUnknownError, match=f"gave dict instead of a Compute.*{LAUNCH}") as caught:
        await spawn(cloud, REQUEST, ctx)
    assert caught.value.launch_id == LAUNCH


@pytest.mark.parametrize("times", [1, 4])
async def test_a_cancelled_spawn_is_finished_and_its_machine_given_back(cloud, ctx, times):
    await cut(cloud, ctx, times)
    assert len(cloud.terminations) == 1
    assert cloud.rented == []


async def test_giving_back_is_tried_again(cloud, ctx, caplog):
    cloud.refusals = [TransportError("cut"), RateLimitedError("slow")]
    await cut(cloud, ctx)
    assert cloud.rented == []
    assert cloud.terminations == [0, 0.5, 1.5]
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_what_cannot_be_given_back_is_said_loudly(cloud, ctx, caplog):
    cloud.refusals = [ForbiddenError("no")]
    await cut(cloud, ctx)
    assert f"compute m of a cancelled spawn at p (launch id {LAUNCH}) could not be terminated" in caplog.text


@pytest.mark.parametrize(
    "error", [NoCapacityError("full"), TransportError("refused", delivered=False), ForbiddenError("no")]
)
async def test_where_nothing_was_rented_nothing_is_looked_for(cloud, ctx, error):
    cloud.before = error
    await cut(cloud, ctx)
    assert (cloud.looks, cloud.terminations) == (0, [])


@pytest.mark.parametrize(
    "error", [TransportError("cut"), ProviderBrokenError("oops"), ZeroDivisionError("bug"), RuntimeError("bug")]
)
@pytest.mark.parametrize("hidden", [0, 3])
async def test_where_something_may_have_been_it_is_looked_for(cloud, ctx, error, hidden):
    cloud.after = error
    cloud.hidden_looks = hidden
    await cut(cloud, ctx)
    assert cloud.rented == []
    assert cloud.looks == hidden + 1


async def test_what_is_not_found_is_said_loudly(cloud, ctx, caplog, clock):
    cloud.before = ZeroDivisionError("bug")
    await cut(cloud, ctx)
    assert clock.monotonic() == sum(LOOKS_S)
    assert f"no machine with launch id {LAUNCH} has shown up" in caplog.text


async def test_what_the_provider_could_not_settle_is_said_loudly(cloud, ctx, caplog):
    cloud.before = OutcomeUnknownError("?", launch_id=LAUNCH)
    await cut(cloud, ctx)
    assert cloud.looks == 0
    assert f"ended in doubt; there may be a machine with launch id {LAUNCH}" in caplog.text


async def never_answered(cloud, ctx):
    """Cancel a spawn whose create never ends."""
    cloud.go.clear()
    spawning_ = asyncio.create_task(spawn(cloud, REQUEST, ctx))
    await cloud.creating.wait()
    spawning_.cancel()
    await asyncio.wait([spawning_])
    assert spawning_.cancelled()
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_create_without_end_is_given_up_and_said_loudly(cloud, ctx, caplog, clock):
    await never_answered(cloud, ctx)
    assert clock.monotonic() == PATIENCE_S + sum(LOOKS_S)
    assert f"no machine with launch id {LAUNCH} has shown up" in caplog.text


async def test_a_machine_whose_create_never_answers_is_found_and_given_back(cloud, ctx):
    cloud.rented.append("m")
    await never_answered(cloud, ctx)
    assert cloud.rented == []


async def test_a_create_that_cannot_even_be_cancelled_is_said_loudly(cloud, ctx, caplog, monkeypatch):
    async def deaf(request, ctx):
        cloud.creating.set()
        while not cloud.go.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await cloud.go.wait()
        raise NoCapacityError("at last")

    monkeypatch.setattr(cloud, "spawn_compute", deaf)
    monkeypatch.setattr(spawning, "LAST_CHANCE_S", 0.01)
    cloud.go.clear()
    cloud.rented.append("m")
    spawning_ = asyncio.create_task(spawn(cloud, REQUEST, ctx))
    await cloud.creating.wait()
    spawning_.cancel()
    await asyncio.wait([spawning_])
    assert f"does not end; there may yet be a machine with launch id {LAUNCH}" in caplog.text
    assert cloud.rented == []
    cloud.go.set()
    (create,) = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.wait([create])
    assert isinstance(create.exception(), NoCapacityError)


def test_a_loop_that_shuts_down_in_the_middle_leaves_no_machine():
    clock = ManualClock(auto=True)
    clouds = []

    async def main():
        cloud = Cloud(clock)
        clouds.append(cloud)
        ctx = Context(provider="p", transport=OwnTransport(), clock=clock, launch_id=LAUNCH)
        task = asyncio.create_task(spawn(cloud, REQUEST, ctx))
        while not cloud.rented:
            await asyncio.sleep(0)
        assert not task.done()

    asyncio.run(main())
    assert clouds[0].rented == []


# --- terminating for sure ---


async def surely(clock, *errors):
    tried = []
    errors = list(errors)

    async def terminate(compute_id):
        tried.append(clock.monotonic())
        if errors:
            raise errors.pop(0)

    return await terminate_surely(terminate, "m", clock), tried


async def test_the_first_success_ends_it(clock):
    assert await surely(clock) == (None, [0])
    assert (await surely(clock, *[TransportError("x")] * 3))[0] is None


async def test_it_is_tried_for_a_while(clock):
    errors = [ConflictError(str(number)) for number in range(20)]
    failure, tried = await surely(clock, *errors)
    assert failure is errors[len(WAITS_S)]
    assert len(tried) == len(WAITS_S) + 1
    assert tried[-1] == sum(WAITS_S)


@pytest.mark.parametrize(
    "error", [UnauthorizedError("x"), ForbiddenError("x"), ConfigError("x")], ids=lambda error: type(error).__name__
)
async def test_what_cannot_help_is_not_repeated(clock, error):
    assert await surely(clock, error) == (error, [0])


async def test_a_vault_that_is_away_for_a_moment_is_asked_again(clock):
    failure, tried = await surely(clock, ConfigError("fetching the API key failed", retryable=True))
    assert (failure, tried) == (None, [0, 0.5])


async def test_whatever_a_provider_raises_is_a_failure(clock):
    failure, _ = await surely(clock, *[ZeroDivisionError("bug")] * 20)
    assert isinstance(failure, ZeroDivisionError)


async def test_it_does_not_wait_for_ever(clock):
    async def never(_):
        await asyncio.Event().wait()

    failure = await terminate_surely(never, "m", clock)
    assert isinstance(failure, TimeoutError)
    assert str(failure) == "no answer within 60 s"
    assert clock.monotonic() == PATIENCE_S


# --- rentals ---


@pytest.fixture
def rental(cloud, ctx, clock):
    async def end(compute):
        return await terminate_surely(lambda found: cloud.terminate(found, ctx), compute.id, clock)

    return Rental(lambda: spawn(cloud, REQUEST, ctx), end)


async def test_a_rental_ends_with_its_block(cloud, rental):
    async with rental as compute:
        assert (compute.id, cloud.rented) == ("m", ["m"])
    assert cloud.rented == []


async def test_and_with_an_exception(cloud, rental):
    with pytest.raises(KeyError):
        async with rental:
            raise KeyError
    assert cloud.rented == []


async def test_and_with_a_cancellation_however_often(cloud, rental):
    inside = asyncio.Event()

    async def use():
        async with rental:
            inside.set()
            await asyncio.Event().wait()

    using = asyncio.create_task(use())
    await inside.wait()
    for _ in range(3):
        using.cancel()
        await asyncio.sleep(0)
    await asyncio.wait([using])
    assert using.cancelled()
    assert cloud.rented == []


async def test_a_cancellation_during_the_termination_goes_on_afterwards(cloud, rental):
    left = asyncio.Event()

    async def use():
        async with rental:
            left.set()

    using = asyncio.create_task(use())
    await left.wait()
    using.cancel()
    await asyncio.wait([using])
    assert using.cancelled()
    assert cloud.rented == []


async def test_a_rental_is_good_for_one_block(rental):
    async with rental:
        pass
    with pytest.raises(ConfigError, match="good for one block"):
        await rental.__aenter__()


async def test_leaving_without_having_rented_does_nothing(cloud, rental):
    await rental.__aexit__(None, None, None)
    assert cloud.terminations == []


async def test_a_machine_that_stays_is_an_error(cloud, rental, caplog):
    cloud.refusals = [ForbiddenError("no")]
    with pytest.raises(
        CleanupError, match="compute 'm' could not be terminated and is probably still billing"
    ) as caught:
        async with rental:
            pass
    error = caught.value
    assert (error.compute_id, error.provider, error.operation) == ("m", "p", "terminate")
    assert isinstance(error.__cause__, ForbiddenError)
    assert "still billing" in caplog.text


async def test_which_never_hides_what_the_block_raised(cloud, rental, caplog):
    cloud.refusals = [ForbiddenError("no")]
    with pytest.raises(KeyError) as caught:
        async with rental:
            raise KeyError("mine")
    assert any("still billing" in note for note in caught.value.__notes__)
    assert "still billing" in caplog.text


async def test_nor_a_cancellation(cloud, rental, caplog):
    cloud.refusals = [ForbiddenError("no")]
    inside = asyncio.Event()

    async def use():
        async with rental:
            inside.set()
            await asyncio.Event().wait()

    using = asyncio.create_task(use())
    await inside.wait()
    using.cancel()
    await asyncio.wait([using])
    assert using.cancelled()
    assert "still billing" in caplog.text
