"""The client: resolves whom a call is for, refuses what cannot work, and hands the rest to the provider."""

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack, cast, overload
from weakref import ref

from attrs import evolve

from exatlas import config, fanout
from exatlas.cancellation import outlive
from exatlas.client import aftermath, arguments, gating, readiness
from exatlas.client.arguments import (
    CallOptions,
    EventOptions,
    JobOptions,
    ListOptions,
    LogOptions,
    OpenStreamOptions,
    ReadyOptions,
    RunOptions,
    SpawnOptions,
    StreamOptions,
)
from exatlas.client.bookkeeping import UNTAGGED, Books, Tags
from exatlas.client.connection import OwnTransport
from exatlas.client.injection import with_secret
from exatlas.client.lifetime import Keeper, close_all
from exatlas.client.recovery import GRACE_S, Account, Work, recover
from exatlas.client.relaying import relay
from exatlas.client.roster import Roster
from exatlas.client.spawning import Rental, disown, end_surely, is_unsettled, spawn
from exatlas.clock import SystemClock
from exatlas.config import BaseUrls
from exatlas.errors import ConfigError
from exatlas.fanout import Outcome, Undo, record_birth
from exatlas.launch import new_launch_id
from exatlas.protocols import (
    Clock,
    Context,
    Credential,
    Hook,
    Ledger,
    Listener,
    OptionalOperations,
    Provider,
    Transport,
)
from exatlas.providers import ProviderChoice
from exatlas.records import checks
from exatlas.records.compute import Compute, ComputeFilter, ComputeRequest
from exatlas.records.gpu import GpuType
from exatlas.records.job import Job, JobChunk, JobRef, JobRequest, LogLine, StreamEvent
from exatlas.records.recovery import Policy, Recovery
from exatlas.streaming.events import DONE
from exatlas.streaming.job_stream import JobStream

P = TypeVar("P")
T = TypeVar("T")

SILENCE_S = 60.0
"""How long `stream_events` waits for the next piece of an answer, unless told."""


