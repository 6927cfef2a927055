from contextlib import ExitStack

import pytest
from hypothesis import given, strategies as st

from exatlas.clock import ManualClock
from exatlas.local.limits import WINDOW_S, Gate, Limit
from exatlas.providers.runpod.submission import RefusedError


def test_a_full_room_refuses_until_somebody_leaves():
    gate = Gate(Limit(100, 2), ManualClock())
    with gate.passing():
        with gate.passing(), pytest.raises(RefusedError, match="the limit is 2 at once") as refused, gate.passing():
            pass
        assert refused.value.status == 429
        with gate.passing():
            pass


def test_a_full_window_refuses_until_the_oldest_is_out_of_it():
    clock = ManualClock()
    gate = Gate(Limit(2), clock)
    for _ in range(2):
        with gate.passing():
            pass
        clock.advance(1)
    with pytest.raises(RefusedError, match="the limit is 2 in 10 s"), gate.passing():
        pass
    clock.advance(WINDOW_S - 2)
    with gate.passing():
        pass
    with pytest.raises(RefusedError), gate.passing():
        pass


@given(st.lists(st.floats(0, 5), max_size=60), st.integers(1, 5))
def test_no_window_ever_holds_more_than_the_limit(pauses, limit):
    clock = ManualClock()
    gate = Gate(Limit(limit), clock)
    passed = []
    for pause_s in pauses:
        clock.advance(pause_s)
        with ExitStack() as inside:
            try:
                inside.enter_context(gate.passing())
            except RefusedError:
                assert sum(clock.monotonic() - WINDOW_S < at for at in passed) >= limit
            else:
                passed.append(clock.monotonic())
    for at in passed:
        assert sum(at <= other < at + WINDOW_S for other in passed) <= limit
