"""What budgets come to, as plain sums."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, strategies as st

from exatlas import Budget, ValidationError
from exatlas.orchestrator import budget as sums
from exatlas.orchestrator.budget import Purse, Spending
from exatlas.orchestrator.session import Limits
from exatlas.records.launch import RateSegment

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def purse(over="day", begin=datetime(2026, 1, 31, tzinfo=UTC), per="tenant", tenant="t", user=None):
    return Purse(owner="o", per=per, tenant=tenant, user=user, over=over, begin=begin)


def spending(*rates, started=NOON, **limits):
    segments = tuple(RateSegment(since=since, usd_per_hour=Decimal(price)) for since, price in rates)
    return Spending(owner="o", tenant="t", user="u", limits=Limits(**limits), started_at=started, rates=segments)


@pytest.mark.parametrize(
    "wrong",
    [
        {"usd": 0},
        {"usd": -1},
        {"usd": "much"},
        {"per": "team"},
        {"over": "year"},
        {"only": ""},
        {"usd": float("inf")},
    ],
)
def test_a_budget_that_cannot_be_is_refused(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Budget(**{"usd": 1, "per": "tenant", "over": "day", **wrong})


@pytest.mark.parametrize(
    ("begin", "over", "end"),
    [
        ((2026, 1, 31), "day", (2026, 2, 1)),
        ((2026, 12, 31), "day", (2027, 1, 1)),
        ((2028, 2, 28), "day", (2028, 2, 29)),
        ((2026, 2, 1), "month", (2026, 3, 1)),
        ((2028, 2, 1), "month", (2028, 3, 1)),
        ((2026, 12, 1), "month", (2027, 1, 1)),
        ((2026, 1, 1), "month", (2026, 2, 1)),
    ],
)
def test_spans_end_where_the_next_begins(begin, over, end):
    assert purse(over, datetime(*begin, tzinfo=UTC)).end == datetime(*end, tzinfo=UTC)


def test_purses_are_those_of_whoever_spends():
    day, month = Budget(usd=1, per="tenant", over="day"), Budget(usd=2, per="user", over="month")
    found = sums.purses([day, month], "o", "t", "u", NOON)
    assert {str(one): budget for one, budget in found.items()} == {
        "tenant t, day 2026-01-31": day,
        "user u of tenant t, month 2026-01": month,
    }
    assert list(sums.purses([day, month], "o", None, None, NOON)) == []
    assert [str(one) for one in sums.purses([day, month], "o", None, "u", NOON)] == ["user u, month 2026-01"]


@pytest.mark.parametrize("turned", [False, True])
def test_a_budget_for_one_stands_instead_of_that_for_each(turned):
    each, ada = Budget(usd=1, per="tenant", over="day"), Budget(usd=9, per="tenant", over="day", only="ada")
    budgets = [ada, each] if turned else [each, ada]
    assert list(sums.purses(budgets, "o", "ada", None, NOON).values()) == [ada]
    assert list(sums.purses(budgets, "o", "bob", None, NOON).values()) == [each]


def test_users_of_one_name_share_nothing():
    budget = [Budget(usd=1, per="user", over="day")]
    keys = {one.key for tenant in ("a", "b", None) for one in sums.purses(budget, "o", tenant, "u", NOON)}
    assert len(keys) == 3


def test_neither_do_owners():
    budget = [Budget(usd=1, per="user", over="day")]
    assert len({one.key for owner in "ab" for one in sums.purses(budget, owner, "t", "u", NOON)}) == 2


@given(st.text(), st.text() | st.none(), st.text() | st.none())
def test_a_purse_is_known_by_its_name(owner, tenant, user):
    one = Purse(owner=owner, per="user", tenant=tenant, user=user, over="day", begin=datetime(2026, 1, 31, tzinfo=UTC))
    assert sums.purse_of(one.key) == one


def test_what_is_spent_counts_where_it_was_spent():
    midnight = datetime(2026, 2, 1, tzinfo=UTC)
    one = spending((NOON, 2), (midnight + HOUR, 5))
    now = midnight + 3 * HOUR
    assert one.spent(purse(), now) == 24
    assert one.spent(purse(begin=midnight), now) == 2 + 10
    assert one.spent(purse("month", datetime(2026, 1, 1, tzinfo=UTC)), now) == 24
    assert one.spent(purse(begin=midnight - timedelta(days=7)), now) == 0
    assert one.spent(purse(begin=midnight + timedelta(days=7)), now) == 0


@pytest.mark.parametrize(
    ("limits", "hold"),
    [
        ({}, "0.5"),
        ({"max_cost_usd": 5}, "5"),
        ({"max_cost_usd": 500}, "36"),
        ({"max_runtime": 2 * HOUR}, "6"),
        ({"max_runtime": 48 * HOUR}, "36"),
        ({"max_runtime": 2 * HOUR, "max_cost_usd": 5}, "5"),
        ({"idle_ttl": 60}, "0.5"),
    ],
)
def test_a_session_holds_what_it_may_come_to_spend(limits, hold):
    one = spending((NOON, 3), **limits)
    assert sums.wanted(one, purse(), NOON, timedelta(minutes=10)) == Decimal(hold)


def test_the_hold_is_spent_and_ahead_together():
    one = spending((NOON, 3), max_cost_usd=5)
    assert sums.wanted(one, purse(), NOON + HOUR, timedelta(minutes=10)) == 5
    open_end = spending((NOON, 3))
    assert sums.wanted(open_end, purse(), NOON + HOUR, timedelta(minutes=10)) == Decimal("3.5")


def test_it_is_asked_again_before_a_stretch_is_over_and_when_a_span_ends():
    stretch = timedelta(minutes=10)
    assert sums.ask_again(spending((NOON, 3)), [purse()], NOON, stretch) == NOON + stretch / 2
    late = purse().end - timedelta(minutes=1)
    assert sums.ask_again(spending((NOON, 3)), [purse()], late, stretch) == purse().end
    assert sums.ask_again(spending((NOON, 3), max_cost_usd=9), [purse()], NOON, stretch) == purse().end


def test_what_is_left_lasts_so_long():
    one = spending((NOON, 3))
    assert sums.lasts(one, {purse(): Decimal("1.5")}, NOON) == HOUR / 2
    assert sums.lasts(one, {purse(): Decimal("4.5")}, NOON + HOUR) == HOUR / 2
    assert sums.lasts(one, {purse(): Decimal(3)}, NOON + HOUR) == timedelta(0)
    assert sums.lasts(one, {purse(): Decimal(9999)}, NOON) == 12 * HOUR
    assert sums.lasts(spending((NOON, 0)), {purse(): Decimal(1)}, NOON) == 12 * HOUR


@given(st.decimals("0.000001", "1000", places=6), st.decimals("0.000001", "90", places=6), st.integers(0, 3600 * 11))
def test_to_take_what_is_left_never_takes_more(left, price, after_s):
    now = NOON + timedelta(seconds=after_s)
    one = spending((NOON, price))
    has = one.spent(purse(), now) + left
    span = sums.lasts(one, {purse(): has}, now)
    part = spending((NOON, price), max_runtime=now + span - NOON) if span else one
    if span:
        assert sums.wanted(part, purse(), now, HOUR) <= has
