"""What Fly says, sample by sample, in our records."""

import logging
from typing import Any

import pytest

from exatlas.errors import ReplyShapeError
from exatlas.messages import HttpReply
from exatlas.providers.fly import leases, logs, normalize, words
from exatlas.records.compute import ComputeStatus
from exatlas.records.serial import unstructure
from exatlas.transport.shape import body_of


def assert_expected(record: Any, expect: dict[str, Any]) -> None:
    plain = unstructure(record)
    assert {key: plain[key] for key in expect} == expect


def test_a_machine_reads_as_expected(machine_sample):
    expect = dict(machine_sample.expect)
    assert_expected(normalize.compute(body_of(machine_sample.reply), expect.pop("app"), "fly"), expect)


def test_a_machine_keeps_its_body_without_the_values_of_its_variables(machine_sample):
    compute = normalize.compute(body_of(machine_sample.reply), "workers", "fly")
    assert set(compute.raw) == {*machine_sample.body, "app_name"}
    assert "llama-3" not in str(compute.raw)


def test_every_place_of_a_secret_is_emptied_and_keeps_its_name():
    machine = {
        "id": "a",
        "nonce": "hush1",
        "config": {
            "env": {"A": "hush2"},
            "files": [{"guest_path": "/a", "raw_value": "hush3"}, {"guest_path": "/b", "secret_name": "S"}, 7],
            "processes": [{"env": {"B": "hush4"}}, 7],
            "containers": [{"name": "c", "env": {"C": "hush5"}, "files": [{"raw_value": "hush6"}]}],
        },
    }
    raw = normalize.without_secrets(machine)
    assert "hush" not in str(raw)
    assert list(raw["config"]["env"]) == ["A"]
    assert raw["config"]["files"][1:] == [{"guest_path": "/b", "secret_name": "S"}, 7]
    assert "hush1" in str(machine), "the original is left alone"


def test_a_broken_machine_names_the_path(broken_machine_sample):
    with pytest.raises(ReplyShapeError) as caught:
        normalize.compute(body_of(broken_machine_sample.reply), "workers", "fly")
    assert list(caught.value.paths) == [broken_machine_sample.expect["path"]]


def test_addresses_read_as_expected(addresses_sample):
    found = normalize.addresses(addresses_sample.reply)
    assert {key: getattr(found, key) for key in addresses_sample.expect} == addresses_sample.expect


def test_the_scope_of_a_token_reads_as_expected(scope_sample):
    found = normalize.scope(scope_sample.reply)
    assert (list(found.orgs), list(found.apps)) == (scope_sample.expect["orgs"], scope_sample.expect["apps"])


def test_a_volume_reads_as_expected(volume_sample):
    found = normalize.volume(body_of(volume_sample.reply), "workers")
    assert {key: getattr(found, key) for key in volume_sample.expect} == volume_sample.expect


def test_a_lease_reads_as_expected_and_hides_its_secret(lease_sample):
    found = leases.read(lease_sample.reply)
    assert found.nonce == lease_sample.expect["nonce"]
    assert (found.expires_at and found.expires_at.isoformat()) == lease_sample.expect["expires_at"]
    assert found.nonce not in repr(found)


def test_a_page_of_a_log_reads_as_expected(log_page_sample):
    page = logs.read_page(log_page_sample.reply)
    assert page.cursor == log_page_sample.expect["cursor"]
    assert len(page.lines) == len(page.keys) == len(log_page_sample.expect["lines"])
    for line, expect in zip(page.lines, log_page_sample.expect["lines"], strict=True):
        assert_expected(line, expect)


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b'{"data":{}}', "$.data"),
        (b'{"data":[7]}', "$.data[0]"),
        (b'{"data":[{"attributes":{"message":7}}]}', "$.data[0].attributes.message"),
        (b'{"data":[{"attributes":{"timestamp":"now"}}]}', "$.data[0].attributes.timestamp"),
        (b'{"data":[],"meta":[]}', "$.meta"),
    ],
)
def test_a_broken_page_of_a_log_names_the_path(body, path):
    with pytest.raises(ReplyShapeError) as caught:
        logs.read_page(HttpReply(status=200, body=body))
    assert list(caught.value.paths) == [path]


@pytest.mark.parametrize("key", ["regions", "Regions"])
def test_regions_are_read_in_either_letter_case(key):
    nearest = "nearest" if key == "regions" else "Nearest"
    body = f'{{"{key}":[{{"code":"iad","geo_region":"us","requires_paid_plan":true}}],"{nearest}":"iad"}}'.encode()
    reply = HttpReply(status=200, body=body)
    (region,) = normalize.regions(reply)
    assert (region.code, region.area, region.needs_paid_plan, region.deprecated) == ("iad", "us", True, False)
    assert normalize.nearest_region(reply) == "iad"


P, STOPPING, STOPPED = ComputeStatus.PROVISIONING, ComputeStatus.STOPPING, ComputeStatus.STOPPED


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("created", P),
        ("creating", P),
        ("starting", P),
        ("restarting", P),
        ("updating", P),
        ("replacing", P),
        ("started", ComputeStatus.RUNNING),
        ("stopping", STOPPING),
        ("suspending", STOPPING),
        ("stopped", STOPPED),
        ("suspended", STOPPED),
        ("failed", ComputeStatus.FAILED),
        ("launch_failed", ComputeStatus.FAILED),
        ("destroying", ComputeStatus.TERMINATING),
        ("destroyed", ComputeStatus.TERMINATED),
        ("replaced", ComputeStatus.UNKNOWN),
        ("migrated", ComputeStatus.UNKNOWN),
    ],
)
def test_every_documented_state_has_our_word(word, status, caplog):
    assert words.machine_status(word) is status
    assert caplog.text == ""


def test_the_table_of_states_is_the_documented_one():
    assert len(words.MACHINE_STATE) == 17


@pytest.mark.parametrize(
    ("state", "gone"),
    [
        *((word, False) for word in ("creating", "created", "extending", "restoring", "enabling_remote_export")),
        *((word, False) for word in ("hydrating", "recovering", "a word of tomorrow")),
        *((word, True) for word in ("scheduling_destroy", "pending_destroy", "fork_cleanup")),
        *((word, True) for word in ("waiting_for_detach", "destroying", "destroyed")),
    ],
)
def test_every_documented_state_of_a_volume_is_there_or_gone(state, gone):
    assert normalize.Volume(id="v", app="a", state=state).is_gone is gone


def test_an_unknown_state_warns_once_in_a_process(caplog):
    with caplog.at_level(logging.WARNING, logger="exatlas.providers.fly"):
        assert [words.machine_status("levitating") for _ in range(3)] == [ComputeStatus.UNKNOWN] * 3
    assert [record.getMessage() for record in caplog.records] == [
        "Fly sent the machine state 'levitating', which this version does not know; it is read as unknown"
    ]
