"""After a recovery the ledger and the cloud say the same, whatever went wrong before."""

import asyncio
from datetime import timedelta

import pytest

from exatlas import Atlas, LaunchState, ManualClock, RecoveryAction
from exatlas.client.bookkeeping import Tags
from exatlas.client.recovery import GRACE_S
from exatlas.errors import AtlasError, LedgerError, OutcomeUnknownError, TransportError, ValidationError
from exatlas.fakes.faults import dangerous
from exatlas.ledger import MemoryLedger
from exatlas.providers.memory import MemoryProvider
from exatlas.providers.runpod.fake import FakeRunPod, Fault
from exatlas.transport.inprocess import InProcessTransport

KEY = "rpa_FAKEKEY0123456789"
MACHINE = {"image": "img", "gpu": "l4", "cloud_type": "secure"}


class Memory:
    """The cloud in memory, with a client that keeps books."""

    def __init__(self, clock, ledger):
        self.ledger = ledger
        self.clock = clock
        self.provider = MemoryProvider(clock=clock)
        self.atlas = self.client()

    def client(self, **options):
        return Atlas(self.provider, clock=self.clock, env={}, ledger=self.ledger, owner="tests", **options)

    def rented(self):
        return {machine.id: machine.launch_id for machine in self.provider._fleet.everything() if not machine.ended}

    async def aclose(self):
        await self.atlas.aclose()
        await self.provider.aclose()


class RunPod:
    """RunPod's fake, with a client that keeps books."""

    def __init__(self, clock, ledger):
        self.ledger = ledger
        self.clock = clock
        self.fake = FakeRunPod(clock, api_key=KEY, page_size=1)
        self.atlas = self.client()

    def client(self, key=KEY, **options):
        return Atlas(
            "runpod",
            credentials={"runpod": key},
            transport=InProcessTransport(self.fake.handle),
            clock=self.clock,
            env={},
            ledger=self.ledger,
            owner="tests",
            **options,
        )

    def rented(self):
        return {line.compute_id: line.launch_id for line in self.fake.invoice() if line.open}

    async def aclose(self):
        await self.atlas.aclose()


@pytest.fixture
def clock():
    """Turns itself although whoever waits for the cut keeps the loop busy."""
    return ManualClock(auto=True, patience=25)


@pytest.fixture
async def runpod(clock):
    world = RunPod(clock, MemoryLedger())
    yield world
    await world.aclose()


@pytest.fixture
async def memory(clock):
    world = Memory(clock, MemoryLedger())
    yield world
    await world.aclose()


async def recover(world, policy="adopt", **options):
    """As a new process would, when the old one is surely dead."""
    world.clock.advance(GRACE_S + 1)
    async with world.client() as atlas:
        return await atlas.recover(policy, **options)


async def agree(world, wanted):
    """The ledger's open launches are exactly the machines that exist, each once, and exactly what is wanted."""
    open_ones = {one.compute_id: one.launch_id for one in await world.ledger.find() if not one.state.is_final}
    assert world.rented() == open_ones
    assert set(open_ones) == set(wanted)


def actions(recovery):
    return [one.action.value for one in recovery.launches]


# --- one case after the other ---


async def test_a_machine_whose_process_died_is_adopted(runpod):
    compute = await runpod.atlas.spawn_compute(**MACHINE)
    recovery = await recover(runpod)
    (one,) = recovery.launches
    assert (one.action, one.compute.id, one.launch.compute_id) == (RecoveryAction.KEPT, compute.id, compute.id)
    assert recovery.complete
    await agree(runpod, {compute.id})


async def test_or_terminated(runpod):
    await runpod.atlas.spawn_compute(**MACHINE)
    recovery = await recover(runpod, "terminate")
    assert actions(recovery) == ["terminated"]
    assert recovery.launches[0].launch.state is LaunchState.GONE
    await agree(runpod, ())


async def lost_spawn(world):
    """A machine that nobody could find out about."""
    world.fake.fail(Fault.DROP_AFTER, "POST", "/pods")
    world.fake.fail(Fault.DROP_BEFORE, "GET", "/pods", times=20)
    with pytest.raises(OutcomeUnknownError) as caught:
        await world.atlas.spawn_compute(**MACHINE)
    world.fake.faults.clear()
    return caught.value.launch_id