class Atlas:
    """One client: accounts, base URLs, a connection pool and a clock, for one event loop.

    Use it with ``async with``, or close it with :meth:`aclose`. One that is forgotten closes with its event loop. Every
    call takes ``provider``, ``api_key``, ``base_url`` and ``timeout``, which win over what the client was made with;
    what neither says comes from the environment. What you pass in, you close: transports, ledgers and provider
    instances.

    A method that takes an id takes the record as well. A plain id is looked for at the client's default provider; a
    record knows its own.

    Args:
        default_provider: A name, a class or an instance.
        credentials: Keys by provider name: strings, or coroutine functions that are asked before every call.
        base_urls: By provider name: one URL for all of its APIs, or a mapping of its URL names to URLs.
        transport: Moves the requests instead of a pool of the client's own.
        clock: Where time comes from; tests pass a :class:`exatlas.ManualClock`.
        hooks: Functions, called with a :class:`exatlas.RequestRecord` after every attempt at a request; and objects
            with ``on_event`` (:class:`exatlas.Listener`), which hear of streams and spawns as well.
        timeout: Deadline of each HTTP request (seconds or timedelta); None leaves it to the provider.
        ledger: Where every machine is written down before it is rented, so that none is lost with the process. It
            costs two durable writes for each spawn and each end, and one read of the cloud or more to confirm an end.
        owner: Whose machines these are: :meth:`recover` settles what was rented under this name, and nothing else.
        allow_insecure: Accept plain ``http://`` base URLs that leave this machine.
        env: Read instead of the process's environment.

    Raises:
        ConfigError, ValidationError: an argument cannot work.
    """

    def __init__(
        self,
        default_provider: ProviderChoice | None = None,
        *,
        credentials: Mapping[str, Credential] | None = None,
        base_urls: Mapping[str, BaseUrls] | None = None,
        transport: Transport | None = None,
        clock: Clock | None = None,
        hooks: Sequence[Hook] = (),
        timeout: float | timedelta | None = None,
        ledger: Ledger | None = None,
        owner: str = "exatlas",
        allow_insecure: bool = False,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._hooks = checks.as_tuple(hooks)
        arguments.check(
            "Atlas",
            credentials=checks.optional(checks.mapping)(credentials),
            base_urls=checks.optional(checks.mapping)(base_urls),
            transport=_has(transport, "a Transport", "send", "open", "aclose"),
            clock=_has(clock, "a Clock", "now", "monotonic", "sleep"),
            hooks=_listening(self._hooks),
            ledger=_has(ledger, "a Ledger", "intend", "advance", "get", "find"),
            owner=checks.text(owner),
            allow_insecure=checks.flag(allow_insecure),
            env=checks.optional(checks.mapping)(env),
        )
        self.clock: Clock = clock or SystemClock()
        """Where time comes from."""
        self._default_provider = default_provider
        self._credentials = dict(credentials or {})
        self._base_urls = dict(base_urls or {})
        self._own = OwnTransport(allow_insecure=allow_insecure) if transport is None else None
        self._transport: Transport = transport or cast(Transport, self._own)
        self._timeout_s = arguments.seconds("Atlas", timeout)
        self._allow_insecure = allow_insecure
        self._env = os.environ if env is None else env
        self._books = Books(ledger, owner)
        self._roster = Roster()
        if default_provider is not None and not isinstance(default_provider, str):
            # Records name their provider: from the first call on, that name has to mean this one.
            self._roster.get(default_provider)
        self._keeper: Keeper | None = None
        self._loop: Callable[[], asyncio.AbstractEventLoop | None] = _nowhere
        self._closed = False

    # ---- life

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(
        self, cls: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    @property
    def ledger(self) -> Ledger | None:
        """Where its machines are written down."""
        return self._books.ledger

    @property
    def owner(self) -> str:
        """Whose machines its ledger says they are."""
        return self._books.owner

    def keep_books(self, ledger: Ledger, /) -> None:
        """Write every machine into this ledger from now on; it stays yours to close.

        Raises:
            ConfigError: the client has another one already.
        """
        if self._books.ledger not in (None, ledger):
            raise ConfigError("the client keeps its books in another ledger already")
        self._books = Books(ledger, self._books.owner)

    @property
    def closed(self) -> bool:
        """Whether it was closed, by :meth:`aclose` or with its event loop."""
        return self._closed

    async def aclose(self) -> None:
        """Close the connections and the providers that the client made. Machines stay rented. Safe to repeat.

        Calls and streams in progress fail. Cancelling waits until everything is closed.
        """
        if self._closed:
            return
        self._closed = True
        closing = [provider.aclose for provider in reversed(self._roster.made) if hasattr(provider, "aclose")]
        closing += [self._own.aclose] if self._own else []
        ended = await outlive(lambda: close_all(closing))
        if self._keeper is not None:
            await self._keeper.forget()
        if ended.interrupted:
            raise asyncio.CancelledError

    async def _open(self) -> None:
        """Bind the client to the running loop, at the first call."""
        if self._closed:
            raise ConfigError("the client is closed; make a new one")
        loop = asyncio.get_running_loop()
        bound = self._loop()
        if bound is loop:
            return
        if self._keeper is not None:
            raise ConfigError(
                "the client belongs to another event loop; make one per loop (the module functions do that themselves)"
            )
        self._loop = ref(loop)
        self._keeper = Keeper(self.aclose)
        await self._keeper.start()

    # ---- whom a call is for

    def provider(self, choice: ProviderChoice | None = None, /) -> Provider:
        """The provider instance this client uses for a name, a class or its default. No I/O.

        Raises:
            ConfigError: nobody named one, nothing has that name, or it is not a provider.
        """
        return self._roster.get(config.choose_provider(choice, self._default_provider, self._env))

    async def context(self, provider: ProviderChoice | None = None, /, **options: Unpack[CallOptions]) -> Context:
        """What a provider needs to serve one call: for functions that only one provider has.

        Give it to one call only, because keys may rotate. A provider passed by position wins over the keyword.

        Raises:
            ConfigError: no key, or something that cannot work. Nothing was sent.
        """
        arguments.split("context", options)
        choice = options.get("provider") if provider is None else provider
        return await self._context(self.provider(choice), options)

    async def _context(
        self,
        provider: Provider,
        options: Mapping[str, Any],
        *,
        launch_id: str | None = None,
        strict_stream: bool = False,
        endpoint: str | None = None,
    ) -> Context:
        await self._open()
        timeout_s = arguments.seconds("context", options.get("timeout"))
        urls = config.resolve_urls(
            provider.name,
            provider.settings,
            options.get("base_url"),
            self._base_urls.get(provider.name),
            self._env,
            allow_insecure=self._allow_insecure,
        )
        credential = config.find_credential(
            provider.name, provider.settings, options.get("api_key"), self._credentials, self._env
        )
        key = None if credential is None else await config.fetch_key(provider.name, credential)
        return Context(
            provider=provider.name,
            api_key=key,
            base_urls=urls,
            transport=self._transport,
            clock=self.clock,
            hooks=self._hooks,
            timeout_s=self._timeout_s if timeout_s is None else timeout_s,
            launch_id=launch_id,
            strict_stream=strict_stream,
            endpoint=endpoint,
            account=config.fingerprint(provider.name, key),
        )

    def _pick(self, operation: str, options: Mapping[str, Any], home: str | None = None) -> Provider:
        """The provider for an operation, after every check that needs no I/O. ``home`` is where a record comes from."""
        arguments.seconds(operation, options.get("timeout"))
        choice = options.get("provider")
        provider = self.provider(home if choice is None else choice)
        if home is not None and provider.name != home:
            arguments.check(operation, provider=f"the record comes from {home!r}, got {provider.name!r}")
        gating.check_operation(provider, operation)
        return provider

    # ---- machines

    async def spawn_compute(self, request: ComputeRequest | None = None, /, **fields: Unpack[SpawnOptions]) -> Compute:
        """Rent one machine. It bills until :meth:`terminate`.

        Takes a :class:`ComputeRequest`, its fields as keywords, or both (keywords win). The create is sent once; when
        its answer is lost, the machine is looked for by its launch id. Safe to cancel: the create is finished, and the
        machine that came is terminated before the cancellation goes on, which may take minutes where a cloud is silent.

        With ``auth="bearer"`` or ``"signed_url"`` a secret is minted, put into the machine's environment as
        ``EXATLAS_PRESHARED_KEY`` (and ``ATLAS_PRESHARED_KEY``), and handed back once, as ``Compute.auth``.

        Raises:
            ValidationError, UnsupportedError, ConfigError: nothing was sent.
            NoCapacityError, QuotaError, InsufficientFundsError: nothing was rented.
            OutcomeUnknownError: something may have been rented; ``launch_id`` says what to look for.
        """
        return await self._spawn("spawn_compute", request, fields, raced=True)

    async def spawn_tagged(
        self, tags: Tags, request: ComputeRequest | None = None, /, **fields: Unpack[SpawnOptions]
    ) -> Compute:
        """:meth:`spawn_compute`, with more for the ledger to keep. What sessions are made of."""
        return await self._spawn("spawn_compute", request, fields, raced=True, tags=tags)

    def rent(
        self, request: ComputeRequest | None = None, /, **fields: Unpack[SpawnOptions]
    ) -> AbstractAsyncContextManager[Compute]:
        """Rent one machine for an ``async with`` block. Takes what :meth:`spawn_compute` takes.

        It is terminated on every way out, cancellation included: tried again for up to a minute, and said loudly when
        that fails. An exception of the block is never hidden: the failure is then a note on it and an error in the log.

        Raises:
            CleanupError: the block ended well, and the machine could not be terminated.
        """
        options = {name: value for name, value in fields.items() if name in CallOptions.__annotations__}
        # Checked now, so that a wrong argument does not wait for the block.
        wanted = arguments.compute_request("rent", request, fields)
        provider = self._pick("spawn_compute", options)

        async def end(compute: Compute) -> Exception | None:
            contexts = lambda: self._context(provider, options)  # noqa: E731 - one line of glue
            return await end_surely(provider, compute.id, contexts, self.clock, self._books, compute.launch_id)

        return Rental(
            lambda: self._spawn("rent", wanted, cast(SpawnOptions, options | {"provider": provider}), raced=False), end
        )

    async def _spawn(
        self,
        operation: str,
        request: ComputeRequest | None,
        fields: SpawnOptions,
        *,
        raced: bool,
        tags: Tags = UNTAGGED,
    ) -> Compute:
        wanted = arguments.compute_request(operation, request, fields)
        provider = self._pick("spawn_compute", fields)
        gating.check_compute(provider, wanted)
        wanted, handle = with_secret(wanted)
        ctx = await self._context(provider, fields, launch_id=tags.launch_id or new_launch_id())
        try:
            compute = await spawn(provider, wanted, ctx, self._books, tags)
        except Exception as error:
            if raced and is_unsettled(error):
                record_birth(lambda: disown(ctx, self._books))
            raise
        if raced:
            record_birth(lambda: self._give_back(provider, compute.id, ctx))
        return compute if handle is None else evolve(compute, auth=handle)

    async def _give_back(self, provider: Provider, compute_id: str, ctx: Context) -> None:
        async def same() -> Context:
            return ctx

        failure = await end_surely(provider, compute_id, same, ctx.clock, self._books, ctx.launch_id)
        if failure is not None:
            raise failure

    async def get_compute(self, compute: str | Compute, /, **options: Unpack[CallOptions]) -> Compute:
        """Read one machine. Raises NotFoundError for an id that the account does not have."""
        arguments.split("get_compute", options)
        compute_id, home = arguments.compute_id("get_compute", compute)
        provider = self._pick("get_compute", options, home)
        return await provider.get_compute(compute_id, await self._context(provider, options))

    async def wait_until_ready(self, compute: str | Compute, /, **options: Unpack[ReadyOptions]) -> Compute:
        """Wait until a machine is good for something, and give it as last read (with the `auth` of a record given).

        Levels, each with the one before: `running`; `ports`, when every port is mapped; and instead of that `tcp`, when
        a connection to a port opens, or `http`, when a GET of a port's URL is answered below 500. The last two are
        tried from here, without credentials. A ``probe`` has the last word, and replaces the GET.

        It is read once a second at first, and less often the longer it takes, up to every ten seconds; trouble on the
        way is sat out. Safe to cancel: the machine is left as it is.

        Raises:
            NotReadyError: it will not be, or not in time; ``reason`` says why. It goes on and bills, unless
                ``terminate_on_failure`` has terminated it, which the error says.
            UnauthorizedError, ForbiddenError: it cannot be read at all.
        """
        wanted = readiness.Wishes.of(options)
        account = cast(CallOptions, {name: value for name, value in options.items() if name in arguments.ACCOUNT})
        compute_id, home = arguments.compute_id("wait_until_ready", compute)
        provider = self._pick("get_compute", account, home)
        machine = aftermath.Machine(
            id=compute_id,
            given=compute if isinstance(compute, Compute) else None,
            provider=provider,
            contexts=lambda: self._context(provider, account),
            terminate=lambda _: self.terminate(compute, **account),
        )
        return await readiness.wait(machine, wanted, self.clock)

    @overload
    async def list_compute(
        self, filters: ComputeFilter | None = None, /, *, providers: None = None, **fields: Unpack[ListOptions]
    ) -> list[Compute]: ...

    @overload
    async def list_compute(
        self, filters: ComputeFilter | None = None, /, *, providers: Iterable[P], **fields: Unpack[ListOptions]
    ) -> list[Outcome[P, list[Compute]]]: ...

    async def list_compute(
        self, filters: ComputeFilter | None = None, /, *, providers: Iterable[P] | None = None, **fields: Any
    ) -> list[Compute] | list[Outcome[P, list[Compute]]]:
        """Read all machines that pass the filter (``status``, ``name``, ``region``, ``gpu``), over all pages.

        With ``providers``, all of them are asked at once, and there is one :class:`exatlas.Outcome` each, in their
        order: machines or an error. Keys and base URLs are then each provider's own.
        """
        wanted = arguments.compute_filter(filters, fields)
        if providers is not None:
            options = arguments.of_many("list_compute", fields)
            return await self.fan_out(
                lambda one: self.list_compute(wanted, provider=cast(ProviderChoice, one), **options), providers
            )
        provider = self._pick("list_compute", fields)
        return await provider.list_compute(wanted, await self._context(provider, fields))

    async def terminate(self, compute: str | Compute, /, **options: Unpack[CallOptions]) -> None:
        """Destroy a machine and its own disks; billing ends. Network volumes survive.

        Safe to repeat: an id that is gone or unknown is not an error. Cancelling may leave the request delivered.
        With a ledger the machine stays `terminating` there until a read of the cloud has confirmed its end, which is
        asked for up to three times within a few seconds; a ledger that is away does not keep a machine from going.
        A plain id that was rented with a former key is found there too, if a read (one more request) shows its machine.
        """
        arguments.split("terminate", options)
        compute_id, home = arguments.compute_id("terminate", compute)
        provider = self._pick("terminate", options, home)
        ctx = await self._context(provider, options)
        marked = compute.launch_id if isinstance(compute, Compute) else None
        await self._books.terminate(provider, compute_id, ctx, marked, "it was terminated by its user")

    async def recover(
        self,
        policy: Policy = "adopt",
        *,
        older_than: float | timedelta = GRACE_S,
        dry_run: bool = False,
        **options: Unpack[CallOptions],
    ) -> Recovery:
        """Settle in the ledger, and in the clouds, what a process of this owner has left behind.

        Costs one list call for each provider and account with open launches (and for the client's own), and a read or a
        termination for each machine that needs one.
        Launches that changed less than `older_than` ago (seconds or timedelta; five minutes unless given) are left
        alone, because their process may be at work. Nothing is done about accounts that this client has no key for, or
        whose machines cannot be listed. With ``provider``, only its launches are looked at.

        Safe to repeat, to cancel, and to run in several processes at once.

        Args:
            policy: What becomes of machines that are there and were not asked to go: `adopt` keeps them, `terminate`
                ends **every** one of this owner's, those of living processes included; only the sessions that a living
                orchestrator looks after are left to it. Give each service an owner of its own.
            dry_run: Only say what would be done. Reads, and changes nothing.

        Raises:
            ConfigError: the client has no ledger.
            LedgerError: the ledger cannot be read; nothing was done.
        """
        arguments.split("recover", options)
        grace_s = 0.0 if older_than == 0 else arguments.seconds("recover", older_than, "older_than") or GRACE_S
        arguments.check("recover", policy=checks.member("adopt", "terminate")(policy), dry_run=checks.flag(dry_run))
        return await self.settle(policy, timedelta(seconds=grace_s), dry_run, **options)

    async def settle(
        self,
        policy: Policy,
        grace: timedelta,
        dry_run: bool,
        /,
        worker: str | None = None,
        leave: Collection[str] = (),
        due: Collection[str] = (),
        **options: Unpack[CallOptions],
    ) -> Recovery:
        """:meth:`recover` on behalf of a worker: without launches that it knows how to look after, and with those that
        it knows to be due, whenever they changed."""
        if self._books.ledger is None:
            raise ConfigError("there is nothing to recover from: the client has no ledger", operation="recover")
        chosen = options.get("provider")
        only = None if chosen is None else self.provider(chosen).name
        home = only if self._default_provider is None or only else self.provider().name

        async def account_of(name: str) -> Account:
            provider = self.provider(chosen if only is not None else name)
            return Account(provider, await self._context(provider, options))

        work = Work(self._books, self.clock, policy, grace, dry_run, worker, frozenset(leave), frozenset(due))
        return await recover(work, account_of, only=only, home=home)

    async def stop(self, compute: str | Compute, /, **options: Unpack[CallOptions]) -> None:
        """Pause a machine, keeping its volume. Safe to repeat. Kept disks usually cost something."""
        arguments.split("stop", options)
        compute_id, home = arguments.compute_id("stop", compute)
        provider = self._pick("stop", options, home)
        await _full(provider).stop(compute_id, await self._context(provider, options))

    async def start(self, compute: str | Compute, /, **options: Unpack[CallOptions]) -> None:
        """Resume a stopped machine. Safe to repeat. Raises NoCapacityError when its host is full."""
        arguments.split("start", options)
        compute_id, home = arguments.compute_id("start", compute)
        provider = self._pick("start", options, home)
        await _full(provider).start(compute_id, await self._context(provider, options))

    @overload
    async def list_gpu_types(self, *, providers: None = None, **options: Unpack[CallOptions]) -> list[GpuType]: ...

    @overload
    async def list_gpu_types(
        self, *, providers: Iterable[P], **options: Unpack[CallOptions]
    ) -> list[Outcome[P, list[GpuType]]]: ...

    async def list_gpu_types(
        self, *, providers: Iterable[P] | None = None, **options: Any
    ) -> list[GpuType] | list[Outcome[P, list[GpuType]]]:
        """Read the catalogue: models, prices and stock, one record per model and kind of cloud. Stock is advisory.

        With ``providers``, all of them are asked at once, and there is one :class:`exatlas.Outcome` each, in their
        order: records or an error. Keys and base URLs are then each provider's own.
        """
        arguments.split("list_gpu_types", options)
        if providers is not None:
            shared = arguments.of_many("list_gpu_types", options)
            return await self.fan_out(
                lambda one: self.list_gpu_types(provider=cast(ProviderChoice, one), **shared), providers
            )
        provider = self._pick("list_gpu_types", options)
        return await _full(provider).list_gpu_types(await self._context(provider, options))

    def stream_logs(self, compute: str | Compute, /, **options: Unpack[LogOptions]) -> AsyncGenerator[LogLine, None]:
        """Yield a machine's log lines, oldest first: past ones, then new ones until it is gone.

        Leaving the loop early does not close a generator: use ``contextlib.aclosing``.
        """
        arguments.split("stream_logs", options, "tail", "follow")
        compute_id, home = arguments.compute_id("stream_logs", compute)
        tail, follow = options.get("tail"), options.get("follow", True)
        arguments.check("stream_logs", tail=checks.optional(checks.whole(0))(tail), follow=checks.flag(follow))
        provider = self._pick("stream_logs", options, home)
        return relay(
            lambda ctx: _full(provider).stream_logs(compute_id, ctx, tail=tail, follow=follow),
            lambda: self._context(provider, options),
            operation="stream_logs",
        )

    # ---- jobs

    async def run_job(self, request: JobRequest | None = None, /, **fields: Unpack[RunOptions]) -> Job:
        """Submit a job, once. In ``sync`` mode wait for its end, up to ``timeout``, and give the job as it then is.

        Takes a :class:`JobRequest`, its fields as keywords, or both (keywords win). Cancelling while the submit is in
        flight leaves open whether there is a job; a sync job goes on without its caller.

        Raises:
            OutcomeUnknownError: the answer was lost, and there may be a job.
        """
        wanted = arguments.job_request(request, fields)
        provider = self._pick("run_job", fields)
        gating.check_job(provider, wanted)
        options = {name: value for name, value in fields.items() if name != "timeout"}
        return await _full(provider).run_job(wanted, await self._context(provider, options, endpoint=wanted.endpoint))

    async def get_job(self, job: str | Job | JobRef, /, **options: Unpack[JobOptions]) -> Job:
        """Read one job. Raises NotFoundError for an id that is wrong or has expired."""
        arguments.split("get_job", options, "endpoint")
        named, home = arguments.job_ref("get_job", job, options.get("endpoint"))
        provider = self._pick("get_job", options, home)
        return await _full(provider).get_job(named, await self._context(provider, options, endpoint=named.endpoint))

    async def cancel_job(self, job: str | Job | JobRef, /, **options: Unpack[JobOptions]) -> None:
        """Stop a queued or running job. Cancelling a finished one is not an error."""
        arguments.split("cancel_job", options, "endpoint")
        named, home = arguments.job_ref("cancel_job", job, options.get("endpoint"))
        provider = self._pick("cancel_job", options, home)
        await _full(provider).cancel_job(named, await self._context(provider, options, endpoint=named.endpoint))

    def stream_job(
        self, job: str | Job | JobRef, /, **options: Unpack[StreamOptions]
    ) -> AsyncGenerator[JobChunk, None]:
        """Yield a job's chunks as they come; end when it has completed.

        The job goes on when its reader leaves, unless ``on_exit="cancel"``; closing it before the first chunk is
        leaving, too. Leaving the loop early does not close a generator: use ``contextlib.aclosing``. Wrong arguments
        raise at once, everything else while iterating.

        Raises:
            JobFailedError, JobCancelledError, JobTimedOutError: it ended otherwise, after its last chunk.
            StreamGapError: chunks were lost, with ``strict=True``; without it the next chunk has ``gap`` set.
        """
        arguments.split("stream_job", options, "endpoint", "on_exit", "strict")
        named, home = arguments.job_ref("stream_job", job, options.get("endpoint"))
        on_exit, strict = options.get("on_exit", "leave"), options.get("strict", False)
        arguments.check("stream_job", on_exit=checks.member("leave", "cancel")(on_exit), strict=checks.flag(strict))
        provider = self._pick("stream_job", options, home)

        async def cancel() -> None:
            await _full(provider).cancel_job(named, await self._context(provider, options, endpoint=named.endpoint))

        return relay(
            lambda ctx: _full(provider).stream_job(named, ctx),
            lambda: self._context(provider, options, strict_stream=strict, endpoint=named.endpoint),
            operation="stream_job",
            abandon=cancel if on_exit == "cancel" else None,
            clock=self.clock,
        )

    def open_job_stream(self, job: str | Job | JobRef, /, **options: Unpack[OpenStreamOptions]) -> JobStream:
        """:meth:`stream_job` as an async context manager with ``result()``, ``text()`` and a cursor.

        With ``decode="sse"`` the raw events that some workers (vLLM's) yield as text become one chunk each.
        """
        arguments.split("open_job_stream", options, "endpoint", "on_exit", "strict", "decode")
        decode = options.get("decode")
        arguments.check("open_job_stream", decode=checks.optional(checks.member("sse"))(decode))
        streamed = {name: value for name, value in options.items() if name != "decode"}
        asked = cast(JobOptions, {name: value for name, value in streamed.items() if name not in ("on_exit", "strict")})
        return JobStream(
            self.stream_job(job, **cast(StreamOptions, streamed)),
            lambda: self.get_job(job, **asked),
            decode=decode,
        )

    def stream_events(
        self, endpoint: str, path: str, body: Any, /, **options: Unpack[EventOptions]
    ) -> AsyncGenerator[StreamEvent, None]:
        """POST ``body`` as JSON to a route of the endpoint's own, and yield the events it answers with.

        Paths such as ``openai/v1/chat/completions`` reach an OpenAI-compatible worker, others a load-balanced one. Sent
        once. Closing the generator cuts the connection; whether the work behind it stops is the server's affair.
        ``timeout`` bounds the wait for the first byte, which a cold start can make minutes.

        Args:
            done: The data that announces the end (``[DONE]``), or None for servers that simply close.
            idle_timeout: Longest silence between two pieces of the answer; a minute unless given.

        Raises:
            StreamFailedError: the server reported an error inside the stream.
            StreamTruncatedError: the connection ended before ``done``.
        """
        arguments.split("stream_events", options, "done", "idle_timeout")
        done = options.get("done", DONE)
        arguments.check(
            "stream_events",
            endpoint=checks.text(endpoint),
            path=checks.text(path),
            done=checks.optional(checks.text)(done),
        )
        idle_s = arguments.seconds("stream_events", options.get("idle_timeout"), "idle_timeout") or SILENCE_S
        provider = self._pick("stream_events", options)
        return relay(
            lambda ctx: _full(provider).stream_events(endpoint, path, body, ctx, done=done, idle_s=idle_s),
            lambda: self._context(provider, options, endpoint=endpoint),
            operation="stream_events",
        )

    # ---- many providers at once

    async def fan_out(
        self,
        op: Callable[[P], Awaitable[T]],
        providers: Iterable[P],
        *,
        limit: int | None = None,
        timeout: float | timedelta | None = None,
    ) -> list[Outcome[P, T]]:
        """:func:`exatlas.fan_out` by this client's clock."""
        return await fanout.fan_out(op, providers, limit=limit, timeout=timeout, clock=self.clock)

    async def first_ok(
        self,
        op: Callable[[P], Awaitable[T]],
        providers: Iterable[P],
        *,
        limit: int | None = None,
        timeout: float | timedelta | None = None,
        undo: Undo[T] | None = None,
    ) -> T:
        """:func:`exatlas.first_ok` by this client's clock."""
        return await fanout.first_ok(op, providers, limit=limit, timeout=timeout, undo=undo, clock=self.clock)


def _full(provider: Provider) -> OptionalOperations:
    """The provider with the operations it has declared; gating has made sure of the one that is called."""
    return cast(OptionalOperations, provider)


def _has(thing: object, what: str, *methods: str) -> str | None:
    if thing is None or all(callable(getattr(thing, method, None)) for method in methods):
        return None
    return f"expected {what}, {checks.given(thing)}"


def _listening(hooks: object) -> str | None:
    if isinstance(hooks, tuple) and all(callable(hook) or isinstance(hook, Listener) for hook in hooks):
        return None
    return f"expected a list of functions of one RequestRecord, {checks.given(hooks)}; Listeners will do as well"


def _nowhere() -> asyncio.AbstractEventLoop | None:
    return None
