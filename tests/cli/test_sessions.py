"""sessions: what a ledger has, without asking any cloud."""

import asyncio
import json

import pytest

from exatlas import Atlas, Orchestrator
from exatlas.ledger import SqlLedger


@pytest.fixture
def kept(invoke, url):
    """The ids of two sessions and of a machine without one; a third session has ended."""

    async def rent():
        ledger = SqlLedger(url)
        # By real time: a clock that turns itself takes the waiting for a file for idleness.
        async with Atlas(invoke.cloud, env={}, ledger=ledger, owner="exatlas") as atlas:
            async with Orchestrator(atlas) as orch:
                limits = {"idle_ttl": 900, "max_cost_usd": "2.5", "keep_on_exit": True}
                one = await orch.spawn(image="app:1", gpu="l4", user="ada", tenant="acme", **limits)
                two = await orch.spawn(image="app:1", gpu="l4", user="bob", tenant="acme", keep_on_exit=True)
                await orch.spawn(image="app:1", gpu="l4", user="eve", tenant="acme")
            bare = await atlas.spawn_compute(image="app:1", gpu="l4")
        await ledger.aclose()
        return one, two, bare

    return asyncio.run(rent())


def test_open_ones_are_a_table(invoke, url, kept):
    ended = invoke("sessions", "--ledger", url)
    heading, *rows, total = ended.out.splitlines()
    assert heading.split() == [
        "SESSION",
        "PROVIDER",
        "ID",
        "STATE",
        "TENANT",
        "USER",
        "AGE",
        "COST",
        "LIMITS",
        "WORKER",
    ]
    one, two, bare = kept
    assert [row.split()[0] for row in rows] == [one.id, two.id, bare.launch_id]
    assert "idle 15 min 0 s, $2.5" in rows[0]
    assert (total, ended.code, ended.err) == ("3 launches", 0, "")


def test_they_are_filtered_and_given_to_programs(invoke, url, kept):
    one, two, _ = kept
    found = json.loads(invoke("sessions", "--ledger", url, "--tenant", "acme", "--json").out)
    assert [each["session"] for each in found] == [one.id, two.id]
    assert found[0]["limits"]["idle_ttl_s"] == 900
    assert (found[0]["user"], found[0]["state"], found[0]["worker"]) == ("ada", "ready", None)
    everything = json.loads(invoke("sessions", "--ledger", url, "--tenant", "acme", "--all", "--json").out)
    assert {each["user"]: each["state"] for each in everything} == {"ada": "ready", "bob": "ready", "eve": "gone"}
    assert json.loads(invoke("sessions", "--ledger", url, "--user", "bob", "--json").out)[0]["session"] == two.id
    assert json.loads(invoke("sessions", "--ledger", url, "--owner", "others", "--json").out) == []
    assert json.loads(invoke("sessions", "--ledger", url, "--provider", "runpod", "--json").out) == []


def test_no_cloud_is_asked(invoke, url, kept, monkeypatch):
    def no_client(*args, **options):
        raise AssertionError("a client was made")

    monkeypatch.setattr("exatlas.Atlas", no_client)
    assert invoke("sessions", "--ledger", url).code == 0


@pytest.mark.parametrize("command", ["sessions", "recover", "reap"])
def test_a_file_that_is_not_there_is_not_made(invoke, tmp_path, command):
    path = tmp_path / "mistyped.db"
    ended = invoke(command, "--ledger", f"sqlite:///{path}")
    assert (ended.code, path.exists()) == (2, False)
    assert "there is no ledger at" in ended.err


def test_it_has_to_be_said_which_ledger(invoke):
    ended = invoke("sessions")
    assert ended.code == 2
    assert "EXATLAS_LEDGER" in ended.err


@pytest.mark.parametrize(
    ("url", "extra"), [("sqlite:///x.db", "exatlas[sqlite]"), ("postgresql://u@h/n", "exatlas[postgres]")]
)
@pytest.mark.parametrize("command", ["sessions", "recover", "reap"])
def test_what_is_not_installed_is_named(invoke, monkeypatch, command, url, extra):
    monkeypatch.setitem(__import__("sys").modules, "exatlas.ledger.sql", None)
    ended = invoke(command, "--ledger", url)
    assert extra in ended.err
    assert ended.err.count("\n") == 1
    assert ended.code != 0
