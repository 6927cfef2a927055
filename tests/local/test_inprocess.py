import asyncio
import logging
import threading

import pytest

from exatlas.clock import SystemClock
from exatlas.local import inprocess
from exatlas.local.desk import Desk
from exatlas.local.handlers import Options
from exatlas.local.inprocess import DirectLink, run_in_process
from exatlas.local.working import Worker
from exatlas.providers.runpod.queue import Queue, Topic
from exatlas.providers.runpod.submission import Rules


@pytest.fixture
def desk():
    return Desk(Queue(new_id=iter("abcdef").__next__, rules=Rules(run_bytes=100)), SystemClock())


@pytest.fixture
async def start(desk):
    """Start a worker for a handler; it is dismissed at the end."""
    running = []

    def start(handler, grace_s=5.0):
        worker = Worker(DirectLink(desk, "w"), Options(handler, "w"), 1)
        running.append(asyncio.create_task(run_in_process(worker, grace_s)))
        return running[-1]

    yield start
    for task in running:
        task.cancel()
    if running:
        await asyncio.wait(running)


def submit(desk, **given) -> str:
    return desk.ask(Queue.submit, {"input": given})["id"]


async def ended(desk, job):
    await desk.until(Topic("job", job), lambda: "executionTime" in desk.ask(Queue.status, job), 10)
    return desk.ask(Queue.status, job)


async def test_a_job_goes_through(desk, start):
    def handler(job):
        yield job["input"]["x"]

    start(handler)
    job = submit(desk, x=5)
    assert (await ended(desk, job))["status"] == "COMPLETED"
    assert desk.ask(Queue.drain, job)["stream"] == [{"output": 5}]


async def test_a_handler_cannot_change_what_the_queue_holds(desk, start):
    async def handler(job):
        job["input"]["x"].append(1)
        raise LookupError

    start(handler)
    job = submit(desk, x=[0])
    await ended(desk, job)
    desk.ask(Queue.retry, job)
    assert "[0, 1]" not in repr(desk.queue._jobs[job].wanted.input)


async def test_cancelling_a_job_frees_the_worker_for_the_next(desk, start):
    started, log = asyncio.Event(), []

    async def handler(job):
        if job["input"]["wait"]:
            try:
                started.set()
                await asyncio.Event().wait()
            finally:
                log.append("cancelled")
        return 1

    start(handler)
    first, second = submit(desk, wait=True), submit(desk, wait=False)
    await started.wait()
    desk.ask(Queue.cancel, first)
    assert (await ended(desk, second))["output"] == 1
    assert log == ["cancelled"]
    assert desk.queue.next_stop("w") is None


async def test_a_chunk_over_the_limit_fails_its_job(desk, start):
    async def handler(job):
        yield "x" * 100

    start(handler)
    view = await ended(desk, submit(desk, x=1))
    assert view["error"] == "the chunk has 114 bytes; the limit is 100"


async def test_dismissal_waits_for_threads_that_end_in_time(desk, start):
    loop, started, release = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    def handler(job):
        loop.call_soon_threadsafe(started.set)
        release.wait()

    running = start(handler)
    submit(desk, x=1)
    await started.wait()
    running.cancel()
    for _ in range(5):
        await asyncio.sleep(0)
    assert not running.done()
    release.set()
    await asyncio.wait([running])
    assert running.cancelled()


async def test_dismissal_leaves_behind_threads_that_do_not(desk, start):
    loop, started, release = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    def handler(job):
        loop.call_soon_threadsafe(started.set)
        release.wait()

    running = start(handler, grace_s=0.01)
    submit(desk, x=1)
    await started.wait()
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()
    release.set()


async def test_impatient_dismissal_does_not_wait_for_the_grace(desk, start):
    loop, started, release = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    def handler(job):
        loop.call_soon_threadsafe(started.set)
        release.wait()

    running = start(handler, grace_s=3600)
    submit(desk, x=1)
    await started.wait()
    running.cancel()
    for _ in range(5):
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()
    release.set()


async def test_a_handler_that_ignores_cancellation_cannot_hold_up_the_end(desk, start, monkeypatch, caplog):
    monkeypatch.setattr(inprocess, "LAST_CHANCE_S", 0.01)
    started, release = asyncio.Event(), asyncio.Event()

    async def handler(job):
        started.set()
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    running = start(handler, grace_s=0.01)
    submit(desk, x=1)
    await started.wait()
    running.cancel()
    with caplog.at_level(logging.WARNING, "exatlas.local"):
        await asyncio.wait([running])
    assert "handlers of 1 jobs do not end" in caplog.text
    release.set()
    for _ in range(10):
        await asyncio.sleep(0)
