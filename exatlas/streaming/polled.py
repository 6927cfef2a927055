"""The async generator over a job's feed."""

from collections.abc import AsyncGenerator
from typing import Any

from exatlas.errors import StreamGapError
from exatlas.protocols import Context
from exatlas.records.job import JobChunk, OpenChunk
from exatlas.streaming.feed import feed_for
from exatlas.streaming.pages import PollSource


async def stream_polled(source: PollSource, ctx: Context) -> AsyncGenerator[JobChunk, None]:
    """Yield a job's chunks as they come; return when it has completed.

    Leaving early is safe at any point: a chunk that was not handed out is kept for whoever streams the job next in this
    process. The job itself goes on.

    Raises:
        JobFailedError, JobCancelledError, JobTimedOutError: the job ended otherwise, after its last chunk.
        StreamGapError: chunks were lost, and `ctx.strict_stream` asks to be told that way.
        NotFoundError: the id is wrong, or the job expired.
        TransportError, ProviderBrokenError: several attempts in a row failed; streaming again goes on from here.
    """
    feed = feed_for(source, ctx)
    reader = feed.join(source, ctx)
    try:
        while arrival := await feed.more(reader):
            index, received_at = reader.cursor, arrival.received_at
            gap = arrival.gap and index == arrival.first
            if gap and ctx.strict_stream:
                raise _lost(f"chunks before number {index}", source, ctx)
            for output, metrics in arrival.items[index - arrival.first :]:
                chunk: Any = OpenChunk(index, output, metrics, received_at, gap)
                chunk.__class__ = JobChunk
                reader.cursor = index = index + 1
                yield chunk
                gap = False
        if feed.tail_gap and ctx.strict_stream:
            raise _lost("the last chunks", source, ctx)
    finally:
        feed.leave(reader)


def _lost(what: str, source: PollSource, ctx: Context) -> StreamGapError:
    return StreamGapError(
        f"{what} of job {source.job.id} may have been lost with a reply that never came; "
        "ask for the job's whole output, or stream without strict",
        provider=ctx.provider,
        operation="stream_job",
    )
