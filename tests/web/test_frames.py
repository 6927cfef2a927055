"""Records as server-sent events."""

from datetime import UTC, datetime

import orjson
import pytest
from hypothesis import given, strategies as st

import exatlas
from exatlas.transport.sse import SseDecoder, SseEvent
from exatlas.web import frames
from exatlas.web.frames import Missing

NOW = datetime(2026, 1, 1, tzinfo=UTC)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def read(data: bytes) -> list[SseEvent]:
    return SseDecoder().feed(data)


def chunk(output, **fields):
    return exatlas.JobChunk(index=3, output=output, received_at=NOW, **fields)


@given(output=JSON)
def test_whatever_a_chunk_holds_arrives_as_one_event(output):
    [event] = read(frames.chunk(chunk(output), "e-4"))
    assert (event.event, event.id) == ("message", "e-4")
    assert orjson.loads(event.data) == {"index": 3, "output": output}


def test_metrics_travel_where_there_are_some():
    [event] = read(frames.chunk(chunk("a", metrics={"tokens": 2}), "e-4"))
    assert orjson.loads(event.data) == {"index": 3, "output": "a", "metrics": {"tokens": 2}}


@given(name=st.text(), event_id=st.text())
def test_names_from_elsewhere_cannot_add_lines(name, event_id):
    got = read(frames.frame("x", event=name, event_id=event_id))
    assert [event.data for event in got] == ['"x"']


def test_the_frames_between_events_are_no_events():
    assert read(frames.OPENING + frames.KEEP_ALIVE + frames.mark("e-0")) == []


def test_a_log_line():
    [event] = read(frames.log_line(exatlas.LogLine(line="hi", at=NOW, source="container", cursor="secret")))
    assert orjson.loads(event.data) == {"line": "hi", "at": "2026-01-01T00:00:00+00:00", "source": "container"}


@pytest.mark.parametrize("name", ["message", "response.delta"])
def test_an_event_keeps_its_type(name):
    [event] = read(frames.stream_event(exatlas.StreamEvent(data={"a": 1}, event=name)))
    assert (event.event, orjson.loads(event.data)) == (name, {"a": 1})


@pytest.mark.parametrize("reason", Missing)
def test_a_gap_says_why(reason):
    [event] = read(frames.gap(reason, 1, 2))
    assert (event.event, orjson.loads(event.data)) == ("gap", {"reason": reason.value, "from": 1, "to": 2})


def test_an_error_is_one_line_with_its_kind():
    error = exatlas.RateLimitedError("slow\ndown", provider="runpod", operation="stream_job", retry_after=3.0)
    [event] = read(frames.failure(error, None))
    assert event.event == "error"
    assert orjson.loads(event.data) == {
        "kind": "rate_limited",
        "message": "runpod stream_job: slow down (retry after 3 s)",
        "retryable": True,
        "retry_after": 3.0,
    }


def test_an_error_that_is_not_ours_keeps_its_text_to_itself():
    assert "hunter2" not in str(frames.describe(KeyError("password=hunter2")))
    assert frames.describe(KeyError("x"))["kind"] == "unknown"


def test_a_long_error_is_cut():
    assert len(frames.describe(exatlas.StreamError("x" * 10_000))["message"]) == frames.LONGEST_MESSAGE


def test_a_failed_job_says_how_it_ended():
    job = exatlas.Job(id="j", provider="p", endpoint="e", status=exatlas.JobStatus.CANCELLED)
    assert frames.describe(exatlas.JobCancelledError("gone", job=job))["status"] == "cancelled"
    assert "status" not in frames.describe(exatlas.JobCancelledError("gone", job=None))
