"""What only databases have: durability, migrations, several processes, and failures."""

import asyncio
import sqlite3
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial

import pytest
from sqlalchemy import create_engine, event, text
from sqlalchemy.exc import OperationalError

from exatlas.errors import ConfigError, ConflictError, LedgerError
from exatlas.ledger import SqlLedger
from exatlas.ledger.schema import MIGRATIONS
from exatlas.ledger.sql import _switch_to_wal
from exatlas.records.launch import LaunchState
from exatlas.records.outbox import Entry

START = datetime(2026, 1, 1, tzinfo=UTC)
both = pytest.mark.parametrize("sql_url", ["sqlite", "postgres"], indirect=True)


def engine(url):
    return create_engine(url.replace("postgresql://", "postgresql+psycopg://"))


@both
async def test_another_ledger_on_the_same_database_sees_it(sql_url, a_launch):
    one, other = SqlLedger(sql_url), SqlLedger(sql_url)
    await one.intend(a_launch())
    await other.advance(a_launch().launch_id, LaunchState.CREATED, START, compute_id="m-1")
    assert (await one.get(a_launch().launch_id)).compute_id == "m-1"
    await one.aclose()
    await other.aclose()


@both
async def test_writes_that_wait_together_share_a_transaction(sql_url, a_launch):
    ledger = SqlLedger(sql_url)
    await ledger.find()
    before = ledger._writer.transactions
    await asyncio.gather(*(ledger.intend(a_launch(f"launch-{number}")) for number in range(100)))
    assert ledger._writer.transactions - before <= 2
    await ledger.aclose()


@pytest.mark.parametrize("sql_url", ["postgres"], indirect=True)
async def test_two_writers_take_their_locks_in_the_same_order(sql_url, a_launch):
    ids = [f"launch-{number:03}" for number in range(100)]
    one, other = SqlLedger(sql_url), SqlLedger(sql_url)
    for launch_id in reversed(ids):  # as they lie in the table
        await one.intend(a_launch(launch_id))
    await other.find()
    begun = [threading.Event(), threading.Event()]

    def meet(own, others):
        own.set()
        others.wait()

    def lock(launch_id, connection):
        query = text("SELECT 1 FROM exatlas_launches WHERE launch_id = :id FOR UPDATE")
        return connection.execute(query, {"id": launch_id}).scalar()

    before = [ledger._writer.transactions for ledger in (one, other)]
    await asyncio.gather(
        one._do(lambda _: meet(*begun)),
        other._do(lambda _: meet(*reversed(begun))),
        *(one.advance(launch_id, LaunchState.CREATED, START) for launch_id in ids),
        *(other._do(partial(lock, launch_id), ("launch", launch_id)) for launch_id in reversed(ids)),
    )
    # The victim of a deadlock would have started again, each piece in a transaction of its own.
    assert [ledger._writer.transactions - was for ledger, was in zip((one, other), before, strict=True)] == [1, 1]
    await one.aclose()
    await other.aclose()


@both
async def test_two_who_intend_the_same_launch_fail_nobody_else(sql_url, a_launch):
    ledgers = [SqlLedger(sql_url), SqlLedger(sql_url)]
    for ledger in ledgers:
        await ledger.find()
    before = [ledger._writer.transactions for ledger in ledgers]
    shared = [ledger.intend(a_launch("shared")) for ledger in ledgers]
    own = [ledger.intend(a_launch(f"own-{number}")) for number, ledger in enumerate(ledgers)]
    ends = await asyncio.gather(*shared, *own, return_exceptions=True)
    assert [type(end) for end in ends if end] == [ConflictError]
    assert [launch.launch_id for launch in await ledgers[0].find()] == ["own-0", "own-1", "shared"]
    assert ledgers[1]._writer.transactions - before[1] == 1
    for ledger in ledgers:
        await ledger.aclose()


async def test_work_is_done_in_order_and_else_as_it_came(tmp_path):
    ledger = SqlLedger(f"sqlite:///{tmp_path / 'ledger.db'}")
    await ledger.find()
    orders = [("launch", "b"), ("launch", "a"), (), ("budget", "z"), ("launch", "a")]
    done = []
    await asyncio.gather(
        *(ledger._do(lambda _, place=(order, number): done.append(place), order) for number, order in enumerate(orders))
    )
    await ledger.aclose()
    assert done == [((), 2), (("budget", "z"), 3), (("launch", "a"), 1), (("launch", "a"), 4), (("launch", "b"), 0)]


@both
async def test_a_hundred_writes_take_as_many_statements_as_one(sql_url, a_launch):
    ledger = SqlLedger(sql_url)
    await ledger.find()
    said = []
    listening = (ledger._writer._engine, "before_cursor_execute", lambda *given: said.append(given[2].split()[0]))
    event.listen(*listening)
    ids = [f"launch-{number}" for number in range(100)]
    await asyncio.gather(*(ledger.intend(a_launch(launch_id)) for launch_id in ids))
    await asyncio.gather(*(ledger.advance(launch_id, LaunchState.CREATED, START) for launch_id in ids))
    assert [word for word in said if word != "BEGIN"] == ["INSERT", "SELECT", "UPDATE"]
    event.remove(*listening)
    await ledger.aclose()


