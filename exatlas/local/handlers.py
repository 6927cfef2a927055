"""Run one job with one handler, as RunPod's workers do.

A handler takes the job (``{"id", "input", …}``) and returns its output; a generator's yields are the chunks of its
stream. Sync or async, plain function or generator. A dict with a truthy ``error`` — returned or yielded — fails the
job, and so does an exception.
"""

import asyncio
import contextvars
import functools
import inspect
import json
import socket
import threading
import traceback
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from enum import Enum, auto
from typing import Any, TypeVar

from attrs import define, field, frozen

T = TypeVar("T")

Handler = Callable[[dict[str, Any]], Any]
Emit = Callable[[str], Awaitable[None]]
"""Takes one chunk as JSON text, ``{"output": …}``, and returns when it is delivered."""


@frozen
class Options:
    """What a worker does for all its jobs."""

    handler: Handler
    worker: str
    """The worker's id, told in error reports."""
    return_aggregate_stream: bool = False
    """Whether a generator's chunks are also its final output, as a list."""


@define
class _Outcome:
    """How a job goes, so far."""

    error: str | None = None
    chunks: list[Any] = field(factory=list)

    @property
    def has_failed(self) -> bool:
        return self.error is not None


async def run_job(options: Options, job: dict[str, Any], emit: Emit) -> str:
    """Run one job to its end and give the report to post, as JSON text. Only cancellation escapes.

    Cancelling reaches an async handler at its `await`, and a sync generator at its `yield`; a sync function runs on to
    its end, and the cancellation is over only then. A second cancellation leaves the thread behind.
    """
    outcome = _Outcome()
    try:
        kind = _kind(options.handler)
        if kind is _Kind.ASYNC_GENERATOR:
            await _drive_async(options.handler(job), outcome, options, emit)
        elif kind is _Kind.GENERATOR:
            await _drive_in_thread(options.handler, job, outcome, options, emit)
        else:
            return _report(await _call(options.handler, job, kind))
    except (Exception, SystemExit) as error:  # noqa: BLE001  whatever the user's handler raises is the job's error
        return json.dumps({"error": _describe(error, options.worker)})
    return json.dumps({"error": outcome.error} if outcome.has_failed else {"output": outcome.chunks})


class _Kind(Enum):
    PLAIN = auto()
    ASYNC = auto()
    GENERATOR = auto()
    ASYNC_GENERATOR = auto()


def _kind(handler: Handler) -> _Kind:
    for function in (handler, getattr(handler, "__call__", None)):  # noqa: B004  an object may define it as any kind
        if inspect.isasyncgenfunction(function):
            return _Kind.ASYNC_GENERATOR
        if inspect.isgeneratorfunction(function):
            return _Kind.GENERATOR
        if inspect.iscoroutinefunction(function):
            return _Kind.ASYNC
    return _Kind.PLAIN


async def _call(handler: Handler, job: dict[str, Any], kind: _Kind) -> Any:
    result = (
        handler(job) if kind is _Kind.ASYNC else await _in_thread(functools.partial(handler, job), threading.Event())
    )
    return await result if inspect.isawaitable(result) else result


def _report(output: Any) -> str:
    """The final report for what a plain handler returned. Raises for what JSON does not have."""
    if not isinstance(output, Mapping):
        return _encode({"output": output})
    rest = {key: value for key, value in output.items() if key not in ("error", "refresh_worker")}
    report: dict[str, Any] = {"output": rest} if rest else {}
    if output.get("error"):
        report["error"] = output["error"]
    if output.get("refresh_worker"):
        report["stopPod"] = True
    return _encode(report)


def _take(chunk: Any, outcome: _Outcome, options: Options) -> str | None:
    """The chunk as text to send, or None when it ends the job."""
    if isinstance(chunk, Mapping) and chunk.get("error"):
        outcome.error = str(chunk["error"])
        return None
    text = _encode({"output": chunk})
    if options.return_aggregate_stream:
        outcome.chunks.append(json.loads(text)["output"])  # a copy: handlers like to yield one object again and again
    return text


async def _drive_async(chunks: AsyncGenerator[Any, None], outcome: _Outcome, options: Options, emit: Emit) -> None:
    try:
        async for chunk in chunks:
            text = _take(chunk, outcome, options)
            if text is None:
                return
            await emit(text)
    finally:
        await chunks.aclose()


async def _drive_in_thread(
    handler: Handler, job: dict[str, Any], outcome: _Outcome, options: Options, emit: Emit
) -> None:
    """Run a sync generator in one thread from start to end, each chunk delivered before the next is made."""
    loop = asyncio.get_running_loop()
    stopping = threading.Event()

    def drive() -> None:
        chunks: Generator[Any, None, None] = handler(job)
        try:
            for chunk in chunks:
                text = None if stopping.is_set() else _take(chunk, outcome, options)
                if text is None:
                    return
                asyncio.run_coroutine_threadsafe(_emit(emit, text), loop).result()
        finally:
            chunks.close()

    await _in_thread(drive, stopping)


async def _emit(emit: Emit, text: str) -> None:
    await emit(text)


async def _in_thread(function: Callable[[], T], stopping: threading.Event) -> T:
    """Call ``function`` in a thread of its own, one that does not keep the process from ending.

    When cancelled: sets ``stopping``, waits for the function to return all the same, and is cancelled then. A second
    cancellation gives up waiting.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()
    done.add_done_callback(lambda _: done.cancelled() or done.exception())  # seen, even if nobody waits any more
    context = contextvars.copy_context()

    def settle(set_it: Callable[[Any], None], value: Any) -> None:
        if not done.done():
            set_it(value)

    def work() -> None:
        try:
            settling = functools.partial(settle, done.set_result, context.run(function))
        except BaseException as error:  # noqa: BLE001  handed to whoever awaits; a thread has nobody else to tell
            cause = RuntimeError(f"the handler raised {error!r}") if isinstance(error, StopIteration) else error
            settling = functools.partial(settle, done.set_exception, cause)
        if not loop.is_closed():
            loop.call_soon_threadsafe(settling)

    threading.Thread(target=work, name="exatlas handler", daemon=True).start()
    try:
        return await asyncio.shield(done)
    except asyncio.CancelledError:
        if not done.done():
            stopping.set()
            await asyncio.wait([done])
        raise


def _encode(value: Any) -> str:
    """JSON text; raises TypeError or ValueError for what JSON does not have."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _describe(error: BaseException, worker: str) -> str:
    """A handler's exception as RunPod's Python workers report it: a JSON document in a string."""
    return json.dumps(
        {
            "error_type": str(type(error)),
            "error_message": str(error),
            "error_traceback": "".join(traceback.format_exception(error)),
            "hostname": socket.gethostname(),
            "worker_id": worker,
        }
    )
