import pytest

from exatlas.errors import TransportError
from exatlas.messages import HttpCall, HttpReply
from exatlas.protocols import Transport
from exatlas.transport.inprocess import InProcessTransport, StreamingReply


def call(**facts):
    facts = {"template": "/x/{id}", **facts}
    return HttpCall(provider="p", operation="o", method="GET", url="https://h/x/1", **facts)


class Body:
    """Pieces of a body, and whether it was closed."""

    def __init__(self, *pieces):
        self.closed = False
        self.iterator = self.pieces(pieces)

    async def pieces(self, pieces):
        try:
            for piece in pieces:
                if isinstance(piece, Exception):
                    raise piece
                yield piece
        finally:
            self.closed = True

    def reply(self, **facts):
        return StreamingReply(body=self.iterator, **facts)


def answering(reply):
    async def handle(call):
        if isinstance(reply, Exception):
            raise reply
        return reply

    return InProcessTransport(handle)


def test_it_is_a_transport():
    assert isinstance(answering(HttpReply(status=200)), Transport)


async def test_the_handler_gets_the_call_and_gives_the_reply():
    seen = []

    async def handle(call):
        seen.append(call)
        return HttpReply(status=418, headers={"a": "b"}, body=b"x")

    transport = InProcessTransport(handle)
    sent = call(body=b"payload")
    assert await transport.send(sent) == HttpReply(status=418, headers={"a": "b"}, body=b"x")
    assert seen == [sent]


async def test_a_whole_reply_can_be_opened():
    transport = answering(HttpReply(status=404, headers={"a": "b"}, body=b"gone"))
    stream = await transport.open(call())
    assert (stream.status, stream.headers) == (404, {"a": "b"})
    assert await stream.read() == b"gone"
    await stream.aclose()
    stream = await transport.open(call())
    assert [piece async for piece in stream.chunks()] == [b"gone"]


async def test_an_empty_reply_has_no_pieces():
    stream = await answering(HttpReply(status=204)).open(call())
    assert [piece async for piece in stream.chunks()] == []


async def test_a_streaming_reply_piece_by_piece():
    body = Body(b"a", b"b", b"c")
    stream = await answering(body.reply(status=206, headers={"x": "y"})).open(call())
    assert (stream.status, stream.headers) == (206, {"x": "y"})
    assert await anext(stream.chunks()) == b"a"
    assert await stream.read() == b"bc"
    await stream.aclose()
    await stream.aclose()
    assert body.closed


async def test_closing_a_stream_half_way_closes_its_body():
    body = Body(b"a", b"b")
    stream = await answering(body.reply()).open(call())
    await anext(stream.chunks())
    assert not body.closed
    await stream.aclose()
    assert body.closed


async def test_a_body_that_cannot_be_closed_is_fine():
    class Plain:
        def __aiter__(self):
            return self

        async def __anext__(self):
            raise StopAsyncIteration

    stream = await answering(StreamingReply(body=Plain())).open(call())
    assert await stream.read() == b""
    await stream.aclose()


async def test_a_streaming_reply_can_be_sent_for():
    body = Body(b"a", b"b")
    assert await answering(body.reply(headers={"x": "y"})).send(call()) == HttpReply(
        status=200, headers={"x": "y"}, body=b"ab"
    )
    assert body.closed


async def test_what_the_handler_raises_comes_out_as_it_is():
    error = TransportError("cut", delivered=False)
    for use in ("send", "open"):
        with pytest.raises(TransportError) as caught:
            await getattr(answering(error), use)(call())
        assert caught.value is error


async def test_what_the_body_raises_comes_out_as_it_is():
    body = Body(b"a", TransportError("cut"))
    with pytest.raises(TransportError, match="cut"):
        await answering(body.reply()).send(call())
    assert body.closed


async def test_a_reply_beyond_the_bound_is_refused():
    for reply in (HttpReply(status=200, body=b"x" * 11), Body(b"x" * 6, b"x" * 5).reply()):
        with pytest.raises(TransportError, match="longer than 10 bytes") as caught:
            await answering(reply).send(call(max_reply_bytes=10))
        assert (caught.value.retryable, caught.value.provider) == (False, "p")


async def test_an_opened_reply_beyond_the_bound_is_refused_only_as_a_whole():
    stream = await answering(Body(b"x" * 6, b"x" * 5).reply()).open(call(max_reply_bytes=10))
    assert [len(piece) async for piece in stream.chunks()] == [6, 5]
    stream = await answering(HttpReply(status=200, body=b"x" * 11)).open(call(max_reply_bytes=10))
    with pytest.raises(TransportError, match="longer"):
        await stream.read()


async def test_closing_does_nothing_to_the_handler():
    transport = answering(HttpReply(status=200))
    await transport.aclose()
    await transport.aclose()
    assert (await transport.send(call())).status == 200
