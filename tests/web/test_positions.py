"""What a browser that comes back has missed."""

from datetime import UTC, datetime, timedelta

import orjson
import pytest
from hypothesis import given, strategies as st

import exatlas
from exatlas.transport.sse import SseDecoder
from exatlas.web import positions
from exatlas.web.positions import Counting, Countings, EventId, JobPosition

START = datetime(2026, 1, 1, tzinfo=UTC)


def chunk(index, *, after_s=None, gap=False):
    received_at = START + timedelta(seconds=index if after_s is None else after_s)
    return exatlas.JobChunk(index=index, output=f"out {index}", received_at=received_at, gap=gap)


def told(pieces):
    """The events in short: numbers for chunks, tuples for gaps, words for ends."""
    events = SseDecoder().feed(b"".join(pieces))
    return [short(event.event, orjson.loads(event.data)) for event in events]


def short(event, data):
    if event == "gap":
        return (data["reason"], data["from"], data["to"])
    return data["index"] if event == "message" else event


@given(epoch=st.from_regex("[0-9a-f]{8}", fullmatch=True), number=st.integers(0, 10**15 - 1), over=st.booleans())
def test_an_id_is_read_as_it_was_written(epoch, number, over):
    event_id = EventId(epoch, number, over)
    assert EventId.parse(str(event_id)) == event_id


@given(text=st.text())
def test_any_text_can_be_an_id(text):
    known = EventId.parse(text)
    assert known is None or known.next >= 0


def test_a_new_browser_gets_everything_that_is_there():
    position = JobPosition(Counting(), None)
    assert told(position.opening()) == []
    assert [told(position.take(chunk(index))) for index in range(3)] == [[0], [1], [2]]
    assert told(position.done()) == ["done"]


def test_a_chunk_that_was_lost_upstream_is_announced():
    assert told(JobPosition(Counting(), None).take(chunk(0, gap=True))) == [("lost", None, None), 0]


@pytest.mark.parametrize(
    ("has", "first", "events"),
    [
        (2, 2, [2]),
        (2, 0, []),
        (2, 5, [("gone", 2, 4), 5]),
        (0, 5, [("gone", 0, 4), 5]),
    ],
)
def test_the_first_chunk_shows_what_is_missing(has, first, events):
    counting = Counting(next=5)
    position = JobPosition(counting, str(EventId(counting.epoch, has)))
    assert told(position.opening()) == []
    assert told(position.take(chunk(first))) == events


def test_numbers_that_begin_anew_make_old_ids_worthless():
    counting = Counting()
    for index in range(5):
        counting.note(chunk(index))
    before = counting.epoch
    position = JobPosition(counting, str(EventId(before, 5)))
    assert told(position.take(chunk(0, after_s=100))) == [("unknown", None, None), 0]
    assert counting.epoch != before
    assert told(position.take(chunk(1, after_s=101))) == [1]
    assert told(JobPosition(counting, str(EventId(before, 3))).opening()) == [("unknown", None, None)]


def test_chunks_that_come_again_do_not_begin_anew():
    counting = Counting()
    for index in (0, 1, 2, 0, 1, 2):
        counting.note(chunk(index))
    assert counting.next == 3


def test_what_only_others_got_is_missing_at_the_end():
    counting = Counting()
    for index in range(4):
        counting.note(chunk(index))
    position = JobPosition(counting, str(EventId(counting.epoch, 2)))
    assert told(position.done()) == [("gone", 2, 3), "done"]


def test_a_stranger_is_not_told_more_than_is_known():
    position = JobPosition(Counting(next=4), "what?")
    assert told([*position.opening(), *position.done()]) == [("unknown", None, None), "done"]


def test_a_failure_that_will_pass_leaves_the_position_alone():
    counting = Counting(next=4)
    position = JobPosition(counting, str(EventId(counting.epoch, 2)))
    [piece] = position.failure(exatlas.StreamError("x"), final=False)
    assert b"id:" not in piece
    *_, piece = position.failure(exatlas.StreamError("x"), final=True)
    assert f"id: {counting.epoch}-4-end".encode() in piece


def test_only_jobs_that_nobody_reads_are_forgotten():
    countings = Countings(most=2)
    read = countings.of("read")
    read.readers.append(JobPosition(read, None))
    idle = countings.of("idle")
    countings.of("third")
    assert countings.of("read") is read
    assert countings.of("idle") is not idle


def test_a_job_asked_for_again_is_remembered_longer():
    countings = Countings(most=2)
    first = countings.of("first")
    countings.of("second")
    assert countings.of("first") is first
    countings.of("third")
    assert countings.of("first") is first


def test_the_others_may_get_so_far_ahead(monkeypatch):
    monkeypatch.setattr(positions, "MOST_BEHIND", 3)
    counting = Counting()
    cut = []
    slow = JobPosition(counting, None)
    slow.fall_behind = lambda: cut.append(True)
    counting.readers.append(slow)
    list(slow.take(chunk(0)))
    for index in range(1, 4):
        counting.note(chunk(index))
    assert not cut
    counting.note(chunk(4))
    assert cut


def test_a_browser_that_reads_old_chunks_again_is_not_behind(monkeypatch):
    monkeypatch.setattr(positions, "MOST_BEHIND", 3)
    counting = Counting()
    for index in range(100):
        counting.note(chunk(index))
    late = JobPosition(counting, None)
    assert late.behind == 0
    list(late.take(chunk(0)))
    assert late.behind == 0
    counting.note(chunk(100))
    assert late.behind == 1