async def test_a_machine_that_nobody_knew_of_is_found_by_its_mark(runpod):
    launch_id = await lost_spawn(runpod)
    recovery = await recover(runpod)
    (one,) = recovery.of(RecoveryAction.ADOPTED)
    assert (one.launch.launch_id, one.launch.state) == (launch_id, LaunchState.CREATED)
    assert one.launch.rates[0].usd_per_hour == one.compute.cost_usd_per_hour
    await agree(runpod, runpod.rented())
    assert len(runpod.rented()) == 1


async def test_or_terminated_by_its_mark(runpod):
    await lost_spawn(runpod)
    assert actions(await recover(runpod, "terminate")) == ["terminated"]
    await agree(runpod, ())


async def test_an_intent_without_a_machine_is_gone(runpod):
    runpod.fake.fail(Fault.DROP_BEFORE, "POST", "/pods")
    with pytest.raises(OutcomeUnknownError):
        await runpod.atlas.spawn_compute(**MACHINE)
    (one,) = (await recover(runpod)).launches
    assert (one.action, one.launch.reason) == (RecoveryAction.GONE, "no machine has its mark")


async def test_what_is_terminating_is_terminated_again_whatever_the_policy(runpod):
    compute = await runpod.atlas.spawn_compute(**MACHINE)
    runpod.fake.fail(Fault.DROP_BEFORE, "DELETE", times=20)
    with pytest.raises(TransportError):
        await runpod.atlas.terminate(compute)
    runpod.fake.faults.clear()
    assert set(runpod.rented()) == {compute.id}
    assert actions(await recover(runpod, "adopt")) == ["terminated"]
    await agree(runpod, ())


async def test_what_cannot_be_terminated_stays_and_is_said(runpod):
    await runpod.atlas.spawn_compute(**MACHINE)
    runpod.fake.fail(Fault.EDGE, "DELETE", times=50)
    recovery = await recover(runpod, "terminate")
    (one,) = recovery.of(RecoveryAction.UNSETTLED)
    assert "could not be terminated" in one.reason
    assert (one.launch.state, recovery.complete) == (LaunchState.TERMINATING, False)
    runpod.fake.faults.clear()
    await recover(runpod)
    await agree(runpod, ())


async def test_a_machine_that_vanished_was_lost(memory):
    compute = await memory.atlas.spawn_compute(**MACHINE)
    memory.provider.lose(compute.id)
    (one,) = (await recover(memory)).launches
    assert (one.action, one.launch.state) == (RecoveryAction.GONE, LaunchState.GONE)
    assert "nobody ended it" in one.launch.reason
    await agree(memory, ())


async def test_a_machine_that_is_missing_in_the_list_alone_is_not_gone(memory, monkeypatch):
    await memory.atlas.spawn_compute(**MACHINE)

    async def lagging(filters, ctx):
        return []

    monkeypatch.setattr(memory.provider, "list_compute", lagging)
    assert actions(await recover(memory)) == ["unsettled"]
    assert (await memory.ledger.find())[0].state is LaunchState.CREATED


async def test_a_second_machine_with_the_same_mark_goes(runpod):
    runpod.fake.fail(Fault.TWICE, "POST", "/pods")
    compute = await runpod.atlas.spawn_compute(**MACHINE)
    assert len(runpod.rented()) == 2
    recovery = await recover(runpod)
    assert actions(recovery) == ["kept", "terminated"]
    await agree(runpod, {compute.id})


async def test_a_second_machine_goes_even_when_the_first_has_ended(runpod):
    runpod.fake.fail(Fault.TWICE, "POST", "/pods")
    await runpod.atlas.terminate(await runpod.atlas.spawn_compute(**MACHINE))
    assert len(runpod.rented()) == 1
    assert actions(await recover(runpod)) == ["terminated"]
    await agree(runpod, ())


async def test_who_may_be_at_work_is_left_alone(runpod):
    await lost_spawn(runpod)
    runpod.clock.advance(60)
    before = len(runpod.fake.calls)
    recovery = await runpod.atlas.recover("terminate")
    assert (actions(recovery), recovery.complete) == (["recent"], True)
    assert "changed less than 300 s ago" in recovery.launches[0].reason
    assert (len(runpod.rented()), len(runpod.fake.calls)) == (1, before)
    assert actions(await runpod.atlas.recover("terminate", older_than=timedelta(seconds=30))) == ["terminated"]


