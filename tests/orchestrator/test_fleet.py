"""Several workers of one owner on one ledger, under a clock that a test turns."""

import asyncio
from contextlib import aclosing
from datetime import timedelta
from itertools import pairwise

import pytest

from exatlas import Atlas, LaunchState, Orchestrator
from exatlas.errors import AtlasError, LeaseLostError, LedgerError, NotFoundError, TransportError
from exatlas.ledger import MemoryLedger
from exatlas.orchestrator import Phase, events, takeover
from exatlas.providers.runpod.fake import FakeRunPod
from exatlas.transport.inprocess import InProcessTransport
from tests.orchestrator.fleets import Skewed, Wire, die

MACHINE = {"image": "img", "gpu": "l4", "cloud_type": "secure"}
LEASE_S = 30.0
TAKEOVER_S = LEASE_S * 1.25 + 1


class Fleet:
    def __init__(self, cloud, clock, ledger):
        self.cloud, self.clock, self.ledger = cloud, clock, ledger
        self.workers = []

    async def worker(self, skew=timedelta(0), **options):
        wire = Wire(self.ledger)
        atlas = Atlas(self.cloud, clock=Skewed(self.clock, skew), env={}, ledger=wire, owner="tests")
        orch = Orchestrator(atlas, lease=LEASE_S, **options)
        orch.wire = wire
        await orch.__aenter__()
        self.workers.append((orch, atlas))
        return orch

    async def aclose(self):
        for orch, atlas in self.workers:
            orch.wire.cut = False
            if not all(loop.done() for loop in orch._loops):
                await orch.__aexit__(None, None, None)
            await atlas.aclose()


@pytest.fixture
def ledger(clock):
    return MemoryLedger(clock)


@pytest.fixture
async def fleet(cloud, clock, ledger):
    made = Fleet(cloud, clock, ledger)
    yield made
    await made.aclose()


@pytest.fixture
async def two(fleet):
    return await fleet.worker(), await fleet.worker()


async def read(orch, number, **how):
    async with aclosing(orch.events(**how)) as reader:
        return [await asyncio.wait_for(anext(reader), 1) for _ in range(number)]


def names(found):
    return [type(event).__name__ for event in found]


def holders(fleet, session):
    return [orch for orch, _ in fleet.workers if session.id in orch._roster]


# --- every worker knows every session ---


async def test_a_session_is_known_at_every_worker(two):
    one, other = two
    session = await one.spawn(**MACHINE, user="u", tenant="t", idle_ttl=900, max_cost_usd="5", auth="bearer")
    seen = await other.info(session.id)
    assert (seen.id, seen.user, seen.tenant, seen.limits) == (session.id, "u", "t", session.limits)
    assert (seen.compute.id, seen.compute.status, seen.rates) == (
        session.compute.id,
        session.compute.status,
        session.rates,
    )
    assert [one.id for one in await other.list(user="u")] == [session.id]
    assert list(await other.list(user="else")) == []


async def test_its_secret_is_not_in_the_ledger(two, ledger):
    one, other = two
    session = await one.spawn(**MACHINE, auth="bearer", env={"KEY": "hunter2"})
    token = session.compute.auth.token
    launch = await ledger.get(session.id)
    assert token not in repr((launch.machine, launch.request, launch.session))
    assert "hunter2" not in repr((launch.machine, launch.request, launch.session))
    assert (await other.info(session)).compute.auth is None


async def test_what_one_lists_is_oldest_first_whoever_holds_it(two, clock):
    sessions = []
    for number in range(4):
        sessions.append(await two[number % 2].spawn(**MACHINE))
        await clock.sleep(1)
    for orch in two:
        assert [session.id for session in await orch.list()] == [session.id for session in sessions]


async def test_another_owners_session_is_none(fleet, cloud, clock, ledger):
    one = await fleet.worker()
    session = await one.spawn(**MACHINE)
    async with (
        Atlas(cloud, clock=clock, env={}, ledger=ledger, owner="others") as client,
        Orchestrator(client) as other,
    ):
        for call in (other.info, other.touch, other.stop, other.start):
            with pytest.raises(NotFoundError):
                await call(session.id)
        await other.terminate(session.id)
        assert list(await other.list()) == []
    assert cloud.rented == [session.compute.id]


