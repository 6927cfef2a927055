"""ls, get, stop, start, terminate and logs over a cloud in memory."""

import asyncio
import json
import os
import pty

import pytest

import exatlas
from exatlas.providers.memory import MemoryProvider


class Elsewhere(MemoryProvider):
    """A second cloud."""

    name = "elsewhere"


def spawned(invoke, *more: str) -> dict:
    ended = invoke("spawn", "--gpu", "h100", "--image", "app:1", "--json", *more)
    assert ended.code == 0, ended.err
    return json.loads(ended.out)


@pytest.fixture
def terminal(invoke):
    """A terminal to answer at: `terminal("y")` types a line, before the command asks."""
    ours, theirs = pty.openpty()
    invoke.stdin = os.fdopen(theirs, "r")
    yield lambda text: os.write(ours, f"{text}\n".encode())
    invoke.stdin.close()
    os.close(ours)


def test_ls_shows_a_table_and_what_it_costs_together(invoke):
    spawned(invoke, "--name", "first")
    spawned(invoke, "--name", "second", "--gpu-count", "2")
    ended = invoke("ls")
    heading, first, second, total = ended.out.splitlines()
    assert heading.split() == ["PROVIDER", "ID", "NAME", "STATUS", "GPU", "$/H", "REGION", "AGE"]
    assert first.split()[:2] == ["memory", "mem-000001"]
    assert "2 x h100" in second
    assert "6.00" in second
    assert total.strip() == "2 machines, 9.00 $/h"
    assert (ended.code, ended.err) == (0, "")


def test_ls_filters(invoke):
    spawned(invoke, "--name", "first")
    spawned(invoke, "--name", "second")
    invoke("stop", "mem-000001", "--yes")
    for option, value, expected in (
        ("--status", "stopped", ["mem-000001"]),
        ("--name", "second", ["mem-000002"]),
        ("--gpu", "l4", []),
        ("--region", "mem-eu-1", ["mem-000001", "mem-000002"]),
    ):
        found = json.loads(invoke("ls", "--json", option, value).out)
        assert [one["id"] for one in found] == expected, option


def test_several_providers_make_one_table_and_failures_are_notes(invoke):
    invoke.others = (Elsewhere(),)
    spawned(invoke)
    spawned(invoke, "--provider", "elsewhere")
    ended = invoke("ls", "--provider", "memory", "--provider", "elsewhere", "--json")
    assert [one["provider"] for one in json.loads(ended.out)] == ["memory", "elsewhere"]
    assert (ended.code, ended.err) == (0, "")

    invoke.others[0].fail_next("list_compute", exatlas.ForbiddenError("not with this key", provider="elsewhere"))
    ended = invoke("ls", "--provider", "memory", "--provider", "elsewhere", "--json")
    assert [one["provider"] for one in json.loads(ended.out)] == ["memory"]
    assert (ended.code, ended.err) == (1, "exatlas: elsewhere: not with this key\n")


def test_when_nobody_answers_the_code_is_the_first_ones(invoke):
    invoke.others = (Elsewhere(),)
    invoke.cloud.fail_next("list_compute", exatlas.UnauthorizedError("wrong key", provider="memory"))
    invoke.others[0].fail_next("list_compute", exatlas.ForbiddenError("not with this key", provider="elsewhere"))
    ended = invoke("ls", "--provider", "memory", "--provider", "elsewhere")
    assert ended.code == 10
    assert ended.err.splitlines() == ["exatlas: memory: wrong key", "exatlas: elsewhere: not with this key"]


def test_get_shows_one_machine(invoke):
    spawned(invoke, "--name", "web", "--port", "8000/http", "-p", "22/tcp")
    told = invoke("get", "mem-000001").out
    for line in ("id", "mem-000001", "3.00 $/h", "8000/http  https://mem-000001-8000.memory.invalid", "tcp://198.18"):
        assert line in told
    assert json.loads(invoke("get", "mem-000001", "--json").out)["status"] == "running"


def test_an_unknown_machine_is_one_line_and_its_code(invoke):
    ended = invoke("get", "nope")
    assert (ended.code, ended.out) == (12, "")
    assert ended.err == "exatlas: memory get_compute: this account has no compute 'nope'\n"


