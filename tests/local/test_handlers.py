import asyncio
import contextvars
import functools
import json
import threading

import pytest

from exatlas.local.handlers import Options, run_job

JOB = {"id": "j", "input": {"n": 3}}


async def run(handler, aggregate=False, job=None):
    """The chunks a handler sent, and its report."""
    chunks = []

    async def emit(text):
        chunks.append(json.loads(text)["output"])

    report = await run_job(Options(handler, "w", aggregate), job or JOB, emit)
    return chunks, json.loads(report)


def plain(job):
    return {"n": job["input"]["n"]}


async def coroutine(job):
    await asyncio.sleep(0)
    return plain(job)


def generator(job):
    yield from range(job["input"]["n"])


async def async_generator(job):
    for i in range(job["input"]["n"]):
        await asyncio.sleep(0)
        yield i


class Callable:
    def __init__(self, call):
        self._call = call

    def __call__(self, job):
        return self._call(job)


class AsyncCallable:
    async def __call__(self, job):
        return plain(job)


class GeneratorCallable:
    def __call__(self, job):
        yield from generator(job)


@pytest.mark.parametrize(
    "handler",
    [
        plain,
        coroutine,
        functools.partial(plain),
        functools.partial(coroutine),
        Callable(plain),
        Callable(coroutine),
        AsyncCallable(),
    ],
    ids=repr,
)
async def test_what_a_handler_returns_is_the_output(handler):
    assert await run(handler) == ([], {"output": {"n": 3}})


@pytest.mark.parametrize(
    "handler", [generator, async_generator, functools.partial(generator), GeneratorCallable()], ids=repr
)
async def test_what_a_generator_yields_are_the_chunks(handler):
    assert await run(handler) == ([0, 1, 2], {"output": []})
    assert await run(handler, aggregate=True) == ([0, 1, 2], {"output": [0, 1, 2]})


@pytest.mark.parametrize(
    ("returned", "report"),
    [
        (None, {"output": None}),
        (False, {"output": False}),
        ([1, (2, 3)], {"output": [1, [2, 3]]}),
        ({}, {}),
        ({"error": "no"}, {"error": "no"}),
        ({"error": "", "a": 1}, {"output": {"a": 1}}),
        ({"error": {"code": 5}, "a": 1}, {"error": {"code": 5}, "output": {"a": 1}}),
        ({"refresh_worker": True, "a": 1}, {"output": {"a": 1}, "stopPod": True}),
    ],
)
async def test_what_the_report_says_for_what_was_returned(returned, report):
    assert await run(lambda _: returned) == ([], report)


async def test_the_returned_dict_stays_as_it_was():
    returned = {"error": "no", "refresh_worker": True}
    await run(lambda _: returned)
    assert returned == {"error": "no", "refresh_worker": True}


def raises(job):
    raise LookupError("boom")


async def raises_async(job):
    raise LookupError("boom")


def raises_later(job):
    yield 1
    raise LookupError("boom")


async def raises_later_async(job):
    yield 1
    raise LookupError("boom")


@pytest.mark.parametrize("handler", [raises, raises_async, raises_later, raises_later_async])
async def test_an_exception_is_told_with_its_type_and_traceback(handler):
    chunks, report = await run(handler)
    error = json.loads(report["error"])
    assert (error["error_type"], error["error_message"], error["worker_id"]) == ("<class 'LookupError'>", "boom", "w")
    assert handler.__name__ in error["error_traceback"]
    assert chunks == ([1] if "later" in handler.__name__ else [])


def exits(job):
    raise SystemExit(3)


async def exits_async(job):
    raise SystemExit(3)


def stops(job):
    raise StopIteration(3)


@pytest.mark.parametrize("handler", [exits, exits_async, stops])
async def test_a_handler_that_tries_to_leave_only_fails_its_job(handler):
    _, report = await run(handler)
    assert json.loads(report["error"])["error_type"]


def soft(job):
    yield 1
    yield {"error": "soft", "more": 1}
    yield 3


async def soft_async(job):
    for chunk in soft(job):
        yield chunk


@pytest.mark.parametrize("handler", [soft, soft_async])
async def test_yielding_an_error_ends_the_job_and_is_no_chunk(handler):
    assert await run(handler, aggregate=True) == ([1], {"error": "soft"})