async def test_a_touch_anywhere_keeps_it(two, cloud, clock):
    one, other = two
    session = await one.spawn(**MACHINE, idle_ttl=60)
    for _ in range(20):
        await clock.sleep(45)
        await other.touch(session.id)
    assert cloud.rented == [session.compute.id]
    await clock.sleep(80)
    assert cloud.rented == []


async def test_many_touches_elsewhere_are_few_writes(two, ledger, clock, monkeypatch):
    one, other = two
    session = await one.spawn(**MACHINE, idle_ttl=60)
    writes = []
    touch = ledger.touch
    monkeypatch.setattr(ledger, "touch", lambda idle: writes.append(dict(idle)) or touch(idle))
    for _ in range(1000):
        await other.touch(session)
        await clock.sleep(0.1)
    assert 15 <= len(writes) <= 42
    assert len(await one.list()) == 1


async def test_a_short_idle_time_is_kept_anywhere_too(two, cloud, clock):
    one, other = two
    session = await one.spawn(**MACHINE, idle_ttl=1)
    for _ in range(30):
        await clock.sleep(0.7)
        await other.touch(session.id)
    assert cloud.rented == [session.compute.id]


async def test_a_touch_of_what_has_ended_says_so(two):
    one, _ = two
    session = await one.spawn(**MACHINE)
    await one.terminate(session)
    for orch in two:
        with pytest.raises(NotFoundError):
            await orch.touch(session)
        with pytest.raises(NotFoundError):
            await orch.info(session)


async def test_stop_and_start_work_anywhere_and_move_the_session(fleet, two, clock):
    one, other = two
    session = await one.spawn(**MACHINE, idle_ttl=900)
    stopped = await other.stop(session.id)
    assert (stopped.phase, stopped.limits) == (Phase.STOPPED, session.limits)
    await clock.sleep(LEASE_S / 4 + 1)
    assert holders(fleet, session) == [other]
    assert (await one.start(session)).phase is Phase.ACTIVE
    await clock.sleep(LEASE_S / 4 + 1)
    assert holders(fleet, session) == [one]


async def test_whoever_lost_it_does_not_end_it(fleet, two, cloud, clock):
    """The former holder has not heard of it yet when the idle time that it knows of is over."""
    one, other = two
    session = await one.spawn(**MACHINE, idle_ttl=900)
    await clock.sleep(899.5)
    await other.start(session.id)  # counts as a touch
    await clock.sleep(60)
    assert cloud.rented == [session.compute.id]
    assert holders(fleet, session) == [other]


async def test_terminate_works_anywhere_and_happens_once(two, cloud, clock, monkeypatch):
    one, other = two
    session = await one.spawn(**MACHINE)
    calls = []
    terminate = cloud.terminate
    monkeypatch.setattr(cloud, "terminate", lambda *args: calls.append(args[0]) or terminate(*args), raising=False)
    await asyncio.gather(*(orch.terminate(session.id) for orch in (other, one, other, one)))
    assert (cloud.rented, calls) == ([], [session.compute.id])
    await clock.sleep(600)
    assert calls == [session.compute.id]
    found = await read(one, 5, after=0)
    assert names(found) == ["SpawnRequested", "Created", "Ready", "Terminating", "Terminated"]


async def test_who_comes_while_another_ends_it_waits_for_that(two, cloud):
    one, other = two
    session = await one.spawn(**MACHINE)
    hold = cloud.hold_next("terminate")
    ending = asyncio.create_task(one.terminate(session))
    await hold.reached()
    waiting = asyncio.create_task(other.terminate(session))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not waiting.done()
    hold.release()
    await asyncio.gather(ending, waiting)
    assert cloud.rented == []


# --- workers that are gone ---


async def test_the_sessions_of_a_dead_worker_are_taken_over_in_time(fleet, two, cloud, clock):
    one, other = two
    sessions = []
    for number in range(5):
        sessions.append(await one.spawn(**MACHINE, user=str(number), idle_ttl=3600))
        await clock.sleep(1)
    await die(one)
    await clock.sleep(LEASE_S * 0.7)
    assert [session for session in sessions if session.id in other._roster] == []
    await clock.sleep(TAKEOVER_S - LEASE_S * 0.7)
    assert all(holders(fleet, session) == [one, other] or holders(fleet, session) == [other] for session in sessions)
    adopted = [event for event in await read(other, 20, after=0) if isinstance(event, events.Adopted)]
    assert {event.session for event in adopted} == {session.id for session in sessions}
    assert [session.id for session in await other.list()] == [session.id for session in sessions]
    assert len(cloud.rented) == 5


