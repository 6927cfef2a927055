"""Server-sent events as the answer to one request: OpenAI-style streams, and whatever a load-balanced worker sends.

Such a stream is bound to its request: it is not repeated, and an end that was not announced is a truncation.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from functools import partial
from typing import Any

import anyio
import orjson

from exatlas.errors import StreamFailedError, StreamTruncatedError, TransportError, TransportTimeoutError
from exatlas.messages import HttpCall, HttpReply
from exatlas.protocols import ByteStream, Context
from exatlas.records.job import StreamEvent
from exatlas.transport.asking import Refusal, take
from exatlas.transport.exchange import open_stream
from exatlas.transport.redact import redact_json, redact_text
from exatlas.transport.sse import SseDecoder, SseEvent

DONE = "[DONE]"
"""What OpenAI-compatible servers send as the last event."""


async def stream_events(
    ctx: Context,
    call: HttpCall,
    refusal: Refusal,
    *,
    done: str | None = DONE,
    idle_s: float = 60.0,
) -> AsyncGenerator[StreamEvent, None]:
    """Send the call once and yield its events as they arrive.

    A server that answers with plain JSON instead gives one event. Closing the generator or cancelling it cuts the
    connection at once; whether that stops the work behind it is the server's affair.

    Args:
        refusal: The provider's error for a reply that is no success.
        done: The data that announces the end, or None for servers that simply close.
        idle_s: Longest silence between two pieces of the body. The wait for the head is the call's own `timeout_s`.

    Raises:
        StreamFailedError: the server reported an error inside the stream.
        StreamTruncatedError: the connection ended before `done`.
        TransportTimeoutError: silence for `idle_s`.
    """
    stream = await open_stream(ctx, call)
    try:
        if not 200 <= stream.status < 300 or not _is_event_stream(stream):
            yield take(ctx, call, await _read_reply(stream), partial(_whole, call), refusal)
            return
        decoder = SseDecoder()
        pieces = stream.chunks()
        while True:
            data = await _next_piece(pieces, call, idle_s)
            events = decoder.feed(data) if data else decoder.finish()
            for event in events:
                if event.data == done:
                    return
                yield _read(event, call)
            if not data:
                break
    finally:
        await stream.aclose()
    if done is not None:
        raise StreamTruncatedError(
            f"the stream closed without {done!r}; what came before it may be incomplete",
            provider=call.provider,
            operation=call.operation,
        )


def _is_event_stream(stream: ByteStream) -> bool:
    return stream.headers.get("content-type", "").startswith("text/event-stream")


async def _read_reply(stream: ByteStream) -> HttpReply:
    return HttpReply(status=stream.status, headers=stream.headers, body=await stream.read())


def _whole(call: HttpCall, reply: HttpReply) -> StreamEvent:
    """The one event of a reply that is not a stream."""
    return _read(SseEvent(event="message", data=reply.text, id="", retry_ms=None), call)


async def _next_piece(pieces: AsyncIterator[bytes], call: HttpCall, idle_s: float) -> bytes:
    """The next non-empty piece of the body, or empty bytes at its end."""
    try:
        with anyio.fail_after(idle_s):
            async for data in pieces:
                if data:
                    return data
            return b""
    except TransportTimeoutError:
        raise
    except TimeoutError as error:
        raise TransportTimeoutError(
            f"the stream was silent for {idle_s:g} s", provider=call.provider, operation=call.operation
        ) from error
    except TransportError as error:
        raise StreamTruncatedError(
            f"the connection broke in the middle of the stream: {error.message}",
            provider=call.provider,
            operation=call.operation,
        ) from error


def _read(event: SseEvent, call: HttpCall) -> StreamEvent:
    data = decoded(event.data)
    if event.event == "error" or (isinstance(data, dict) and data.get("error")):
        raise StreamFailedError(
            f"the server reported an error in the stream: {redact_text(_reason(data), call.secrets)}",
            provider=call.provider,
            operation=call.operation,
            raw=redact_json(data, call.secrets),
        )
    return StreamEvent(data=data, event=event.event, id=event.id or None)


def _reason(data: Any) -> str:
    error = data.get("error", data) if isinstance(data, dict) else data
    message = error.get("message", error) if isinstance(error, dict) else error
    return str(message)[:200]


def decoded(text: str) -> Any:
    """The JSON value of an event's data, or the text itself where it is not JSON."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def decode_all(events: Sequence[SseEvent], done: str = DONE) -> list[Any]:
    """The decoded data of events, without the one that announces the end."""
    return [decoded(event.data) for event in events if event.data != done]
