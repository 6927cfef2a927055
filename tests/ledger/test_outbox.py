"""What happened, numbered and carried between workers: one suite for every kind of ledger."""

import asyncio
from datetime import UTC, datetime, timedelta, timezone

import psycopg
import pytest
from sqlalchemy import event

from exatlas.errors import LedgerError
from exatlas.records.outbox import Entry

START = datetime(2026, 1, 1, tzinfo=UTC)
LONG_S = 60.0
"""Longer than any test may take."""
both = pytest.mark.parametrize("sql_url", ["sqlite", "postgres"], indirect=True)
postgres = pytest.mark.parametrize("sql_url", ["postgres"], indirect=True)


def news(*kinds):
    return [Entry(at=START, kind=str(kind)) for kind in kinds]


def numbered(entries):
    return [(entry.seq, entry.kind) for entry in entries]


def noticed(ledger):
    """The owners that a ledger hears of from now on."""
    heard = []
    wake = ledger._wakeups.wake
    ledger._wakeups.wake = lambda owner: (heard.append(owner), wake(owner))
    return heard


async def listening(ledger, owner="tests"):
    """Come back when a ledger hears others as far as it ever does, and looks for entries by itself no more."""
    ledger._look_s = LONG_S
    if getattr(ledger, "_notices", None):
        await ledger.await_entries(owner, await ledger.last_entry(owner), LONG_S)


async def test_entries_are_numbered_from_one_without_gaps(ledger):
    assert await ledger.last_entry("tests") == 0
    assert await ledger.entries("tests", 0, 10) == []
    assert await ledger.publish("tests", news("a", "b"), 100) == 2
    assert await ledger.publish("tests", [], 100) == 2
    assert await ledger.publish("tests", news("c"), 100) == 3
    assert numbered(await ledger.entries("tests", 0, 10)) == [(1, "a"), (2, "b"), (3, "c")]
    assert await ledger.last_entry("tests") == 3


async def test_entries_are_read_by_the_page(ledger):
    await ledger.publish("tests", news(*range(10)), 100)
    assert [entry.seq for entry in await ledger.entries("tests", 3, 4)] == [4, 5, 6, 7]
    assert [entry.seq for entry in await ledger.entries("tests", 8, 4)] == [9, 10]
    assert await ledger.entries("tests", 10, 4) == []


async def test_every_owner_has_numbers_of_its_own(ledger):
    await ledger.publish("tests", news("a"), 100)
    assert await ledger.publish("others", news("b", "c"), 100) == 2
    assert numbered(await ledger.entries("tests", 0, 10)) == [(1, "a")]
    assert await ledger.last_entry("nobody") == 0


async def test_what_was_written_is_read_back(ledger):
    east = timezone(timedelta(hours=5, minutes=30))
    full = Entry(
        at=datetime(2026, 3, 1, 12, 30, 0, 123456, tzinfo=east),
        kind="created",
        session="launch-1",
        tenant="t \u00e9 '",
        facts={"usd": "2.49", "nested": [1, None, {"a": True}], "\u2603": '"'},
    )
    await ledger.publish("tests", [full, Entry(at=START, kind="bare")], 100)
    first, second = await ledger.entries("tests", 0, 10)
    assert (first.at, first.kind, first.session, first.tenant) == (full.at, "created", "launch-1", "t \u00e9 '")
    assert first.facts == full.facts
    assert (second.session, second.tenant, dict(second.facts)) == (None, None, {})


async def test_about_so_many_are_kept_and_the_first_tells_of_it(ledger):
    for number in range(57):
        await ledger.publish("tests", news(number), 20)
    await ledger.publish("others", news("a"), 20)
    kept = await ledger.entries("tests", 0, 100)
    assert 20 <= len(kept) <= 22
    assert [entry.seq for entry in kept] == list(range(58 - len(kept), 58))
    assert len(await ledger.entries("others", 0, 100)) == 1


# ---- waiting for more


async def test_nobody_waits_for_what_is_there(ledger):
    await ledger.publish("tests", news("a", "b"), 100)
    await ledger.await_entries("tests", 1, LONG_S)


async def test_who_waits_is_woken_by_what_comes(ledger):
    await listening(ledger)
    await ledger.publish("tests", news("a"), 100)
    waiting = [asyncio.create_task(ledger.await_entries("tests", 1, LONG_S)) for _ in range(3)]
    other = asyncio.create_task(ledger.await_entries("others", 0, LONG_S))
    await asyncio.sleep(0)
    await ledger.publish("tests", news("b"), 100)
    await asyncio.gather(*waiting)
    other.cancel()


async def test_who_waits_for_nothing_comes_back(ledger):
    await ledger.await_entries("tests", 0, 0.0)
    await ledger.await_entries("tests", 0, 0.01)


