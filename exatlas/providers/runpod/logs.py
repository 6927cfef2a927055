"""A machine's log lines, from a stream of server-sent events that never ends by itself.

A connection that breaks is opened again after the last line seen. Reading without following ends once the lines asked
for have come, or nothing has come for a while: the server never says that the past is over.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import datetime

from attrs import define

from exatlas.errors import AtlasError, NotFoundError, ProviderBrokenError, RateLimitedError, TransportError
from exatlas.messages import HttpReply
from exatlas.protocols import ByteStream, Context
from exatlas.providers.runpod import normalize, rules, translate
from exatlas.providers.runpod.exchange import take
from exatlas.records.job import LogLine
from exatlas.transport.exchange import open_stream
from exatlas.transport.sse import SseDecoder

DEFAULT_TAIL = 100
IDLE_S = 3.0
"""Silence after which a reader that does not follow has everything."""
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
MOST_FAILURES = 5
"""Failures in a row, with no line between them, before the trouble is the reader's to know."""

_OK = 200


@define
class _Place:
    """How far the reader is, and how patient."""

    tail: int
    cursor: str | None = None
    since: datetime | None = None
    seen: int = 0
    failures: int = 0
    pause_s: float = FIRST_PAUSE_S

    def passed(self, line: LogLine) -> None:
        self.seen += 1
        self.cursor = line.cursor or self.cursor
        self.since = line.at or self.since
        self.failures, self.pause_s = 0, FIRST_PAUSE_S


async def stream(compute_id: str, ctx: Context, *, tail: int | None, follow: bool) -> AsyncGenerator[LogLine, None]:
    """Yield lines, oldest first: the last `tail` (100 for None, 5,000 at most), then new ones while `follow`.

    A following stream ends when the machine is gone, and otherwise lasts until it is closed. A line may come twice when
    the connection broke and the server had given its lines no ids.
    """
    rules.check_tail(tail, ctx.provider)
    place = _Place(tail=DEFAULT_TAIL if tail is None else tail)
    idle_s = None if follow else IDLE_S
    while follow or place.seen < place.tail:
        try:
            source = await _open(compute_id, place, ctx)
            try:
                decoder = SseDecoder()
                chunks = aiter(source.chunks())
                while (data := await _next(chunks, idle_s, ctx)) is not None:
                    for event in decoder.feed(data):
                        line = normalize.log_line(event)
                        place.passed(line)
                        yield line
                        if not follow and place.seen >= place.tail:
                            return
            finally:
                await source.aclose()
        except NotFoundError:
            if place.seen:
                return
            raise
        except (TransportError, ProviderBrokenError, RateLimitedError) as error:
            await _sit_out(error, place, ctx)
            continue
        if not follow:
            return
        await _pause(place, ctx)


async def _open(compute_id: str, place: _Place, ctx: Context) -> ByteStream:
    """Open the log after the place reached."""
    tail = 0 if place.seen and not place.cursor else place.tail
    call = translate.logs(compute_id, ctx, tail=tail, after=place.cursor, since=place.since)
    source = await open_stream(ctx, call)
    if source.status == _OK:
        return source
    try:
        reply = HttpReply(status=source.status, headers=source.headers, body=await source.read())
    finally:
        await source.aclose()
    return take(ctx, call, reply, _not_a_stream)


def _not_a_stream(reply: HttpReply) -> ByteStream:
    raise ProviderBrokenError("the log stream was answered without a stream", status=reply.status)


async def _next(chunks: AsyncIterator[bytes], idle_s: float | None, ctx: Context) -> bytes | None:
    """The next bytes; None at the end of the connection, or when nothing came for `idle_s` seconds."""
    if idle_s is None:
        return await anext(chunks, None)
    read = asyncio.ensure_future(_pull(chunks))
    idle = asyncio.ensure_future(ctx.clock.sleep(idle_s))
    try:
        await asyncio.wait({read, idle}, return_when=asyncio.FIRST_COMPLETED)
        return read.result() if read.done() else None
    finally:
        read.cancel()
        idle.cancel()
        await asyncio.gather(read, idle, return_exceptions=True)


async def _pull(chunks: AsyncIterator[bytes]) -> bytes | None:
    return await anext(chunks, None)


async def _sit_out(error: AtlasError, place: _Place, ctx: Context) -> None:
    place.failures += 1
    if place.failures >= MOST_FAILURES:
        raise error
    await _pause(place, ctx, at_least_s=error.retry_after or 0.0)


async def _pause(place: _Place, ctx: Context, *, at_least_s: float = 0.0) -> None:
    wait_s = max(place.pause_s, at_least_s)
    place.pause_s = min(place.pause_s * 2, LONGEST_PAUSE_S)
    await ctx.clock.sleep(wait_s)
