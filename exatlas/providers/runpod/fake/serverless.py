"""The fake's serverless endpoints: the shared queue, and workers that run a handler on a clock.

A worker takes a job `start_s` after it may, and hands out one step of the handler every `step_s`. Nothing runs between
calls: each call first lets happen, in order of time, what was due by then.
"""

import asyncio
import inspect
import json
import traceback
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from typing import Any
from urllib.parse import parse_qs

import orjson
from attrs import define, field

from exatlas.fakes.replies import json_reply
from exatlas.messages import HttpCall, HttpReply, encode
from exatlas.protocols import Clock
from exatlas.providers.runpod.queue import Queue
from exatlas.providers.runpod.submission import RefusedError, Rules

Handler = Callable[[dict[str, Any]], Any]
"""What a worker runs: takes `{"id", "input"}`, and returns, awaits, yields or asynchronously yields its output."""

DEFAULT_HOLD_S = {"stream": 10.0, "runsync": 90.0, "status-sync": 90.0}
HOLD_MS = (1000, 300000)
LIMITS = {"run": 1000, "runsync": 2000, "status": 2000, "stream": 2000, "cancel": 100, "purge-queue": 2}
"""Requests per 10 s."""
CONCURRENT = {"run": 200, "runsync": 400, "status": 400, "stream": 400, "cancel": 20}
WINDOW_S = 10.0


def script(*outputs: Any, fails: str | None = None) -> Handler:
    """A generator handler that yields the outputs and then ends, or raises RuntimeError with the text."""

    def handler(_job: dict[str, Any]) -> Any:
        yield from outputs
        if fails is not None:
            raise RuntimeError(fails)

    return handler


@define
class _Worker:
    name: str
    wakes_at: float | None = None
    """When it looks for a job, or takes the next step of the one it has."""
    job_id: str | None = None
    steps: AsyncIterator[tuple[str, Any]] | None = None
    collected: list[Any] = field(factory=list)


