"""Every contract on one page: what a provider must be, and what it is given.

A provider takes everything it needs from its arguments. It reads no environment, keeps no session and owns no task.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar, Protocol, runtime_checkable

from attrs import field, frozen

from exatlas.capabilities import Capability
from exatlas.messages import HookEvent, HttpCall, HttpReply, RequestRecord
from exatlas.records.budget import Hold, Shortfall
from exatlas.records.compute import Compute, ComputeFilter, ComputeRequest
from exatlas.records.gpu import GpuType
from exatlas.records.job import Job, JobChunk, JobRef, JobRequest, LogLine, StreamEvent
from exatlas.records.launch import Launch, LaunchState
from exatlas.records.lease import Standing
from exatlas.records.outbox import Entry


@runtime_checkable
class Listener(Protocol):
    """A hook that hears everything: requests, streams and spawns."""

    def on_event(self, event: HookEvent, /) -> None:
        """Take one record. Called in the task it is about, in the event loop: be quick, do not raise.

        Pass over kinds of records that you do not know; later versions may add some.
        """
        ...


Hook = Callable[[RequestRecord], None] | Listener
"""Hears what the client does: a plain function about each attempt at each request, a :class:`Listener` about all."""

Credential = str | Callable[[], Awaitable[str]]
"""A key, or a coroutine function that fetches the present one; it is asked before every operation, for rotation."""


class Clock(Protocol):
    """Where time comes from. Tests turn one by hand; everything that waits or stamps goes through it."""

    def now(self) -> datetime:
        """The present instant, aware, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never jump."""
        ...

    async def sleep(self, seconds: float, /) -> None:
        """Wait. Safe to cancel."""
        ...


class ByteStream(Protocol):
    """A reply whose body arrives over time."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives, in pieces of any size. Raises TransportError when the connection breaks."""
        ...

    async def read(self) -> bytes:
        """The whole body, bounded by the call's `max_reply_bytes`."""
        ...

    async def aclose(self) -> None:
        """Give the connection back, or cut it if the body was not read to its end. Safe to repeat."""
        ...


@runtime_checkable
class Transport(Protocol):
    """Moves one HTTP call. Never retries, never raises for a status, never follows a redirect."""

    async def send(self, call: HttpCall, /) -> HttpReply:
        """Send and read the whole reply.

        Cancelling cuts the connection; whether the cloud acted cannot be known then.

        Raises:
            TransportError: no usable reply; `delivered` is False when nothing can have reached the cloud.
        """
        ...

    async def open(self, call: HttpCall, /) -> ByteStream:
        """Send and return as soon as the head of the reply is in. `timeout_s` bounds the wait for that head."""
        ...

    async def aclose(self) -> None:
        """Cut every connection. Safe to repeat."""
        ...


