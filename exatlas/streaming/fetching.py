"""Fetching a job's chunks: polls, server-sent events, failures, gaps and the end.

A lost reply of a draining poll may have taken chunks along. Nothing can tell at that moment, so the fetcher remembers a
suspicion. If the job has completed by the next reply and its worker aggregates, the missing chunks are taken from the
aggregate, in order. Otherwise the next chunk is marked with `gap`, because holding the stream back until the end of the
job to be sure would be worse.
"""

import asyncio
import logging
from collections.abc import Sequence
from random import SystemRandom
from typing import Protocol

from attrs import evolve

from exatlas.errors import (
    AtlasError,
    InvalidRequestError,
    JobCancelledError,
    JobError,
    JobFailedError,
    JobTimedOutError,
    ProviderBrokenError,
    RateLimitedError,
    ReplyShapeError,
    TransportError,
)
from exatlas.messages import HttpReply
from exatlas.protocols import ByteStream, Clock, Context
from exatlas.records.job import Job, JobStatus
from exatlas.streaming.pacing import Pace
from exatlas.streaming.pages import PollItem, PollPage, PollSource
from exatlas.transport.exchange import open_stream, send
from exatlas.transport.sse import SseDecoder

log = logging.getLogger("exatlas.streaming")

OK = 200
MOST_FAILURES = 5
"""Failures in a row that a stream survives."""
FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 8.0
MOST_DRAINS = 50
"""Replies with chunks after the end of a job, before the server is believed to repeat itself."""

_JOB_ERRORS: dict[JobStatus, type[JobError]] = {
    JobStatus.FAILED: JobFailedError,
    JobStatus.CANCELLED: JobCancelledError,
    JobStatus.TIMED_OUT: JobTimedOutError,
}
_random = SystemRandom()


class Present(Protocol):
    """A reader, as far as fetching needs one: whose client to use."""

    source: PollSource
    ctx: Context


class Sink(Protocol):
    """Where chunks go: the feed, as far as fetching needs it."""

    @property
    def wanted(self) -> bool: ...
    @property
    def present(self) -> Present | None: ...
    @property
    def count(self) -> int: ...
    def append(self, items: Sequence[PollItem], clock: Clock, *, gap: bool) -> None: ...
    def end(self, error: JobError | None, *, gap: bool) -> None: ...
    async def room(self) -> None: ...


