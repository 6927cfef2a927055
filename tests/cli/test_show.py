from datetime import timedelta
from decimal import Decimal

import pytest

import exatlas
from exatlas.cli import show


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (None, ""),
        ("3", "3.00"),
        ("0.5", "0.50"),
        ("0.0123", "0.0123"),
        ("12.340", "12.34"),
        ("0", "0.00"),
        ("1E+2", "100.00"),
    ],
)
def test_money(amount, text):
    assert show.money(None if amount is None else Decimal(amount)) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.004, "0.00 s"), (9.5, "9.50 s"), (42, "42 s"), (61, "1 min 1 s"), (7_260, "2 h 1 min"), (90_000, "1 d 1 h")],
)
def test_span(seconds, text):
    assert show.span(timedelta(seconds=seconds)) == text


def test_records_for_programs_have_no_raw_and_no_secret_that_is_not_named():
    auth = exatlas.AuthHandle(scheme="bearer", token="t0ken", hash="h")
    compute = exatlas.Compute(
        id="m1",
        provider="p",
        status=exatlas.ComputeStatus.RUNNING,
        auth=auth,
        raw={"x": 1},
        cost_usd_per_hour=Decimal("1.5"),
    )
    told = show.plain(compute)
    assert "raw" not in told
    assert told["auth"] == {"scheme": "bearer", "hash": "h"}
    assert told["cost_usd_per_hour"] == "1.5"
    assert show.plain(compute, reveal=["token"])["auth"]["token"] == "t0ken"


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"gpu_type": "h100", "gpu_count": 1}, "h100"),
        ({"gpu_native": "NVIDIA X", "gpu_count": 8}, "8 x NVIDIA X"),
        ({"cpus": 4}, "4 CPUs"),
        ({}, "CPU"),
    ],
)
def test_what_is_in_a_machine(fields, text):
    compute = exatlas.Compute(id="m1", provider="p", status=exatlas.ComputeStatus.RUNNING, **fields)
    assert show.gpu(compute) == text
    assert show.in_short(compute) == f"m1 ({text}, running, price unknown)"
