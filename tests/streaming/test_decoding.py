"""Server-sent events that a worker yields as text."""

import json

import pytest
from hypothesis import given, strategies as st

from exatlas.clock import ManualClock
from exatlas.errors import StreamFailedError
from exatlas.records.job import JobChunk
from exatlas.streaming.decoding import decode_sse

NOW = ManualClock().now()


async def chunks(*outputs, gap_at=None):
    for index, output in enumerate(outputs):
        yield JobChunk(index=index, output=output, received_at=NOW, gap=index == gap_at)


async def read(source):
    return [(chunk.index, chunk.output, chunk.gap) async for chunk in decode_sse(source)]


async def test_one_chunk_per_event_whatever_the_cuts():
    got = await read(chunks('data: {"t": "a"}\n\nda', 'ta: {"t": "b"}\n', "\ndata: [DONE]\n\n"))
    assert got == [(0, {"t": "a"}, False), (1, {"t": "b"}, False)]


async def test_a_last_event_without_its_blank_line_counts():
    assert await read(chunks('data: {"t": 1}')) == [(0, {"t": 1}, False)]


async def test_what_is_not_text_passes_through():
    assert await read(chunks({"already": "decoded"})) == [(0, {"already": "decoded"}, False)]


async def test_a_gap_marks_the_first_piece_after_it_only():
    got = await read(chunks("data: 1\n\n", "data: 2\n\ndata: 3\n\n", gap_at=1))
    assert got == [(0, 1, False), (1, 2, True), (2, 3, False)]


async def test_the_servers_error_object_raises():
    with pytest.raises(StreamFailedError, match="out of memory"):
        await read(chunks('data: {"error": {"message": "out of memory"}}\n\n'))


async def test_the_inner_generator_is_closed():
    source = chunks("data: 1\n\n", "data: 2\n\n")
    decoded = decode_sse(source)
    await anext(decoded)
    await decoded.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(source)


@given(st.lists(st.text(min_size=1), max_size=5), st.data())
async def test_any_cut_gives_the_same_events(texts, data):
    whole = "".join(f"data: {json.dumps(text)}\n\n" for text in texts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    pieces = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert [output for _, output, _ in await read(chunks(*pieces))] == texts
