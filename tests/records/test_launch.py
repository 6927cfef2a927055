"""A launch's life and cost."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from exatlas.errors import ConflictError
from exatlas.records.launch import TRANSITIONS, Launch, LaunchState, RateSegment

START = datetime(2026, 1, 1, tzinfo=UTC)


def later(hours):
    return START + timedelta(hours=hours)


def launch(**fields):
    given = {"owner": "o", "provider": "p", "account": "a", "intended_at": START, "updated_at": START}
    return Launch(launch_id="a1b2c3d4e5f6", **{**given, **fields})


@pytest.mark.parametrize("to", LaunchState)
@pytest.mark.parametrize("state", LaunchState)
def test_it_goes_where_the_table_lets_it_and_nowhere_else(state, to):
    before = launch(state=state)
    if to is state or to in TRANSITIONS[state]:
        after = before.advanced(to, later(1), reason="why")
        assert (after.state, after.updated_at, after.reason) == (to, later(1), "why")
    else:
        with pytest.raises(ConflictError, match=f"is {state.value} and cannot become {to.value}"):
            before.advanced(to, later(1))


def test_who_decided_by_an_old_state_is_told():
    with pytest.raises(ConflictError, match="is created and no longer intended"):
        launch(state=LaunchState.CREATED).advanced(LaunchState.GONE, later(1), expect=LaunchState.INTENDED)
    gone = launch().advanced(LaunchState.GONE, later(1), expect=LaunchState.INTENDED)
    assert gone.state is LaunchState.GONE


def test_instants_are_kept_of_the_first_arrival():
    made = launch().advanced(LaunchState.CREATED, later(1)).advanced(LaunchState.CREATED, later(2), compute_id="m")
    assert (made.created_at, made.updated_at, made.compute_id) == (later(1), later(2), "m")
    ended = made.advanced(LaunchState.READY, later(3)).advanced(LaunchState.GONE, later(4))
    assert (ended.ready_at, ended.ended_at) == (later(3), later(4))


def test_only_gone_is_final():
    assert [state for state in LaunchState if state.is_final] == [LaunchState.GONE]
    assert not TRANSITIONS[LaunchState.GONE]


def test_cost_is_price_times_time_segment_by_segment():
    rates = (
        RateSegment(since=START, usd_per_hour=Decimal("1.50")),
        RateSegment(since=later(2), usd_per_hour=Decimal("0.10")),
    )
    running = launch(rates=rates)
    assert running.cost_usd(later(1)) == Decimal("1.50")
    assert running.cost_usd(later(4)) == Decimal("3.20")
    assert running.advanced(LaunchState.GONE, later(3)).cost_usd(later(100)) == Decimal("3.10")
    assert launch().cost_usd(later(5)) == 0
    assert running.cost_usd(START - timedelta(hours=1)) == 0
