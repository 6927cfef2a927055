"""reap: one pass of the reaper from a shell."""

import asyncio
import json

import pytest

from exatlas import LedgerError
from exatlas.ledger import SqlLedger


@pytest.fixture
def world(invoke, url):
    """A machine that the ledger knows, one of another owner in it, one that no ledger knows, and one without a mark."""

    async def rent():
        ledger = SqlLedger(url)
        made = {}
        for owner in ("exatlas", "others"):
            async with invoke.make_atlas(None, ledger=ledger, owner=owner) as atlas:
                made[owner] = (await atlas.spawn_compute(image="app:1", gpu="l4")).id
        async with invoke.make_atlas(None) as atlas:
            made["orphan"] = (await atlas.spawn_compute(image="app:1", gpu="l4")).id
            made["stranger"] = (await atlas.spawn_compute(image="app:1", gpu="l4")).id
        invoke.cloud._fleet.get(
            made["stranger"], invoke.cloud._fleet._machines[made["stranger"]].account
        ).launch_id = None
        await ledger.aclose()
        return made

    return asyncio.run(rent())


def test_orphans_are_told_of_and_left_alone(invoke, url, world, clock):
    clock.advance(400)
    ended = invoke("reap", "--ledger", url, "--json")
    found = json.loads(ended.out)
    assert [(one["compute_id"], one["action"]) for one in found["orphans"]] == [(world["orphan"], "orphan")]
    assert [(one["compute_id"], one["action"]) for one in found["launches"]] == [(world["exatlas"], "kept")]
    assert (ended.code, len(invoke.cloud.rented)) == (0, 4)


@pytest.mark.parametrize("dry", [False, True])
def test_only_with_all_marked_they_are_terminated(invoke, url, world, clock, dry):
    clock.advance(400)
    ended = invoke("reap", "--ledger", url, "--all-marked", "--yes", "--json", *(["--dry-run"] if dry else []))
    assert [one["action"] for one in json.loads(ended.out)["orphans"]] == ["orphan" if dry else "terminated"]
    assert ended.code == 0
    left = {world["exatlas"], world["others"], world["stranger"]} | ({world["orphan"]} if dry else set())
    assert set(invoke.cloud.rented) == left


def test_what_is_young_may_be_a_spawn_in_progress(invoke, url, world, clock):
    clock.advance(200)
    ended = invoke("reap", "--ledger", url, "--all-marked", "--yes", "--json")
    assert [one["action"] for one in json.loads(ended.out)["orphans"]] == ["too young"]
    assert len(invoke.cloud.rented) == 4


def test_it_is_a_table_for_people(invoke, url, world, clock):
    clock.advance(400)
    out = invoke("reap", "--ledger", url, "--dry-run").out
    assert world["orphan"] in out
    assert "1 orphan" in out
    assert "nothing was changed" in out


def test_termination_is_asked_for(invoke, url, world, clock):
    clock.advance(400)
    ended = invoke("reap", "--ledger", url, "--all-marked")
    assert (ended.code, len(invoke.cloud.rented)) == (2, 4)


def test_without_the_ledger_nothing_is_done(invoke, url, world, clock, monkeypatch):
    async def away(*args, **options):
        raise LedgerError("away")

    clock.advance(400)
    monkeypatch.setattr(SqlLedger, "get", away)
    ended = invoke("reap", "--ledger", url, "--all-marked", "--yes")
    assert ended.code not in (0, 1)
    assert len(invoke.cloud.rented) == 4