async def test_a_worker_says_that_it_lives_while_it_takes_over_many(fleet, clock, ledger, monkeypatch):
    one = await fleet.worker()
    sessions = [await one.spawn(**MACHINE) for _ in range(8)]
    await die(one)
    await ledger.leave(one._lease.name)
    claim, renew, renewed = ledger.claim, ledger.renew, []

    async def slow(worker, most):
        await clock.sleep(LEASE_S / 6)
        return await claim(worker, most)

    async def noted(worker):
        renewed.append(clock.monotonic())
        return await renew(worker)

    monkeypatch.setattr(takeover, "BATCH", 1)
    monkeypatch.setattr(ledger, "claim", slow)
    monkeypatch.setattr(ledger, "renew", noted)
    other = await fleet.worker()
    await clock.sleep(LEASE_S * 2)
    assert all(session.id in other._roster for session in sessions)
    assert max(later - sooner for sooner, later in pairwise(renewed)) < LEASE_S / 2


async def test_what_was_claimed_is_looked_after_although_the_ledger_fails_then(fleet, two, clock, ledger, monkeypatch):
    one, other = two
    session = await one.spawn(**MACHINE, idle_ttl=900)

    async def away(launch_ids):
        raise LedgerError("away")

    await die(one)
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "touched", away)
        await clock.sleep(TAKEOVER_S)
    assert session.id in other._roster
    assert (await other.info(session)).limits == session.limits


async def test_limits_go_on_where_they_were(two, cloud, clock):
    one, _ = two
    session = await one.spawn(**MACHINE, max_runtime=1000)
    await clock.sleep(900)
    await die(one)
    await clock.sleep(95)
    assert cloud.rented == [session.compute.id]
    await clock.sleep(10)
    assert cloud.rented == []


async def test_so_does_what_was_spent(two, cloud, clock):
    one, _ = two
    session = await one.spawn(**MACHINE, max_cost_usd="0.44")  # an hour of it
    await clock.sleep(3000)
    await die(one)
    await clock.sleep(598)
    assert cloud.rented == [session.compute.id]
    await clock.sleep(10)
    assert cloud.rented == []


async def test_an_idle_time_goes_on_but_never_ends_too_soon(two, cloud, clock):
    one, _ = two
    session = await one.spawn(**MACHINE, idle_ttl=600)
    await clock.sleep(500)
    await one.touch(session)  # not written yet
    await die(one)
    await clock.sleep(590)
    assert cloud.rented == [session.compute.id]
    await clock.sleep(100)
    assert cloud.rented == []


async def test_the_latest_touch_of_a_dead_worker_may_not_have_been_written(two, cloud, clock):
    one, _ = two
    session = await one.spawn(**MACHINE, idle_ttl=600)
    await clock.sleep(400)
    await one.touch(session)
    await clock.sleep(45)
    await one.touch(session)
    await clock.sleep(1)
    await die(one)
    await clock.sleep(590)
    assert cloud.rented == [session.compute.id]
    await clock.sleep(60)
    assert cloud.rented == []


async def test_a_touch_after_a_long_while_is_known_to_who_takes_over(two, cloud, clock):
    one, _ = two
    session = await one.spawn(**MACHINE, idle_ttl=600)
    await one.touch(session)
    await clock.sleep(400)
    await one.touch(session)
    await clock.sleep(6)
    await die(one)
    await clock.sleep(590)
    assert cloud.rented == [session.compute.id]
    await clock.sleep(100)
    assert cloud.rented == []


async def test_every_worker_settles_its_own_doubts(two, cloud, clock, ledger):
    _, other = two
    cloud.fail_next("spawn_compute", TransportError("cut"), after_acting=True)
    for _ in range(20):
        cloud.fail_next("list_compute", TransportError("cut"))
    with pytest.raises(AtlasError):
        await other.spawn(**MACHINE, max_runtime=600)
    cloud._faults._orders.clear()
    (machine,) = cloud.rented
    await clock.sleep(400)
    assert [session.compute.id for session in await other.list()] == [machine]
    await clock.sleep(600)
    assert cloud.rented == []


