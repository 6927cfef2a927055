"""When sessions end, as arithmetic."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, strategies as st

from exatlas import Compute, ComputeStatus, RateSegment
from exatlas.errors import ValidationError
from exatlas.orchestrator import Limits, Phase, Session
from exatlas.orchestrator.policy import Breach, breach, next_breach
from exatlas.orchestrator.session import from_json, to_json

START = datetime(2026, 1, 1, tzinfo=UTC)
COMPUTE = Compute(id="m", provider="p", status=ComputeStatus.RUNNING)


def at(seconds):
    return START + timedelta(seconds=seconds)


def session(limits=None, price=None, **fields):
    rates = () if price is None else (RateSegment(since=START, usd_per_hour=Decimal(price)),)
    given = {"compute": COMPUTE, "started_at": START, "touched_at": START, "rates": rates}
    return Session(id="a1b2c3d4e5f6", limits=Limits(**(limits or {})), **{**given, **fields})


@pytest.mark.parametrize(
    ("one", "seconds", "expected"),
    [
        (session(), 1e9, None),
        (session({"idle_ttl": 900}), 899.9, None),
        (session({"idle_ttl": 900}), 900, Breach.IDLE),
        (session({"idle_ttl": 900}, touched_at=at(600)), 1499, None),
        (session({"idle_ttl": 900}, touched_at=at(600)), 1500, Breach.IDLE),
        (session({"idle_ttl": 900}, phase=Phase.STOPPED), 1e6, None),
        (session({"max_runtime": 3600}, touched_at=at(3599)), 3600, Breach.DEADLINE),
        (session({"max_runtime": 3600}, phase=Phase.STOPPED), 3600, Breach.DEADLINE),
        (session({"max_cost_usd": 2}, "1"), 7199, None),
        (session({"max_cost_usd": 2}, "1"), 7200, Breach.BUDGET),
        (session({"max_cost_usd": 2}), 1e6, None),
        (session({"idle_ttl": 1, "max_runtime": 1}, phase=Phase.ENDING), 10, None),
    ],
)
def test_a_limit_is_reached_when_its_time_has_come(one, seconds, expected):
    assert breach(one, at(seconds)) is expected


def test_the_first_limit_is_foreseen():
    limits = {"idle_ttl": 900, "max_runtime": 3600, "max_cost_usd": Decimal("0.5")}
    assert next_breach(session(limits), START) == at(900)
    assert next_breach(session(limits, "3", touched_at=at(500)), at(500)) == at(600.001)
    assert next_breach(session(limits, "0"), at(4000)) == at(4000)
    assert next_breach(session(), START) is None
    assert next_breach(session({"max_cost_usd": 1}, "0"), START) is None
    assert next_breach(session({"max_cost_usd": 1}, "0.00000001"), START) is None
    assert next_breach(session(limits, phase=Phase.ENDING), START) is None


spans = st.none() | st.floats(0.001, 1e6)
prices = st.none() | st.decimals("0", "100", places=4)


@given(spans, spans, st.none() | st.decimals("0.01", "1000", places=2), prices, st.floats(0, 1e6), st.floats(0, 1e6))
def test_what_is_foreseen_comes_and_not_before(idle, runtime, cost, price, touched, now):
    limits = {"idle_ttl": idle, "max_runtime": runtime, "max_cost_usd": cost}
    one = session(limits, price, touched_at=at(min(touched, now)))
    foreseen = next_breach(one, at(now))
    if foreseen is None:
        assert breach(one, at(now) + timedelta(days=300)) is None
        return
    assert foreseen >= at(now)
    assert breach(one, foreseen) is not None
    if foreseen > at(now):
        before = max(at(now), foreseen - timedelta(milliseconds=2))
        assert breach(one, before) is None or foreseen - before < timedelta(milliseconds=2)


@given(spans, spans, st.none() | st.decimals("0.01", "1000", places=2), st.booleans())
def test_limits_survive_the_ledger(idle, runtime, cost, keep):
    limits = Limits(idle_ttl=idle, max_runtime=runtime, max_cost_usd=cost)
    kept = to_json(limits, keep_on_exit=keep)
    assert (from_json(kept), kept["keep_on_exit"]) == (limits, keep)


@pytest.mark.parametrize(
    "wrong", [{"idle_ttl": 0}, {"max_runtime": -1}, {"max_cost_usd": 0}, {"max_cost_usd": "x"}, {"max_cost_usd": True}]
)
def test_wrong_limits_are_named(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Limits(**wrong)


def test_money_may_be_given_as_people_type_it():
    assert {Limits(max_cost_usd=value).max_cost_usd for value in (2, 2.0, "2", Decimal(2))} == {Decimal(2)}
