"""Every kind of ledger, a real PostgreSQL among them that the tests start themselves."""

from datetime import UTC, datetime

import pytest

from exatlas.ledger import MemoryLedger, SqlLedger
from exatlas.records.launch import Launch
from tests.conftest import emptied

START = datetime(2026, 1, 1, tzinfo=UTC)
KINDS = ("memory", "sqlite", "postgres")


@pytest.fixture(params=KINDS)
async def ledger(request, tmp_path):
    """An empty ledger of each kind."""
    if request.param == "memory":
        made = MemoryLedger()
    elif request.param == "sqlite":
        made = SqlLedger(f"sqlite:///{tmp_path / 'ledger.db'}")
    else:
        made = SqlLedger(emptied(request.getfixturevalue("postgres_url")))
    yield made
    await made.aclose()


@pytest.fixture
def a_launch():
    """Makes launches."""

    def make(launch_id="a1b2c3d4e5f6", **fields) -> Launch:
        given = {"owner": "tests", "provider": "memory", "account": "0123", "intended_at": START, "updated_at": START}
        return Launch(**{"launch_id": launch_id, **given, **fields})

    return make
