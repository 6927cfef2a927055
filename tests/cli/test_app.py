"""The command line as a whole: help, wrong usage, exit codes, and what it costs to start."""

import subprocess
import sys
from pathlib import Path

import pytest
from cyclopts import App

import exatlas
from exatlas.cli.app import app
from exatlas.cli.exits import EXIT_CODES, code_of

IMAGE = ("--image", "app:1")

BAD = {
    "no such command": (["lst"], 'Unknown command "lst". Did you mean "ls"?'),
    "no such option": (["ls", "--statsu", "running"], "Unknown option: --statsu"),
    "no such choice": (["ls", "--status", "asleep"], 'Invalid value "asleep" for --status'),
    "no such subcommand": (["job", "go"], 'Unknown command "go"'),
    "id missing": (["get"], "requires an argument"),
    "one id too many": (["get", "a", "b"], "Unused Tokens: ['b']"),
    "value missing": (["gpus", "--min-memory-gb"], "requires an argument"),
    "not a number": (["gpus", "--max-price", "cheap"], "Invalid value for --max-price"),
    "no ids to stop": (["stop", "--yes"], "ID requires an argument"),
    "no ids to start": (["start"], "ID requires an argument"),
    "no ids to terminate": (["terminate", "--yes"], "ID requires an argument"),
    "nothing to run": (["spawn", "--gpu", "h100"], "image: expected an image reference"),
    "port without protocol": (["spawn", *IMAGE, "-p", "8000"], "ports: [0] expected one such as"),
    "gpu count without gpu": (["spawn", *IMAGE, "--gpu-count", "2"], "gpu_count: needs a gpu"),
    "negative disk": (["spawn", *IMAGE, "--volume-gb", "-1"], "volume_gb: expected a whole number"),
    "env of nobody": (["spawn", *IMAGE, "--env", "NO_SUCH_NAME"], "--env NO_SUCH_NAME: there is no such variable here"),
    "env without name": (["spawn", *IMAGE, "--env", "=hunter2"], "--env number 1: expected NAME=VALUE"),
    "env file missing": (["spawn", *IMAGE, "--env-file", "/no/such/file"], "cannot read /no/such/file"),
    "key file missing": (["spawn", *IMAGE, "--ssh-key", "@/no/such/key"], "cannot read /no/such/key"),
    "options not JSON": (["spawn", *IMAGE, "--provider-opts", "{x"], "expected a JSON object, @file or -"),
    "no wait at all": (["spawn", *IMAGE, "--wait", "--wait-timeout", "0"], "Must be > 0"),
    "nothing to interrupt": (["spawn", *IMAGE, "--terminate-on-interrupt"], "--terminate-on-interrupt needs --wait"),
    "zero timeout": (["ls", "--timeout", "0"], "timeout: expected a positive timedelta or number of seconds"),
    "input missing": (["job", "run", "echo"], "--input requires an argument"),
    "input not JSON": (["job", "run", "echo", "-i", "{"], "expected a JSON object, @file or -"),
    "input a list": (["job", "run", "echo", "-i", "[1]"], "expected a JSON object such as"),
    "input empty": (["job", "run", "echo", "-i", "{}"], "input: expected at least one key"),
    "input file missing": (["job", "run", "echo", "-i", "@/no/such/file"], "cannot read /no/such/file"),
    "reading nothing": (["job", "run", "echo", "-i", '{"a": 1}', "--strict"], "need --stream or --wait"),
    "policy contradicts itself": (
        ["job", "run", "echo", "-i", '{"a": 1}', "--ttl", "1", "--execution-timeout", "2"],
        "ttl: expected at least execution_timeout",
    ),
    "webhook no URL": (["job", "run", "echo", "-i", '{"a": 1}', "--webhook", "me"], "webhook: expected an absolute"),
    "endpoint missing": (["job", "status", "j1"], "--endpoint requires an argument"),
    "negative tail": (["logs", "m1", "--tail", "-1"], "tail: expected a whole number of at least 0"),
    "file missing": (["serve"], "requires an argument"),
    "no workers": (["serve", "handler.py", "--workers", "0"], "workers: expected a whole number of at least 1"),
}


