"""A cloud of one job, drained by polls: what the stream loop is tested against."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from exatlas.clock import ManualClock
from exatlas.errors import (
    InvalidRequestError,
    NotFoundError,
    ProviderBrokenError,
    RateLimitedError,
    ReplyShapeError,
    TransportError,
)
from exatlas.messages import HttpCall, HttpReply
from exatlas.protocols import Context
from exatlas.records.job import Job, JobFault, JobRef, JobStatus
from exatlas.streaming.pages import PollPage, PollSource
from exatlas.transport.budget import Budget, Limits
from exatlas.transport.inprocess import InProcessTransport, StreamingReply

REFUSALS = {
    400: InvalidRequestError,
    404: NotFoundError,
    429: RateLimitedError,
    500: ProviderBrokenError,
    502: ProviderBrokenError,
}


class OneJobCloud:
    """Hands each chunk out once, holds polls, and loses replies when told to."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.status = "IN_PROGRESS"
        self.buffer: list[Any] = []
        self.output: Any = None
        self.error: str | None = None
        self.arrival = asyncio.Event()
        self.faults: list[Any] = []
        self.polls: list[float] = []
        self.status_calls = 0
        self.held = 0
        self.pushes: AsyncIterator[bytes] | None = None
        self.event_ids: list[str | None] = []

    def put(self, *outputs: Any) -> None:
        self.buffer += outputs
        self.arrival.set()

    def finish(self, status: str = "COMPLETED", *, output: Any = None, error: str | None = None) -> None:
        self.status, self.output, self.error = status, output, error
        self.arrival.set()

    async def handle(self, call: HttpCall) -> HttpReply | StreamingReply:
        if call.operation == "get_job":
            self.status_calls += 1
            return self._answer({"status": self.status, "output": self.output, "error": self.error})
        hold_s, _, last_id = call.headers["x-test"].partition(" ")
        self.polls.append(float(hold_s))
        self.event_ids.append(last_id or None)
        fault = self.faults.pop(0) if self.faults else None
        if isinstance(fault, int):
            return HttpReply(status=fault)
        if isinstance(fault, TransportError) and fault.delivered is False:
            raise fault
        if self.pushes is not None:
            return StreamingReply(status=200, headers={"content-type": "text/event-stream"}, body=self.pushes)
        await self._hold(float(hold_s))
        page, self.buffer = self.buffer, []
        self.arrival.clear()
        if isinstance(fault, Exception):
            raise fault
        if fault == "garbage":
            return HttpReply(status=200, body=b"<html>")
        return self._answer({"status": self.status, "stream": [{"output": item} for item in page]})

    async def _hold(self, seconds: float) -> None:
        if self.buffer or self.status != "IN_PROGRESS" or not seconds:
            return
        self.held += 1
        waiting = asyncio.ensure_future(self.arrival.wait())
        bell = asyncio.ensure_future(self.clock.sleep(seconds))
        try:
            await asyncio.wait([waiting, bell], return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
            bell.cancel()
            self.held -= 1

    def _answer(self, body: Any) -> HttpReply:
        return HttpReply(status=200, headers={"content-type": "application/json"}, body=orjson.dumps(body))


def read_page(reply: HttpReply) -> PollPage:
    if reply.status != 200:
        raise REFUSALS[reply.status]("refused", status=reply.status)
    return _page(reply.json())


def _page(body: Any) -> PollPage:
    items = [(item["output"], item.get("metrics")) for item in body.get("stream", [])]
    return PollPage(status=JobStatus(body["status"].lower()), items=items)


def read_events(events: Any) -> PollPage:
    bodies = [orjson.loads(event.data) for event in events]
    pages = [_page(body) for body in bodies]
    return PollPage(status=pages[-1].status, items=[item for page in pages for item in page.items])


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def cloud(clock: ManualClock) -> OneJobCloud:
    return OneJobCloud(clock)


@pytest.fixture
def ctx(cloud: OneJobCloud, clock: ManualClock) -> Context:
    return Context(
        provider="test", transport=InProcessTransport(cloud.handle), clock=clock, account=f"account-{id(cloud)}"
    )


@pytest.fixture
def source(cloud: OneJobCloud, ctx: Context) -> PollSource:
    return make_source(ctx)


def make_source(ctx: Context, limits: Limits | None = None) -> PollSource:
    job = JobRef(id="job-1", endpoint="ep")

    def call(operation: str, note: str = "") -> HttpCall:
        url = f"http://127.0.0.1/{operation}/{job.id}"
        return HttpCall(
            provider="test", operation=operation, method="GET", url=url, template="/x/{id}", headers={"x-test": note}
        )

    async def fetch_job() -> Job:
        reply = await ctx.transport.send(call("get_job"))
        body = reply.json()
        fault = JobFault(message=body["error"]) if body["error"] else None
        status = JobStatus(body["status"].lower())
        return Job(id=job.id, provider="test", endpoint="ep", status=status, output=body["output"], error=fault)

    return PollSource(
        job=job,
        poll_call=lambda hold_s, last_id: call("stream_job", f"{hold_s} {last_id or ''}"),
        read_page=read_page,
        read_events=read_events,
        fetch_job=fetch_job,
        budget=Budget(limits or Limits(requests=1000, per_s=1.0, concurrent=100), ctx.clock),
    )


__all__ = ["OneJobCloud", "ReplyShapeError", "make_source"]
