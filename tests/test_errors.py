"""The tree, its words, and what survives a pickle."""

import inspect
import pickle
from decimal import Decimal

import pytest

from exatlas import errors
from exatlas.errors import (
    AllFailedError,
    AtlasError,
    CleanupError,
    ErrorKind,
    JobFailedError,
    JobTimedOutError,
    NoCapacityError,
    OutcomeUnknownError,
    RateLimitedError,
    ReplyShapeError,
    TransportError,
    TransportTimeoutError,
    UnsupportedError,
    ValidationError,
    faults_of,
)
from exatlas.fanout import Outcome
from exatlas.records.job import Job, JobStatus

CLASSES = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, AtlasError)]
JOB = Job(id="j", provider="memory", endpoint="e", status=JobStatus.FAILED)


def sample(cls):
    """One error of each class, with every fact filled in."""
    facts = {"provider": "p", "operation": "o", "status": 418, "request_id": "r", "retry_after": 2.5, "raw": {"a": [1]}}
    if issubclass(cls, AllFailedError):
        return cls("none", outcomes=[], provider="p", operation="o")
    if issubclass(cls, ValidationError):
        return cls("thing", ["a: wrong", "b: wrong"], **facts)
    more = {
        UnsupportedError: {"capability": "spot"},
        TransportError: {"delivered": False},
        ReplyShapeError: {"paths": ["$.a"]},
        OutcomeUnknownError: {"launch_id": "abc"},
        CleanupError: {"compute_id": "c"},
        errors.NotReadyError: {"reason": errors.NotReadyReason.FAILED, "logs": ["line"]},
        errors.BudgetError: {"budget": "tenant t, day 2026-01-31", "left_usd": Decimal(3)},
        errors.JobError: {"job": JOB},
    }
    for base, extra in more.items():
        if issubclass(cls, base):
            facts |= extra
    return cls("it broke", **facts)


@pytest.mark.parametrize("cls", CLASSES)
def test_every_error_survives_a_pickle_with_its_facts(cls):
    error = sample(cls)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is cls
    assert again.__dict__ == error.__dict__
    assert str(again) == str(error)


@pytest.mark.parametrize("cls", CLASSES)
def test_every_error_has_a_kind_and_one_line_of_text(cls):
    error = sample(cls)
    assert isinstance(error.kind, ErrorKind)
    assert "\n" not in str(error)
    assert str(error).startswith("p o: ")


def test_every_class_stands_in_the_drawing():
    drawn = errors.__doc__
    assert [cls.__name__ for cls in CLASSES if cls.__name__ not in drawn] == []


@pytest.mark.parametrize("cls", [cls for cls in CLASSES if not cls.__subclasses__()])
def test_every_leaf_is_named_an_error(cls):
    assert cls.__name__.endswith("Error")


def test_the_text_puts_the_place_first_and_the_facts_last():
    error = NoCapacityError(
        "nothing\n  is free",
        provider="runpod",
        operation="spawn_compute",
        status=409,
        request_id="abc",
        retry_after=3.0,
    )
    assert str(error) == "runpod spawn_compute: nothing is free (HTTP 409, request abc, retry after 3 s)"


def test_the_text_without_facts_is_the_message():
    assert str(AtlasError("it broke")) == "it broke"


def test_retryable_has_a_default_for_each_class_that_a_call_may_override():
    assert RateLimitedError("x").retryable
    assert not RateLimitedError("x", retryable=False).retryable
    assert not errors.ForbiddenError("x").retryable


def test_errors_are_also_what_python_calls_them():
    assert issubclass(TransportTimeoutError, TimeoutError)
    assert issubclass(JobTimedOutError, TimeoutError)
    assert issubclass(ValidationError, ValueError)


def test_a_validation_error_lists_every_fault():
    error = ValidationError("ComputeRequest", (fault for fault in ["a: x", "b: y"]))
    assert error.faults == ("a: x", "b: y")
    assert str(error) == "ComputeRequest is not valid: a: x; b: y"


def test_a_job_error_holds_the_job():
    assert JobFailedError("x", job=JOB).job is JOB


def test_all_failed_shares_the_kind_of_its_errors_only_when_they_agree():
    def outcome(error):
        return Outcome(input="p", error=error, elapsed=None)

    same = AllFailedError("none", outcomes=[outcome(NoCapacityError("a")), outcome(NoCapacityError("b"))])
    mixed = AllFailedError("none", outcomes=[outcome(NoCapacityError("a")), outcome(KeyError("b"))])
    assert same.kind is ErrorKind.NO_CAPACITY
    assert mixed.kind is ErrorKind.UNKNOWN
    assert "a" in str(same)
    assert "b" in str(same)
    assert same.retryable


def test_faults_of_keeps_what_is_wrong():
    assert faults_of({"a": None, "b": "bad"}) == ["b: bad"]
