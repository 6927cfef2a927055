"""The pace of polling as a pure function."""

from hypothesis import given, strategies as st

from exatlas.streaming.pacing import FIRST_PAUSE_S, LONGEST_PAUSE_S, Pace

FIRST = Pace.first(1.0, 5.0)


def test_the_first_poll_looks_at_once_with_the_shortest_hold():
    assert (FIRST.hold_s, FIRST.pause_s) == (1.0, 0.0)


def test_held_and_empty_polls_get_longer():
    second = FIRST.after(chunks=0, took_s=1.0, crowded=False)
    third = second.after(chunks=0, took_s=2.0, crowded=False)
    assert [second.hold_s, third.hold_s, third.after(chunks=0, took_s=4.0, crowded=False).hold_s] == [2.0, 4.0, 5.0]
    assert third.pause_s == 0.0


def test_a_server_that_does_not_hold_is_paused_for_ever_longer_and_forgiven_by_a_chunk():
    pace, pauses = FIRST, []
    for _ in range(6):
        pace = pace.after(chunks=0, took_s=0.01, crowded=False)
        pauses.append(pace.pause_s)
    assert pauses == [FIRST_PAUSE_S, 0.5, 1.0, 2.0, LONGEST_PAUSE_S, LONGEST_PAUSE_S]
    assert pace.after(chunks=1, took_s=0.01, crowded=False).pause_s == 0.0


def test_chunks_mean_the_next_poll_may_be_long_and_comes_at_once():
    pace = FIRST.after(chunks=1, took_s=0.1, crowded=False)
    assert (pace.hold_s, pace.pause_s) == (5.0, 0.0)


def test_a_crowd_keeps_holds_short():
    assert FIRST.after(chunks=1, took_s=0.1, crowded=True).hold_s == 1.0
    assert FIRST.after(chunks=0, took_s=1.0, crowded=True).hold_s == 1.0


def test_a_server_that_holds_to_the_end_although_there_is_output_gets_short_holds():
    pace = FIRST.after(chunks=3, took_s=1.0, crowded=False).after(chunks=5, took_s=5.0, crowded=False)
    assert pace.hold_s == 1.0
    assert pace.after(chunks=1, took_s=0.1, crowded=False).hold_s == 1.0


def test_a_server_that_refuses_holds_is_not_asked_again():
    pace = FIRST.without_hold()
    for chunks in (0, 1, 0):
        pace = pace.after(chunks=chunks, took_s=0.0, crowded=False)
        assert pace.hold_s == 0.0
    assert pace.pause_s > 0


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0, 10), st.booleans()), max_size=30))
def test_the_pace_stays_within_its_bounds(history):
    pace = FIRST
    for chunks, took_s, crowded in history:
        pace = pace.after(chunks=chunks, took_s=took_s, crowded=crowded)
        assert 1.0 <= pace.hold_s <= 5.0
        assert 0.0 <= pace.pause_s <= LONGEST_PAUSE_S
        assert not (chunks and pace.pause_s)