async def test_an_orphan_is_told_of_once(fleet, cloud, clock):
    one = await fleet.worker()
    await fleet.worker()
    async with Atlas(cloud, clock=clock, env={}) as stranger:
        await stranger.spawn_compute(**MACHINE)
        await clock.sleep(2000)
        (event,) = await read(one, 1, after=0)
        assert type(event) is events.Orphaned
        assert one._outbox.feed.last == 1


async def test_a_rotated_key_takes_over_what_the_old_one_rented(clock, ledger):
    fake = FakeRunPod(clock, api_key="rpa_OLDKEY0123456789")

    def client():
        transport = InProcessTransport(fake.handle)
        options = {"credentials": {"runpod": fake.api_key}, "transport": transport, "clock": clock, "env": {}}
        return Atlas("runpod", ledger=ledger, owner="tests", **options)

    async with client() as old:
        one = await Orchestrator(old).__aenter__()
        session = await one.spawn(**MACHINE, max_runtime=3600)
        await die(one)
    fake.api_key = "rpa_NEWKEY0123456789"
    async with client() as new, Orchestrator(new, reap_every=1e6) as other:
        await clock.sleep(400)
        assert session.id in other._roster
        await clock.sleep(3300)
    assert fake.rented() == []


async def test_a_worker_with_another_account_loses_nothing(clock, ledger):
    fakes = [FakeRunPod(clock, api_key=f"rpa_{name}KEY0123456789") for name in ("ONE", "TWO")]
    clients = [
        Atlas(
            "runpod",
            credentials={"runpod": fake.api_key},
            transport=InProcessTransport(fake.handle),
            clock=clock,
            env={},
            ledger=ledger,
            owner="tests",
        )
        for fake in fakes
    ]
    one = await Orchestrator(clients[0]).__aenter__()
    session = await one.spawn(**MACHINE, max_runtime=36000)
    await die(one)
    async with Orchestrator(clients[1]) as other:
        await clock.sleep(3600)
        assert (await other.info(session)).phase is Phase.ACTIVE
    async with Orchestrator(clients[0]) as back:
        await clock.sleep(60)
        assert session.id in back._roster
    assert fakes[0].rented() == []
    for client in clients:
        await client.aclose()


async def test_what_was_being_terminated_is_terminated_by_the_next(two, cloud, clock, ledger):
    one, _ = two
    session = await one.spawn(**MACHINE)
    hold = cloud.hold_next("terminate")
    ending = asyncio.create_task(one.terminate(session))
    await hold.reached()
    ending.cancel()
    await die(one)
    await clock.sleep(TAKEOVER_S + 5)
    assert cloud.rented == []
    assert (await ledger.get(session.id)).state is LaunchState.GONE


async def test_a_machine_that_its_worker_never_heard_of_is_found(fleet, two, cloud, clock, ledger):
    one, other = two
    hold = cloud.hold_next("spawn_compute", after_acting=True)
    spawning = asyncio.create_task(one.spawn(**MACHINE, max_runtime=7200))
    await hold.reached()
    die_now = asyncio.create_task(die(one))
    await asyncio.sleep(0)
    one._atlas._closed = True
    await clock.sleep(300 + TAKEOVER_S + 30)
    (machine,) = cloud.rented
    (session,) = await other.list()
    assert (session.compute.id, session.limits.max_runtime) == (machine, timedelta(hours=2))
    hold.release()
    with pytest.raises(LedgerError):
        await spawning
    await die_now


async def test_who_leaves_hands_over_at_once_what_is_kept(fleet, two, clock):
    one, other = two
    kept = await one.spawn(**MACHINE, keep_on_exit=True)
    await one.__aexit__(None, None, None)
    await clock.sleep(LEASE_S / 4 + 1)
    assert kept.id in other._roster


