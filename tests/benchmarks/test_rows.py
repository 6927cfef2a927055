"""The arithmetic of the tables: medians, ratios, differences, targets."""

import pytest

from benchmarks.rows import Row, compare, middle

VALUES = {
    "floor": {"ms": [2.0, 4.0, 100.0]},
    "exatlas": {"ms": [5.0, 1.0, 6.0], "lost": [0, 0, 1]},
}


def test_the_middle_is_the_median_over_the_rounds():
    assert middle(Row(key="ms", label=""), VALUES, "floor") == 4.0


@pytest.mark.parametrize(("key", "contender"), [("ms", "runpod"), ("lost", "floor")])
def test_there_is_no_middle_of_nothing(key, contender):
    assert middle(Row(key=key, label=""), VALUES, contender) is None


@pytest.mark.parametrize(
    ("by", "key", "expected"),
    [("ratio", "ms", 1.25), ("difference", "ms", 1.0), ("value", "ms", 5.0), ("value", "lost", 0)],
)
def test_exatlas_is_held_against_its_base(by, key, expected):
    assert compare(Row(key=key, label="", by=by), VALUES, "floor").value == expected


def test_without_a_base_there_is_no_ratio():
    assert compare(Row(key="lost", label=""), VALUES, "floor") is None


@pytest.mark.parametrize(
    ("bounds", "met"),
    [({"most": 1.25}, True), ({"most": 1.24}, False), ({"least": 1.25}, True), ({"least": 1.26}, False), ({}, None)],
)
def test_a_target_is_met_up_to_its_bound(bounds, met):
    assert compare(Row(key="ms", label="", **bounds), VALUES, "floor").met is met
