"""One serverless endpoint as a value: jobs, workers and webhooks, with time passed in.

::

               submit                take                  output ok
    (client) ─────────► IN_QUEUE ─────────► IN_PROGRESS ───────────────► COMPLETED
                         ▲  │ ▲   worker lost,  │  │ │      error, or lost
                         │  │ └── first time ───┘  │ │     a second time
                   retry │  │                      │ └──────────────────► FAILED ───────┐ retry
                         │  └─► CANCELLED ◄────────┤ execution timeout                  │
                         │       cancel            └────────────────────► TIMED_OUT ────┤
                         └──────────────────────────────────────────────────────────────┘

    any state ── time to live (unfinished) or retention (finished) over, or purged from the queue ──► forgotten (404)

Nothing here waits, reads a clock, or does I/O. Every operation takes ``now`` in seconds on a clock that never goes
back, and first lets happen whatever was due by then. What an operation changed is collected in :meth:`Queue.changes`,
so that a server knows whom to wake. Replies are the JSON objects of the endpoint's HTTP API.

Source: https://docs.runpod.io/serverless/endpoints/operation-reference and …/send-requests, read 2026-11.
Where those pages are silent (what cancelling a finished job answers, which ends call the webhook, what becomes of
an oversized result), the choice made is stated at the rule.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Any, NamedTuple

from attrs import Factory, define, field, frozen

from exatlas.providers.runpod.submission import RefusedError, Rules, Submission, milliseconds, read_submission


class JobState(StrEnum):
    """Where a job is, in the words of the wire."""

    IN_QUEUE = "IN_QUEUE"
    IN_PROGRESS = "IN_PROGRESS"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    TIMED_OUT = "TIMED_OUT"

    @property
    def is_terminal(self) -> bool:
        """Whether only `retry`, or being forgotten, can follow."""
        return self not in (JobState.IN_QUEUE, JobState.IN_PROGRESS)


class Topic(NamedTuple):
    """Something that changed: what kind of thing, and its id where it has one."""

    kind: str
    """`queue` (a job can be taken), `job`, `worker` (it asked for work for the first time), `stop` (it should look for
    stop signals), `stuck` (it does not obey them), or `webhook` (a delivery is due, now or later)."""
    id: str = ""


@frozen(kw_only=True)
class Delivery:
    """One webhook call to make now. Hand it back to :meth:`Queue.delivery_ended`."""

    url: str = field(repr=False)
    body: Mapping[str, Any] = field(repr=False)
    job_id: str
    attempt: int
    """1 for the first try."""


@define(kw_only=True)
class _Job:
    id: str
    wanted: Submission
    state: JobState
    expires_at: float
    """When the time to live is over; it counts from submission."""
    queued_at: float
    started_at: float | None = None
    ended_at: float | None = None
    worker: str | None = None
    output: Any = None
    has_output: bool = False
    error: Any = None
    retries: int = 0
    chunks: list[Mapping[str, Any]] = Factory(list)
    due: float = 0.0
    """The one moment at which time alone will change this job."""


@define(kw_only=True)
class _Stop:
    told_at: float | None = None
    """When the worker was last told; None: not yet."""
    since: float
    ignored: bool = False
    """Whether its worker was already reported as stuck."""


@define(kw_only=True)
class _Worker:
    seen_at: float
    polled: bool = False
    healthy: bool = True
    running: dict[str, None] = Factory(dict)
    """Jobs it works on, as far as the endpoint cares."""
    stops: dict[str, _Stop] = Factory(dict)
    """Jobs it should drop, and has not been heard to have dropped."""


class Queue:
    """The state of one endpoint. What a client asks for may raise :class:`RefusedError`; a worker is never refused."""

    def __init__(self, *, new_id: Callable[[], str], rules: Rules | None = None) -> None:
        """Start empty. ``new_id`` gives the unique middle part of each job id."""
        self.rules = rules or Rules()
        self._new_id = new_id
        self._jobs: dict[str, _Job] = {}
        self._waiting: OrderedDict[str, None] = OrderedDict()
        self._workers: dict[str, _Worker] = {}
        self._dues: list[tuple[float, int, str]] = []
        self._deliveries: list[tuple[float, int, Delivery]] = []
        self._order = count()
        self._totals = {"completed": 0, "failed": 0, "retried": 0}
        self._changes: set[Topic] = set()

    # --- what clients do ---

    def submit(self, body: Any, *, now: float, sync: bool = False, size: int = 0) -> dict[str, Any]:
        """Queue a job. ``body`` is the decoded request, ``size`` its length in bytes; 400 or 413 if it cannot be."""
        self.advance(now)
        limit = self._limit(sync)
        if size > limit:
            raise RefusedError(413, f"the request has {size} bytes; the limit is {limit}")
        wanted = read_submission(body, sync, self.rules)
        job = _Job(
            id=f"{'sync-' if sync else ''}{self._new_id()}-u1",
            wanted=wanted,
            state=JobState.IN_QUEUE,
            queued_at=now,
            expires_at=now + wanted.ttl_s,
        )
        self._jobs[job.id] = job
        self._enqueue(job, now)
        return {"id": job.id, "status": job.state.value}

    def status(self, job_id: str, *, now: float) -> dict[str, Any]:
        """The job object; 404 once it is expired, purged or was never there."""
        self.advance(now)
        return _view(self._job(job_id))

    def drain(self, job_id: str, *, now: float) -> dict[str, Any]:
        """The chunks that came since the last drain, which are gone from here on."""
        self.advance(now)
        job = self._job(job_id)
        chunks, job.chunks = job.chunks, []
        return {"status": job.state.value, "stream": chunks}

    def has_news(self, job_id: str, *, now: float) -> bool:
        """Whether a drain would give chunks or the end."""
        self.advance(now)
        job = self._job(job_id)
        return bool(job.chunks) or job.state.is_terminal

    def cancel(self, job_id: str, *, now: float) -> dict[str, Any]:
        """End a queued or running job at once; a running one's worker is told to stop.

        A job that is already finished is left alone, and its status is the answer (RunPod does not say).
        """
        self.advance(now)
        job = self._job(job_id)
        if not job.state.is_terminal:
            self._stop_worker_of(job, now)
            self._finish(job, JobState.CANCELLED, now)
        return {"id": job.id, "status": job.state.value}

    def retry(self, job_id: str, *, now: float) -> dict[str, Any]:
        """Queue a FAILED or TIMED_OUT job again under its id, without its old output; 400 in any other state.

        Its time to live starts anew (RunPod does not say): it may be over already.
        """
        self.advance(now)
        job = self._job(job_id)
        if job.state not in (JobState.FAILED, JobState.TIMED_OUT):
            raise RefusedError(400, f"only a FAILED or TIMED_OUT job can be retried; this one is {job.state}")
        job.output, job.has_output, job.error, job.chunks = None, False, None, []
        job.worker, job.started_at, job.ended_at, job.retries = None, None, None, 0
        job.expires_at = now + job.wanted.ttl_s
        self._totals["retried"] += 1
        self._enqueue(job, now)
        return {"id": job.id, "status": job.state.value}

    def purge(self, *, now: float) -> dict[str, Any]:
        """Forget every queued job; running ones go on."""
        self.advance(now)
        removed = list(self._waiting)
        for job_id in removed:
            self._forget(self._jobs[job_id], now)
        return {"removed": len(removed), "status": "completed"}

    def health(self, *, now: float) -> dict[str, Any]:
        """Counts of jobs (finished ones since the start) and of workers."""
        self.advance(now)
        workers = self._workers.values()
        running = sum(bool(worker.running) for worker in workers)
        unhealthy = sum(not worker.healthy for worker in workers)
        idle = sum(worker.healthy and worker.polled and not worker.running for worker in workers)
        return {
            "jobs": {
                **self._totals,
                "inProgress": sum(len(worker.running) for worker in workers),
                "inQueue": len(self._waiting),
            },
            "workers": {
                "idle": idle,
                "initializing": sum(w.healthy and not w.polled and not w.running for w in workers),
                "ready": idle,
                "running": running,
                "throttled": 0,
                "unhealthy": unhealthy,
            },
        }

    # --- what workers do ---

    def worker_joined(self, worker: str, *, now: float) -> None:
        """A worker is starting. Workers that just ask for work are known from then on."""
        self.advance(now)
        self._heard(worker, now)

    def worker_lost(self, worker: str, *, now: float) -> None:
        """A worker is gone: its jobs go back to the front of the queue, or fail when they have been there before."""
        self.advance(now)
        if state := self._workers.pop(worker, None):
            self._give_up_on(state, now)

    def take(self, worker: str, *, now: float, limit: int = 1, holding: bool | None = None) -> list[dict[str, Any]]:
        """Hand up to ``limit`` jobs to a worker, oldest first.

        Args:
            holding: Whether the worker says that it has jobs in hand. A worker that says no never got what it was
                sent, or failed to report its end: such jobs are treated like those of a lost worker.
        """
        self.advance(now)
        state = self._heard(worker, now)
        if not state.polled:
            state.polled = True
            self._touch("worker", worker)
        if holding is False:
            self._give_up_on(state, now)
        taken: list[dict[str, Any]] = []
        while self._waiting and len(taken) < limit:
            job = self._jobs[self._waiting.popitem(last=False)[0]]
            job.state, job.worker, job.started_at = JobState.IN_PROGRESS, worker, now
            state.running[job.id] = None
            state.stops.pop(job.id, None)  # meant for an earlier run of a retried job
            self._schedule(job, min(job.expires_at, now + job.wanted.execution_timeout_s))
            self._touch("job", job.id)
            taken.append({"id": job.id, "input": job.wanted.input, **job.wanted.extras})
        return taken

    def post_stream(self, worker: str, job_id: str, chunk: Mapping[str, Any], *, now: float, size: int = 0) -> bool:
        """Keep one chunk for the reader. False: the job is not this worker's (any more), and the chunk is dropped."""
        job = self._held(worker, job_id, now)
        if job is None:
            return False
        if size > self._limit(job.wanted.sync):
            raise RefusedError(413, f"the chunk has {size} bytes; the limit is {self._limit(job.wanted.sync)}")
        job.chunks.append(chunk)
        self._touch("job", job.id)
        return True

    def post_output(self, worker: str, job_id: str, body: Mapping[str, Any], *, now: float, size: int = 0) -> bool:
        """Take a worker's report: progress while ``status`` is IN_PROGRESS, else the end. False: not its job.

        A result over the payload limit fails the job with a message that says so (RunPod does not say).
        """
        is_progress = body.get("status") == JobState.IN_PROGRESS
        job = self._held(worker, job_id, now)
        if job is None:
            if not is_progress:
                self._workers[worker].stops.pop(job_id, None)
            return False
        limit = self._limit(job.wanted.sync)
        if is_progress:
            job.output, job.has_output = body.get("output"), "output" in body
            self._touch("job", job.id)
            return True
        if size > limit:
            body = {"error": f"the result has {size} bytes; the limit is {limit}"}
        self._workers[worker].running.pop(job.id)
        if body.get("error"):
            job.output, job.has_output, job.error = None, False, body["error"]
            self._finish(job, JobState.FAILED, now)
        else:
            job.output, job.has_output = body.get("output"), "output" in body
            self._finish(job, JobState.COMPLETED, now)
        return True

    def ping(self, worker: str, *, now: float, job_ids: Iterable[str] | None = None, healthy: bool = True) -> None:
        """A sign of life. ``job_ids``, where known, are the jobs in its hands: others are known to be dropped."""
        self.advance(now)
        state = self._heard(worker, now)
        state.healthy = healthy
        if job_ids is not None:
            held = set(job_ids)
            state.stops = {
                job_id: stop for job_id, stop in state.stops.items() if stop.told_at is None or job_id in held
            }

    def take_stops(self, worker: str, *, now: float) -> list[str]:
        """Ids of jobs this worker should stop. Told again every `Rules.stop_repeat_s` while it holds on to them."""
        self.advance(now)
        stops = self._heard(worker, now).stops
        due = [job_id for job_id, stop in stops.items() if self._stop_due(stop) <= now]
        for job_id in due:
            stops[job_id].told_at = now
        return due

    def next_stop(self, worker: str) -> float | None:
        """When :meth:`take_stops` will have something for this worker, as things stand; None for nothing."""
        state = self._workers.get(worker)
        return min((self._stop_due(stop) for stop in state.stops.values()), default=None) if state else None

    # --- webhooks ---

    def take_deliveries(self, *, now: float) -> list[Delivery]:
        """Webhook calls that are due. Each must be handed back to :meth:`delivery_ended`."""
        self.advance(now)
        taken = []
        while self._deliveries and self._deliveries[0][0] <= now:
            taken.append(heappop(self._deliveries)[2])
        return taken

    def delivery_ended(self, delivery: Delivery, *, accepted: bool, now: float) -> None:
        """Say how a webhook call went. A refused one is due again until its attempts are used up."""
        self.advance(now)
        if not accepted and delivery.attempt < self.rules.webhook_attempts:
            again = Delivery(url=delivery.url, body=delivery.body, job_id=delivery.job_id, attempt=delivery.attempt + 1)
            self._deliver(again, now + self.rules.webhook_gap_s)

    # --- time and change ---

    def advance(self, now: float) -> None:
        """Let everything happen that was due by ``now``. Every other operation does this first."""
        while self._dues and self._dues[0][0] <= now:
            entry = heappop(self._dues)
            if self._is_current(entry):
                self._time_out(self._jobs[entry[2]], entry[0])
        if self.rules.worker_silence_s is not None:
            silent = [n for n, w in self._workers.items() if w.seen_at + self.rules.worker_silence_s <= now]
            for name in silent:
                self._give_up_on(self._workers.pop(name), now)
        if self.rules.stop_grace_s is not None:
            for name, due, stop in list(self._unheeded(self.rules.stop_grace_s)):
                if due <= now:
                    stop.ignored = True
                    self._touch("stuck", name)

    def next_deadline(self, now: float) -> float | None:
        """When time alone will change something next, or None; never before ``now``. Deliveries not taken are due."""
        while self._dues and not self._is_current(self._dues[0]):
            heappop(self._dues)
        dues = [self._dues[0][0]] if self._dues else []
        if self._deliveries:
            dues.append(self._deliveries[0][0])
        if self.rules.worker_silence_s is not None:
            dues += [worker.seen_at + self.rules.worker_silence_s for worker in self._workers.values()]
        if self.rules.stop_grace_s is not None:
            dues += [due for _, due, _ in self._unheeded(self.rules.stop_grace_s)]
        return max(now, min(dues)) if dues else None

    def changes(self) -> set[Topic]:
        """What changed since the last call."""
        changes, self._changes = self._changes, set()
        return changes

    # --- inside ---

    def _job(self, job_id: str) -> _Job:
        job = self._jobs.get(job_id)
        if job is None:
            raise RefusedError(404, "job not found: it expired, was purged, or never was")
        return job

    def _limit(self, sync: bool) -> int:
        return self.rules.runsync_bytes if sync else self.rules.run_bytes

    def _held(self, worker: str, job_id: str, now: float) -> _Job | None:
        """The job, if it is in progress in this worker's hands."""
        self.advance(now)
        state = self._heard(worker, now)
        return self._jobs[job_id] if job_id in state.running else None

    def _heard(self, worker: str, now: float) -> _Worker:
        state = self._workers.setdefault(worker, _Worker(seen_at=now))
        state.seen_at = now
        return state

    def _enqueue(self, job: _Job, now: float, *, first: bool = False) -> None:
        job.state, job.queued_at = JobState.IN_QUEUE, now
        self._waiting[job.id] = None
        if first:
            self._waiting.move_to_end(job.id, last=False)
        self._schedule(job, job.expires_at)
        self._touch("job", job.id)
        self._touch("queue")

    def _finish(self, job: _Job, state: JobState, now: float) -> None:
        self._waiting.pop(job.id, None)
        job.state, job.ended_at = state, now
        keep_s = self.rules.keep_runsync_s if job.wanted.sync else self.rules.keep_run_s
        self._schedule(job, now + keep_s)
        self._touch("job", job.id)
        if state in (JobState.COMPLETED, JobState.FAILED):
            self._totals[state.value.lower()] += 1
        if job.wanted.webhook is not None:  # all four ends call it; RunPod documents it for no end in particular
            body = {**_view(job), "input": job.wanted.input, "webhook": job.wanted.webhook}
            self._deliver(Delivery(url=job.wanted.webhook, body=body, job_id=job.id, attempt=1), now)

    def _time_out(self, job: _Job, now: float) -> None:
        if job.state is JobState.IN_PROGRESS and now < job.expires_at:
            self._stop_worker_of(job, now)
            job.output, job.has_output, job.error = None, False, "executionTimeout exceeded"
            self._finish(job, JobState.TIMED_OUT, now)
        else:
            self._forget(job, now)

    def _forget(self, job: _Job, now: float) -> None:
        self._stop_worker_of(job, now)
        self._waiting.pop(job.id, None)
        del self._jobs[job.id]
        self._touch("job", job.id)

    def _stop_worker_of(self, job: _Job, now: float) -> None:
        if job.state is JobState.IN_PROGRESS and job.worker is not None:
            worker = self._workers[job.worker]
            worker.running.pop(job.id)
            worker.stops[job.id] = _Stop(since=now)
            self._touch("stop", job.worker)

    def _give_up_on(self, worker: _Worker, now: float) -> None:
        lost = [self._jobs[job_id] for job_id in worker.running]
        worker.running.clear()
        worker.stops.clear()
        for job in reversed(lost):  # so that the oldest ends up first in the queue
            if job.retries >= self.rules.redispatches:
                job.output, job.has_output = None, False
                job.error = f"job timed out after {job.retries} retries"
                self._finish(job, JobState.FAILED, now)
            else:
                job.retries += 1
                job.started_at, job.output, job.has_output = None, None, False
                self._totals["retried"] += 1
                self._enqueue(job, now, first=True)

    def _unheeded(self, grace_s: float) -> Iterator[tuple[str, float, _Stop]]:
        """Stop signals that can still make their worker count as stuck: whose, when, which."""
        for name, worker in self._workers.items():
            for stop in worker.stops.values():
                if not stop.ignored:
                    yield name, stop.since + grace_s, stop

    def _stop_due(self, stop: _Stop) -> float:
        return stop.since if stop.told_at is None else stop.told_at + self.rules.stop_repeat_s

    def _schedule(self, job: _Job, due: float) -> None:
        job.due = due
        heappush(self._dues, (due, next(self._order), job.id))
        if len(self._dues) > 4 * len(self._jobs) + 64:  # mostly moments that have been replaced by later ones
            self._dues = [entry for entry in self._dues if self._is_current(entry)]
            heapify(self._dues)

    def _is_current(self, entry: tuple[float, int, str]) -> bool:
        job = self._jobs.get(entry[2])
        return job is not None and job.due == entry[0]

    def _deliver(self, delivery: Delivery, due: float) -> None:
        heappush(self._deliveries, (due, next(self._order), delivery))
        self._touch("webhook")

    def _touch(self, kind: str, subject: str = "") -> None:
        self._changes.add(Topic(kind, subject))


def _view(job: _Job) -> dict[str, Any]:
    """The job object: fields appear once they mean something."""
    view: dict[str, Any] = {"id": job.id, "status": job.state.value}
    if job.started_at is not None:
        view["delayTime"] = milliseconds(job.started_at - job.queued_at)
        view["workerId"] = job.worker
        if job.ended_at is not None:
            view["executionTime"] = milliseconds(job.ended_at - job.started_at)
    if job.has_output:
        view["output"] = job.output
    if job.error is not None:
        view["error"] = job.error
    if job.retries:
        view["retries"] = job.retries
    return view
