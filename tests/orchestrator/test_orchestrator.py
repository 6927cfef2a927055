"""Sessions under a clock that a test turns: an hour takes no time."""

import asyncio
from contextlib import aclosing
from datetime import timedelta
from decimal import Decimal

import pytest
from attrs import evolve

from exatlas import Atlas, ComputeRequest, LaunchState, ManualClock, Orchestrator
from exatlas.config import fingerprint
from exatlas.errors import (
    ConfigError,
    LedgerError,
    NoCapacityError,
    NotFoundError,
    TransportError,
    UnsupportedError,
    ValidationError,
)
from exatlas.ledger import MemoryLedger
from exatlas.orchestrator import Phase, events
from exatlas.providers.memory import MemoryProvider
from exatlas.providers.runpod.fake import FakeRunPod, Fault
from exatlas.transport.inprocess import InProcessTransport

KEY = "rpa_FAKEKEY0123456789"
MACHINE = {"image": "img", "gpu": "l4", "cloud_type": "secure"}


@pytest.fixture
def ledger(clock):
    return MemoryLedger(clock)


@pytest.fixture
async def atlas(cloud, clock, ledger):
    async with Atlas(cloud, clock=clock, env={}, ledger=ledger, owner="tests") as client:
        yield client


@pytest.fixture
async def orch(atlas):
    async with Orchestrator(atlas) as made:
        yield made


@pytest.fixture
async def runpod(clock, ledger):
    """A fake RunPod; `runpod.atlas` is a client of it."""
    fake = FakeRunPod(clock, api_key=KEY)
    async with Atlas(
        "runpod",
        credentials={"runpod": KEY},
        transport=InProcessTransport(fake.handle),
        clock=clock,
        env={},
        ledger=ledger,
    ) as client:
        fake.atlas = client
        yield fake


async def told(orch, **whose):
    """All events so far, without touches."""
    seen = []
    async with aclosing(orch.events(after=0, **whose)) as reader:
        while True:
            try:
                seen.append(await asyncio.wait_for(anext(reader), 0.02))
            except (TimeoutError, StopAsyncIteration):
                break
    return [event for event in seen if not isinstance(event, events.Touched)]


def names(found):
    return [type(event).__name__ for event in found]


# --- a life ---


async def test_a_session_is_a_machine_for_somebody(orch, cloud, ledger):
    session = await orch.spawn(**MACHINE, user="u", tenant="t", idle_ttl=900, max_runtime=3600, max_cost_usd="5")
    assert (session.user, session.tenant, session.phase, session.is_ready) == ("u", "t", Phase.ACTIVE, True)
    assert await orch.info(session) == session == await orch.info(session.id)
    assert list(await orch.list()) == [session]
    launch = await ledger.get(session.id)
    assert (launch.user, launch.tenant, launch.state) == ("u", "t", LaunchState.READY)
    assert cloud.rented == [session.compute.id]


async def test_sessions_are_listed_by_whom_they_are_for(orch):
    one = await orch.spawn(**MACHINE, user="a", tenant="t")
    two = await orch.spawn(**MACHINE, user="b", tenant="t")
    await orch.spawn(**MACHINE, user="a", tenant="other")
    assert list(await orch.list(tenant="t")) == [one, two]
    assert list(await orch.list(tenant="t", user="b")) == [two]


async def test_terminate_ends_it_for_good(orch, cloud, ledger):
    session = await orch.spawn(**MACHINE)
    await orch.terminate(session)
    assert (cloud.rented, list(await orch.list())) == ([], [])
    assert (await ledger.get(session.id)).state is LaunchState.GONE
    with pytest.raises(NotFoundError):
        await orch.info(session)
    await orch.terminate(session)
    assert names(await told(orch)) == ["SpawnRequested", "Created", "Ready", "Terminating", "Terminated"]


async def test_leaving_ends_everything_but_what_is_to_be_kept(atlas, cloud, ledger):
    async with Orchestrator(atlas) as orch:
        await orch.spawn(**MACHINE)
        kept = await orch.spawn(**MACHINE, keep_on_exit=True)
        following = asyncio.create_task(told_to_the_end(orch))
        await asyncio.sleep(0)
    assert cloud.rented == [kept.compute.id]
    assert names(await following) == ["Terminating", "Terminated"]


async def told_to_the_end(orch):
    return [event async for event in orch.events()]


async def test_an_exception_of_the_block_goes_out_as_it_is(atlas, cloud):
    with pytest.raises(KeyError):
        async with Orchestrator(atlas) as orch:
            await orch.spawn(**MACHINE)
            raise KeyError
    assert cloud.rented == []


