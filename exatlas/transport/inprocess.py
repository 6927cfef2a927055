"""A function from call to reply, as a transport: fake clouds without a socket."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from attrs import field, frozen

from exatlas.errors import TransportError
from exatlas.messages import HttpCall, HttpReply


@frozen(kw_only=True)
class StreamingReply:
    """A reply whose body comes over time."""

    status: int = 200
    headers: Mapping[str, str] = field(factory=dict, repr=False)
    """Names in lower case."""
    body: AsyncIterator[bytes] = field(repr=False)
    """Closed, if it can be, when the stream is."""


Handler = Callable[[HttpCall], Awaitable[HttpReply | StreamingReply]]


class InProcessTransport:
    """Hands every call to a coroutine function. What the function raises comes out as it is.

    Deadlines are left to the function; replies beyond `max_reply_bytes` are refused as they are on a real connection.
    """

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    async def send(self, call: HttpCall, /) -> HttpReply:
        reply = await self._handler(call)
        if isinstance(reply, HttpReply):
            _check_size(call, len(reply.body))
            return reply
        stream = InProcessStream(call, reply)
        try:
            body = await stream.read()
        finally:
            await stream.aclose()
        return HttpReply(status=reply.status, headers=reply.headers, body=body)

    async def open(self, call: HttpCall, /) -> "InProcessStream":
        reply = await self._handler(call)
        if isinstance(reply, HttpReply):
            reply = StreamingReply(status=reply.status, headers=reply.headers, body=_whole(reply.body))
        return InProcessStream(call, reply)

    async def aclose(self) -> None:
        """Do nothing: there is no connection, and open streams belong to whoever opened them."""


class InProcessStream:
    """The body of a reply, as a ByteStream."""

    def __init__(self, call: HttpCall, reply: StreamingReply) -> None:
        self.status = reply.status
        self.headers = reply.headers
        self._call = call
        self._body = reply.body

    def chunks(self) -> AsyncIterator[bytes]:
        return self._body

    async def read(self) -> bytes:
        pieces = []
        size = 0
        async for piece in self._body:
            size += len(piece)
            _check_size(self._call, size)
            pieces.append(piece)
        return b"".join(pieces)

    async def aclose(self) -> None:
        close = getattr(self._body, "aclose", None)
        if close is not None:
            await close()


async def _whole(body: bytes) -> AsyncIterator[bytes]:
    if body:
        yield body


def _check_size(call: HttpCall, size: int) -> None:
    if size > call.max_reply_bytes:
        raise too_long(call)


def too_long(call: HttpCall) -> TransportError:
    """The error for a reply beyond the call's bound. Asking again would bring the same reply."""
    return TransportError(
        f"the reply to {call.method} {call.template} is longer than {call.max_reply_bytes} bytes and was not read on",
        provider=call.provider,
        operation=call.operation,
        retryable=False,
    )