@pytest.mark.parametrize("value", [{1, 2}, float("nan"), object(), {"a": b"x"}], ids=repr)
async def test_what_json_does_not_have_fails_the_job(value):
    def yields(job):
        yield value

    for handler in (lambda _: value, yields):
        chunks, report = await run(handler)
        assert chunks == []
        assert "JSON" in json.loads(report["error"])["error_message"]


async def test_one_object_yielded_again_and_again_is_many_chunks():
    def handler(job):
        chunk = {}
        for i in range(2):
            chunk["i"] = i
            yield chunk

    assert await run(handler, aggregate=True) == ([{"i": 0}, {"i": 1}], {"output": [{"i": 0}, {"i": 1}]})


async def test_a_sync_generator_runs_in_one_thread_with_the_context_of_its_job():
    name = contextvars.ContextVar("name")
    name.set("mine")

    def handler(job):
        for _ in range(2):
            yield [threading.get_ident(), name.get()]

    (first, second), _ = await run(handler)
    assert first == second == [first[0], "mine"]
    assert first[0] != threading.get_ident()


async def test_a_chunk_is_delivered_before_the_next_one_is_made():
    delivered = []

    async def emit(text):
        await asyncio.sleep(0)
        delivered.append(json.loads(text)["output"])

    def handler(job):
        for i in range(3):
            assert delivered == list(range(i))
            yield i

    assert json.loads(await run_job(Options(handler, "w"), JOB, emit)) == {"output": []}


async def cancelled(handler, at: asyncio.Event):
    """Run until ``at``, cancel, and wait for the end."""
    task = asyncio.create_task(run(handler))
    await at.wait()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def test_cancelling_reaches_an_async_handler_which_may_tidy_up():
    started, log = asyncio.Event(), []

    async def handler(job):
        try:
            started.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            log.append("tidied")
            raise

    await cancelled(handler, started)
    assert log == ["tidied"]


async def test_cancelling_closes_an_async_generator_wherever_it_is():
    reached, log = asyncio.Event(), []

    async def waits(job):
        try:
            yield 1
            reached.set()
            await asyncio.Event().wait()
        finally:
            log.append("closed")

    await cancelled(waits, reached)

    async def emit(text):
        reached.set()
        await asyncio.Event().wait()

    reached.clear()
    task = asyncio.create_task(run_job(Options(waits, "w"), JOB, emit))
    await reached.wait()
    task.cancel()
    await asyncio.wait([task])
    assert log == ["closed", "closed"]


async def test_cancelling_closes_a_sync_generator_at_its_yield():
    loop, started, log = asyncio.get_running_loop(), asyncio.Event(), []
    release = threading.Event()

    def handler(job):
        try:
            yield 1
            loop.call_soon_threadsafe(started.set)
            release.wait()
            yield 2
            log.append("went on")
        finally:
            log.append("closed")

    chunks = []

    async def emit(text):
        chunks.append(json.loads(text)["output"])

    task = asyncio.create_task(run_job(Options(handler, "w"), JOB, emit))
    await started.wait()
    task.cancel()
    await asyncio.sleep(0)
    release.set()
    await asyncio.wait([task])
    assert (task.cancelled(), chunks, log) == (True, [1], ["closed"])


async def test_a_sync_function_ends_before_its_cancellation_does():
    loop, started, release = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    def handler(job):
        loop.call_soon_threadsafe(started.set)
        release.wait()

    task = asyncio.create_task(run(handler))
    await started.wait()
    task.cancel()
    for _ in range(5):
        await asyncio.sleep(0)
    assert not task.done()
    release.set()
    await asyncio.wait([task])
    assert task.cancelled()


async def test_a_second_cancellation_leaves_the_thread_behind():
    loop, started, release = asyncio.get_running_loop(), asyncio.Event(), threading.Event()
    ended = threading.Event()

    def handler(job):
        loop.call_soon_threadsafe(started.set)
        release.wait()
        ended.set()
        raise LookupError("nobody hears this")

    task = asyncio.create_task(run(handler))
    await started.wait()
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert not ended.is_set()
    release.set()
    await asyncio.to_thread(ended.wait)
    await asyncio.sleep(0)