async def test_outside_the_block_nothing_is_rented(atlas, cloud):
    orch = Orchestrator(atlas)
    with pytest.raises(ConfigError, match="not open"):
        await orch.spawn(**MACHINE)
    async with orch:
        pass
    with pytest.raises(ConfigError):
        await orch.spawn(**MACHINE)
    assert cloud.invoice() == []


async def test_leaving_waits_for_a_spawn_and_ends_it(atlas, cloud):
    async with Orchestrator(atlas) as orch:
        hold = cloud.hold_next("spawn_compute")
        spawning = asyncio.create_task(orch.spawn(**MACHINE))
        await hold.reached()
        asyncio.get_running_loop().call_later(0.01, hold.release)
    assert (cloud.rented, len(cloud.invoice())) == ([], 1)
    with pytest.raises(ConfigError, match="left while the machine was rented"):
        await spawning


async def test_a_refusal_is_told(orch, cloud):
    cloud.set_capacity("l4", 0)
    with pytest.raises(NoCapacityError):
        await orch.spawn(**MACHINE, tenant="t")
    found = await told(orch)
    assert (names(found), found[-1].reason) == (["SpawnRequested", "SpawnFailed"], "NoCapacityError")
    assert list(await orch.list()) == []


# --- limits ---


async def test_an_idle_session_ends(orch, cloud, clock):
    session = await orch.spawn(**MACHINE, idle_ttl=900)
    await clock.sleep(899)
    assert cloud.rented == [session.compute.id]
    await clock.sleep(10)
    assert cloud.rented == []
    assert names(await told(orch))[3:] == ["IdleExpired", "Terminating", "Terminated"]


async def test_touches_keep_it(orch, cloud, clock):
    session = await orch.spawn(**MACHINE, idle_ttl=900)
    for _ in range(12):
        await clock.sleep(600)
        await orch.touch(session)
    assert cloud.rented == [session.compute.id]
    await clock.sleep(910)
    assert cloud.rented == []
    with pytest.raises(NotFoundError):
        await orch.touch(session)


async def test_a_deadline_is_kept_however_busy_it_is(orch, cloud, clock):
    session = await orch.spawn(**MACHINE, idle_ttl=900, max_runtime=3600)
    for _ in range(7):
        await clock.sleep(500)
        await orch.touch(session)
    await clock.sleep(110)
    assert cloud.rented == []
    assert "DeadlineReached" in names(await told(orch))


async def test_no_more_is_spent_than_may_be(orch, cloud, clock):
    session = await orch.spawn(**MACHINE, max_cost_usd="1.00")
    price = session.rates[0].usd_per_hour
    await clock.sleep(float(3600 / price) + 60)
    (line,) = cloud.invoice()
    assert cloud.rented == []
    assert Decimal("1.00") <= line.usd < Decimal("1.01")
    found = next(event for event in await told(orch) if isinstance(event, events.BudgetExhausted))
    assert found.cost_usd >= 1


async def test_a_stopped_machine_is_not_idle_and_costs_what_its_cloud_says(orch, cloud, clock):
    session = await orch.spawn(**MACHINE, idle_ttl=900, max_cost_usd=100)
    await clock.sleep(600)
    stopped = await orch.stop(session)
    assert stopped.phase is Phase.STOPPED
    before = stopped.cost_usd(orch.now)
    await clock.sleep(36_000)
    assert (await orch.info(session)).cost_usd(orch.now) == before > 0
    started = await orch.start(session)
    assert (started.phase, cloud.rented) == (Phase.ACTIVE, [session.compute.id])
    await clock.sleep(890)
    assert cloud.rented == [session.compute.id]
    await clock.sleep(30)
    assert cloud.rented == []


async def test_a_cost_limit_needs_a_price(orch, cloud, monkeypatch):
    spawn = cloud.spawn_compute

    async def without_price(request, ctx):
        return evolve(await spawn(request, ctx), cost_usd_per_hour=None)

    monkeypatch.setattr(cloud, "spawn_compute", without_price)
    with pytest.raises(UnsupportedError, match="tells none for this machine; it was terminated"):
        await orch.spawn(**MACHINE, max_cost_usd=1)
    assert (cloud.rented, len(cloud.invoice())) == ([], 1)


