"""What stands in the ledger, and when."""

import asyncio
from decimal import Decimal

import pytest
from attrs import evolve

from exatlas import Atlas, ComputeStatus, LaunchState
from exatlas.client.bookkeeping import NOTE_S
from exatlas.errors import (
    ConfigError,
    ConflictError,
    LedgerError,
    NoCapacityError,
    OutcomeUnknownError,
    ProviderBrokenError,
    TransportError,
    ValidationError,
)
from exatlas.ledger import MemoryLedger
from exatlas.providers.memory import MemoryProvider
from exatlas.providers.runpod.fake import FakeRunPod
from exatlas.transport.inprocess import InProcessTransport

MACHINE = {"image": "img", "gpu": "l4"}


class Watched(MemoryLedger):
    """Tells what it has, fails on order, and waits on order."""

    def __init__(self):
        super().__init__()
        self.failing = set()
        self.hung = set()
        self.order = []

    async def intend(self, launch):
        await self._strike("intend")
        await super().intend(launch)
        self.order.append("intended")

    async def advance(self, launch_id, to, at, **facts):
        await self._strike(to.value)
        launch = await super().advance(launch_id, to, at, **facts)
        self.order.append(to.value)
        return launch

    async def find(self, **wanted):
        await self._strike("find")
        return await super().find(**wanted)

    async def _strike(self, what):
        if what in self.hung:
            await asyncio.Event().wait()
        if what in self.failing:
            raise LedgerError(f"the disk is full ({what})")

    @property
    def only(self):
        (launch,) = self._launches.values()
        return launch


@pytest.fixture
def ledger():
    return Watched()


@pytest.fixture
async def atlas(cloud, clock, ledger):
    """A client that keeps books of what it rents in the cloud in memory."""
    async with Atlas(cloud, clock=clock, env={}, ledger=ledger, owner="tests") as client:
        yield client


# --- spawn ---


async def test_the_intent_is_written_before_the_create_leaves(atlas, cloud, ledger):
    hold = cloud.hold_next("spawn_compute")
    spawning = asyncio.create_task(atlas.spawn_compute(**MACHINE))
    await hold.reached()
    launch = ledger.only
    assert (launch.state, launch.owner, launch.provider, launch.compute_id) == ("intended", "tests", "memory", None)
    hold.release()
    compute = await spawning
    assert launch.launch_id == compute.launch_id


async def test_the_id_and_the_price_are_written_before_the_caller_has_them(atlas, ledger, clock):
    compute = await atlas.spawn_compute(**MACHINE)
    launch = ledger.only
    assert (launch.state, launch.compute_id) == (LaunchState.CREATED, compute.id)
    assert [(rate.since, rate.usd_per_hour) for rate in launch.rates] == [(clock.now(), compute.cost_usd_per_hour)]
    assert isinstance(launch.rates[0].usd_per_hour, Decimal)


async def test_no_secret_is_written(atlas, ledger):
    options = {"env": {"PASSWORD": "hunter2"}, "provider_opts": {"token": "hunter3"}, "auth": "bearer"}
    compute = await atlas.spawn_compute(**MACHINE, **options)
    written = ledger.only.request
    assert (written["image"], written["gpu"], written["auth"]) == ("img", ["l4"], "bearer")
    assert not {"env", "provider_opts"} & set(written)
    for secret in ("hunter2", "hunter3", compute.auth.token):
        assert secret not in repr(written)


async def test_without_the_intent_nothing_is_sent(atlas, cloud, ledger):
    ledger.failing = {"intend"}
    with pytest.raises(LedgerError, match="disk is full"):
        await atlas.spawn_compute(**MACHINE)
    assert cloud.invoice() == []


async def test_whatever_a_ledger_raises_is_a_ledger_error(atlas, cloud, ledger, monkeypatch):
    async def broken(launch):
        raise ZeroDivisionError

    monkeypatch.setattr(ledger, "intend", broken)
    with pytest.raises(LedgerError, match="could not be written: ZeroDivisionError"):
        await atlas.spawn_compute(**MACHINE)
    assert cloud.invoice() == []


async def test_a_machine_that_cannot_be_written_down_is_given_back(atlas, cloud, ledger):
    ledger.failing = {"created"}
    with pytest.raises(LedgerError, match=r"disk is full \(created\); compute mem-000001 was terminated"):
        await atlas.spawn_compute(**MACHINE)
    assert (cloud.rented, len(cloud.invoice())) == ([], 1)
    assert ledger.only.state is LaunchState.INTENDED