async def test_work_apart_has_a_transaction_of_its_own(tmp_path):
    ledger = SqlLedger(f"sqlite:///{tmp_path / 'ledger.db'}")
    await ledger.find()
    writer, before = ledger._writer, ledger._writer.transactions

    def alike(_, items):
        return [tuple(items)] * len(items)

    ends = await asyncio.gather(
        writer.do(lambda _: writer.transactions - before),
        writer.do(lambda _: writer.transactions - before, apart=True),
        writer.do(lambda _: writer.transactions - before, apart=True),
        writer.join(alike, "a", ("touch",), apart=True),
        writer.join(alike, "b", ("touch",), apart=True),
        writer.do(lambda _: writer.transactions - before),
    )
    assert ends == [0, 1, 2, ("a", "b"), ("a", "b"), 0]
    assert writer.transactions - before == 4
    await ledger.aclose()


@both
async def test_what_may_have_been_committed_is_not_done_again(sql_url, a_launch):
    ledger = SqlLedger(sql_url)
    await ledger.find()

    def lose_the_reply(connection):
        connection.connection.dbapi_connection.commit()
        raise OperationalError("COMMIT", {}, Exception("the connection broke"))

    event.listen(ledger._writer._engine, "commit", lose_the_reply)
    news = [Entry(at=START, kind="a")]
    ends = await asyncio.gather(
        ledger.intend(a_launch()), *(ledger.publish("tests", news, 100) for _ in range(3)), return_exceptions=True
    )
    event.remove(ledger._writer._engine, "commit", lose_the_reply)
    assert [type(end) for end in ends] == [LedgerError] * 4
    assert await ledger.last_entry("tests") == 3
    assert len(await ledger.find()) == 1
    await ledger.aclose()


@both
async def test_closing_finishes_what_was_asked_for(sql_url, a_launch):
    ledger = SqlLedger(sql_url)
    await ledger.find()
    writing = asyncio.gather(*(ledger.intend(a_launch(f"launch-{number}")) for number in range(20)))
    await asyncio.sleep(0)
    await ledger.aclose()
    await writing
    with pytest.raises(LedgerError, match="is closed"):
        await ledger.find()
    again = SqlLedger(sql_url)
    assert len(await again.find()) == 20
    await again.aclose()


@both
async def test_a_database_of_a_newer_version_is_left_alone(sql_url):
    ledger = SqlLedger(sql_url)
    await ledger.find()
    await ledger.aclose()
    newer = engine(sql_url)
    with newer.begin() as connection:
        connection.execute(text("INSERT INTO exatlas_schema VALUES (999)"))
    newer.dispose()
    ledger = SqlLedger(sql_url)
    with pytest.raises(ConfigError, match="has version 999"):
        await ledger.find()
    await ledger.aclose()


@both
async def test_many_who_come_first_migrate_once(sql_url):
    ledgers = [SqlLedger(sql_url) for _ in range(8)]
    await asyncio.gather(*(ledger.find() for ledger in ledgers))
    for ledger in ledgers:
        await ledger.aclose()
    reading = engine(sql_url)
    with reading.connect() as connection:
        found = connection.execute(text("SELECT version FROM exatlas_schema ORDER BY version")).scalars().all()
    reading.dispose()
    assert found == list(range(1, len(MIGRATIONS) + 1))


WRITER = """
import asyncio, os, sys
from datetime import UTC, datetime
from exatlas.ledger import SqlLedger
from exatlas.records.launch import Launch

async def main():
    ledger = SqlLedger(sys.argv[1])
    at = datetime(2026, 1, 1, tzinfo=UTC)
    for number in range(1000):
        launch_id = f"{sys.argv[2]}-{number}"
        given = dict(owner="o", provider="p", account="a", intended_at=at, updated_at=at)
        await ledger.intend(Launch(launch_id=launch_id, **given))
        print(launch_id, flush=True)

asyncio.run(main())
"""


@both
async def test_what_was_told_written_survives_a_kill_and_several_processes(sql_url):
    writers = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", WRITER, sql_url, f"w{number}"), stdout=asyncio.subprocess.PIPE
        )
        for number in range(2)
    ]
    told = [(await writer.stdout.readline()).decode().strip() for _ in range(25) for writer in writers]
    for writer in writers:
        writer.kill()
        told += (await writer.stdout.read()).decode().split("\n")[:-1]
        await writer.wait()
    ledger = SqlLedger(sql_url)
    kept = {launch.launch_id for launch in await ledger.find()}
    await ledger.aclose()
    assert set(told) <= kept
    assert len(told) >= 50


def test_many_may_open_a_new_file_at_once(tmp_path):
    def connect(path, ready):
        connection = sqlite3.connect(path, timeout=30, isolation_level=None)
        ready.wait()
        _switch_to_wal(connection)
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("CREATE TABLE IF NOT EXISTS a (b)")
        connection.execute("COMMIT")
        connection.close()

    with ThreadPoolExecutor(6) as threads:
        for number in range(60):
            ready = threading.Barrier(6)
            opening = [threads.submit(connect, tmp_path / str(number), ready) for _ in range(6)]
            assert [one.result() for one in opening] == [None] * 6


async def test_a_database_that_cannot_be_reached_is_a_ledger_error(tmp_path, a_launch):
    ledger = SqlLedger(f"sqlite:///{tmp_path / 'no' / 'such' / 'folder.db'}")
    for call in (ledger.find(), ledger.intend(a_launch(request={"env": "s3cret"}))):
        with pytest.raises(LedgerError) as caught:
            await call
        assert "s3cret" not in f"{caught.value!s} {caught.value.__cause__!r}"
    await ledger.aclose()


@pytest.mark.parametrize("url", ["nonsense", "mysql://x", "://", "redis://localhost"])
def test_a_wrong_url_is_told_without_being_shown(url):
    with pytest.raises(ConfigError) as caught:
        SqlLedger(url)
    assert "ledger" in str(caught.value)
