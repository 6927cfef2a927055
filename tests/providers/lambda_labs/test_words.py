"""The table of words is total over what Lambda documents."""

import logging

import pytest

from exatlas.providers.lambda_labs import words
from exatlas.records.compute import ComputeStatus


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("booting", ComputeStatus.PROVISIONING),
        ("active", ComputeStatus.RUNNING),
        ("unhealthy", ComputeStatus.FAILED),
        ("terminating", ComputeStatus.TERMINATING),
        ("terminated", ComputeStatus.TERMINATED),
        ("preempted", ComputeStatus.TERMINATED),
    ],
)
def test_statuses(theirs, ours):
    assert words.status(theirs) is ours


def test_the_table_holds_exactly_the_documented_words(judge):
    assert judge.words("InstanceStatus") == set(words.STATUS)


def test_an_unknown_word_warns_once_in_a_process(caplog):
    with caplog.at_level(logging.WARNING, logger="exatlas.providers.lambda_labs"):
        assert [words.status("never-seen-before") for _ in range(3)] == [ComputeStatus.UNKNOWN] * 3
    assert [record.getMessage() for record in caplog.records] == [
        "Lambda sent the status 'never-seen-before', which this version does not know; it is read as unknown"
    ]
