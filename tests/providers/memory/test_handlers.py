"""A handler in any of four kinds."""

import asyncio

import pytest

from exatlas.providers.memory import handlers

JOB = {"id": "1", "input": {"text": "one two", "n": 3}}


def plain(job):
    return job["input"]


async def coroutine(job):
    await asyncio.sleep(0)
    return job["input"]


def generator(job):
    yield from job["input"].values()


async def async_generator(job):
    for value in job["input"].values():
        await asyncio.sleep(0)
        yield value


async def coroutine_giving_a_generator(job):
    return generator(job)


@pytest.mark.parametrize(
    ("handler", "output", "emitted"),
    [
        (plain, JOB["input"], []),
        (coroutine, JOB["input"], []),
        (generator, ["one two", 3], ["one two", 3]),
        (async_generator, ["one two", 3], ["one two", 3]),
        (coroutine_giving_a_generator, ["one two", 3], ["one two", 3]),
        (handlers.echo, ["one", "two", 3], ["one", "two", 3]),
        (lambda job: None, None, []),
    ],
)
async def test_every_kind_gives_its_output_and_its_chunks(handler, output, emitted):
    heard = []
    assert await handlers.run(handler, JOB, heard.append) == output
    assert heard == emitted


@pytest.mark.parametrize("kind", [lambda value: lambda job: value, lambda value: lambda job: iter_of(value)])
@pytest.mark.parametrize("value", [{1, 2}, object(), b"x", float])
async def test_what_cannot_travel_is_an_error(kind, value):
    with pytest.raises(TypeError):
        await handlers.run(kind(value), JOB, lambda chunk: None)


def iter_of(value):
    yield value


async def test_output_arrives_as_a_copy():
    kept = {"a": [(1, 2)]}
    heard = []
    assert await handlers.run(lambda job: iter_of(kept), JOB, heard.append) == [{"a": [[1, 2]]}]
    assert heard[0] is not kept


async def test_chunks_come_one_by_one_and_others_get_a_turn_in_between():
    heard = []
    running = asyncio.create_task(handlers.run(generator, JOB, heard.append))
    for _ in range(100):
        await asyncio.sleep(0)
        if heard:
            break
    assert heard == ["one two"]
    assert not running.done()
    await running


@pytest.mark.parametrize("is_async", [True, False])
async def test_a_generator_that_is_cancelled_is_closed(is_async):
    closed = []
    forever = asyncio.Event()

    def endless(job):
        try:
            while True:
                yield 1
        finally:
            closed.append(True)

    async def waiting(job):
        try:
            yield 1
            await forever.wait()
        finally:
            closed.append(True)

    running = asyncio.create_task(handlers.run(waiting if is_async else endless, JOB, lambda chunk: None))
    for _ in range(5):
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()
    assert closed == [True]


async def test_what_a_generator_raises_comes_after_its_chunks():
    def failing(job):
        yield 1
        raise KeyError("x")

    heard = []
    with pytest.raises(KeyError):
        await handlers.run(failing, JOB, heard.append)
    assert heard == [1]
