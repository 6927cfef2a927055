"""Workers, what they hold, and how it passes from one to another: one suite for every kind of ledger."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import event, text

from exatlas import ManualClock
from exatlas.errors import ConflictError, LeaseLostError, NotFoundError
from exatlas.ledger import leases
from exatlas.records.launch import LaunchState
from tests.ledger.halting import Halt, halted, waits_for_a_lock

START = datetime(2026, 1, 1, tzinfo=UTC)
SESSION = {"keep_on_exit": True}
both = pytest.mark.parametrize("sql_url", ["sqlite", "postgres"], indirect=True)
postgres = pytest.mark.parametrize("sql_url", ["postgres"], indirect=True)


@pytest.fixture
def a_session(a_launch):
    """Makes launches with a session; younger ones have higher numbers."""

    def make(number=0, **fields):
        at = START + timedelta(seconds=number)
        return a_launch(f"launch-{number:03d}", **{"session": SESSION, "intended_at": at, **fields})

    return make


async def holder(ledger, launch_id):
    return (await ledger.get(launch_id)).worker


# ---- being a worker


async def test_a_worker_is_told_the_ledgers_time_and_who_was_first(ledger, lease_clock):
    first = await ledger.enlist("w1", "tests", 30)
    lease_clock.advance(5)
    second = await ledger.enlist("w2", "tests", 30)
    assert (first.now, first.eldest, set(first.seized)) == (START, True, set())
    assert (second.now, second.eldest) == (START + timedelta(seconds=5), False)
    assert (await ledger.enlist("w0", "others", 30)).eldest
    await ledger.leave("w1")
    assert (await ledger.renew("w2")).eldest


async def test_a_workers_name_is_used_once(ledger):
    await ledger.enlist("w1", "tests", 30)
    with pytest.raises(ConflictError, match="w1 is in the ledger already"):
        await ledger.enlist("w1", "tests", 30)
    await ledger.leave("w1")
    with pytest.raises(ConflictError, match="w1 is in the ledger already"):
        await ledger.enlist("w1", "others", 30)


async def test_nobody_renews_without_being_a_worker(ledger):
    with pytest.raises(LeaseLostError):
        await ledger.renew("nobody")


async def test_a_worker_that_renews_is_not_buried(ledger, lease_clock):
    await ledger.enlist("w1", "tests", 30)
    for _ in range(3):
        lease_clock.advance(29)
        assert await ledger.bury("tests") == frozenset()
        await ledger.renew("w1")


async def test_a_worker_that_does_not_renew_is_buried_once_and_for_all(ledger, lease_clock, a_session):
    await ledger.enlist("slow", "tests", 60)
    await ledger.enlist("dead", "tests", 30)
    await ledger.enlist("foreign", "others", 30)
    await ledger.intend(a_session(1))
    await ledger.intend(a_session(2))
    await ledger.claim("dead", 10)
    await ledger.advance("launch-002", LaunchState.GONE, START)
    lease_clock.advance(30)
    assert await ledger.bury("tests") == {"dead"}
    assert await ledger.bury("tests") == frozenset()
    assert await holder(ledger, "launch-001") is None
    assert await holder(ledger, "launch-002") == "dead"  # did so last
    for call in (ledger.renew("dead"), ledger.claim("dead", 1), ledger.seize("launch-001", "dead")):
        with pytest.raises(LeaseLostError, match="dead was taken for dead"):
            await call
    with pytest.raises(ConflictError):
        await ledger.enlist("dead", "tests", 30)
    assert await holder(ledger, "launch-001") is None
    await ledger.renew("foreign")


async def test_who_has_left_holds_nothing_and_may_leave_again(ledger, a_session):
    await ledger.enlist("w1", "tests", 30)
    await ledger.intend(a_session())
    await ledger.claim("w1", 1)
    await ledger.leave("w1")
    await ledger.leave("w1")
    await ledger.leave("nobody")
    assert await holder(ledger, "launch-000") is None
    with pytest.raises(LeaseLostError):
        await ledger.renew("w1")


# ---- taking what nobody holds


async def test_what_nobody_holds_is_claimed_oldest_first(ledger, a_session):
    await ledger.enlist("w1", "tests", 30)
    for number in (3, 1, 2):
        await ledger.intend(a_session(number))
    taken = await ledger.claim("w1", 2)
    assert [(launch.launch_id, launch.worker) for launch in taken] == [("launch-001", "w1"), ("launch-002", "w1")]
    assert [launch.launch_id for launch in await ledger.claim("w1", 2)] == ["launch-003"]
    assert await ledger.claim("w1", 2) == []
    assert [launch.worker for launch in await ledger.find()] == ["w1"] * 3
    assert taken[0] == await ledger.get("launch-001")


async def test_only_open_sessions_of_the_owner_are_claimed(ledger, a_session):
    await ledger.enlist("w1", "tests", 30)
    await ledger.enlist("w2", "tests", 30)
    await ledger.intend(a_session(0, session={}))
    await ledger.intend(a_session(1, owner="others"))
    await ledger.intend(a_session(2, worker="w2"))
    await ledger.intend(a_session(3))
    await ledger.advance("launch-003", LaunchState.GONE, START)
    await ledger.intend(a_session(4))
    await ledger.advance("launch-004", LaunchState.TERMINATING, START)
    await ledger.intend(a_session(5))
    await ledger.advance("launch-005", LaunchState.LOST, START)
    assert [launch.launch_id for launch in await ledger.claim("w1", 10)] == ["launch-004", "launch-005"]


# ---- writing as the holder


async def test_only_the_holder_writes_as_such(ledger, a_session):
    await ledger.enlist("w1", "tests", 30)
    await ledger.intend(a_session(worker="w1"))
    moved = await ledger.advance("launch-000", LaunchState.CREATED, START, worker="w1", compute_id="m-1")
    assert (moved.state, moved.worker) == (LaunchState.CREATED, "w1")
    with pytest.raises(LeaseLostError, match="not held by worker w2"):
        await ledger.advance("launch-000", LaunchState.READY, START, worker="w2")
    kept = await ledger.advance("launch-000", LaunchState.READY, START)  # without a fence, by whomever
    assert (kept.state, kept.worker) == (LaunchState.READY, "w1")
    assert await ledger.get("launch-000") == kept


async def test_a_buried_worker_writes_no_more(ledger, lease_clock, a_session):
    await ledger.enlist("dead", "tests", 30)
    await ledger.intend(a_session(worker="dead"))
    lease_clock.advance(31)
    await ledger.bury("tests")
    with pytest.raises(LeaseLostError):
        await ledger.advance("launch-000", LaunchState.TERMINATING, START, worker="dead")
    assert (await ledger.get("launch-000")).state is LaunchState.INTENDED


async def test_a_buried_worker_begins_nothing_that_nobody_would_find(ledger, lease_clock, a_session):
    await ledger.enlist("dead", "tests", 30)
    lease_clock.advance(31)
    await ledger.bury("tests")
    ends = await asyncio.gather(
        ledger.intend(a_session(1, worker="dead")),
        ledger.intend(a_session(2)),
        return_exceptions=True,
    )
    assert [type(end) for end in ends] == [LeaseLostError, type(None)]
    assert [launch.launch_id for launch in await ledger.find()] == ["launch-002"]


# ---- taking what another holds


async def test_who_is_robbed_is_told_once(ledger, a_session):
    for name in ("w1", "w2"):
        await ledger.enlist(name, "tests", 30)
    await ledger.intend(a_session(worker="w1"))
    taken = await ledger.seize("launch-000", "w2")
    assert taken.worker == "w2"
    assert taken == await ledger.get("launch-000")
    assert set((await ledger.renew("w2")).seized) == set()
    assert set((await ledger.renew("w1")).seized) == {"launch-000"}
    assert set((await ledger.renew("w1")).seized) == set()


async def test_everybody_who_is_robbed_is_told(ledger, a_session):
    for name in ("w1", "w2", "w3"):
        await ledger.enlist(name, "tests", 30)
    await ledger.intend(a_session(worker="w1"))
    await ledger.seize("launch-000", "w2")
    await ledger.seize("launch-000", "w3")
    told = [set((await ledger.renew(name)).seized) for name in ("w1", "w2", "w3")]
    assert told == [{"launch-000"}, {"launch-000"}, set()]


@pytest.mark.parametrize("how", ["seize", "claim"])
async def test_who_has_got_it_back_is_not_told(ledger, a_session, how):
    for name in ("w1", "w2"):
        await ledger.enlist(name, "tests", 30)
    await ledger.intend(a_session(worker="w1"))
    await ledger.seize("launch-000", "w2")
    if how == "seize":
        await ledger.seize("launch-000", "w1")
        assert set((await ledger.renew("w2")).seized) == {"launch-000"}
    else:
        await ledger.leave("w2")
        await ledger.claim("w1", 1)
    assert set((await ledger.renew("w1")).seized) == set()


async def test_ones_own_and_nobodys_are_seized_from_nobody(ledger, a_session):
    await ledger.enlist("w1", "tests", 30)
    await ledger.intend(a_session(1))
    await ledger.intend(a_session(2, worker="w1"))
    for launch_id in ("launch-001", "launch-002"):
        assert (await ledger.seize(launch_id, "w1")).worker == "w1"
    assert set((await ledger.renew("w1")).seized) == set()


async def test_what_has_ended_or_never_was_is_not_seized(ledger, a_session):
    await ledger.enlist("w1", "tests", 30)
    await ledger.intend(a_session())
    await ledger.advance("launch-000", LaunchState.GONE, START)
    for launch_id in ("launch-000", "nothing"):
        with pytest.raises(NotFoundError):
            await ledger.seize(launch_id, "w1")


async def test_what_its_holder_is_ending_is_not_seized(ledger, a_session):
    for name in ("w1", "w2"):
        await ledger.enlist(name, "tests", 30)
    await ledger.intend(a_session(worker="w1"))
    await ledger.advance("launch-000", LaunchState.TERMINATING, START)
    with pytest.raises(ConflictError, match="is being terminated"):
        await ledger.seize("launch-000", "w2")
    assert (await ledger.seize("launch-000", "w1")).worker == "w1"
    await ledger.leave("w1")
    assert (await ledger.seize("launch-000", "w2")).worker == "w2"


# ---- when it was used last


async def test_the_latest_use_counts(ledger, lease_clock, a_session):
    await ledger.intend(a_session(1))
    await ledger.intend(a_session(2))
    assert await ledger.touch({"launch-001": 10.0, "nothing": 0.0}) == {"launch-001"}
    lease_clock.advance(5)
    await ledger.touch({"launch-001": 60.0})
    assert await ledger.touched(["launch-001", "launch-002", "nothing"]) == pytest.approx({"launch-001": 15.0})
    await ledger.touch({"launch-001": 1.0})
    assert await ledger.touched(["launch-001"]) == pytest.approx({"launch-001": 1.0})


async def test_what_has_ended_is_used_no_more(ledger, a_session):
    await ledger.intend(a_session())
    await ledger.touch({"launch-000": 0.0})
    await ledger.advance("launch-000", LaunchState.GONE, START)
    assert await ledger.touch({"launch-000": 0.0}) == frozenset()
    assert await ledger.touched(["launch-000"]) == {}


async def test_many_touches_at_once_are_told_apart(ledger, a_session):
    for number in range(3):
        await ledger.intend(a_session(number))
    touches = [{f"launch-{number:03d}": float(number)} for number in range(5)]
    ends = await asyncio.gather(*map(ledger.touch, touches), ledger.touch({}))
    assert ends == [{"launch-000"}, {"launch-001"}, {"launch-002"}, *[frozenset()] * 3]


async def test_a_worker_may_touch_more_than_a_statement_has_parameters(ledger, a_session):
    await ledger.intend(a_session())
    names = {f"launch-{number:03d}": 0.0 for number in range(70_000)}
    assert await ledger.touch(names) == {"launch-000"}
    assert list(await ledger.touched(names)) == ["launch-000"]


# ---- several on one database


@both
async def test_leases_run_by_a_clock_that_all_have_in_common(opened):
    before = datetime.now(UTC)
    standing = await opened().enlist("w1", "tests", 30)
    assert before - timedelta(seconds=1) <= standing.now <= datetime.now(UTC) + timedelta(seconds=1)
    assert standing.now.tzinfo is UTC
    early, late = opened(clock=ManualClock(START)), opened(clock=ManualClock(START + timedelta(days=1)))
    await early.enlist("w2", "others", 30)
    assert await late.bury("others") == {"w2"}


@both
async def test_no_launch_is_claimed_by_two(opened, a_session):
    ledgers = [opened() for _ in range(4)]
    ids = [f"launch-{number:03d}" for number in range(60)]
    await asyncio.gather(*(ledgers[0].intend(a_session(number)) for number in range(60)))

    async def claim_all(ledger, name):
        await ledger.enlist(name, "tests", 30)
        mine = []
        while taken := await ledger.claim(name, 4):
            mine += [launch.launch_id for launch in taken]
        return mine

    names = [f"w{number}" for number in range(4)]
    shares = await asyncio.gather(*map(claim_all, ledgers, names))
    assert sorted(launch_id for share in shares for launch_id in share) == ids
    held = {launch.launch_id: launch.worker for launch in await ledgers[0].find()}
    assert held == {launch_id: name for name, share in zip(names, shares, strict=True) for launch_id in share}


@both
async def test_no_worker_is_buried_by_two(opened, a_session):
    ledgers = [opened(clock=ManualClock(START + timedelta(hours=number))) for number in range(4)]
    for number in range(20):
        await ledgers[0].enlist(f"w{number}", "tests", 30)
    buried = await asyncio.gather(*(ledger.bury("tests") for ledger in ledgers[1:]))
    assert sorted(name for share in buried for name in share) == sorted(f"w{number}" for number in range(20))


@postgres
async def test_a_claim_does_not_wait_for_another(opened, a_session):
    one, other = opened(), opened()
    for number in range(4):
        await one.intend(a_session(number))
    for name in ("w1", "w2"):
        await one.enlist(name, "tests", 30)
    await other.find()
    halt, claiming = await halted(one, lambda connection: leases.claim(connection, "w1", 2))
    assert [launch.launch_id for launch in await other.claim("w2", 10)] == ["launch-002", "launch-003"]
    halt.go_on.set()
    assert len(await claiming) == 2


@postgres
async def test_what_a_worker_writes_during_its_burial_fails_after_it(opened, a_session):
    one, other = opened(), opened()
    await other.enlist("dead", "tests", 30)
    await other.intend(a_session(1, worker="dead"))
    halt, burying = await halted(one, lambda connection: leases.bury(connection, 1e12, "tests"))
    late = [
        other.advance("launch-001", LaunchState.TERMINATING, START, worker="dead"),
        other.intend(a_session(2, worker="dead")),
        other.renew("dead"),
        other.claim("dead", 1),
        other.seize("launch-001", "dead"),
    ]
    writing = asyncio.gather(*late, return_exceptions=True)
    await waits_for_a_lock(opened())
    halt.go_on.set()
    assert await burying == {"dead"}
    assert [type(end) for end in await writing] == [LeaseLostError] * 5
    kept = await one.find()
    assert [(launch.launch_id, launch.state, launch.worker) for launch in kept] == [
        ("launch-001", LaunchState.INTENDED, None)
    ]


@postgres
async def test_a_worker_in_mid_claim_is_not_buried(opened, a_session):
    one, other = opened(), opened()
    await one.enlist("w1", "tests", 30)
    await one.intend(a_session())
    halt, claiming = await halted(one, lambda connection: leases.claim(connection, "w1", 1))
    assert await other._apart(lambda connection: leases.bury(connection, 1e12, "tests")) == frozenset()
    halt.go_on.set()
    assert len(await claiming) == 1


@postgres
async def test_a_burial_and_the_late_writes_of_the_dead_do_not_deadlock(opened, a_session):
    """The dead one holds what the burial wants, and asks for the rest."""
    dead, other = opened(), opened()
    for number in range(20):
        await dead.intend(a_session(number))
    await dead.enlist("dead", "tests", 30)
    await dead.claim("dead", 20)
    await other.find()
    for ledger in (dead, other):
        patience = "SET deadlock_timeout = '50ms'"
        await ledger._do(lambda connection, said=patience: connection.execute(text(said)) and None)
    failures = []
    for ledger in (dead, other):
        event.listen(ledger._writer._engine, "handle_error", lambda context: failures.append(context))
    held = Halt(lambda connection: None)
    late = asyncio.gather(
        dead._do(held, ("launch", "launch-005+")),
        *(dead.advance(f"launch-{number:03d}", LaunchState.CREATED, START, worker="dead") for number in range(20)),
        dead.renew("dead"),
        return_exceptions=True,
    )
    assert await asyncio.to_thread(held.reached.wait, 30)
    burying = asyncio.create_task(other._apart(lambda connection: leases.bury(connection, 1e12, "tests")))
    await waits_for_a_lock(opened())
    held.go_on.set()
    assert await burying == {"dead"}
    assert isinstance((await late)[-1], LeaseLostError)
    assert failures == []


@both
async def test_free_launches_and_held_ones_are_found_by_an_index(opened, a_session, sql_url):
    ledger = opened()
    await ledger.find()
    said = []
    engine = ledger._writer._engine
    explain = "EXPLAIN QUERY PLAN " if sql_url.startswith("sqlite") else "EXPLAIN "

    def work(connection):
        fill(connection, 3000)
        connection.execute(text("ANALYZE"))
        listening = (engine, "before_cursor_execute", lambda *given: said.append(given[2:4]))
        event.listen(*listening)
        leases.enlist(connection, 0.0, "w1", "tests", 30.0)
        assert len(leases.claim(connection, "w1", 10)) == 10
        leases.leave(connection, "w1")
        event.remove(*listening)
        return [
            str(connection.exec_driver_sql(explain + statement, parameters).fetchall())
            for statement, parameters in said
            if "exatlas_launches" in statement
        ]

    plans = await ledger._do(work)
    assert "exatlas_launches_free" in plans[0]
    assert all("exatlas_launches_worker" in plan for plan in plans[-2:])


def fill(connection, number):
    """So many sessions, most of them held by others or ended."""
    insert = text(
        "INSERT INTO exatlas_launches"
        " (launch_id, owner, provider, account, state, intended_at, record, is_session, worker)"
        " VALUES (:id, 'tests', 'p', 'a', :state, :at, :record, true, :worker)"
    )
    record = (
        '{"launch_id": "%s", "owner": "tests", "provider": "p", "account": "a", "state": "ready",'
        ' "intended_at": "2026-01-01T00:00:00+00:00", "updated_at": "2026-01-01T00:00:00+00:00"}'
    )
    rows = [
        {
            "id": f"launch-{index:06d}",
            "state": "gone" if index % 3 == 0 else "ready",
            "at": f"2026-01-01 00:{index // 60 % 60:02d}:{index % 60:02d}",
            "record": record % f"launch-{index:06d}",
            "worker": None if index % 50 == 1 else f"x{index % 20}",
        }
        for index in range(number)
    ]
    connection.execute(insert, rows)