class Fetcher:
    """What is known about one job's stream between fetches."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._pace: Pace | None = None
        self._pushes: bool | None = None
        self._failures = 0
        self._drains = 0
        self._suspicious = False
        self._aligned = True
        self._last_event_id: str | None = None
        self.must_come_home = False
        """Whether cancelling now would lose chunks."""

    async def run(self) -> None:
        """Fetch until a chunk has come, the job has ended, or everybody has left.

        Raises:
            AtlasError: it cannot go on; the next call starts afresh.
        """
        while self._sink.wanted and (reader := self._sink.present):
            try:
                await self._fetch(reader.source, reader.ctx)
                self._failures = 0
            except RateLimitedError as error:
                reader.source.budget.slow_down(error.retry_after or FIRST_BACKOFF_S)
            except InvalidRequestError:
                if self._pace is None or not self._pace.hold_s:
                    raise
                self._pace = self._pace.without_hold()
            except (TransportError, ProviderBrokenError, ReplyShapeError) as error:
                await self._survive(error, reader.ctx)
            await asyncio.sleep(0)  # the readers take what came, and most are back for more at once

    async def _survive(self, error: AtlasError, ctx: Context) -> None:
        never_sent = isinstance(error, TransportError) and error.delivered is False
        self._suspicious = self._suspicious or not (never_sent or self._last_event_id)
        self._failures += 1
        if self._failures > MOST_FAILURES:
            self._failures = 0
            raise error
        backoff = min(FIRST_BACKOFF_S * 2 ** (self._failures - 1), LONGEST_BACKOFF_S) * _random.uniform(0.5, 1.0)
        log.warning("%s stream failed, trying again in %.1f s: %s", ctx.provider, backoff, error)
        await ctx.clock.sleep(max(backoff, error.retry_after or 0.0))

    async def _fetch(self, source: PollSource, ctx: Context) -> None:
        pace = self._pace = self._pace or Pace.first(source.shortest_hold_s, source.longest_hold_s)
        if pace.pause_s:
            await ctx.clock.sleep(pace.pause_s)
        call = source.poll_call(pace.hold_s, self._last_event_id)
        started = ctx.clock.monotonic()
        self.must_come_home = True
        try:
            if self._pushes is False:
                reply = await send(ctx, call, budget=source.budget)
            else:
                stream = await open_stream(ctx, call, budget=source.budget)
                if stream.status == OK:
                    self._pushes = stream.headers.get("content-type", "").startswith("text/event-stream")
                    if self._pushes:
                        await self._read_events(stream, source, ctx)
                        return
                reply = await _whole(stream)
            page = source.read_page(reply)
            took_s = ctx.clock.monotonic() - started
            self._pace = pace.after(chunks=len(page.items), took_s=took_s, crowded=source.budget.waiting > 0)
            await self._arrive(page, source, ctx)
        finally:
            self.must_come_home = False

    async def _read_events(self, stream: ByteStream, source: PollSource, ctx: Context) -> None:
        decoder = SseDecoder()
        try:
            self.must_come_home = False
            async for data in stream.chunks():
                self.must_come_home = True
                events = decoder.feed(data)
                self._last_event_id = decoder.last_event_id or self._last_event_id
                if events:
                    self._failures = 0
                    page = source.read_events(events)
                    await self._arrive(page, source, ctx)
                    if page.status.is_terminal:
                        return
                self.must_come_home = False
                await self._sink.room()
        finally:
            await stream.aclose()
        raise TransportError(
            "the event stream closed before the job's end", provider=ctx.provider, operation="stream_job"
        )

    async def _arrive(self, page: PollPage, source: PollSource, ctx: Context) -> None:
        if self._suspicious and page.status is JobStatus.COMPLETED and await self._heal(page.items, source, ctx):
            return
        if page.items:
            self._sink.append(page.items, ctx.clock, gap=self._suspicious)
            self._aligned = self._aligned and not self._suspicious
            self._suspicious = False
        if not page.status.is_terminal:
            return
        self._drains += 1
        if not page.items or self._pushes or self._drains > MOST_DRAINS:
            self._sink.end(await self._error_of(page.status, source, ctx), gap=self._suspicious)

    async def _heal(self, items: Sequence[PollItem], source: PollSource, ctx: Context) -> bool:
        """Take what is missing from the completed job's aggregate; False when there is no telling what is missing."""
        try:
            aggregate = (await source.fetch_job()).output
        except AtlasError as error:
            log.warning("%s job %s could not be asked for its whole output: %s", ctx.provider, source.job.id, error)
            return False
        seen = self._sink.count
        if not self._aligned or not isinstance(aggregate, list) or len(aggregate) < seen + len(items):
            return False
        self._suspicious = False
        if missing := aggregate[seen:]:
            self._sink.append([(output, None) for output in missing], ctx.clock, gap=False)
        self._sink.end(None, gap=False)
        return True

    async def _error_of(self, status: JobStatus, source: PollSource, ctx: Context) -> JobError | None:
        """Why the job ended without completing; the stream itself does not say, so the job is asked."""
        if status is JobStatus.COMPLETED:
            return None
        known = Job(id=source.job.id, provider=ctx.provider, endpoint=source.job.endpoint, status=status)
        try:
            job = evolve(await source.fetch_job(), status=status)
        except AtlasError as error:
            log.warning("%s job %s ended as %s and could not be asked why: %s", ctx.provider, known.id, status, error)
            job = known
        return job_error(job)


def job_error(job: Job) -> JobError:
    """The error for a job that ended without completing."""
    reason = f": {job.error.message}" if job.error else ""
    what = {JobStatus.CANCELLED: "was cancelled", JobStatus.TIMED_OUT: "ran into its execution timeout"}
    return _JOB_ERRORS.get(job.status, JobFailedError)(
        f"job {job.id} on endpoint {job.endpoint} {what.get(job.status, 'failed')}{reason}",
        job=job,
        provider=job.provider,
        operation="stream_job",
    )


async def _whole(stream: ByteStream) -> HttpReply:
    try:
        return HttpReply(status=stream.status, headers=stream.headers, body=await stream.read())
    finally:
        await stream.aclose()
