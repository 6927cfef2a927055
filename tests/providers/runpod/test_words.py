"""The tables of words are total over what RunPod documents."""

import pytest

from exatlas.providers.runpod import words
from exatlas.records.compute import ComputeStatus
from exatlas.records.gpu import Stock
from exatlas.records.job import JobStatus


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("PROVISIONING", ComputeStatus.PROVISIONING),
        ("STARTING", ComputeStatus.PROVISIONING),
        ("RUNNING", ComputeStatus.RUNNING),
        ("EXITED", ComputeStatus.STOPPED),
        ("ERROR", ComputeStatus.FAILED),
        ("TERMINATED", ComputeStatus.TERMINATED),
    ],
)
def test_pod_statuses(theirs, ours):
    assert words.pod_status(theirs) is ours


@pytest.mark.parametrize(
    ("theirs", "ours", "over"),
    [
        ("IN_QUEUE", JobStatus.IN_QUEUE, False),
        ("IN_PROGRESS", JobStatus.IN_PROGRESS, False),
        ("RUNNING", JobStatus.IN_PROGRESS, False),
        ("COMPLETED", JobStatus.COMPLETED, True),
        ("FAILED", JobStatus.FAILED, True),
        ("CANCELLED", JobStatus.CANCELLED, True),
        ("TIMED_OUT", JobStatus.TIMED_OUT, True),
        ("CANCELED", JobStatus.UNKNOWN, False),
    ],
)
def test_job_statuses_and_which_of_them_are_ends(theirs, ours, over):
    assert words.job_status(theirs) is ours
    assert ours.is_terminal is over


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("HIGH", Stock.HIGH),
        ("MEDIUM", Stock.MEDIUM),
        ("LOW", Stock.LOW),
        ("NONE", Stock.UNAVAILABLE),
        (None, Stock.UNKNOWN),
    ],
)
def test_stock(theirs, ours):
    assert words.stock(theirs) is ours


@pytest.mark.parametrize(("schema", "table"), [("PodStatus", words.POD_STATUS), ("AvailabilityLevel", words.STOCK)])
def test_the_tables_hold_exactly_the_documented_words(judge, schema, table):
    assert judge.words(schema) == set(table)
