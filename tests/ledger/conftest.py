"""Every kind of ledger, a real PostgreSQL among them that the tests start themselves."""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime

import pytest

from exatlas import ManualClock
from exatlas.ledger import MemoryLedger, SqlLedger
from exatlas.records.launch import Launch
from tests.conftest import emptied

START = datetime(2026, 1, 1, tzinfo=UTC)
KINDS = ("memory", "sqlite", "postgres")


@pytest.fixture
def lease_clock() -> ManualClock:
    """By which the leases of `ledger` run out."""
    return ManualClock()


@pytest.fixture(params=KINDS)
async def ledger(request, tmp_path, lease_clock):
    """An empty ledger of each kind."""
    if request.param == "memory":
        made = MemoryLedger(lease_clock)
    elif request.param == "sqlite":
        made = SqlLedger(f"sqlite:///{tmp_path / 'ledger.db'}", clock=lease_clock)
    else:
        made = SqlLedger(emptied(request.getfixturevalue("postgres_url")), clock=lease_clock)
    yield made
    await made.aclose()


@pytest.fixture
async def opened(sql_url) -> AsyncIterator[Callable[..., SqlLedger]]:
    """Opens ledgers on one and the same database, as several processes do."""
    made: list[SqlLedger] = []

    def open_one(**options) -> SqlLedger:
        made.append(SqlLedger(sql_url, **options))
        return made[-1]

    yield open_one
    for one in made:
        await one.aclose()


@pytest.fixture
def a_launch():
    """Makes launches."""

    def make(launch_id="a1b2c3d4e5f6", **fields) -> Launch:
        given = {"owner": "tests", "provider": "memory", "account": "0123", "intended_at": START, "updated_at": START}
        return Launch(**{"launch_id": launch_id, **given, **fields})

    return make