def test_stop_and_start(invoke):
    spawned(invoke)
    assert invoke("stop", "mem-000001", "--yes").out == "stopped mem-000001\n"
    assert json.loads(invoke("get", "mem-000001", "--json").out)["status"] == "stopped"
    assert json.loads(invoke("start", "mem-000001", "--json").out) == {"started": ["mem-000001"]}
    assert json.loads(invoke("get", "mem-000001", "--json").out)["status"] == "running"


def test_terminate_with_yes_does_not_ask_and_may_be_repeated(invoke):
    spawned(invoke)
    spawned(invoke)
    ended = invoke("terminate", "mem-000001", "mem-000002", "mem-000001", "--yes")
    assert (ended.code, ended.out, ended.err) == (0, "terminated mem-000001\nterminated mem-000002\n", "")
    assert invoke.cloud.rented == []
    assert invoke("terminate", "mem-000001", "--yes").code == 0


@pytest.mark.parametrize("verb", ["terminate", "stop"])
def test_without_a_terminal_and_without_yes_it_refuses(invoke, verb):
    spawned(invoke)
    ended = invoke(verb, "mem-000001")
    assert ended.code == 2
    assert "Usage: exatlas" in ended.err
    assert f"{verb} asks before it acts, and there is nobody to ask here; say --yes" in ended.err
    assert json.loads(invoke("get", "mem-000001", "--json").out)["status"] == "running"


def test_a_closed_standard_input_is_nobody_to_ask_either(invoke):
    spawned(invoke)
    invoke.stdin = None
    assert invoke("terminate", "mem-000001").code == 2
    assert invoke.cloud.rented == ["mem-000001"]


@pytest.mark.parametrize("answer", ["y", "YES"])
def test_it_says_what_it_will_do_and_asks(invoke, terminal, answer):
    spawned(invoke, "--name", "web")
    name = json.loads(invoke("get", "mem-000001", "--json").out)["name"]
    terminal(answer)
    ended = invoke("terminate", "mem-000001", "gone")
    assert ended.code == 0
    assert f"going to terminate mem-000001 ({name}, h100, running, 3.00 $/h)" in ended.err
    assert "going to terminate gone (unknown, or gone already)" in ended.err
    assert "Go on? [y/N]" in ended.err
    assert invoke.cloud.rented == []


@pytest.mark.parametrize("answer", ["n", "", "yesterday"])
def test_anything_but_yes_is_no(invoke, terminal, answer):
    spawned(invoke)
    terminal(answer)
    ended = invoke("terminate", "mem-000001")
    assert (ended.code, ended.out) == (1, "")
    assert invoke.cloud.rented == ["mem-000001"]


def test_one_failure_does_not_save_the_others(invoke):
    for _ in range(3):
        spawned(invoke)
    invoke.cloud.fail_next("terminate", exatlas.ConflictError("busy", provider="memory"))
    ended = invoke("terminate", "mem-000001", "mem-000002", "mem-000003", "--yes", "--json")
    assert ended.code == 1
    assert json.loads(ended.out) == {"terminated": ["mem-000002", "mem-000003"]}
    assert ended.err == "exatlas: mem-000001: memory: busy\n"
    invoke.cloud.fail_next("terminate", exatlas.ConflictError("busy", provider="memory"))
    assert invoke("terminate", "mem-000001", "--yes").code == 13


def test_logs(invoke):
    spawned(invoke)
    invoke.cloud.log("mem-000001", "hello\tworld [red]")
    invoke.cloud.log("mem-000001", "bye")
    assert invoke("logs", "mem-000001").out.splitlines() == ["pulled app:1", "hello\tworld [red]", "bye"]
    assert invoke("logs", "mem-000001", "--tail", "1", "--timestamps").out == "2026-01-01T00:00:00.000+00:00  bye\n"
    told = [json.loads(line) for line in invoke("logs", "mem-000001", "--json").out.splitlines()]
    assert [(line["line"], line["source"]) for line in told][1:] == [
        ("hello\tworld [red]", "container"),
        ("bye", "container"),
    ]


def test_following_logs_ends_with_the_machine(invoke):
    class Dying(Elsewhere):
        async def stream_logs(self, compute_id, ctx, /, *, tail, follow):
            async for line in super().stream_logs(compute_id, ctx, tail=tail, follow=follow):
                yield line
                asyncio.get_running_loop().call_soon(self.lose, compute_id)

    cloud = Dying()
    invoke.others = (cloud,)
    spawned(invoke, "--provider", "elsewhere")
    assert invoke("logs", "mem-000001", "-f", "--provider", "elsewhere").out == "pulled app:1\n"
