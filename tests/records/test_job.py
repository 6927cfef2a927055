"""Jobs: what a request takes, what ends a job, and what stays hidden."""

from datetime import UTC, datetime, timedelta

import attrs
import pytest

from exatlas.errors import ValidationError
from exatlas.records.job import (
    Job,
    JobChunk,
    JobFault,
    JobFields,
    JobPolicy,
    JobRef,
    JobRequest,
    JobStatus,
    LogLine,
    StreamEvent,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def request(**fields):
    return JobRequest(**{"endpoint": "e", "input": {"a": 1}, **fields})


ACCEPTED = [
    ("input", {"a": [1, {"b": None}]}, {"a": [1, {"b": None}]}),
    ("mode", "sync", "sync"),
    ("timeout", 5, timedelta(seconds=5)),
    ("timeout", timedelta(minutes=1), timedelta(minutes=1)),
    ("timeout", None, None),
    ("webhook", "https://a/b?token=c", "https://a/b?token=c"),
    ("policy", {}, JobPolicy()),
    ("policy", {"ttl": 60, "low_priority": True}, JobPolicy(ttl=60, low_priority=True)),
    ("policy", JobPolicy(execution_timeout=5), JobPolicy(execution_timeout=timedelta(seconds=5))),
    ("provider_opts", {"a": 1}, {"a": 1}),
    ("provider_opts", None, {}),
]

REFUSED = {
    "endpoint": ["", " ", None, 5],
    "input": [None, {}, [], "x", {1: 2}, {"a": {1}}, {"a": float("inf")}, {"a": b"x"}],
    "mode": ["SYNC", None, 1],
    "timeout": [0, -1, "5", True, float("nan"), timedelta(0)],
    "webhook": ["", "a", "ftp://a", 5, "https://a b"],
    "policy": [None, 5, {"tl": 5}, {"ttl": 0}, {"ttl": "x", "low_priority": 1}, {"ttl": 5, "execution_timeout": 6}],
    "provider_opts": [5, [], {"a": object()}],
}


@pytest.mark.parametrize(("name", "given", "kept"), ACCEPTED)
def test_a_field_takes_what_people_type(name, given, kept):
    assert getattr(request(**{name: given}), name) == kept


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name, values in REFUSED.items() for value in values],
    ids=lambda x: repr(x)[:30],
)
def test_a_field_refuses_what_cannot_be_right(name, value):
    with pytest.raises(ValidationError) as caught:
        request(**{name: value})
    assert len(caught.value.faults) == 1
    assert caught.value.faults[0].startswith(f"{name}: expected") or name == "policy"


def test_every_field_has_a_row_of_bad_values_and_its_keyword_is_typed():
    names = {field.name for field in attrs.fields(JobRequest)}
    assert set(REFUSED) == names
    assert set(JobFields.__annotations__) == names


def test_all_faults_are_told_at_once():
    with pytest.raises(ValidationError) as caught:
        JobRequest(endpoint="", input={}, mode="x", timeout=0, webhook="x", policy={"x": 1}, provider_opts=[])
    assert [fault.partition(":")[0] for fault in caught.value.faults] == [
        "endpoint", "mode", "timeout", "webhook", "policy", "provider_opts", "input",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ({"tl": 5}, "expected only execution_timeout, ttl, low_priority, got 'tl'"),
        ({"ttl": 0, "low_priority": 1}, "ttl: expected a positive timedelta"),
        ({"ttl": 0, "low_priority": 1}, "low_priority: expected True or False, got 1"),
        ({"ttl": 5, "execution_timeout": 6}, "ttl: expected at least execution_timeout"),
        (7, "expected a JobPolicy or a mapping, got 7"),
    ],
)
def test_a_bad_policy_is_told_from_within(policy, said):
    with pytest.raises(ValidationError) as caught:
        request(policy=policy)
    assert said in str(caught.value)


def test_a_ttl_as_long_as_the_timeout_will_do():
    assert JobPolicy(ttl=5, execution_timeout=5).ttl == timedelta(seconds=5)


def test_no_secret_shows():
    made = request(input={"a": "s3cr3t"}, webhook="https://a/s3cr3t", provider_opts={"k": "s3cr3t"})
    assert "s3cr3t" not in repr(made)
    with pytest.raises(ValidationError) as caught:
        request(webhook="wss://a/s3cr3t", input={"k": {"s3cr3t"}})
    assert "s3cr3t" not in str(caught.value)


def test_what_a_worker_said_is_not_shown_at_length():
    fault = JobFault(message="m", traceback="s3cr3t", raw={"x": "s3cr3t"})
    job = Job(id="1", provider="p", endpoint="e", status=JobStatus.FAILED, error=fault, raw={"x": "s3cr3t"})
    assert "s3cr3t" not in repr(job)


@pytest.mark.parametrize(
    ("status", "is_terminal"),
    [
        ("in_queue", False),
        ("in_progress", False),
        ("completed", True),
        ("failed", True),
        ("cancelled", True),
        ("timed_out", True),
        ("unknown", False),
    ],
)
def test_what_ends_a_job(status, is_terminal):
    assert JobStatus(status).is_terminal is is_terminal


def test_every_status_has_a_row():
    assert len(JobStatus) == 7


def test_records_with_json_in_them_can_be_hashed():
    job = Job(id="1", provider="p", endpoint="e", status=JobStatus.COMPLETED, output={"a": []}, raw={"b": {}})
    assert len({job, request(input={"a": []}), JobChunk(index=0, output=[], metrics={}, received_at=NOW)}) == 3
    assert isinstance(hash(StreamEvent(data={})), int)
    assert isinstance(hash(LogLine(line="x")), int)


@pytest.mark.parametrize(
    "facts", [{"id": "", "endpoint": "e"}, {"id": "1", "endpoint": " "}, {"id": 1, "endpoint": "e"}]
)
def test_a_job_is_named_by_two_texts(facts):
    with pytest.raises(ValidationError):
        JobRef(**facts)