class Ledger(Protocol):
    """What we believe we rent. Every write is durable when its call returns, as far as the ledger is.

    Launches go through the states of :class:`exatlas.LaunchState`; advancing to the state a launch is in is no error.
    Cancelling gives up the wait, not the write.
    """

    async def intend(self, launch: Launch, /) -> None:
        """Write down what is about to be rented.

        Raises:
            ConflictError: a launch with this id is there already.
            LeaseLostError: others have taken its worker for dead, who would look after it.
            LedgerError: it could not be written.
        """
        ...

    async def advance(
        self,
        launch_id: str,
        to: LaunchState,
        at: datetime,
        /,
        *,
        expect: LaunchState | None = None,
        worker: str | None = None,
        **facts: Any,
    ) -> Launch:
        """Move a launch to a state, with facts about it (fields of :class:`exatlas.Launch`), and give it as it is then.

        With `expect`, only where it is still in that state: whoever decides by what was read may be late. With
        `worker`, only while that worker holds it.

        Raises:
            NotFoundError: there is no such launch.
            LeaseLostError: the worker does not hold it any more.
            ConflictError: it cannot go there from where it is, or it is not in the state `expect`.
            LedgerError: it could not be written.
        """
        ...

    async def get(self, launch_id: str, /) -> Launch | None:
        """One launch, or None."""
        ...

    async def find(
        self,
        *,
        owner: str | None = None,
        states: Collection[LaunchState] = (),
        provider: str | None = None,
        account: str | None = None,
        compute_id: str | None = None,
        tenant: str | None = None,
        user: str | None = None,
    ) -> list[Launch]:
        """The launches that pass everything that is given, oldest first. No states means any."""
        ...

    # ---- workers: whoever looks after sessions, many on one ledger. Leases run by the ledger's own clock.

    async def enlist(self, worker: str, owner: str, lease_s: float, /) -> Standing:
        """Make a new worker of an owner known, that is taken for dead when it has not renewed for `lease_s`.

        Raises:
            ConflictError: the name was used before.
        """
        ...

    async def renew(self, worker: str, /) -> Standing:
        """Say that a worker lives.

        Raises:
            LeaseLostError: others have taken it for dead. What it held is not its own any more, and it never will be
                a worker again.
        """
        ...

    async def bury(self, owner: str, /) -> frozenset[str]:
        """Take for dead all workers of an owner whose lease has run out, and free what they hold. Gives their names."""
        ...

    async def claim(self, worker: str, most: int, /) -> list[Launch]:
        """Take up to `most` of the owner's open launches with a session that nobody holds, oldest first.

        What several claim at once goes to one of them, and none waits for another.

        Raises:
            LeaseLostError: others have taken this worker for dead.
        """
        ...

    async def seize(self, launch_id: str, worker: str, /) -> Launch:
        """Take one open launch, from whomever; a living worker that held it is told when it renews.

        Raises:
            NotFoundError: there is no such launch, or it has ended.
            ConflictError: it is being terminated by somebody who holds it.
            LeaseLostError: others have taken this worker for dead.
        """
        ...

    async def leave(self, worker: str, /) -> None:
        """Let go of everything that a worker holds, and forget the worker. Safe to repeat."""
        ...

    async def touch(self, idle_s: Mapping[str, float], /) -> frozenset[str]:
        """Write down that launches were used so many seconds ago; the latest use counts. Gives those that are open."""
        ...

    async def touched(self, launch_ids: Collection[str], /) -> Mapping[str, float]:
        """How many seconds ago each was used last, for those of which it is known."""
        ...

    # ---- outbox: what happens, carried between the workers of an owner

    async def publish(self, owner: str, entries: Sequence[Entry], keep: int, /) -> int:
        """Number entries in their order, without gaps among all the owner's, and keep them. Gives the last number.

        Of older entries no more than about `keep` need be kept.
        """
        ...

    async def entries(self, owner: str, after: int, most: int, /) -> list[Entry]:
        """Up to `most` entries after a number, in order. The first one tells whether some are not kept any more."""
        ...

    async def last_entry(self, owner: str, /) -> int:
        """The number of the latest entry; 0 before the first."""
        ...

    async def await_entries(self, owner: str, after: int, within_s: float, /) -> None:
        """Return when there may be entries after a number, and in any case after so many real seconds.

        A wake-up call, and no promise: whoever waits looks afterwards. Safe to cancel.
        """
        ...

    # ---- purses: what a budget has left

    async def hold(self, launch_id: str, holds: Sequence[Hold], /, *, settled: bool = False) -> Shortfall | None:
        """Set what a launch holds in each purse, all of it or nothing. Gives the first purse that has too little.

        A hold that is not above what the launch had in that purse before is always granted. With `settled` the amounts
        are what was spent in the end, and are granted whatever they are. A ledger may keep millionths of a dollar:
        holds are rounded up to them, and what was spent to the nearest.
        """
        ...

    async def held(self, purses: Collection[str], /) -> Mapping[str, Decimal]:
        """What all launches together hold in each purse."""
        ...

    async def holds_of(self, launch_id: str, /) -> Mapping[str, Decimal]:
        """What one launch holds, by purse."""
        ...

    async def unsettled(self, owner: str, /) -> list[Launch]:
        """The owner's launches that have ended, and whose holds were not settled."""
        ...

    async def aclose(self) -> None:
        """Finish writing and let go of files and connections. Safe to repeat; nothing can be asked afterwards."""
        ...


@frozen(kw_only=True)
class UrlSetting:
    """One base URL of a provider: what it is by default, and which variable may replace it."""

    default: str | None
    """None when there is no such thing as a default (a URL of the user's own)."""
    env: str | None = None


@frozen(kw_only=True)
class ProviderSettings:
    """What the client must resolve from arguments and environment before it can call a provider."""

    key_env: tuple[str, ...] = ()
    """Environment variables that may hold the key, first found wins."""
    needs_key: bool = True
    urls: Mapping[str, UrlSetting] = field(factory=dict)
    """Base URLs by name. The first is the provider's main API."""