async def test_a_clock_on_the_wall_that_jumps_ends_nothing(atlas, cloud, clock):
    class Jumping(ManualClock):
        jump = 0.0

        def now(self):
            return super().now() + timedelta(seconds=self.jump)

    jumping = Jumping(auto=True)
    async with (
        Atlas(cloud, clock=jumping, env={}, ledger=MemoryLedger(jumping)) as client,
        Orchestrator(client) as orch,
    ):
        session = await orch.spawn(**MACHINE, idle_ttl=900, max_runtime=3600, max_cost_usd=100)
        jumping.jump = 1e7
        await jumping.sleep(800)
        assert cloud.rented == [session.compute.id]


@pytest.mark.parametrize(
    "wrong", [{"idle_ttl": 0}, {"max_runtime": 0}, {"max_cost_usd": -1}, {"user": ""}, {"keep_on_exit": 1}, {"gpus": 1}]
)
async def test_wrong_arguments_are_named(orch, cloud, wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        await orch.spawn(**{**MACHINE, **wrong})
    assert cloud.invoice() == []


# --- what the clouds say ---


async def test_a_machine_that_its_cloud_took_back_is_lost(orch, cloud, clock, ledger):
    session = await orch.spawn(**MACHINE, tenant="t")
    cloud.lose(session.compute.id)
    await clock.sleep(31)
    assert list(await orch.list()) == []
    assert (await ledger.get(session.id)).state is LaunchState.GONE
    assert names(await told(orch))[-1] == "Lost"


@pytest.mark.parametrize("fault", [Fault.DROP_BEFORE, Fault.ERROR_BEFORE, Fault.GARBAGE_AFTER, Fault.EDGE])
async def test_a_cloud_that_cannot_be_reached_ends_nothing(runpod, clock, fault):
    async with Orchestrator(runpod.atlas) as orch:
        session = await orch.spawn(**MACHINE)
        runpod.fail(fault, "GET", times=10_000)
        await clock.sleep(3600)
        assert list(await orch.list()) == [await orch.info(session)]
        runpod.faults.clear()
        await clock.sleep(60)
        assert [pod.id for pod in runpod.rented()] == [session.compute.id]


async def test_a_list_that_lags_ends_nothing(orch, cloud, clock, monkeypatch):
    session = await orch.spawn(**MACHINE)

    async def empty(filters, ctx):
        return []

    monkeypatch.setattr(cloud, "list_compute", empty)
    await clock.sleep(600)
    assert (await orch.info(session)).phase is Phase.ACTIVE


async def test_one_list_serves_all_sessions(runpod, clock):
    async with Orchestrator(runpod.atlas, reap_every=1e6) as orch:
        for _ in range(20):
            await orch.spawn(**MACHINE)
        calls = len(runpod.calls)
        await clock.sleep(301)
        assert runpod.calls[calls:] == [("GET", "/pods")] * 10


async def test_a_machine_becomes_ready(clock, ledger):
    async with (
        MemoryProvider(clock=clock, boot_s=100) as cloud,
        Atlas(cloud, clock=clock, env={}) as client,
        Orchestrator(client, ledger) as orch,
    ):
        session = await orch.spawn(**MACHINE)
        assert not session.is_ready
        await clock.sleep(121)
        assert (await orch.info(session)).is_ready
        assert (await ledger.get(session.id)).state is LaunchState.READY
        assert names(await told(orch)) == ["SpawnRequested", "Created", "StatusChanged", "Ready"]


async def test_a_price_that_changes_is_a_new_segment(runpod, clock, ledger):
    async with Orchestrator(runpod.atlas) as orch:
        session = await orch.spawn(**MACHINE)
        before = session.rates[0].usd_per_hour
        await clock.sleep(3600)
        runpod.pod(session.compute.id).rate = float(before) * 2
        await clock.sleep(3600 + 30)
        assert [rate.usd_per_hour for rate in (await orch.info(session)).rates] == [before, before * 2]
        assert (await ledger.get(session.id)).rates == (await orch.info(session)).rates
        assert before * 3 <= (await orch.info(session)).cost_usd(orch.now) < before * Decimal("3.03")


async def test_a_dearer_machine_ends_sooner(runpod, clock):
    async with Orchestrator(runpod.atlas) as orch:
        session = await orch.spawn(**MACHINE, max_cost_usd=10)
        runpod.pod(session.compute.id).rate = 100.0
        await clock.sleep(500)
        assert runpod.rented() == []
        assert sum(line.usd for line in runpod.invoice()) < Decimal("11.5")


async def test_a_list_that_was_asked_for_before_a_stop_says_nothing(orch, cloud, clock):
    session = await orch.spawn(**MACHINE)
    hold = cloud.hold_next("list_compute", after_acting=True)
    looking = asyncio.create_task(orch._poll())
    await hold.reached()
    await clock.sleep(1)
    await orch.stop(session)
    hold.release()
    await looking
    assert (await orch.info(session)).phase is Phase.STOPPED
    assert names(await told(orch)).count("StatusChanged") == 1


# --- the end, when it is hard ---


async def test_what_cannot_be_terminated_is_tried_until_it_is_gone(orch, cloud, clock, caplog):
    session = await orch.spawn(**MACHINE)
    cloud.fail_next("terminate", TransportError("cut"), times=10)
    with pytest.raises(TransportError):
        await orch.terminate(session)
    assert (await orch.info(session)).phase is Phase.ENDING
    await clock.sleep(200)
    assert (cloud.rented, list(await orch.list())) == ([], [])
    found = names(await told(orch))[3:]
    assert found == ["Terminating", "TerminateFailed", "Terminating", "Terminated"]


async def test_a_terminate_goes_on_without_its_caller(orch, cloud):
    session = await orch.spawn(**MACHINE)
    hold = cloud.hold_next("terminate")
    ending = asyncio.create_task(orch.terminate(session))
    await hold.reached()
    ending.cancel()
    await asyncio.wait([ending])
    hold.release()
    for _ in range(50):
        await asyncio.sleep(0)
    assert (cloud.rented, list(await orch.list())) == ([], [])


async def test_sessions_end_although_the_ledger_is_away(orch, cloud, ledger, clock, monkeypatch):
    session = await orch.spawn(**MACHINE)

    async def away(*args, **wanted):
        raise LedgerError("away")

    for name in ("get", "find", "advance"):
        monkeypatch.setattr(ledger, name, away)
    await orch.terminate(session)
    assert cloud.rented == []
    monkeypatch.undo()
    await clock.sleep(400)
    assert list(await orch.list()) == []
    assert (await ledger.get(session.id)).state is LaunchState.GONE


class SlowLedger(MemoryLedger):
    """Takes a few steps for every write."""

    async def advance(self, *args, **facts):
        for _ in range(3):
            await asyncio.sleep(0)
        return await super().advance(*args, **facts)


@pytest.mark.parametrize("kept", [False, True])
async def test_a_spawn_may_be_cut_at_every_step(cancel_everywhere, kept):
    clock = ManualClock(auto=True, patience=25)

    async def trial(cut):
        async with MemoryProvider(clock=clock) as cloud, Atlas(cloud, clock=clock, env={}) as client:
            async with Orchestrator(client, SlowLedger()) as orch:
                session = await cut(orch.spawn(**MACHINE, keep_on_exit=kept))
                for _ in range(50):
                    await asyncio.sleep(0)
                wanted = [] if session is cut.CANCELLED else [session.compute.id]
                assert cloud.rented == wanted
                assert [one.compute.id for one in await orch.list()] == wanted
            assert cloud.rented == (wanted if kept else [])

    assert await cancel_everywhere(trial) > 2


async def test_a_whole_block_may_be_cut_at_every_step(cancel_everywhere):
    clock = ManualClock(auto=True)

    async def trial(cut):
        ledger = MemoryLedger(clock)
        async with MemoryProvider(clock=clock) as cloud, Atlas(cloud, clock=clock, env={}) as client:

            async def live():
                async with Orchestrator(client, ledger) as orch:
                    session = await orch.spawn(**MACHINE, idle_ttl=60)
                    await orch.stop(session)
                    await orch.start(session)

            await cut(live())
            assert cloud.rented == []
            assert all(one.state.is_final for one in await ledger.find())

    assert await cancel_everywhere(trial) > 5


# --- the reaper ---


async def test_what_another_process_left_becomes_a_session_with_its_limits(atlas, cloud, clock, ledger):
    async with Orchestrator(atlas) as dead:
        left = await dead.spawn(**MACHINE, user="u", tenant="t", idle_ttl=900, max_cost_usd=50, keep_on_exit=True)
    plain = await atlas.spawn_compute(**MACHINE)
    async with Orchestrator(atlas) as orch:
        await clock.sleep(650)
        (session,) = await orch.list()
        assert (session.id, session.user, session.tenant, session.limits) == (left.id, "u", "t", left.limits)
        assert (session.started_at, session.rates) == (left.started_at, left.rates)
        assert "Adopted" in names(await told(orch))
        await clock.sleep(910)
        assert list(await orch.list()) == []
    assert cloud.rented == [plain.id]


async def stray(cloud, clock):
    """A machine with a mark that is in no ledger of ours."""
    async with Atlas(cloud, clock=clock, env={}) as other:
        return await other.spawn_compute(**MACHINE)


@pytest.mark.parametrize("all_marked", [False, True])
async def test_orphans_are_told_of_and_only_ended_when_all_marks_are_ours(atlas, cloud, clock, all_marked):
    async with Orchestrator(atlas, all_marked=all_marked) as orch:
        machine = await stray(cloud, clock)
        await clock.sleep(310)
        assert cloud.rented == [machine.id]
        (found,) = await told(orch)
        assert (type(found), found.compute_id, found.session) == (events.Orphaned, machine.id, machine.launch_id)
        await clock.sleep(310)
        assert cloud.rented == ([] if all_marked else [machine.id])


async def test_an_orphan_has_its_grace(atlas, cloud, clock):
    async with Orchestrator(atlas, all_marked=True, grace=1000, reap_every=300):
        machine = await stray(cloud, clock)
        await clock.sleep(1250)
        assert cloud.rented == [machine.id]
        await clock.sleep(300)
        assert cloud.rented == []


async def test_a_dry_run_only_says_so(atlas, cloud, clock):
    async with Orchestrator(atlas, all_marked=True, reap_every=1e6) as orch:
        machine = await stray(cloud, clock)
        await orch.reap(dry_run=True)
        await clock.sleep(310)
        reaped = await orch.reap(dry_run=True)
        assert ([one.id for one in reaped.orphans], reaped.terminated) == ([machine.id], ())
        assert cloud.rented == [machine.id]


async def test_the_reaper_does_nothing_where_the_ledger_cannot_be_read(atlas, cloud, clock, ledger, monkeypatch):
    async with Orchestrator(atlas, all_marked=True, reap_every=1e6) as orch:
        machine = await stray(cloud, clock)
        await orch.reap()
        await clock.sleep(310)

        async def away(*args, **wanted):
            raise LedgerError("away")

        monkeypatch.setattr(ledger, "get", away)
        with pytest.raises(LedgerError):
            await orch.reap()
        assert cloud.rented == [machine.id]


async def test_machines_without_a_mark_are_never_touched(atlas, cloud, clock):
    machine = cloud._fleet.rent(ComputeRequest(image="x"), fingerprint("memory", None), None, clock.now())
    async with Orchestrator(atlas, all_marked=True):
        await clock.sleep(3600)
    assert cloud.rented == [machine.id]


# --- many, and events ---


async def test_ten_thousand_sessions_share_what_there_is():
    clock = ManualClock(auto=True, patience=1_000_000)  # to spawn them takes the loop long, and no time
    async with (
        MemoryProvider(clock=clock) as cloud,
        Atlas(cloud, clock=clock, env={}) as client,
        Orchestrator(client, poll_every=600, reap_every=1800) as orch,
    ):
        for _ in range(10_000):
            await orch.spawn(image="img", idle_ttl=3600, keep_on_exit=True)
        assert len(asyncio.all_tasks()) < 20
        await clock.sleep(1800)
        for session in list(await orch.list())[500:]:
            await orch.touch(session)
        await clock.sleep(1900)
        assert len(cloud.rented) == len(await orch.list()) == 9500
        assert len(orch._roster.timers._heap) <= 2 * 9500 + 64


async def test_touches_are_told_of_now_and_then(orch, clock):
    session = await orch.spawn(**MACHINE)
    for _ in range(100):
        await orch.touch(session)
        await clock.sleep(1)
    touched = 0
    async with aclosing(orch.events(session=session, after=0)) as reader:
        for _ in range(orch._outbox.feed.last):
            touched += isinstance(await anext(reader), events.Touched)
    assert touched == 10


async def test_events_concern_a_tenant(orch):
    await orch.spawn(**MACHINE, tenant="t")
    await orch.spawn(**MACHINE, tenant="u")
    assert {event.tenant for event in await told(orch, tenant="t")} == {"t"}


async def test_the_ring_is_as_long_as_it_was_asked_to_be(atlas):
    assert Orchestrator(atlas, events_kept=7)._outbox.feed._ring.maxlen == 7
    assert Orchestrator(atlas)._outbox.feed._ring.maxlen == 10_000


async def test_another_ledger_than_the_clients_is_refused(atlas):
    with pytest.raises(ConfigError, match="another ledger"):
        Orchestrator(atlas, MemoryLedger(atlas.clock))