@pytest.mark.parametrize(("arguments", "words"), BAD.values(), ids=BAD)
def test_a_bad_command_line_gives_usage_on_stderr_and_2(invoke, arguments, words):
    ended = invoke(*arguments)
    assert (ended.code, ended.out) == (2, "")
    usage, *why, where = ended.err.splitlines()
    assert usage.startswith("Usage: exatlas")
    assert words in " ".join(why)
    assert where.startswith("exatlas: see exatlas")
    assert "hunter2" not in ended.err
    assert "Traceback" not in ended.err


def test_every_kind_of_error_has_a_code_of_its_own_that_never_changes():
    assert {str(kind): code for kind, code in EXIT_CODES.items()} == {
        "unauthorized": 10,
        "forbidden": 11,
        "not_found": 12,
        "conflict": 13,
        "rate_limited": 14,
        "no_capacity": 15,
        "insufficient_funds": 16,
        "quota": 17,
        "timeout": 18,
        "unsupported": 19,
        "validation": 20,
        "provider": 21,
        "transport": 22,
        "outcome_unknown": 23,
        "unknown": 24,
    }
    assert code_of(exatlas.NoCapacityError("full")) == 15
    assert code_of(RuntimeError()) == 24


@pytest.mark.parametrize("kind", list(exatlas.ErrorKind))
def test_a_refusal_is_one_line_and_the_code_of_its_kind(invoke, kind):
    class SomeError(exatlas.AtlasError):
        pass

    SomeError.kind = kind
    invoke.cloud.fail_next("get_compute", SomeError("no\nand no again", provider="memory"))
    ended = invoke("get", "m1")
    assert (ended.code, ended.out, ended.err) == (EXIT_CODES[kind], "", "exatlas: memory: no and no again\n")


def test_no_provider_named_says_how_to_name_one(invoke, monkeypatch):
    monkeypatch.setattr(invoke, "make_atlas", lambda timeout: exatlas.Atlas(env={}, timeout=timeout))
    ended = invoke("ls")
    assert (ended.code, ended.err.count("\n")) == (20, 1)
    assert "EXATLAS_PROVIDER" in ended.err


def commands(found: App, *chain: str):
    yield chain
    for name in found:
        if not name.startswith("-"):
            yield from commands(found[name], *chain, name)


@pytest.mark.parametrize("chain", list(commands(app)), ids=" ".join)
def test_every_command_has_help_with_an_example(invoke, chain):
    ended = invoke(*chain, "--help")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith(f"Usage: {' '.join(('exatlas', *chain))}")
    if len(chain) == 1:
        assert f"$ exatlas {chain[0]}" in ended.out.replace("| xargs ", "$ ")


def test_the_version(invoke):
    ended = invoke("--version")
    assert (ended.code, ended.out.strip()) == (0, exatlas.__version__)


LOADED = """
import sys
from exatlas.cli.app import run
run(["--help"])
heavy = {"aiohttp", "cattrs", *(f"exatlas.{name}" for name in ("client", "providers", "records", "local", "fanout"))}
print(sorted(heavy & set(sys.modules)))
"""


def test_help_loads_no_client_and_no_provider():
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


MISSING = """
import sys
sys.modules["cyclopts"] = None
from exatlas.cli import main
main()
"""


def test_without_its_extra_it_says_which_one():
    done = subprocess.run(
        [sys.executable, "-c", MISSING, "ls"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "exatlas: the command line needs an extra: pip install 'exatlas[cli]'\n"


def test_nothing_in_it_knows_a_provider_by_name():
    names = [name for name, cls in exatlas.list_providers().items() if cls.settings.needs_key]
    assert names
    for source in Path(sys.modules["exatlas.cli"].__file__).parent.glob("*.py"):
        assert not [name for name in names if f'"{name}"' in source.read_text()], source.name