async def test_and_loudly_if_it_cannot_be_given_back_either(atlas, cloud, ledger, caplog):
    ledger.failing = {"created"}
    cloud.fail_next("terminate", TransportError("cut"), times=20)
    with pytest.raises(LedgerError, match="could not be terminated either"):
        await atlas.spawn_compute(**MACHINE)
    assert "probably billing" in caplog.text
    assert (ledger.only.state, cloud.rented) == (LaunchState.INTENDED, ["mem-000001"])


async def test_who_comes_after_a_recovery_has_settled_it_gives_the_machine_back(atlas, cloud, ledger, clock):
    hold = cloud.hold_next("spawn_compute")
    spawning = asyncio.create_task(atlas.spawn_compute(**MACHINE))
    await hold.reached()
    await atlas.recover(older_than=0)
    hold.release()
    with pytest.raises(LedgerError, match="is gone and cannot become created; compute mem-000001 was terminated"):
        await spawning
    assert cloud.rented == []


async def test_a_refusal_ends_the_launch(atlas, cloud, ledger):
    cloud.set_capacity("l4", 0)
    with pytest.raises(NoCapacityError):
        await atlas.spawn_compute(**MACHINE)
    assert (ledger.only.state, ledger.only.reason) == (LaunchState.GONE, "no_capacity")


async def test_a_request_that_is_refused_here_leaves_no_trace(atlas, ledger):
    with pytest.raises(ValidationError):
        await atlas.spawn_compute(image="", gpu="l4")
    assert await ledger.find() == []


@pytest.mark.parametrize("error", [TransportError("cut"), ProviderBrokenError("oops")])
async def test_doubt_leaves_the_launch_open(atlas, cloud, ledger, error):
    cloud.fail_next("spawn_compute", error, after_acting=True)
    cloud.fail_next("list_compute", error, times=20)
    with pytest.raises(OutcomeUnknownError) as caught:
        await atlas.spawn_compute(**MACHINE)
    launch = ledger.only
    assert (launch.state, launch.reason) == (LaunchState.INTENDED, "in doubt: OutcomeUnknownError")
    assert caught.value.launch_id == launch.launch_id


async def test_a_refusal_that_cannot_be_written_is_still_the_refusal(atlas, cloud, ledger, caplog):
    cloud.set_capacity("l4", 0)
    ledger.failing = {"gone"}
    with pytest.raises(NoCapacityError):
        await atlas.spawn_compute(**MACHINE)
    assert "the ledger does not know" in caplog.text


async def cancelled(work, ready):
    task = asyncio.create_task(work)
    await ready()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def test_a_cancelled_spawn_whose_machine_went_has_ended(atlas, cloud, ledger):
    hold = cloud.hold_next("spawn_compute")

    async def ready():
        await hold.reached()
        asyncio.get_running_loop().call_soon(hold.release)

    await cancelled(atlas.spawn_compute(**MACHINE), ready)
    assert (cloud.rented, len(cloud.invoice())) == ([], 1)
    assert (ledger.only.state, ledger.only.reason) == (LaunchState.GONE, "its spawn was cancelled")
    assert ledger.order == ["intended", "created", "terminating", "gone"]


async def test_a_cancelled_spawn_whose_machine_stays_is_to_be_ended_by_a_recovery(atlas, cloud, ledger, clock):
    hold = cloud.hold_next("spawn_compute")
    cloud.fail_next("terminate", TransportError("cut"), times=7)

    async def ready():
        await hold.reached()
        asyncio.get_running_loop().call_soon(hold.release)

    await cancelled(atlas.spawn_compute(**MACHINE), ready)
    assert (ledger.only.state, ledger.only.compute_id) == (LaunchState.TERMINATING, "mem-000001")
    await atlas.recover("adopt", older_than=0)
    assert (cloud.rented, ledger.only.state) == ([], LaunchState.GONE)


async def test_a_spawn_that_is_cancelled_while_it_is_written_down_sends_nothing(atlas, cloud, ledger):
    ledger.hung = {"intend"}
    await cancelled(atlas.spawn_compute(**MACHINE), lambda: asyncio.sleep(0.01))
    assert (cloud.invoice(), await ledger.find()) == ([], [])


# --- the end ---


