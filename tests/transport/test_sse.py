import pytest
from hypothesis import given, strategies as st

from exatlas.errors import StreamError
from exatlas.transport.sse import SseDecoder, SseEvent


def message(data, *, event="message", id="", retry_ms=None):  # noqa: A002 the field's own name
    return SseEvent(event, data, id, retry_ms)


CASES = {
    "one event": (b"data: a\n\n", [message("a")]),
    "two events": (b"data: a\n\ndata: b\n\n", [message("a"), message("b")]),
    "carriage returns": (b"data: a\r\rdata: b\r\r", [message("a"), message("b")]),
    "both": (b"data: a\r\n\r\ndata: b\r\n\r\n", [message("a"), message("b")]),
    "mixed line ends": (b"data: a\r\ndata: b\rdata: c\n\r\n", [message("a\nb\nc")]),
    "a line feed, then a carriage return, are two ends": (b"data: a\n\rdata: b\n\n", [message("a"), message("b")]),
    "several data lines": (b"data: a\ndata: b\ndata: c\n\n", [message("a\nb\nc")]),
    "no space after the colon": (b"data:a\n\n", [message("a")]),
    "only one space goes": (b"data:  a \n\n", [message(" a ")]),
    "a tab stays": (b"data:\ta\n\n", [message("\ta")]),
    "empty data": (b"data:\n\n", [message("")]),
    "data without a colon": (b"data\n\n", [message("")]),
    "two empty data lines": (b"data\ndata\n\n", [message("\n")]),
    "the standard's example of empty data": (b"data\n\ndata\ndata\n\ndata:", [message(""), message("\n")]),
    "colons in data": (b"data: a: b:c\n\n", [message("a: b:c")]),
    "a comment": (b": hello\n\ndata: a\n\n", [message("a")]),
    "a comment inside an event": (b"data: a\n:\n: x\ndata: b\n\n", [message("a\nb")]),
    "a named event": (b"event: x\ndata: a\n\ndata: b\n\n", [message("a", event="x"), message("b")]),
    "the last name counts": (b"event: x\nevent: y\ndata: a\n\n", [message("a", event="y")]),
    "an empty name is no name": (b"event: x\nevent\ndata: a\n\n", [message("a")]),
    "a name without data is forgotten": (b"event: x\n\ndata: a\n\n", [message("a")]),
    "an id stays": (b"id: 1\ndata: a\n\ndata: b\n\n", [message("a", id="1"), message("b", id="1")]),
    "an id can be reset": (b"id: 1\ndata: a\n\nid\ndata: b\n\n", [message("a", id="1"), message("b")]),
    "an id with NUL is ignored": (b"id: 1\nid: 2\0\ndata: a\n\n", [message("a", id="1")]),
    "an id without data counts": (b"id: 1\n\ndata: a\n\n", [message("a", id="1")]),
    "an id after the data": (b"data: a\nid: 1\n\n", [message("a", id="1")]),
    "retry": (b"retry: 1500\ndata: a\n\ndata: b\n\n", [message("a", retry_ms=1500), message("b")]),
    "retry that is no number": (b"retry: 1.5\nretry: -1\nretry: x\nretry:\ndata: a\n\n", [message("a")]),
    "retry in foreign digits": ("retry: \u0663\ndata: a\n\n".encode(), [message("a")]),
    "retry beyond reason": (b"retry: " + b"9" * 5000 + b"\ndata: a\n\n", [message("a")]),
    "unknown fields": (b"datax: b\n data: c\nDATA: d\nfoo\ndata: a\n\n", [message("a")]),
    "a byte order mark": (b"\xef\xbb\xbfdata: a\n\n", [message("a")]),
    "only one byte order mark": (b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\ndata: b\n\n", [message("b")]),
    "a byte order mark later on is text": (b"data: \xef\xbb\xbfa\n\n", [message("\ufeffa")]),
    "blank lines only": (b"\n\n\r\n\r\r\n", []),
    "blank lines between": (b"\n\n\ndata: a\n\n\n\n\ndata: b\n\n\n", [message("a"), message("b")]),
    "no blank line at the end": (b"data: a\n\ndata: b\n", [message("a")]),
    "an unfinished line at the end": (b"data: a\n\ndata: b", [message("a")]),
    "UTF-8": ("data: h\u00e9 \u20ac \U0001f600\n\n".encode(), [message("h\u00e9 \u20ac \U0001f600")]),
    "broken UTF-8": (b"data: a\xff\xc3\n\ndata: \xe2\x82\n\n", [message("a\ufffd\ufffd"), message("\ufffd")]),
    "other separators are text": (
        "data: a\u2028b\x0bc\x0cd\x85\n\n".encode(),
        [message("a\u2028b\x0bc\x0cd\x85")],
    ),
    "NUL in data": (b"data: a\0b\n\n", [message("a\0b")]),
}


@pytest.mark.parametrize(("stream", "events"), CASES.values(), ids=CASES)
def test_the_standard(stream, events):
    assert SseDecoder().feed(stream) == events


@pytest.mark.parametrize(("stream", "events"), CASES.values(), ids=CASES)
def test_the_standard_byte_by_byte(stream, events):
    decoder = SseDecoder()
    assert [event for byte in stream for event in decoder.feed(bytes([byte]))] == events


line_ends = st.sampled_from([b"\n", b"\r", b"\r\n", b"\n\n"])
parts = st.sampled_from([b"data", b"data: ", b"data:x", b"event: e", b"id: 7", b"id", b"retry: 10", b": c", b" ", b":"])
bytes_of_note = st.sampled_from(
    [b"\0", "\u20ac".encode(), b"\xe2", b"\xef\xbb\xbf", b"data: one\n\n", b"data: two\r\n\r\n"]
)
fragments = line_ends | parts | bytes_of_note
streams = st.lists(fragments | st.binary(max_size=3), max_size=30).map(b"".join)


@given(streams, st.data())
def test_any_chunking_gives_the_same(stream, data):
    whole = SseDecoder()
    expected = (whole.feed(stream), whole.last_event_id, whole.retry_ms, whole.finish())
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    decoder = SseDecoder()
    events = [event for piece in pieces for event in decoder.feed(piece)]
    assert (events, decoder.last_event_id, decoder.retry_ms, decoder.finish()) == expected


def naively(stream):
    """The standard's text, step by step: decode it all, split it all, then one line after the other."""
    text = stream.decode("utf-8", "replace").removeprefix("\ufeff")
    *lines, _unfinished = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    events, name, data, last_id, retry_ms = [], "", [], "", None
    committed_id, reconnection_ms = "", None
    for line in lines:
        if line == "":
            committed_id = last_id
            if data:
                events.append(SseEvent(name or "message", "\n".join(data), last_id, retry_ms))
            name, data, retry_ms = "", [], None
            continue
        if line.startswith(":"):
            continue
        field, colon, value = line.partition(":")
        if colon and value.startswith(" "):
            value = value[1:]
        if field == "event":
            name = value
        elif field == "data":
            data.append(value)
        elif field == "id" and "\0" not in value:
            last_id = value
        elif field == "retry" and value and all(character in "0123456789" for character in value):
            retry_ms = reconnection_ms = int(value)
    return events, committed_id, reconnection_ms


@given(streams, st.integers(1, 7))
def test_it_does_what_a_naive_reading_of_the_standard_does(stream, size):
    decoder = SseDecoder()
    events = [event for start in range(0, len(stream), size) for event in decoder.feed(stream[start : start + size])]
    assert (events, decoder.last_event_id, decoder.retry_ms) == naively(stream)
    whole = SseDecoder()
    assert (whole.feed(stream), whole.last_event_id, whole.retry_ms) == naively(stream)


OUR_OWN_CHOICE = {"retry beyond reason"}


@pytest.mark.parametrize("name", [name for name in CASES if name not in OUR_OWN_CHOICE])
def test_the_naive_reading_agrees_with_the_table(name):
    stream, events = CASES[name]
    assert naively(stream)[0] == events


@given(st.lists(st.tuples(st.text(), st.from_regex(r"[a-z]*", fullmatch=True)), max_size=8))
def test_what_is_written_is_read(items):
    written = ""
    expected = []
    for data, name in items:
        lines = data.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        written += "".join([f"event: {name}\n", *(f"data: {line}\n" for line in lines), "\n"])
        expected.append(message("\n".join(lines), event=name or "message"))
    assert SseDecoder().feed(written.encode("utf-8", "replace")) == [
        message(event.data.encode("utf-8", "replace").decode(), event=event.event) for event in expected
    ]


def test_an_event_is_out_with_its_last_byte():
    decoder = SseDecoder()
    assert decoder.feed(b"data: a\r\r") == [message("a")]
    assert decoder.feed(b"\ndata: b\n\n") == [message("b")]


def test_a_last_id_counts_only_from_the_end_of_its_event():
    decoder = SseDecoder()
    decoder.feed(b"id: 1\ndata: a\n\nid: 2\ndata: b\n")
    assert decoder.last_event_id == "1"
    decoder.feed(b"\n")
    assert decoder.last_event_id == "2"


def test_the_reconnection_time_stays():
    decoder = SseDecoder()
    assert decoder.retry_ms is None
    decoder.feed(b"retry: 250\n\ndata: a\n\n")
    assert decoder.retry_ms == 250


@pytest.mark.parametrize("stream", [b"data: a", b"data: a\n", b"data: a\r", b"data: a\r\n"])
def test_an_unfinished_event_is_offered_at_the_end(stream):
    decoder = SseDecoder()
    assert decoder.feed(stream) == []
    assert decoder.finish() == [message("a")]
    assert decoder.finish() == []


@pytest.mark.parametrize("stream", [b"", b"\xef\xbb", b"event: x\n", b": c", b"data: a\n\n"])
def test_nothing_unfinished_at_the_end(stream):
    decoder = SseDecoder()
    decoder.feed(stream)
    assert decoder.finish() == []


def test_an_id_whose_event_never_came_is_not_continued_from():
    decoder = SseDecoder()
    decoder.feed(b"id: 1\ndata: a\n\nid: 2\n")
    assert decoder.finish() == []
    assert decoder.last_event_id == "1"


def test_an_id_counts_with_the_event_offered_at_the_end():
    decoder = SseDecoder()
    decoder.feed(b"id: 1\ndata: a")
    assert decoder.finish() == [message("a", id="1")]
    assert decoder.last_event_id == "1"


ENDLESS = {
    "one line": [b"data: " + b"x" * 40] * 10,
    "many data lines": [b"data: " + b"x" * 20 + b"\n"] * 20,
    "a comment": [b":", *([b"x" * 30] * 10)],
    "a name": [b"event: " + b"x" * 300 + b"\n"],
    "all at once": [b"data: " + b"x" * 300 + b"\n\n"],
    "one whole line": [b": " + b"x" * 300 + b"\n"],
}


@pytest.mark.parametrize("pieces", ENDLESS.values(), ids=ENDLESS)
def test_an_endless_event_is_refused(pieces):
    decoder = SseDecoder(max_event_bytes=200)
    with pytest.raises(StreamError, match="more than 200 bytes"):
        for piece in pieces:
            assert decoder.feed(piece) == []
    for use in (lambda: decoder.feed(b"\n\n"), decoder.finish):
        with pytest.raises(StreamError):
            use()


def test_events_before_the_endless_one_are_handed_out():
    decoder = SseDecoder(max_event_bytes=100)
    assert decoder.feed(b"data: a\n\ndata: " + b"x" * 200) == [message("a")]
    with pytest.raises(StreamError):
        decoder.feed(b"x")


def test_the_bound_is_for_each_event_not_for_the_stream():
    decoder = SseDecoder(max_event_bytes=100)
    stream = (b"data: " + b"x" * 80 + b"\n\n") * 50
    assert len(decoder.feed(stream)) == 50
    assert len([event for byte in stream for event in decoder.feed(bytes([byte]))]) == 50
