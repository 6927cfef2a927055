"""Every contender writes what the ledger writes: else their numbers could not be held against each other."""

import asyncio
from importlib.util import find_spec

import pytest

from benchmarks.books import AT, database, facts, open_book, wanted
from benchmarks.postgres import programs
from benchmarks.runner import NEEDS
from exatlas.ledger import SqlLedger
from exatlas.records.launch import LaunchState


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def url(request):
    if request.param == "postgres" and programs() is None:
        pytest.skip("PostgreSQL's server is not installed")
    with database(request.param) as made:
        yield made


@pytest.mark.parametrize("contender", ["exatlas", "floor", "SQLAlchemy asyncio"])
async def test_a_contender_leaves_what_the_ledger_would_leave(url, contender):
    for module in NEEDS.get(contender, ()):
        if find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    ledger = SqlLedger(url)
    await ledger.find()
    names = [f"{contender[:8]}-{number}" for number in range(5)]
    async with open_book(contender, url) as book:
        lives = [book.life(name) for name in names]
        for step in (0, 1):
            await book.alone(lives[0][step])
            await asyncio.gather(*(book.among_others(life[step]) for life in lives[1:]))
    made = [wanted(name).advanced(LaunchState.CREATED, AT, **facts(name)) for name in names]
    found = [launch for launch in await ledger.find() if launch.launch_id in names]
    await ledger.aclose()
    assert found == made
