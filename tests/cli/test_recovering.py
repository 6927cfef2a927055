"""recover, over a cloud in memory and a ledger in a file."""

import asyncio
import json
import os
import pty

import pytest

import exatlas
from exatlas.ledger import SqlLedger


@pytest.fixture
def left(invoke, url, clock):
    """Ids of two machines that a process has left behind, after one of another owner's."""

    async def rent_and_die(owner, count):
        ledger = SqlLedger(url)
        async with invoke.make_atlas(None, ledger=ledger, owner=owner) as atlas:
            made = []
            for _ in range(count):
                made.append(await atlas.spawn_compute(image="app:1", gpu="l4"))
                clock.advance(1)  # so that one is older than the next
        await ledger.aclose()
        return [compute.id for compute in made]

    asyncio.run(rent_and_die("others", 1))
    return asyncio.run(rent_and_die("exatlas", 2))


def test_it_adopts_by_default_and_shows_a_table(invoke, url, left, clock):
    clock.advance(400)
    ended = invoke("recover", "--ledger", url)
    heading, first, second, total = ended.out.splitlines()
    assert heading.split() == ["PROVIDER", "LAUNCH", "ID", "ACTION", "REASON"]
    assert [line.split()[2:4] for line in (first, second)] == [[one, "kept"] for one in left]
    assert (total.strip(), ended.code, ended.err) == ("2 open launches", 0, "")
    assert len(invoke.cloud.rented) == 3


def test_it_terminates_when_told_so(invoke, url, left, clock, monkeypatch):
    clock.advance(400)
    monkeypatch.setenv("EXATLAS_LEDGER", url)
    ended = invoke("recover", "--policy", "terminate", "--yes", "--json")
    assert [(one["compute_id"], one["action"], one["state"]) for one in json.loads(ended.out)] == [
        (one, "terminated", "gone") for one in left
    ]
    assert (ended.code, len(invoke.cloud.rented)) == (0, 1)
    assert invoke("recover", "--json").out == "[]\n"


def test_a_dry_run_changes_nothing(invoke, url, left, clock):
    clock.advance(400)
    ended = invoke("recover", "--ledger", url, "--policy", "terminate", "--dry-run")
    assert ended.out.splitlines()[-1].strip() == "2 open launches, nothing was changed"
    assert ended.out.count("terminated") == 2
    assert len(invoke.cloud.rented) == 3


def test_the_owner_is_chosen(invoke, url, left, clock):
    clock.advance(400)
    ended = invoke("recover", "--ledger", url, "--owner", "others", "--policy", "terminate", "--yes", "--json")
    assert [one["compute_id"] for one in json.loads(ended.out)] == ["mem-000001"]
    assert invoke.cloud.rented == left


def test_recent_launches_are_left_alone_and_that_is_no_failure(invoke, url, left):
    ended = invoke("recover", "--ledger", url, "--older-than", "500", "--policy", "terminate", "--yes", "--json")
    assert [one["action"] for one in json.loads(ended.out)] == ["recent", "recent"]
    assert (ended.code, len(invoke.cloud.rented)) == (0, 3)


def test_what_is_left_over_is_one_in_the_exit_code(invoke, url, left, clock):
    clock.advance(400)
    invoke.cloud.fail_next("list_compute", exatlas.TransportError("cut"))
    ended = invoke("recover", "--ledger", url, "--json")
    assert [one["action"] for one in json.loads(ended.out)] == ["skipped", "skipped"]
    assert ended.code == 1


@pytest.mark.parametrize(("answer", "left_over"), [("y", 1), ("n", 3)])
def test_termination_is_asked_for(invoke, url, left, clock, answer, left_over):
    clock.advance(400)
    ours, theirs = pty.openpty()
    invoke.stdin = os.fdopen(theirs, "r")
    os.write(ours, f"{answer}\n".encode())
    ended = invoke("recover", "--ledger", url, "--policy", "terminate")
    invoke.stdin.close()
    os.close(ours)
    assert f"exatlas: going to terminate {left[0]} (memory, launch " in ended.err
    assert (len(invoke.cloud.rented), ended.code) == (left_over, 0 if answer == "y" else 1)


def test_without_anybody_to_ask_it_is_refused(invoke, url, left):
    ended = invoke("recover", "--ledger", url, "--policy", "terminate")
    assert (ended.code, len(invoke.cloud.rented)) == (2, 3)
    assert "say --yes" in ended.err


def test_without_a_ledger_it_is_refused(invoke, monkeypatch):
    monkeypatch.delenv("EXATLAS_LEDGER", raising=False)
    ended = invoke("recover")
    assert ended.code == 2
    assert "say --ledger URL, or set EXATLAS_LEDGER" in ended.err
