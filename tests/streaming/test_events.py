"""One request, answered by events: what ends it well, and what does not."""

import asyncio
from contextlib import aclosing

import pytest
from attrs import evolve

from exatlas.clock import ManualClock
from exatlas.errors import (
    ForbiddenError,
    StreamFailedError,
    StreamTruncatedError,
    TransportError,
    TransportTimeoutError,
)
from exatlas.messages import HttpCall, HttpReply
from exatlas.protocols import Context
from exatlas.streaming.events import stream_events
from exatlas.transport.inprocess import InProcessTransport, StreamingReply

CALL = HttpCall(
    provider="test",
    operation="stream_events",
    method="POST",
    url="http://127.0.0.1/openai/v1/chat/completions",
    template="/openai/…",
    secrets=("sk-very-secret",),
)
EVENT_STREAM = {"content-type": "text/event-stream; charset=utf-8"}


async def sent(*pieces, then=None):
    for piece in pieces:
        yield piece
    if then:
        raise then


def refusal(reply, _call, _now):
    return ForbiddenError("no") if reply.status == 403 else None


def answering(reply):
    async def handle(call):
        return reply

    return Context(provider="test", transport=InProcessTransport(handle), clock=ManualClock())


def streaming(*pieces, then=None):
    return answering(StreamingReply(status=200, headers=EVENT_STREAM, body=sent(*pieces, then=then)))


async def read(ctx, **options):
    return [event.data async for event in stream_events(ctx, CALL, refusal, **options)]


async def test_events_are_decoded_and_done_ends_the_stream():
    ctx = streaming(b'data: {"n": 1}\n\ndata: plain\n\nda', b"ta: [DONE]\n\ndata: never\n\n")
    assert await read(ctx) == [{"n": 1}, "plain"]


async def test_names_and_ids_are_kept():
    ctx = streaming(b"event: progress\nid: 7\ndata: 1\n\ndata: [DONE]\n\n")
    (event,) = [event async for event in stream_events(ctx, CALL, refusal)]
    assert (event.event, event.id, event.data) == ("progress", "7", 1)


async def test_an_end_that_was_not_announced_is_a_truncation():
    got = []
    with pytest.raises(StreamTruncatedError, match=r"\[DONE\]"):
        async for event in stream_events(streaming(b"data: 1\n\n"), CALL, refusal):
            got.append(event.data)
    assert got == [1]


async def test_a_server_that_simply_closes_is_fine_when_nothing_else_was_promised():
    assert await read(streaming(b"data: 1\n\ndata: 2"), done=None) == [1, 2]


async def test_done_without_its_blank_line_is_still_done():
    assert await read(streaming(b"data: 1\n\ndata: [DONE]")) == [1]


async def test_a_broken_connection_is_a_truncation_with_its_cause():
    with pytest.raises(StreamTruncatedError) as caught:
        await read(streaming(b"data: 1\n\n", then=TransportError("reset")))
    assert isinstance(caught.value.__cause__, TransportError)


@pytest.mark.parametrize(
    "frame",
    [
        b'data: {"error": {"message": "boom sk-very-secret", "type": "worker_error"}}\n\n',
        b'data: {"error": "boom"}\n\n',
        b"event: error\ndata: boom\n\n",
    ],
)
async def test_an_error_frame_raises_without_the_secret(frame):
    with pytest.raises(StreamFailedError, match="boom") as caught:
        await read(streaming(frame))
    assert "sk-very-secret" not in str(caught.value) + repr(caught.value.raw)


async def test_plain_json_instead_of_a_stream_is_one_event():
    ctx = answering(HttpReply(status=200, headers={"content-type": "application/json"}, body=b'{"id": "x"}'))
    assert await read(ctx) == [{"id": "x"}]


async def test_an_error_object_instead_of_a_stream_raises():
    body = b'{"error": {"message": "no such model"}}'
    ctx = answering(HttpReply(status=200, headers={"content-type": "application/json"}, body=body))
    with pytest.raises(StreamFailedError, match="no such model"):
        await read(ctx)


async def test_a_refusal_is_the_providers_error():
    with pytest.raises(ForbiddenError):
        await read(answering(HttpReply(status=403)))


async def test_silence_ends_in_a_timeout():
    async def silent():
        yield b"data: 1\n\n"
        await asyncio.Event().wait()

    ctx = answering(StreamingReply(status=200, headers=EVENT_STREAM, body=silent()))
    with pytest.raises(TransportTimeoutError, match="silent"):
        await read(ctx, idle_s=0.01)


async def test_leaving_closes_the_reply_at_once():
    closed = []

    async def endless():
        try:
            while True:
                yield b"data: 1\n\n"
        finally:
            closed.append(True)

    ctx = answering(StreamingReply(status=200, headers=EVENT_STREAM, body=endless()))
    async with aclosing(stream_events(ctx, CALL, refusal)) as events:
        await anext(events)
    assert closed == [True]


async def test_cancelling_in_mid_read_closes_the_reply():
    closed = asyncio.Event()

    async def silent():
        try:
            await asyncio.Event().wait()
            yield b""
        finally:
            closed.set()

    ctx = answering(StreamingReply(status=200, headers=EVENT_STREAM, body=silent()))
    reading = asyncio.ensure_future(read(evolve(ctx, timeout_s=5)))
    for _ in range(20):
        await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert closed.is_set()