async def test_terminate_is_written_before_and_confirmed_after(atlas, cloud, ledger, clock):
    compute = await atlas.spawn_compute(**MACHINE)
    hold = cloud.hold_next("terminate")
    ending = asyncio.create_task(atlas.terminate(compute))
    await hold.reached()
    assert ledger.only.state is LaunchState.TERMINATING
    hold.release()
    await ending
    assert (ledger.only.state, ledger.only.ended_at) == (LaunchState.GONE, clock.now())


async def test_a_plain_id_is_known_to_the_ledger_as_well(atlas, ledger):
    compute = await atlas.spawn_compute(**MACHINE)
    await atlas.terminate(compute.id)
    assert ledger.only.state is LaunchState.GONE


KEYS = ("rpa_FORMERKEY0123456789", "rpa_PRESENTKEY0123456789")


class TwoKeys:
    """A RunPod account whose key was rotated after a machine was rented."""

    def __init__(self, clock, ledger):
        self.clock = clock
        self.ledger = ledger
        self.fake = FakeRunPod(clock, api_key=KEYS[0])

    def client(self, key, owner="tests"):
        return Atlas(
            "runpod",
            credentials={"runpod": key},
            transport=InProcessTransport(self.fake.handle),
            clock=self.clock,
            env={},
            ledger=self.ledger,
            owner=owner,
        )

    async def rent(self, **options):
        async with self.client(self.fake.api_key, **options) as atlas:
            return await atlas.spawn_compute(**MACHINE, cloud_type="secure")


@pytest.fixture
def two_keys(clock, ledger):
    return TwoKeys(clock, ledger)


async def test_a_plain_id_is_known_after_its_key_was_rotated(two_keys, ledger):
    compute = await two_keys.rent()
    two_keys.fake.api_key = KEYS[1]
    async with two_keys.client(KEYS[1]) as atlas:
        await atlas.terminate(compute.id)
    assert two_keys.fake.rented() == []
    assert (ledger.only.state, ledger.order[-2:]) == (LaunchState.GONE, ["terminating", "gone"])


async def test_the_same_id_in_an_account_of_somebody_else_is_not_taken_for_it(two_keys, clock, ledger):
    """Terminating what an account does not have is no error, and says nothing about where it is."""
    compute = await two_keys.rent()
    theirs = TwoKeys(clock, ledger)
    theirs.fake.api_key = KEYS[1]
    async with theirs.client(KEYS[1]) as atlas:
        await atlas.terminate(compute.id)
    assert (ledger.only.state, len(two_keys.fake.rented())) == (LaunchState.CREATED, 1)


async def test_after_a_rotation_only_the_owners_own_launch_is_meant(two_keys, ledger):
    compute = await two_keys.rent(owner="others")
    two_keys.fake.api_key = KEYS[1]
    async with two_keys.client(KEYS[1]) as atlas:
        await atlas.terminate(compute.id)
    assert (ledger.only.state, two_keys.fake.rented()) == (LaunchState.CREATED, [])


async def test_after_a_rotation_one_of_several_open_launches_is_not_guessed(two_keys, ledger):
    compute = await two_keys.rent()
    twin = evolve(ledger.only, launch_id="ffffffffffff", account="another")
    await ledger.intend(twin)
    two_keys.fake.api_key = KEYS[1]
    async with two_keys.client(KEYS[1]) as atlas:
        await atlas.terminate(compute.id)
    assert [one.state for one in await ledger.find()] == [LaunchState.CREATED, LaunchState.CREATED]


async def test_until_a_read_says_so_it_stays_terminating(atlas, cloud, ledger):
    compute = await atlas.spawn_compute(**MACHINE)
    cloud.fail_next("get_compute", TransportError("cut"), times=3)
    await atlas.terminate(compute)
    assert (cloud.rented, ledger.only.state) == ([], LaunchState.TERMINATING)


async def test_a_read_that_shows_the_machine_confirms_nothing(atlas, cloud, ledger, monkeypatch):
    compute = await atlas.spawn_compute(**MACHINE)

    async def pretend(compute_id, ctx):
        """A cloud that says yes and does nothing."""

    monkeypatch.setattr(cloud, "terminate", pretend)
    await atlas.terminate(compute)
    assert ledger.only.state is LaunchState.TERMINATING


async def test_a_failed_terminate_stays_terminating(atlas, cloud, ledger):
    compute = await atlas.spawn_compute(**MACHINE)
    cloud.fail_next("terminate", TransportError("cut"))
    with pytest.raises(TransportError):
        await atlas.terminate(compute)
    assert ledger.only.state is LaunchState.TERMINATING