async def test_another_owners_machines_are_never_touched(runpod):
    compute = await runpod.atlas.spawn_compute(**MACHINE)
    runpod.clock.advance(GRACE_S + 1)
    async with Atlas(
        "runpod",
        credentials={"runpod": KEY},
        transport=InProcessTransport(runpod.fake.handle),
        clock=runpod.clock,
        env={},
        ledger=runpod.ledger,
        owner="others",
    ) as others:
        assert (await others.recover("terminate")).launches == ()
    await agree(runpod, {compute.id})


async def test_nor_machines_that_are_in_no_ledger(runpod):
    async with Atlas(
        "runpod",
        credentials={"runpod": KEY},
        transport=InProcessTransport(runpod.fake.handle),
        clock=runpod.clock,
        env={},
    ) as stranger:
        compute = await stranger.spawn_compute(**MACHINE)
    await runpod.atlas.spawn_compute(**MACHINE)
    await recover(runpod, "terminate")
    assert set(runpod.rented()) == {compute.id}


async def test_another_accounts_launches_are_skipped(runpod):
    compute = await runpod.atlas.spawn_compute(**MACHINE)
    runpod.clock.advance(GRACE_S + 1)
    elsewhere = FakeRunPod(runpod.clock, api_key="rpa_OTHERKEY0123456789")
    async with Atlas(
        "runpod",
        credentials={"runpod": elsewhere.api_key},
        transport=InProcessTransport(elsewhere.handle),
        clock=runpod.clock,
        env={},
        ledger=runpod.ledger,
        owner=runpod.atlas.owner,
    ) as other:
        (one,) = (await other.recover("terminate")).launches
    assert one.action is RecoveryAction.SKIPPED
    assert one.reason == "it belongs to another account, or to a former key of one"
    await agree(runpod, {compute.id})


@pytest.mark.parametrize("policy", ["adopt", "terminate"])
async def test_a_new_key_of_the_same_account_settles_what_the_old_one_rented(runpod, policy):
    compute = await runpod.atlas.spawn_compute(**MACHINE)
    runpod.clock.advance(GRACE_S + 1)
    runpod.fake.api_key = "rpa_NEWKEY0123456789"
    async with runpod.client(key=runpod.fake.api_key) as renewed:
        assert (await renewed.recover(policy)).complete
    await agree(runpod, {compute.id} if policy == "adopt" else set())


@pytest.mark.parametrize("policy", ["adopt", "terminate"])
async def test_what_a_living_worker_holds_is_left_to_it(runpod, policy):
    await runpod.ledger.enlist("w", runpod.atlas.owner, 60.0)
    compute = await runpod.atlas.spawn_tagged(Tags(session={"keep_on_exit": False}, worker="w"), **MACHINE)
    runpod.clock.advance(GRACE_S + 1)
    await runpod.ledger.renew("w")
    recovery = await runpod.atlas.recover(policy)
    assert [one.action for one in recovery.launches] == [RecoveryAction.HELD]
    assert recovery.complete
    await agree(runpod, {compute.id})


async def test_but_not_when_its_lease_has_run_out(runpod):
    await runpod.ledger.enlist("w", runpod.atlas.owner, 0.0)
    await runpod.atlas.spawn_tagged(Tags(session={"keep_on_exit": False}, worker="w"), **MACHINE)
    runpod.clock.advance(GRACE_S + 1)
    assert (await runpod.atlas.recover("terminate")).complete
    await agree(runpod, set())


async def test_a_provider_without_a_key_is_skipped(runpod, clock):
    await runpod.atlas.spawn_compute(**MACHINE)
    clock.advance(GRACE_S + 1)
    async with Atlas("memory", clock=clock, env={}, ledger=runpod.ledger, owner="tests") as other:
        (one,) = (await other.recover("terminate")).launches
    assert one.action is RecoveryAction.SKIPPED
    assert "no API key" in one.reason


async def test_only_one_provider_may_be_chosen(runpod, memory, clock):
    memory.ledger = runpod.ledger
    await memory.client().spawn_compute(**MACHINE)
    compute = await runpod.atlas.spawn_compute(**MACHINE)
    clock.advance(GRACE_S + 1)
    recovery = await runpod.atlas.recover("terminate", provider=memory.provider)
    assert [(one.launch.provider, one.action.value) for one in recovery.launches] == [("memory", "terminated")]
    assert set(runpod.rented()) == {compute.id}