async def test_a_claim_whose_answer_was_lost_is_found_again(fleet, cloud, clock, ledger, monkeypatch):
    one, other = await fleet.worker(), await fleet.worker()
    session = await one.spawn(**MACHINE, max_runtime=3600)
    claim = ledger.claim

    async def and_no_answer(*args):
        if await claim(*args):
            monkeypatch.undo()
            raise LedgerError("the connection broke")
        return []

    monkeypatch.setattr(ledger, "claim", and_no_answer)
    await die(one)
    await clock.sleep(TAKEOVER_S + LEASE_S / 2)
    assert session.id in other._roster
    await clock.sleep(3600)
    assert cloud.rented == []


async def test_so_is_one_that_was_seized(two, clock, ledger, monkeypatch):
    one, other = two
    session = await one.spawn(**MACHINE, max_runtime=3600)

    async def away(*args):
        monkeypatch.undo()
        raise LedgerError("away")

    monkeypatch.setattr(ledger, "touched", away)
    with pytest.raises(LedgerError):
        await other.stop(session)
    await clock.sleep(LEASE_S / 2)
    assert session.id in other._roster


async def test_the_eldest_living_worker_reaps(two, clock):
    one, other = two
    assert (one._lease.eldest, other._lease.eldest) == (True, False)
    await die(one)
    await clock.sleep(TAKEOVER_S + LEASE_S / 4)
    assert other._lease.eldest


# --- workers that only seemed to be gone ---


async def test_without_its_ledger_a_worker_stops_acting(two, cloud, clock):
    one, other = two
    session = await one.spawn(**MACHINE, idle_ttl=60)
    one.wire.cut = True
    await clock.sleep(TAKEOVER_S)
    assert session.id in other._roster
    for _ in range(10):
        await other.touch(session)
        await clock.sleep(45)
    assert cloud.rented == [session.compute.id]
    with pytest.raises(LedgerError):
        await one.spawn(**MACHINE)
    one.wire.cut = False
    await clock.sleep(LEASE_S / 4 + 1)
    assert session.id not in one._roster
    assert (await one.info(session)).id == session.id
    await one.spawn(**MACHINE)


async def test_with_the_ledger_back_in_time_it_goes_on(fleet, two, cloud, clock):
    one, _ = two
    session = await one.spawn(**MACHINE, idle_ttl=60)
    one.wire.cut = True
    await clock.sleep(LEASE_S * 0.6)
    one.wire.cut = False
    await clock.sleep(LEASE_S)
    assert holders(fleet, session) == [one]
    await clock.sleep(60)
    assert cloud.rented == []


@pytest.mark.parametrize("limit", ["idle_ttl", "max_runtime"])
async def test_a_lone_worker_goes_on_when_its_ledger_comes_back(fleet, cloud, clock, limit):
    one = await fleet.worker()
    session = await one.spawn(**MACHINE, **{limit: 60})
    one.wire.cut = True
    await clock.sleep(600)
    assert cloud.rented == [session.compute.id]
    one.wire.cut = False
    await clock.sleep(LEASE_S + 60)
    assert cloud.rented == []


async def test_an_ending_that_was_broken_off_goes_on(fleet, cloud, clock):
    one = await fleet.worker()
    session = await one.spawn(**MACHINE)
    cloud.hold_next("terminate")
    ending = asyncio.create_task(one.terminate(session))
    await clock.sleep(1)
    ending.cancel()
    one.wire.cut = True
    await clock.sleep(LEASE_S * 2)
    assert cloud.rented == [session.compute.id]
    one.wire.cut = False
    await clock.sleep(120)
    assert cloud.rented == []


async def test_a_machine_that_came_too_late_is_given_back(fleet, two, cloud, clock, ledger):
    """The worker was taken for dead while its create was on its way."""
    one, _ = two
    hold = cloud.hold_next("spawn_compute")
    spawning = asyncio.create_task(one.spawn(**MACHINE))
    await hold.reached()
    one.wire.cut = True
    await clock.sleep(TAKEOVER_S)
    one.wire.cut = False
    hold.release()
    with pytest.raises(LedgerError):
        await spawning
    assert cloud.rented == []
    await clock.sleep(1000)
    assert all(launch.state is LaunchState.GONE for launch in await ledger.find())


async def test_a_terminate_that_lost_its_lease_waits_for_the_new_holder(two, cloud, clock):
    one, _ = two
    session = await one.spawn(**MACHINE)
    hold = cloud.hold_next("terminate")
    ending = asyncio.create_task(one.terminate(session))
    await hold.reached()
    one.wire.cut = True
    await clock.sleep(TAKEOVER_S)
    one.wire.cut = False
    await clock.sleep(LEASE_S / 4 + 1)
    hold.release()
    await ending
    assert cloud.rented == []


