"""Handlers are what RunPod's workers run: a function of ``{"id": …, "input": …}``, in any of four kinds.

The same function runs here, in the local runtime, and on a real endpoint.
"""

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing
from typing import Any

import orjson

Handler = Callable[[dict[str, Any]], Any]
"""A function, a coroutine function, a generator or an async generator. Plain ones run in the event loop: be quick."""


def echo(job: Mapping[str, Any]) -> Iterator[Any]:
    """Yield what the job was given: text word by word, everything else as it is."""
    for value in job["input"].values():
        yield from value.split() if isinstance(value, str) else (value,)


async def run(handler: Handler, job: dict[str, Any], emit: Callable[[Any], None]) -> Any:
    """Call the handler, emit every chunk as it comes, and give the whole output (for generators, all chunks).

    Raises whatever the handler raises, and TypeError for output that is not JSON.
    """
    result = handler(job)
    if inspect.isawaitable(result):
        result = await result
    if inspect.isasyncgen(result):
        async with aclosing(result):
            return [keep async for keep in _emitted(result, emit)]
    if inspect.isgenerator(result):
        try:
            return [keep async for keep in _emitted(_stepwise(result), emit)]
        finally:
            result.close()
    return as_json(result)


def as_json(value: Any) -> Any:
    """The value as it would arrive after travelling. Raises TypeError where it could not travel."""
    return orjson.loads(orjson.dumps(value))


async def _emitted(items: AsyncIterator[Any], emit: Callable[[Any], None]) -> AsyncIterator[Any]:
    async for item in items:
        chunk = as_json(item)
        emit(chunk)
        yield chunk


async def _stepwise(items: Iterator[Any]) -> AsyncIterator[Any]:
    """A plain generator, with a chance for others (and for a cancel) after each item."""
    for item in items:
        yield item
        await asyncio.sleep(0)