@pytest.mark.parametrize("what", ["terminating", "find", "gone"])
async def test_a_ledger_that_is_away_does_not_keep_a_machine(atlas, cloud, ledger, what, caplog):
    compute = await atlas.spawn_compute(**MACHINE)
    ledger.failing = {what}
    await atlas.terminate(compute.id)
    assert cloud.rented == []
    assert "ledger" in caplog.text


async def test_nor_does_one_that_hangs(atlas, cloud, ledger, monkeypatch):
    monkeypatch.setattr("exatlas.client.bookkeeping.NOTE_S", NOTE_S / 500)
    compute = await atlas.spawn_compute(**MACHINE)
    ledger.hung = {"terminating", "gone"}
    await atlas.terminate(compute)
    assert (cloud.rented, ledger.only.state) == ([], LaunchState.CREATED)


async def test_what_the_ledger_does_not_know_is_terminated_all_the_same(atlas, cloud, clock, ledger):
    async with Atlas(cloud, clock=clock, env={}) as other:
        compute = await other.spawn_compute(**MACHINE)
    await atlas.terminate(compute)
    assert (cloud.rented, await ledger.find()) == ([], [])


async def test_a_machine_found_by_its_mark_is_ended_by_its_mark(atlas, cloud, ledger):
    cloud.fail_next("spawn_compute", TransportError("cut"), after_acting=True)
    cloud.fail_next("list_compute", TransportError("cut"), times=6)
    with pytest.raises(OutcomeUnknownError):
        await atlas.spawn_compute(**MACHINE)
    (compute,) = await atlas.list_compute()
    await atlas.terminate(compute)
    assert (ledger.only.state, ledger.only.compute_id) == (LaunchState.GONE, compute.id)


async def test_a_rental_ends_in_the_ledger_too(atlas, ledger):
    async with atlas.rent(**MACHINE) as compute:
        assert (ledger.only.state, ledger.only.compute_id) == (LaunchState.CREATED, compute.id)
    assert ledger.only.state is LaunchState.GONE
    assert ledger.order == ["intended", "created", "terminating", "gone"]


async def test_a_lost_race_ends_in_the_ledger_too(cloud, clock, ledger):
    late = MemoryProvider(clock=clock)
    late.__class__ = type("Late", (MemoryProvider,), {"name": "late"})
    async with Atlas(cloud, clock=clock, env={}, ledger=ledger) as atlas:
        won = await atlas.first_ok(lambda provider: atlas.spawn_compute(**MACHINE, provider=provider), [cloud, late])
        open_ones = [one for one in await ledger.find() if not one.state.is_final]
    assert [one.compute_id for one in open_ones] == [won.id]
    assert len(cloud.rented) + len(late.rented) == 1
    await late.aclose()


# --- the client ---


async def test_without_a_ledger_no_read_is_added(cloud, clock, monkeypatch):
    async def never(compute_id, ctx):
        raise AssertionError("nothing needs to be read")

    monkeypatch.setattr(cloud, "get_compute", never)
    async with Atlas(cloud, clock=clock, env={}) as atlas:
        await atlas.terminate(await atlas.spawn_compute(**MACHINE))
        async with atlas.rent(**MACHINE) as compute:
            assert compute.status is ComputeStatus.RUNNING
        with pytest.raises(ConfigError, match="the client has no ledger"):
            await atlas.recover()


async def test_the_callers_ledger_is_the_callers_to_close(cloud, clock, ledger, monkeypatch):
    async def never():
        raise AssertionError("it is not the client's")

    monkeypatch.setattr(ledger, "aclose", never)
    async with Atlas(cloud, clock=clock, env={}, ledger=ledger) as atlas:
        await atlas.spawn_compute(**MACHINE)


@pytest.mark.parametrize("wrong", [{"ledger": {}}, {"owner": ""}, {"owner": None}])
def test_wrong_arguments_are_named(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Atlas("memory", **wrong)


async def test_a_launch_id_that_is_there_already_sends_nothing(atlas, cloud, ledger, monkeypatch):
    monkeypatch.setattr("exatlas.client.atlas.new_launch_id", lambda: "a1b2c3d4e5f6")
    await atlas.spawn_compute(**MACHINE)
    with pytest.raises(LedgerError, match="in the ledger already") as caught:
        await atlas.spawn_compute(**MACHINE)
    assert isinstance(caught.value.__cause__, ConflictError)
    assert len(cloud.invoice()) == 1