@pytest.mark.parametrize("fault", [Fault.DROP_BEFORE, Fault.GARBAGE_AFTER, Fault.EDGE, Fault.ERROR_BEFORE])
async def test_nothing_is_done_where_the_list_cannot_be_read(runpod, fault):
    compute = await runpod.atlas.spawn_compute(**MACHINE)
    await lost_spawn(runpod)
    before = await runpod.ledger.find()
    runpod.fake.fail(fault, "GET", "/pods", times=100)
    recovery = await recover(runpod, "terminate")
    assert actions(recovery) == ["skipped", "skipped"]
    assert "cannot be listed" in recovery.launches[0].reason
    assert await runpod.ledger.find() == before
    assert compute.id in runpod.rented()


async def test_a_provider_with_a_bug_does_not_keep_the_others(runpod, memory, clock):
    memory.ledger = runpod.ledger
    await memory.client().spawn_compute(**MACHINE)
    await runpod.atlas.spawn_compute(**MACHINE)
    memory.provider.fail_next("list_compute", ZeroDivisionError("bug"))
    runpod.atlas.provider(memory.provider)
    clock.advance(GRACE_S + 1)
    recovery = await runpod.atlas.recover("terminate")
    assert [(one.launch.provider, one.action.value) for one in recovery.launches] == [
        ("memory", "skipped"),
        ("runpod", "terminated"),
    ]


async def test_one_list_serves_all_launches_of_an_account(runpod):
    runpod.fake.page_size = None
    for _ in range(5):
        await runpod.atlas.spawn_compute(**MACHINE)
    calls = len(runpod.fake.calls)
    assert actions(await recover(runpod)) == ["kept"] * 5
    assert runpod.fake.calls[calls:] == [("GET", "/pods")]


async def test_a_dry_run_says_it_all_and_does_nothing(runpod):
    await lost_spawn(runpod)
    await runpod.atlas.spawn_compute(**MACHINE)
    before, rented, calls = await runpod.ledger.find(), runpod.rented(), len(runpod.fake.calls)
    for policy, expected in (("adopt", ["adopted", "kept"]), ("terminate", ["terminated", "terminated"])):
        recovery = await recover(runpod, policy, dry_run=True)
        assert (actions(recovery), recovery.dry_run) == (expected, True)
    assert (await runpod.ledger.find(), runpod.rented()) == (before, rented)
    assert {method for method, _ in runpod.fake.calls[calls:]} == {"GET"}


async def test_twice_is_like_once(runpod):
    await lost_spawn(runpod)
    await recover(runpod)
    after = await runpod.ledger.find()
    assert actions(await recover(runpod)) == ["kept"]
    assert await runpod.ledger.find() == after


@pytest.mark.parametrize("policy", ["adopt", "terminate"])
async def test_several_may_do_it_at_once(runpod, policy):
    for _ in range(3):
        await lost_spawn(runpod)
    await runpod.atlas.spawn_compute(**MACHINE)
    runpod.clock.advance(GRACE_S + 1)
    await asyncio.gather(*(runpod.atlas.recover(policy) for _ in range(3)))
    await recover(runpod, policy)
    await agree(runpod, runpod.rented() if policy == "adopt" else ())
    assert len(runpod.rented()) == (4 if policy == "adopt" else 0)


async def test_what_changed_while_the_list_was_read_is_left_alone(memory):
    creating = memory.provider.hold_next("spawn_compute")
    spawning = asyncio.create_task(memory.atlas.spawn_compute(**MACHINE))
    await creating.reached()
    listing = memory.provider.hold_next("list_compute", after_acting=True)
    recovering = asyncio.create_task(memory.atlas.recover(older_than=0))
    await listing.reached()
    creating.release()
    compute = await spawning
    listing.release()
    (one,) = (await recovering).launches
    assert (one.action, one.launch.compute_id) == (RecoveryAction.SKIPPED, compute.id)
    await agree(memory, {compute.id})


async def test_a_spawn_that_was_cancelled_in_doubt_is_ended_even_by_who_adopts(runpod):
    runpod.fake.fail(Fault.DROP_AFTER, "POST", "/pods")
    runpod.fake.fail(Fault.DROP_BEFORE, "GET", "/pods", times=200)
    spawning = asyncio.create_task(runpod.atlas.spawn_compute(**MACHINE))
    while not runpod.fake.calls:
        await asyncio.sleep(0)
    spawning.cancel()
    await asyncio.wait([spawning])
    assert (spawning.cancelled(), len(runpod.rented())) == (True, 1)
    runpod.fake.faults.clear()
    assert actions(await recover(runpod, "adopt")) == ["terminated"]
    await agree(runpod, ())


