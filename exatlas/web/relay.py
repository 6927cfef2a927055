"""One stream on its way to one browser, for any framework: the shell lends a way to write and a way to hear of the end.

The stream is read only as fast as it can be written. What cannot be written at all is cut: a browser that takes nothing
for `STALL_S`, and one that falls so far behind the others on its job that what is kept for it would grow without bound.
A browser that was cut comes back by itself and is told what it has missed.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, contextmanager, nullcontext, suppress
from datetime import timedelta
from typing import Any, Generic, Protocol, TypeVar, cast

import anyio
import anyio.lowlevel

from exatlas.cancellation import Deadline, outlive
from exatlas.client import arguments
from exatlas.client.arguments import EventOptions, JobOptions, LogOptions, StreamOptions
from exatlas.client.atlas import Atlas
from exatlas.errors import AtlasError, JobError, NotFoundError
from exatlas.protocols import Clock
from exatlas.records import checks
from exatlas.records.compute import Compute
from exatlas.records.job import Job, JobChunk, JobRef
from exatlas.web import frames
from exatlas.web.positions import Countings, EventId, JobPosition, new_epoch

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)

KEEP_ALIVE_S = 15.0
"""Silence after which a comment is sent: proxies cut connections that are silent for a minute, some for less."""
STALL_S = 60.0
"""How long a browser may leave what was written to it untouched."""
CANCEL_PATIENCE_S = 30.0
"""How long cancelling a job that nobody watches any more may take."""
CLOSE_PATIENCE_S = 40.0
"""How long closing waits for streams to end, in real seconds; more than a cancel takes."""

Write = Callable[[bytes], Awaitable[None]]
"""Writes to the browser, and returns when there is room for more. Raises OSError when the browser is gone."""

log = logging.getLogger("exatlas.web")


class View(Protocol[T_contra]):
    """How the items of a stream become events."""

    def opening(self) -> Iterator[bytes]: ...
    def take(self, item: T_contra, /) -> Iterator[bytes]: ...
    def done(self) -> Iterator[bytes]: ...
    def failure(self, error: Exception, *, final: bool) -> Iterator[bytes]: ...


class PlainView(Generic[T]):
    """A stream whose items have no numbers, so that nobody can say what a browser that comes back has missed."""

    def __init__(self, encode: Callable[[T], bytes], last_event_id: str | None) -> None:
        self._encode = encode
        self._is_back = last_event_id is not None
        self._epoch = new_epoch()

    def opening(self) -> Iterator[bytes]:
        if self._is_back:
            yield frames.gap(frames.Missing.UNKNOWN)
        yield frames.mark(str(EventId(self._epoch, 0)))

    def take(self, item: T, /) -> Iterator[bytes]:
        yield self._encode(item)

    def done(self) -> Iterator[bytes]:
        yield frames.done(self._final_id())

    def failure(self, error: Exception, *, final: bool) -> Iterator[bytes]:
        yield frames.failure(error, self._final_id() if final else None)

    def _final_id(self) -> str:
        return str(EventId(self._epoch, 0, over=True))


class Relay(Generic[T]):
    """One stream, relayed to one browser by :meth:`run`, once."""

    def __init__(
        self,
        relays: "Relays",
        items: AsyncGenerator[T, None],
        view: View[T],
        keep_alive_s: float,
        *,
        presence: "Callable[[Relay[T]], AbstractAsyncContextManager[None]] | None" = None,
    ) -> None:
        self._relays = relays
        self._clock = relays.atlas.clock
        self._items = items
        self._view = view
        self._keep_alive_s = keep_alive_s
        self._presence = presence
        self._writing = asyncio.Lock()
        self._written_at = self._clock.monotonic()
        self._scope = anyio.CancelScope()
        self.over = False
        """Whether the stream came to its own end."""

    async def run(self, write: Write, gone: Callable[[], Awaitable[None]]) -> None:
        """Relay until the stream ends, the browser leaves (`gone` returns) or the stream is cut.

        Cancelling it frees the stream. Every way out cancels the job where that was asked for.
        """
        with self._relays.running(self):
            async with self._presence(self) if self._presence else nullcontext(), aclosing(self._items):
                with self._scope:
                    async with anyio.create_task_group() as group:
                        group.start_soon(self._leave_after, gone)
                        group.start_soon(self._beat, write)
                        await self._pump(write)
                        group.cancel_scope.cancel()

    def cut(self) -> None:
        """End it now, without a last event: the browser will come back."""
        self._scope.cancel()

    async def _leave_after(self, gone: Callable[[], Awaitable[None]]) -> None:
        await gone()
        self.cut()

    async def _pump(self, write: Write) -> None:
        await self._send(write, frames.OPENING)
        await self._send_all(write, self._view.opening())
        try:
            async for item in self._items:
                await self._send_all(write, self._view.take(item))
        except AtlasError as error:
            self.over = isinstance(error, JobError | NotFoundError)
            ending = self._view.failure(error, final=not error.retryable)
        except Exception as error:
            # Supervised boundary: a stream that broke must not look like one whose connection did.
            log.exception("relaying a stream failed")
            ending = self._view.failure(error, final=True)
        else:
            self.over = True
            ending = self._view.done()
        await self._send_all(write, ending)

    async def _send_all(self, write: Write, pieces: Iterator[bytes]) -> None:
        for piece in pieces:
            await self._send(write, piece)

    async def _send(self, write: Write, piece: bytes) -> None:
        async with self._writing:
            self._written_at = self._clock.monotonic()
            try:
                await write(piece)
            except OSError:
                self.cut()
                await anyio.lowlevel.checkpoint()

    async def _beat(self, write: Write) -> None:
        """Break long silences, and notice a browser that takes nothing."""
        pause_s = self._keep_alive_s
        while True:
            await self._clock.sleep(pause_s)
            quiet_s = self._clock.monotonic() - self._written_at
            pause_s = self._keep_alive_s
            if self._writing.locked():
                if quiet_s >= STALL_S:
                    self.cut()
            elif quiet_s >= self._keep_alive_s:
                await self._send(write, frames.KEEP_ALIVE)
            else:
                pause_s -= quiet_s


class Relays:
    """Every stream that one application relays, and what its browsers have seen of each job. It has one client."""

    def __init__(self, atlas: Atlas) -> None:
        self.atlas = atlas
        self._countings = Countings()
        self._running: set[Relay[Any]] = set()
        self._empty = asyncio.Event()
        self._closed = False

    def __len__(self) -> int:
        return len(self._running)

    @contextmanager
    def running(self, relay: Relay[Any]) -> Iterator[None]:
        """Know of a relay while it runs."""
        self._running.add(relay)
        self._empty.clear()
        if self._closed:
            relay.cut()
        try:
            yield
        finally:
            self._running.discard(relay)
            if not self._running:
                self._empty.set()

    def close(self) -> None:
        """Cut every stream, now and from now on. They end by themselves."""
        self._closed = True
        for relay in tuple(self._running):
            relay.cut()

    async def aclose(self) -> None:
        """Cut every stream and wait until all have ended, for at most `CLOSE_PATIENCE_S`. Safe to repeat."""
        self.close()
        if not self._running:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_PATIENCE_S):
                await self._empty.wait()
        if self._running:
            log.error("%d relayed streams do not end", len(self._running))

    def job(
        self,
        job: str | Job | JobRef,
        last_event_id: str | None,
        keep_alive: float | timedelta,
        options: StreamOptions,
    ) -> Relay[JobChunk] | None:
        """Relay a job's chunks. None where the browser has heard the end and should stop coming back.

        Wrong arguments raise at once, everything else becomes an event.
        """
        keep_alive_s = _keep_alive("stream_job", keep_alive)
        on_exit = options.get("on_exit", "leave")
        arguments.check("stream_job", on_exit=checks.member("leave", "cancel")(on_exit))
        chunks = self.atlas.stream_job(job, **cast(StreamOptions, {**options, "on_exit": "leave"}))
        if _has_heard_the_end(last_event_id):
            return None
        named, home = arguments.job_ref("stream_job", job, options.get("endpoint"))
        choice = options.get("provider")
        provider = self.atlas.provider(home if choice is None else choice)
        counting = self._countings.of((provider.name, named))
        position = JobPosition(counting, last_event_id)
        asked = {name: value for name, value in options.items() if name not in ("on_exit", "strict")}

        @asynccontextmanager
        async def watching(relay: Relay[JobChunk]) -> AsyncGenerator[None, None]:
            position.fall_behind = relay.cut
            counting.readers.append(position)
            try:
                yield
            finally:
                counting.readers.remove(position)
                if on_exit == "cancel" and not relay.over and not counting.readers:
                    await _abandon(lambda: self.atlas.cancel_job(job, **cast(JobOptions, asked)), self.atlas.clock)

        return Relay(self, chunks, position, keep_alive_s, presence=watching)

    def logs(
        self,
        compute: str | Compute,
        last_event_id: str | None,
        keep_alive: float | timedelta,
        options: LogOptions,
    ) -> Relay[Any] | None:
        """Relay a machine's log lines. A browser that comes back is told so and starts with the last lines again."""
        lines = self.atlas.stream_logs(compute, **options)
        if _has_heard_the_end(last_event_id):
            return None
        return Relay(self, lines, PlainView(frames.log_line, last_event_id), _keep_alive("stream_logs", keep_alive))

    def events(
        self,
        endpoint: str,
        path: str,
        body: Any,
        last_event_id: str | None,
        keep_alive: float | timedelta,
        options: EventOptions,
    ) -> Relay[Any] | None:
        """Relay what an endpoint's own route answers to one POST.

        A browser that comes back gets None whatever it has heard: asking again would be a second request to pay for.
        """
        events = self.atlas.stream_events(endpoint, path, body, **options)
        if last_event_id is not None:
            return None
        return Relay(self, events, PlainView(frames.stream_event, None), _keep_alive("stream_events", keep_alive))


async def _abandon(cancel: Callable[[], Awaitable[None]], clock: Clock) -> None:
    """Cancel a job that nobody watches any more, to the end even when that is cancelled."""

    async def within_bounds() -> None:
        try:
            async with Deadline(clock, CANCEL_PATIENCE_S):
                await cancel()
        except Exception:
            # Supervised boundary: the browser is gone, and nobody else would hear of it.
            log.exception("a job whose last browser left could not be cancelled, and may still be running")

    ended = await outlive(within_bounds)
    if ended.interrupted:
        raise asyncio.CancelledError


def _keep_alive(operation: str, span: float | timedelta) -> float:
    keep_alive_s = arguments.seconds(operation, span)
    arguments.check(operation, keep_alive=None if keep_alive_s else "expected a number of seconds, got None")
    return keep_alive_s or KEEP_ALIVE_S


def _has_heard_the_end(last_event_id: str | None) -> bool:
    known = None if last_event_id is None else EventId.parse(last_event_id)
    return known is not None and known.over
