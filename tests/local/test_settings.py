import os
from pathlib import Path

import pytest

from exatlas.clock import ManualClock, SystemClock
from exatlas.errors import ConfigError, ValidationError
from exatlas.local.runtime import serve
from exatlas.local.script import WorkerKind
from exatlas.local.settings import Settings
from exatlas.providers.runpod.submission import Rules


def settings(handler=print, **given) -> Settings:
    return serve(handler, **given)._settings


def test_the_defaults():
    made = settings()
    assert (made.endpoint, made.workers, made.concurrency, made.port, made.kind) == ("local", 1, 1, 0, None)
    assert made.rules == Rules(stop_grace_s=10)
    assert isinstance(made.clock, SystemClock)
    assert len(made.api_key) >= 20
    assert made.api_key != settings().api_key


def test_every_fault_is_listed():
    with pytest.raises(ValidationError) as error:
        settings(
            handler=5,
            endpoint="a/b",
            workers=0,
            concurrency=True,
            return_aggregate_stream=1,
            port=70_000,
            api_key="two words",
            env={"A": 1},
            limits="yes",
            rules={},
            start_timeout=0,
            stop_timeout=None,
        )
    assert {fault.partition(":")[0] for fault in error.value.faults} == {
        *("handler", "endpoint", "workers", "concurrency", "return_aggregate_stream", "port", "api_key", "env"),
        *("limits", "rules", "start_timeout", "stop_timeout"),
    }


@pytest.mark.parametrize("key", ["", "two words", "é", "line\nbreak", 5])
def test_a_key_that_cannot_travel_is_refused_and_not_shown(key):
    with pytest.raises(ValidationError) as error:
        settings(api_key=key)
    assert error.value.faults == ("api_key: expected printable ASCII without blanks",)


def test_secrets_stay_out_of_repr():
    made = settings(api_key="k-shh")
    assert "k-shh" not in repr(made)
    assert "k-shh" not in repr(serve(print, api_key="k-shh"))


def test_what_is_for_files_is_refused_for_functions():
    for given in ({"worker": "builtin"}, {"env": {"A": "1"}}):
        with pytest.raises(ConfigError, match="a function runs in this process"):
            settings(**given)


def test_a_file_is_found_from_where_the_caller_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("handler.py").write_text("def handler(job): ...\n")
    for given in ("handler.py", Path("handler.py"), os.fspath(tmp_path / "handler.py")):
        made = settings(given, concurrency=2, return_aggregate_stream=True, env={"A": "1"})
        assert (made.handler, made.kind) == (tmp_path / "handler.py", WorkerKind.BUILTIN)


def test_a_file_with_its_own_worker_says_its_concurrency_itself(tmp_path):
    path = tmp_path / "handler.py"
    path.write_text("import runpod\nrunpod.serverless.start({})\n")
    for given in ({"concurrency": 2}, {"return_aggregate_stream": True}):
        with pytest.raises(ConfigError, match="are its own to say"):
            settings(path, worker="runpod", **given)


def test_the_clock_can_be_given():
    clock = ManualClock()
    assert settings(clock=clock).clock is clock