async def test_a_ledger_that_cannot_be_read_stops_it(runpod, monkeypatch):
    await runpod.atlas.spawn_compute(**MACHINE)

    async def away(**wanted):
        raise LedgerError("away")

    monkeypatch.setattr(runpod.ledger, "find", away)
    with pytest.raises(LedgerError):
        await recover(runpod, "terminate")
    assert len(runpod.rented()) == 1


@pytest.mark.parametrize("wrong", [{"policy": "kill"}, {"older_than": -1}, {"dry_run": "yes"}, {"grace": 3}])
async def test_wrong_arguments_are_named(runpod, wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        await runpod.atlas.recover(**wrong)


# --- everything at once: a fault, a cut at each step, and then a recovery ---

WORLDS = [Memory, RunPod]


def spoil(world, fault, operation):
    """Let the next call of the operation go wrong."""
    if isinstance(world, Memory):
        world.provider.fail_next(operation, TransportError("cut"), after_acting="after" in fault)
    else:
        method, path = {"spawn_compute": ("POST", "/pods"), "terminate": ("DELETE", "")}[operation]
        world.fake.fail(fault, method, path)


async def attempt(cut, work):
    """What the work gave; None where it was cut or failed."""
    try:
        result = await cut(work)
    except AtlasError:
        return None
    return None if result is cut.CANCELLED else result


async def spawn(world):
    return await world.atlas.spawn_compute(**MACHINE)


async def spawn_and_terminate(world):
    await world.atlas.terminate(await world.atlas.spawn_compute(**MACHINE))


async def rent(world):
    async with world.atlas.rent(**MACHINE):
        await asyncio.sleep(0)


def cases():
    """Every fault with both operations; those after which the cloud has acted with both policies."""
    for world in WORLDS:
        for fault in Fault if world is RunPod else (Fault.DROP_BEFORE, Fault.DROP_AFTER):
            for policy in ("terminate", "adopt") if fault in dangerous() else ("terminate",):
                for work, operation in WORKS:
                    name = f"{world.__name__}-{fault}-{policy}-{work.__name__}-{operation}"
                    yield pytest.param(world, fault, policy, work, operation, id=name)


WORKS = [
    (spawn, "spawn_compute"),
    (spawn_and_terminate, "terminate"),
    (rent, "spawn_compute"),
    (rent, "terminate"),
]


@pytest.mark.parametrize(("make_world", "fault", "policy", "work", "operation"), list(cases()))
async def test_nothing_is_left_that_the_ledger_does_not_know(
    cancel_everywhere, clock, make_world, fault, policy, work, operation
):
    async def trial(cut):
        world = make_world(clock, MemoryLedger())
        try:
            spoil(world, fault, operation)
            made = await attempt(cut, work(world))
            if made is not None:
                assert made.id in world.rented()
            await recover(world, policy)
            if policy == "terminate":
                await agree(world, ())
            else:
                # A spawn that failed in doubt may have been adopted; one that was cut, or had ended, may not.
                kept = world.rented()
                assert len(kept) <= (work is spawn)
                await agree(world, {made.id} if made else kept if cut.late else ())
        finally:
            await world.aclose()

    assert await cancel_everywhere(trial, most=2000) > 2


@pytest.mark.parametrize("fault", [Fault.DROP_AFTER, Fault.TWICE])
@pytest.mark.parametrize("work", [spawn, spawn_and_terminate, rent])
async def test_nor_with_sqlite(cancel_everywhere, clock, make_ledger, fault, work):
    async def trial(cut):
        world = RunPod(clock, make_ledger())
        try:
            spoil(world, fault, "spawn_compute")
            await attempt(cut, work(world))
            await recover(world, "terminate")
            await agree(world, ())
        finally:
            await world.aclose()
            await world.ledger.aclose()

    assert await cancel_everywhere(trial, most=2000) > 2


@pytest.mark.parametrize("policy", ["adopt", "terminate"])
async def test_a_recovery_may_be_cut_at_every_step(cancel_everywhere, clock, policy):
    async def trial(cut):
        world = RunPod(clock, MemoryLedger())
        try:
            compute = await world.atlas.spawn_compute(**MACHINE)
            await lost_spawn(world)
            clock.advance(GRACE_S + 1)
            await cut(world.atlas.recover(policy))
            await recover(world, policy)
            await agree(world, world.rented() if policy == "adopt" else ())
            assert (compute.id in world.rented()) is (policy == "adopt")
        finally:
            await world.aclose()

    assert await cancel_everywhere(trial, most=2000) > 2
