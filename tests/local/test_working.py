import asyncio
import json

import pytest

from exatlas.local.handlers import Options
from exatlas.local.working import Worker


class Line:
    """A link that a test holds the other end of."""

    def __init__(self):
        self.jobs = asyncio.Queue()
        self.signals = asyncio.Queue()
        self.asked = []
        self.told = []
        self.chunks = []
        self.ends = {}
        self.ended = asyncio.Event()

    def put(self, *ids, **given):
        self.jobs.put_nowait([{"id": job_id, "input": given} for job_id in ids])

    async def take(self, limit, held):
        self.asked.append((limit, held))
        return await self.jobs.get()

    async def stops(self, held):
        self.told.append(held)
        return await self.signals.get()

    async def stream(self, job_id, text):
        self.chunks.append((job_id, json.loads(text)["output"]))

    async def done(self, job_id, text):
        self.ends[job_id] = json.loads(text)
        self.ended.set()


@pytest.fixture
def line():
    return Line()


async def settle():
    for _ in range(10):
        await asyncio.sleep(0)


def start(line, handler, concurrency=1):
    worker = Worker(line, Options(handler, "w"), concurrency)
    return worker, asyncio.create_task(worker.run())


async def end(worker, running):
    worker.retire()
    await running


async def test_jobs_are_run_and_reported(line):
    async def handler(job):
        yield job["id"]

    worker, running = start(line, handler)
    line.put("a")
    line.put("b")
    await settle()
    assert line.chunks == [("a", "a"), ("b", "b")]
    assert line.ends == {"a": {"output": []}, "b": {"output": []}}
    await end(worker, running)


async def test_a_worker_asks_for_as_much_as_it_has_room_for(line):
    release = asyncio.Event()

    async def handler(job):
        await release.wait()

    worker, running = start(line, handler, concurrency=3)
    line.put("a")
    await settle()
    line.put("b", "c")
    await settle()
    assert line.asked == [(3, []), (2, ["a"])]
    assert worker.held == ["a", "b", "c"]
    release.set()
    await end(worker, running)
    assert set(line.ends) == {"a", "b", "c"}


async def test_a_stop_signal_cancels_its_job_and_no_other(line):
    async def handler(job):
        await asyncio.Event().wait()

    worker, running = start(line, handler, concurrency=2)
    line.put("a", "b")
    await settle()
    line.signals.put_nowait(["a", "unknown"])
    await settle()
    assert worker.held == ["b"]
    assert line.ends == {}
    line.signals.put_nowait(["b"])
    await settle()
    assert worker.held == []
    await end(worker, running)


async def test_a_repeated_stop_signal_does_not_disturb_the_tidying_up(line):
    tidy, log = asyncio.Event(), []

    async def handler(job):
        try:
            await asyncio.Event().wait()
        finally:
            await tidy.wait()
            log.append("tidied")

    worker, running = start(line, handler)
    line.put("a")
    await settle()
    for _ in range(2):
        line.signals.put_nowait(["a"])
        await settle()
    assert worker.held == ["a"]
    tidy.set()
    await settle()
    assert (worker.held, log) == ([], ["tidied"])
    await end(worker, running)


async def test_retiring_finishes_what_was_taken(line):
    release = asyncio.Event()

    async def handler(job):
        await release.wait()
        return 1

    worker, running = start(line, handler)
    line.put("a")
    await settle()
    worker.retire()
    await settle()
    assert not running.done()
    release.set()
    await running
    assert line.ends == {"a": {"output": 1}}


async def test_cancelling_the_worker_cancels_its_jobs(line):
    log = []

    async def handler(job):
        try:
            await asyncio.Event().wait()
        finally:
            log.append(job["id"])

    _, running = start(line, handler, concurrency=2)
    line.put("a", "b")
    await settle()
    running.cancel()
    await asyncio.wait([running])
    assert (running.cancelled(), sorted(log), line.ends) == (True, ["a", "b"], {})