@frozen(kw_only=True)
class Context:
    """Everything a provider may use while it serves one call."""

    provider: str
    """The provider's name, for errors and records."""
    api_key: str | None = field(default=None, repr=False)
    base_urls: Mapping[str, str] = field(factory=dict)
    """Resolved base URLs by the names of the provider's settings, without a trailing slash."""
    transport: Transport
    clock: Clock
    hooks: tuple[Hook, ...] = ()
    timeout_s: float | None = None
    """The caller's deadline for one request, or None for the provider's own choice."""
    launch_id: str | None = None
    """The mark of the spawn in progress; the provider writes it where its cloud keeps it."""
    strict_stream: bool = False
    """Whether a stream that lost chunks raises StreamGapError instead of marking the next chunk."""
    endpoint: str | None = None
    """The serverless endpoint the call is about, for records; None for calls about machines."""
    account: str = ""
    """Fingerprint of provider and key: the same for the same account, and useless for getting in."""

    @property
    def base_url(self) -> str | None:
        """The main API's base URL."""
        return next(iter(self.base_urls.values()), None)


class Provider(Protocol):
    """What every provider has. The optional operations are listed in :class:`OptionalOperations`."""

    name: ClassVar[str]
    capabilities: ClassVar[frozenset[Capability]]
    """What callers may rely on. Declared and missing, or present and undeclared, both fail the conformance suite."""
    settings: ClassVar[ProviderSettings]

    async def spawn_compute(self, request: ComputeRequest, ctx: Context, /) -> Compute:
        """Rent one machine, marked with `ctx.launch_id`. Sends one create; see `exatlas.launch` for the rules.

        Raises:
            NoCapacityError, QuotaError, InsufficientFundsError: nothing was rented.
            OutcomeUnknownError: something may have been rented and was not found.
        """
        ...

    async def get_compute(self, compute_id: str, ctx: Context, /) -> Compute:
        """Read one machine. Raises NotFoundError for an id the account does not have."""
        ...

    async def list_compute(self, filters: ComputeFilter, ctx: Context, /) -> list[Compute]:
        """Read all machines that pass the filter, over all pages."""
        ...

    async def terminate(self, compute_id: str, ctx: Context, /) -> None:
        """Destroy the machine. Repeating it, or naming one that is gone, is not an error."""
        ...


class OptionalOperations(Protocol):
    """Operations that need a capability; a provider has exactly those it declares."""

    async def stop(self, compute_id: str, ctx: Context, /) -> None:
        """Pause, keeping the volume. Stopping a stopped machine is not an error."""
        ...

    async def start(self, compute_id: str, ctx: Context, /) -> None:
        """Resume. Starting a running machine is not an error. Raises NoCapacityError when its host is full."""
        ...

    async def list_gpu_types(self, ctx: Context, /) -> list[GpuType]:
        """Models, prices and stock, one record per model and kind of cloud."""
        ...

    async def run_job(self, request: JobRequest, ctx: Context, /) -> Job:
        """Submit once. In `sync` mode, wait for the end up to the request's timeout and give the job as it then is."""
        ...

    async def get_job(self, job: JobRef, ctx: Context, /) -> Job:
        """Read one job."""
        ...

    async def cancel_job(self, job: JobRef, ctx: Context, /) -> None:
        """Stop a queued or running job. Cancelling a finished job is not an error."""
        ...

    def stream_job(self, job: JobRef, ctx: Context, /) -> AsyncGenerator[JobChunk, None]:
        """Yield chunks as they come. Ends for a completed job, raises a JobError for any other end."""
        ...

    def stream_events(
        self, endpoint: str, path: str, body: Any, ctx: Context, /, *, done: str | None, idle_s: float
    ) -> AsyncGenerator[StreamEvent, None]:
        """POST `body` to a route of the endpoint's own and yield the events of its answer. Sent once, never repeated.

        `done` is the data that announces the end, or None where the server simply closes.
        """
        ...

    def stream_logs(
        self, compute_id: str, ctx: Context, /, *, tail: int | None, follow: bool
    ) -> AsyncGenerator[LogLine, None]:
        """Yield log lines, oldest first: the last `tail` (None: the cloud's default), then new ones while `follow`."""
        ...