class FakeEndpoint:
    """One queue endpoint with its workers."""

    def __init__(
        self,
        handler: Handler,
        clock: Clock,
        *,
        new_id: Callable[[], str],
        workers: int = 1,
        start_s: float = 0.0,
        step_s: float = 0.0,
        aggregate: bool = False,
        rules: Rules | None = None,
        bare_stream: bool = False,
        takes_wait: bool = True,
        limited: bool = False,
    ) -> None:
        """Make an endpoint that nobody has called yet.

        Args:
            aggregate: Whether a generator's outputs become the job's output, as `return_aggregate_stream` does.
            bare_stream: Whether `/stream` answers with the bare array that RunPod's documentation shows.
            takes_wait: Whether `/stream` accepts `wait`; if not, it answers 400 to it.
            limited: Whether RunPod's request limits are enforced with 429.
        """
        self.queue = Queue(new_id=new_id, rules=rules)
        self._handler = handler
        self._clock = clock
        self._workers = [_Worker(f"worker{number}") for number in range(workers)]
        self._start_s = start_s
        self._step_s = step_s
        self._aggregate = aggregate
        self._bare_stream = bare_stream
        self._takes_wait = takes_wait
        self._limited = limited
        self._watchers: list[asyncio.Future[None]] = []
        self._advancing = asyncio.Lock()
        self._sent: dict[str, deque[float]] = {}
        self._open: dict[str, int] = {}
        self.refused = 0
        """How often a request limit said no."""
        self.webhooks: list[tuple[str, Mapping[str, Any]]] = []
        """Address and body of each webhook call it would have made."""
        self.served: dict[str, int] = {}
        """How often each verb was answered."""
        for worker in self._workers:
            self.queue.worker_joined(worker.name, now=clock.monotonic())

    async def handle(self, call: HttpCall, verb: str, job_id: str | None, query: str) -> HttpReply:
        """Answer one call to `/{verb}` or `/{verb}/{job_id}`."""
        if self._limited and not self._admit(verb):
            self.refused += 1
            return json_reply(429, {"error": "too many requests"})
        self._open[verb] = self._open.get(verb, 0) + 1
        try:
            reply = await self._answer(call, verb, job_id, parse_qs(query))
        except RefusedError as refusal:
            reply = json_reply(refusal.status, {"error": refusal.message})
        finally:
            self._open[verb] -= 1
        self.served[verb] = self.served.get(verb, 0) + 1
        return reply

    def _admit(self, verb: str) -> bool:
        now = self._clock.monotonic()
        sent = self._sent.setdefault(verb, deque())
        while sent and sent[0] <= now - WINDOW_S:
            sent.popleft()
        if len(sent) >= LIMITS.get(verb, 10**9) or self._open.get(verb, 0) >= CONCURRENT.get(verb, 10**9):
            return False
        sent.append(now)
        return True

    async def _answer(self, call: HttpCall, verb: str, job_id: str | None, query: Mapping[str, list[str]]) -> HttpReply:
        await self.advance()
        now = self._clock.monotonic()
        if verb in {"run", "runsync"} and call.method == "POST":
            return await self._submit(call, verb, query)
        if verb == "purge-queue" and call.method == "POST":
            return await self._changed(self.queue.purge(now=now))
        if verb == "health" and call.method == "GET":
            return json_reply(200, self.queue.health(now=now))
        if job_id is None:
            return json_reply(404, {"status": 404, "title": "Not Found", "detail": "no such route"})
        if verb == "status" and call.method == "GET":
            return json_reply(200, self.queue.status(job_id, now=now))
        if verb == "stream" and call.method == "GET":
            return await self._stream(job_id, query)
        if verb == "cancel" and call.method == "POST":
            return await self._changed(self.queue.cancel(job_id, now=now))
        if verb == "retry" and call.method == "POST":
            return await self._changed(self.queue.retry(job_id, now=now))
        return HttpReply(status=405, headers={"allow": "GET, POST", "content-type": "text/plain"}, body=b"")

    async def _submit(self, call: HttpCall, verb: str, query: Mapping[str, list[str]]) -> HttpReply:
        size = len(call.body or b"")
        hold_s = self._hold_s(verb, query) if verb == "runsync" else 0.0
        try:
            body = orjson.loads(call.body or b"null")
        except orjson.JSONDecodeError as error:
            raise RefusedError(400, "the request body is not JSON") from error
        sync = verb == "runsync"
        job = self.queue.submit(body, now=self._clock.monotonic(), sync=sync, size=size)
        await self._after_change()
        if not sync:
            return json_reply(200, job)
        job_id = job["id"]
        await self._hold(hold_s, lambda now: _is_over(self.queue.status(job_id, now=now)))
        return json_reply(200, self.queue.status(job_id, now=self._clock.monotonic()))

    async def _stream(self, job_id: str, query: Mapping[str, list[str]]) -> HttpReply:
        if "wait" in query and not self._takes_wait:
            raise RefusedError(400, "unknown query parameter: wait")
        await self._hold(self._hold_s("stream", query), lambda now: self.queue.has_news(job_id, now=now))
        page = self.queue.drain(job_id, now=self._clock.monotonic())
        return json_reply(200, page["stream"] if self._bare_stream else page)

    def _hold_s(self, verb: str, query: Mapping[str, list[str]]) -> float:
        if "wait" not in query:
            return DEFAULT_HOLD_S[verb]
        text = query["wait"][0]
        if not text.isdecimal() or not HOLD_MS[0] <= int(text) <= HOLD_MS[1]:
            raise RefusedError(400, f"wait must be between {HOLD_MS[0]} and {HOLD_MS[1]}")
        return int(text) / 1000

    async def _changed(self, reply: dict[str, Any]) -> HttpReply:
        await self._after_change()
        return json_reply(200, reply)

    async def _after_change(self) -> None:
        now = self._clock.monotonic()
        for worker in self._workers:
            if worker.job_id is None and worker.wakes_at is None:
                worker.wakes_at = now + self._start_s
        await self.advance()

    async def _hold(self, hold_s: float, ready: Callable[[float], bool]) -> None:
        """Keep a call until something is there for it, or its time is over."""
        ends = self._clock.monotonic() + hold_s
        while not ready(now := self._clock.monotonic()) and now < ends:
            await self._until_change(min([ends, *self._dues(now)]) - now)
            await self.advance()

    def _dues(self, now: float) -> list[float]:
        dues = [worker.wakes_at for worker in self._workers if worker.wakes_at is not None]
        deadline = self.queue.next_deadline(now)
        return [due for due in (*dues, deadline) if due is not None and due > now]

    async def _until_change(self, seconds: float) -> None:
        change = asyncio.get_running_loop().create_future()
        self._watchers.append(change)
        sleep = asyncio.ensure_future(self._clock.sleep(seconds))
        try:
            await asyncio.wait({change, sleep}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._watchers = [watcher for watcher in self._watchers if watcher is not change]
            sleep.cancel()
            await asyncio.gather(sleep, return_exceptions=True)

    async def advance(self) -> None:
        """Let everything happen that is due by now."""
        async with self._advancing:
            now = self._clock.monotonic()
            while worker := self._next_worker(now):
                due = worker.wakes_at or 0.0
                worker.wakes_at = None
                await self._step(worker, due)
            self.queue.advance(now)
            await self._stop_workers(now)
            self._deliver(now)
            changed = any(topic.kind == "job" for topic in self.queue.changes())
        for watcher in self._watchers if changed else ():
            if not watcher.done():
                watcher.set_result(None)

    def _deliver(self, now: float) -> None:
        for delivery in self.queue.take_deliveries(now=now):
            self.webhooks.append((delivery.url, delivery.body))
            self.queue.delivery_ended(delivery, accepted=True, now=now)

    def _next_worker(self, now: float) -> _Worker | None:
        due = [worker for worker in self._workers if worker.wakes_at is not None and worker.wakes_at <= now]
        return min(due, key=lambda worker: worker.wakes_at or 0.0, default=None)

    async def _step(self, worker: _Worker, at: float) -> None:
        if worker.job_id is None:
            self._take(worker, at)
            return
        await self._stop_workers(at)
        if worker.steps is None or worker.job_id is None:
            return
        kind, value = await anext(worker.steps)
        job_id = worker.job_id
        if kind == "chunk" and not (isinstance(value, dict) and value.get("error")):
            worker.collected.append(value)
            self.queue.post_stream(worker.name, job_id, {"output": value}, now=at, size=len(encode(value)))
            worker.wakes_at = at + self._step_s
            return
        body = self._report(kind, value, worker.collected)
        self.queue.post_output(worker.name, job_id, body, now=at, size=len(encode(body)))
        self._free(worker, at)

    def _report(self, kind: str, value: Any, collected: list[Any]) -> dict[str, Any]:
        if kind == "error":
            return {"error": value}
        if kind == "chunk":  # a yielded error ends the job
            return {"error": value["error"]}
        if kind == "end":
            return {"output": collected if self._aggregate else []}
        if isinstance(value, dict) and value.get("error"):
            return {"error": value["error"]}
        return {} if value in (None, {}) else {"output": value}

    def _take(self, worker: _Worker, at: float) -> None:
        jobs = self.queue.take(worker.name, now=at)
        if jobs:
            worker.job_id, worker.collected = jobs[0]["id"], []
            worker.steps = _steps(self._handler, {"id": jobs[0]["id"], "input": jobs[0]["input"]})
            worker.wakes_at = at + self._step_s

    def _free(self, worker: _Worker, at: float) -> None:
        worker.job_id, worker.steps = None, None
        worker.wakes_at = at + self._start_s

    async def _stop_workers(self, now: float) -> None:
        for worker in self._workers:
            stopped = self.queue.take_stops(worker.name, now=now)
            if worker.job_id in stopped:
                if isinstance(worker.steps, AsyncGenerator):
                    await worker.steps.aclose()
                self._free(worker, now)
            if stopped:
                self.queue.ping(worker.name, now=now, job_ids=[worker.job_id] if worker.job_id else [])


def _is_over(job: Mapping[str, Any]) -> bool:
    return job["status"] in {"COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"}


async def _steps(handler: Handler, job: dict[str, Any]) -> AsyncGenerator[tuple[str, Any], None]:
    """What a handler does, one step at a time: `chunk`s and an `end`, or one `output`, or an `error`."""
    try:
        result = handler(job)
        if inspect.isawaitable(result):
            result = await result
        if inspect.isasyncgen(result):
            async for output in result:
                yield "chunk", output
            yield "end", None
        elif inspect.isgenerator(result):
            for output in result:
                yield "chunk", output
            yield "end", None
        else:
            yield "output", result
    except Exception as error:  # noqa: BLE001 - a worker reports whatever its handler raises
        yield "error", error_text(error)


def error_text(error: Exception) -> str:
    """An exception as Python workers report it: a JSON string."""
    return json.dumps(
        {
            "error_type": str(type(error)),
            "error_message": str(error),
            "error_traceback": "".join(traceback.format_exception(error)),
            "hostname": "fake",
            "worker_id": "worker0",
            "runpod_version": "1.12.0",
        }
    )
