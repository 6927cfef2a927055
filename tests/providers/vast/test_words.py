"""What five fields make together, word by word and trap by trap."""

import logging

import pytest

from exatlas.providers.vast import words
from exatlas.providers.vast.words import State
from exatlas.records.compute import ComputeStatus as S
from exatlas.transport import words as unknown_words

RUN = {"intended": "running", "current": "running", "next": "running"}
OFF = {"intended": "stopped", "current": "stopped", "next": "stopped"}
WAIT = {"intended": "running", "current": "stopped", "next": "running"}

TABLE = [
    # every word of the container, on a contract that runs
    (RUN, None, None, S.PROVISIONING),
    (RUN, "created", None, S.PROVISIONING),
    (RUN, "loading", "img: Pulling fs layer 7c457f213c76", S.PROVISIONING),
    (RUN, "running", "success, running img", S.RUNNING),
    (RUN, "stopped", None, S.PROVISIONING),
    (RUN, "frozen", None, S.PROVISIONING),
    (RUN, "exited", None, S.FAILED),
    (RUN, "rebooting", None, S.PROVISIONING),
    (RUN, "recycling", None, S.PROVISIONING),
    (RUN, "restarting", None, S.PROVISIONING),
    (RUN, "unknown", None, S.FAILED),
    (RUN, "offline", None, S.FAILED),
    # a contract that is paused, gone, or waits for its GPU
    (OFF, "exited", None, S.STOPPED),
    (OFF, "running", None, S.STOPPED),
    (OFF, None, None, S.STOPPED),
    (OFF, "offline", None, S.STOPPED),
    ({**RUN, "intended": "stopped"}, "running", None, S.STOPPED),
    ({**RUN, "intended": "frozen"}, "running", None, S.STOPPED),
    ({**OFF, "intended": "running"}, "exited", None, S.STOPPED),
    (WAIT, "exited", None, S.PROVISIONING),
    (WAIT, "stopped", None, S.PROVISIONING),
    (WAIT, None, None, S.PROVISIONING),
    (WAIT, "running", None, S.RUNNING),
    (WAIT, "offline", None, S.FAILED),
    ({**RUN, "current": "unloaded"}, "running", None, S.TERMINATED),
    ({**RUN, "intended": "destroyed"}, "running", None, S.TERMINATED),
    ({**OFF, "intended": "terminated"}, None, None, S.TERMINATED),
    # starts that cannot succeed
    (RUN, "created", "Error: OCI runtime create failed: container_linux.go:380", S.FAILED),
    (RUN, "loading", "manifest for img:nope not found: manifest unknown", S.FAILED),
    (RUN, "loading", "Error response from daemon: repository img not found", S.FAILED),
    (RUN, None, "unauthorized: authentication required", S.FAILED),
    (RUN, "loading", "pull access denied for acme/api", S.FAILED),
    (RUN, "loading", "Error: No such image: img", S.FAILED),
    (RUN, "created", "exec format error", S.FAILED),
    (RUN, "created", "Failed to start container", S.FAILED),
    (RUN, "created", "permission denied", S.FAILED),
    (RUN, "created", "error while creating mount source path", S.FAILED),
    (RUN, "exited", "exec format error", S.FAILED),
    # and texts that are no such thing
    (RUN, "running", "last pull: unauthorized", S.RUNNING),
    (RUN, "loading", "docker: container is starting", S.PROVISIONING),
    (RUN, "loading", "8f2c: Mounted from library/base", S.PROVISIONING),
    # fields left out
    ({}, "running", None, S.RUNNING),
    ({}, "exited", None, S.FAILED),
    ({}, "stopped", None, S.STOPPED),
    ({}, None, None, S.PROVISIONING),
]


@pytest.mark.parametrize(("contract", "actual", "message", "ours"), TABLE)
def test_a_state(contract, actual, message, ours):
    assert words.status(State(**contract, actual=actual, message=message)) is ours


def test_the_table_has_every_word():
    assert {actual for _, actual, _, _ in TABLE} == words.ACTUAL
    said = {contract.get(key) for contract, _, _, _ in TABLE for key in ("current", "next", "intended")}
    assert said == words.STATES | words.INTENDED


@pytest.mark.parametrize("field", ["intended", "current", "next", "actual"])
def test_a_new_word_is_unknown_and_told_once(caplog, monkeypatch, field):
    monkeypatch.setattr(unknown_words, "_complained", set())
    caplog.set_level(logging.WARNING)
    state = State(**{**RUN, "actual": "running", field: "hibernating"})
    assert [words.status(state) for _ in range(3)] == [S.UNKNOWN] * 3
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "hibernating" in caplog.text


@pytest.mark.parametrize(("contract", "waits"), [(RUN, False), (OFF, False), (WAIT, True), ({}, False)])
def test_an_instance_that_waits_for_its_gpu(contract, waits):
    assert State(**contract).is_scheduling is waits