async def test_who_gives_up_waiting_disturbs_nobody(ledger):
    waiting = [asyncio.create_task(ledger.await_entries("tests", 0, LONG_S)) for _ in range(2)]
    await ledger.last_entry("tests")
    waiting[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting[0]
    await ledger.publish("tests", news("a"), 100)
    await waiting[1]


# ---- several on one database


@both
async def test_who_waits_comes_back_when_the_ledger_is_closed(opened):
    ledger = opened()
    await listening(ledger)
    waiting = asyncio.create_task(ledger.await_entries("tests", 0, LONG_S))
    while not ledger._wakeups._news:
        await asyncio.sleep(0)
    await ledger.last_entry("tests")
    await ledger.aclose()
    await waiting
    with pytest.raises(LedgerError, match="is closed"):
        await ledger.await_entries("tests", 0, LONG_S)


@both
async def test_a_reader_misses_nothing_of_many_writers(opened):
    writers, reader = [opened() for _ in range(4)], opened()
    for ledger in (*writers, reader):
        ledger._look_s = 0.01
        await ledger.last_entry("tests")

    async def write(ledger, name):
        for number in range(25):
            await ledger.publish("tests", news(*[f"{name}-{number}"] * (1 + number % 3)), 10_000)

    async def follow():
        seen = []
        while len(seen) < total:
            await reader.await_entries("tests", len(seen), LONG_S)
            seen += await reader.entries("tests", len(seen), 7)
        return seen

    total = 4 * sum(1 + number % 3 for number in range(25))
    seen, *_ = await asyncio.gather(follow(), *(write(ledger, str(number)) for number, ledger in enumerate(writers)))
    assert [entry.seq for entry in seen] == list(range(1, total + 1))
    for name in "0123":  # each writer's in its own order
        mine = [int(entry.kind.split("-")[1]) for entry in seen if entry.kind.startswith(name)]
        assert mine == sorted(mine)


@pytest.mark.parametrize("sql_url", ["sqlite"], indirect=True)
async def test_entries_of_another_process_are_seen_at_the_next_look(opened):
    one, other = opened(), opened()
    one._look_s = 0.01
    waiting = asyncio.create_task(one.await_entries("tests", 0, LONG_S))
    await other.publish("tests", news("a"), 100)
    await waiting
    assert numbered(await one.entries("tests", 0, 10)) == [(1, "a")]


@postgres
async def test_an_entry_of_another_process_wakes_by_a_notice(opened):
    one, other = opened(), opened()
    await listening(one)
    heard = noticed(one)
    waiting = asyncio.create_task(one.await_entries("tests", 0, LONG_S))
    await one.last_entry("tests")
    await other.publish("tests", news("a"), 100)
    await waiting
    assert heard == ["tests"]


@postgres
async def test_a_burst_is_told_in_few_notices(opened):
    one, other = opened(), opened()
    await listening(one)
    heard = noticed(one)
    said = []
    say = other._notices._say
    other._notices._say = lambda owners: (said.append(set(owners)), say(owners))[1]
    owners = [f"o{number}" for number in range(5)]
    await asyncio.gather(*(other.publish(owner, news("a"), 100) for owner in owners * 20))
    await other.aclose()  # which tells what is left
    await one.await_entries("o0", 0, LONG_S)
    while set(heard) != set(owners):
        await asyncio.sleep(0.001)
    assert len(said) < 10


@postgres
async def test_no_notice_is_part_of_a_write(opened):
    ledger = opened()
    await ledger.last_entry("tests")
    said = []
    event.listen(ledger._writer._engine, "before_cursor_execute", lambda *given: said.append(given[2].lower()))
    await ledger.publish("tests", news("a"), 100)
    assert said
    assert not any("notify" in statement for statement in said)


@postgres
async def test_a_ledger_that_lost_its_ears_gets_new_ones(opened, sql_url, monkeypatch, caplog):
    monkeypatch.setattr("exatlas.ledger.notices.RETRY_S", 0.01)
    one, other = opened(), opened()
    await listening(one)
    woken = asyncio.create_task(one.await_entries("tests", 0, LONG_S))
    await one.last_entry("tests")
    async with await psycopg.AsyncConnection.connect(sql_url, autocommit=True) as killer:
        await killer.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")
    await woken  # by the new connection: whatever was told in between was not heard
    assert "notices are not heard" in caplog.text
    heard = noticed(one)
    waiting = asyncio.create_task(one.await_entries("tests", 0, LONG_S))
    await one.last_entry("tests")
    await other.publish("tests", news("a"), 100)
    await waiting
    assert "tests" in heard


@postgres
async def test_entries_are_seen_without_any_notice(opened):
    one, other = opened(), opened()
    await listening(one)
    one._look_s = 0.01
    other._notices = None
    waiting = asyncio.create_task(one.await_entries("tests", 0, LONG_S))
    await other.publish("tests", news("a"), 100)
    await waiting


@postgres
async def test_a_closed_ledger_leaves_no_task_and_no_connection(opened, sql_url):
    before = asyncio.all_tasks()
    ledger = opened()
    await listening(ledger)
    publishing = asyncio.gather(*(ledger.publish("tests", news("a"), 100) for _ in range(5)))
    await asyncio.sleep(0)
    await ledger.aclose()
    await publishing
    assert asyncio.all_tasks() <= before
    async with await psycopg.AsyncConnection.connect(sql_url) as connection:
        query = (
            "SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
        async with asyncio.timeout(30):
            while (await (await connection.execute(query)).fetchone())[0]:
                await asyncio.sleep(0.01)
                await connection.rollback()
