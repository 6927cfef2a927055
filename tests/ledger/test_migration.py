"""A database that an older version has filled becomes a new one, with everything in it."""

import sqlite3
from datetime import UTC, datetime
from decimal import Decimal

import psycopg
import pytest
from sqlalchemy import create_engine, inspect, text

from exatlas.ledger import SqlLedger
from exatlas.ledger.schema import MIGRATIONS, metadata
from exatlas.records.launch import LaunchState, RateSegment

both = pytest.mark.parametrize("sql_url", ["sqlite", "postgres"], indirect=True)

# Version 1, word for word as it was made.
VERSION_1 = {
    "sqlite": """
CREATE TABLE exatlas_schema (version INTEGER NOT NULL, PRIMARY KEY (version));
CREATE TABLE exatlas_launches (
    launch_id VARCHAR(64) NOT NULL, owner VARCHAR(255) NOT NULL, provider VARCHAR(64) NOT NULL,
    account VARCHAR(64) NOT NULL, state VARCHAR(16) NOT NULL, compute_id VARCHAR(255),
    intended_at DATETIME NOT NULL, record TEXT NOT NULL, PRIMARY KEY (launch_id)
);
CREATE INDEX exatlas_launches_open ON exatlas_launches (owner, state);
CREATE INDEX exatlas_launches_compute ON exatlas_launches (provider, account, compute_id);
INSERT INTO exatlas_schema VALUES (1);
""",
    "postgresql": """
CREATE TABLE exatlas_schema (version SERIAL NOT NULL, PRIMARY KEY (version));
CREATE TABLE exatlas_launches (
    launch_id VARCHAR(64) NOT NULL, owner VARCHAR(255) NOT NULL, provider VARCHAR(64) NOT NULL,
    account VARCHAR(64) NOT NULL, state VARCHAR(16) NOT NULL, compute_id VARCHAR(255),
    intended_at TIMESTAMP WITH TIME ZONE NOT NULL, record TEXT NOT NULL, PRIMARY KEY (launch_id)
);
CREATE INDEX exatlas_launches_open ON exatlas_launches (owner, state);
CREATE INDEX exatlas_launches_compute ON exatlas_launches (provider, account, compute_id);
INSERT INTO exatlas_schema VALUES (1);
""",
}
RECORD = (
    '{"launch_id":"%s","owner":"tests","provider":"runpod","account":"0123","state":"%s","tenant":%s,"user":%s,'
    '"request":{"gpu":["h100"],"image":"app:1"},"session":%s,"compute_id":"m-1",'
    '"rates":[{"since":"2026-01-01T00:00:00+00:00","usd_per_hour":"2.49"}],'
    '"intended_at":"2026-01-01T00:00:00+00:00","created_at":"2026-01-01T00:05:00+00:00","ready_at":null,'
    '"ended_at":null,"updated_at":"2026-01-01T00:05:00+00:00","reason":"it\'s 100%% sure"}'
)
ROWS = [
    ("s-1", "created", RECORD % ("s-1", "created", '"acme"', '"u \u00e9"', '{"keep_on_exit":true}')),
    ("s-2", "gone", RECORD % ("s-2", "gone", '"acme"', "null", '{"keep_on_exit":true}')),
    ("bare", "created", RECORD % ("bare", "created", "null", "null", "{}")),
]
INSERT = "INSERT INTO exatlas_launches VALUES ({0}, 'tests', 'runpod', '0123', {0}, 'm-1', {0}, {0})"


def old_database(url):
    """Make one of version 1, with launches in it."""
    rows = [(name, state, "2026-01-01 00:00:00.000000", record) for name, state, record in ROWS]
    if url.startswith("sqlite"):
        with sqlite3.connect(url.removeprefix("sqlite:///")) as file:
            file.executescript(VERSION_1["sqlite"])
            file.executemany(INSERT.format("?"), rows)
        file.close()
        return
    with psycopg.connect(url) as server:
        server.execute(VERSION_1["postgresql"])
        server.cursor().executemany(INSERT.format("%s"), [(*row[:2], f"{row[2]}+00", row[3]) for row in rows])


@both
async def test_what_version_1_had_is_there_and_can_be_claimed(opened, sql_url):
    old_database(sql_url)
    ledger = opened()
    assert [launch.launch_id for launch in await ledger.find()] == ["bare", "s-1", "s-2"]
    kept = await ledger.get("s-1")
    assert (kept.state, kept.tenant, kept.user, kept.worker) == (LaunchState.CREATED, "acme", "u \u00e9", None)
    assert kept.rates == (RateSegment(since=datetime(2026, 1, 1, tzinfo=UTC), usd_per_hour=Decimal("2.49")),)
    assert (kept.machine, kept.reason) == ({}, "it's 100% sure")
    assert [launch.launch_id for launch in await ledger.find(tenant="acme")] == ["s-1", "s-2"]
    assert [launch.launch_id for launch in await ledger.find(user="u \u00e9")] == ["s-1"]
    await ledger.enlist("w1", "tests", 30)
    assert [launch.launch_id for launch in await ledger.claim("w1", 10)] == ["s-1"]
    await ledger.advance("s-1", LaunchState.READY, datetime.now(UTC), worker="w1")


@both
async def test_a_migrated_database_is_like_a_new_one(opened, sql_url):
    old_database(sql_url)
    await opened().find()
    migrated = tables(sql_url)
    assert migrated["exatlas_schema"]["rows"] == len(MIGRATIONS)
    assert set(migrated) == {table.name for table in metadata.sorted_tables}
    for table in metadata.sorted_tables:
        assert migrated[table.name]["columns"] == {column.name for column in table.columns}
        assert migrated[table.name]["indexes"] >= {index.name for index in table.indexes}


def tables(url):
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        found = inspect(connection)
        given = {
            name: {
                "columns": {column["name"] for column in found.get_columns(name)},
                "indexes": {index["name"] for index in found.get_indexes(name)},
                "rows": connection.execute(text(f"SELECT count(*) FROM {name}")).scalar(),
            }
            for name in found.get_table_names()
        }
    engine.dispose()
    return given


@both
async def test_a_migration_that_fails_changes_nothing(sql_url, monkeypatch):
    old_database(sql_url)

    def broken(connection):
        connection.execute(text("CREATE TABLE half_done (a INTEGER)"))
        connection.execute(text("nonsense"))

    monkeypatch.setattr("exatlas.ledger.schema.MIGRATIONS", (*MIGRATIONS, broken))
    ledger = SqlLedger(sql_url)
    with pytest.raises(Exception, match="nonsense"):
        await ledger.find()
    await ledger.aclose()
    assert set(tables(sql_url)) == {"exatlas_schema", "exatlas_launches"}
    monkeypatch.undo()
    ledger = SqlLedger(sql_url)
    assert len(await ledger.find()) == 3
    await ledger.aclose()