async def test_a_dead_worker_stays_dead(two, clock, ledger):
    one, _ = two
    name = one._lease.name
    one.wire.cut = True
    await clock.sleep(TAKEOVER_S)
    one.wire.cut = False
    with pytest.raises(LeaseLostError):
        await ledger.renew(name)
    await clock.sleep(LEASE_S / 4 + 1)
    assert one._lease.held
    assert one._lease.name != name


@pytest.mark.parametrize("hours", [-30, 30])
async def test_wrong_clocks_change_nothing(fleet, cloud, clock, hours):
    one = await fleet.worker()
    other = await fleet.worker(skew=timedelta(hours=hours))
    session = await other.spawn(**MACHINE, idle_ttl=600, max_runtime=3600, max_cost_usd="10")
    await clock.sleep(500)
    await one.touch(session)
    await die(other)
    await clock.sleep(500)
    assert cloud.rented == [session.compute.id]
    assert one.now - (await one.info(session)).started_at == timedelta(seconds=1000)
    await clock.sleep(200)
    assert cloud.rented == []


# --- events ---


async def test_events_of_all_workers_are_one_row(two):
    one, other = two
    readers = [asyncio.create_task(read(orch, 12)) for orch in two]
    await asyncio.sleep(0)
    first = await one.spawn(**MACHINE, tenant="a")
    second = await other.spawn(**MACHINE, tenant="b")
    await other.terminate(first)
    await one.terminate(second)
    extra = await other.spawn(**MACHINE, tenant="a")
    here, there = await asyncio.gather(*readers)
    assert here == there
    assert [event.seq for event in here] == list(range(here[0].seq, here[0].seq + 12))
    later = await read(one, 4, after=0, tenant="b")
    assert names(later) == ["SpawnRequested", "Created", "Ready", "Terminating"]
    assert names(await read(other, 1, after=0, session=extra)) == ["SpawnRequested"]


async def test_a_new_worker_replays_what_was_before_it(fleet):
    one = await fleet.worker()
    session = await one.spawn(**MACHINE, tenant="t", user="u")
    await one.terminate(session)
    before = await read(one, 5, after=0)
    late = await fleet.worker()
    assert await read(late, 5, after=0) == before
    assert await read(late, 2, after=3) == before[3:]


async def test_a_price_that_was_seen_without_the_ledger_is_written_later(fleet, cloud, clock, ledger):
    one = await fleet.worker(poll_every=5)
    session = await one.spawn(**MACHINE)
    price = session.rates[0].usd_per_hour
    one.wire.cut = True
    cloud.set_price(session.compute.id, price * 2)
    await clock.sleep(12)
    one.wire.cut = False
    await clock.sleep(6)
    rates = (await ledger.get(session.id)).rates
    assert [rate.usd_per_hour for rate in rates] == [price, price * 2]
    assert rates == (await one.info(session)).rates


async def test_what_had_to_be_given_up_is_told_as_a_gap(fleet, cloud, clock):
    one = await fleet.worker(events_kept=4)
    sessions = [await one.spawn(**MACHINE) for _ in range(6)]
    await clock.sleep(1)
    last = one._outbox.feed.last
    one.wire.cut = True
    for session in sessions:
        one._roster.about(session, events.Ready)
    reading = asyncio.create_task(read(one, 2, after=last, session=sessions[-1]))
    await clock.sleep(1)
    one.wire.cut = False
    await clock.sleep(10)
    gap, event = await reading
    assert names([gap, event]) == ["Missed", "Ready"]
    assert (gap.count, gap.seq, event.seq) == (2, last + 1, last + 5)


async def test_what_could_not_be_written_is_told_when_the_ledger_is_back(fleet, cloud, clock):
    one = await fleet.worker()
    session = await one.spawn(**MACHINE)
    await read(one, 3, after=0)
    one.wire.cut = True
    cloud.lose(session.compute.id)
    await one.touch(session)
    await clock.sleep(1)
    one.wire.cut = False
    await clock.sleep(60)
    assert names(await read(one, 2, after=3)) == ["Touched", "Lost"]
