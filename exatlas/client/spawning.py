"""Rent without losing: a create is always finished, and a machine that nobody will get is terminated.

What cannot be done is said loudly: on the logger ``exatlas.client`` at ERROR level, with the launch id.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from types import TracebackType

from attrs import evolve

from exatlas.cancellation import Deadline, outlive
from exatlas.client.bookkeeping import NO_BOOKS, UNTAGGED, Books, Contexts, Tags
from exatlas.client.hints import hint_at_gpus
from exatlas.client.watching import SpawnWatch
from exatlas.errors import (
    AtlasError,
    CleanupError,
    ConfigError,
    ErrorKind,
    ForbiddenError,
    LedgerError,
    OutcomeUnknownError,
    ProviderBrokenError,
    ReplyShapeError,
    TransportError,
    UnauthorizedError,
    UnsupportedError,
    ValidationError,
)
from exatlas.launch import LOOKS_S
from exatlas.protocols import Clock, Context, Provider
from exatlas.records.compute import Compute, ComputeFilter, ComputeRequest
from exatlas.records.launch import LaunchState

PATIENCE_S = 60.0
"""How long a create goes on after its caller was cancelled, and how long a termination is tried."""
LAST_CHANCE_S = 1.0
"""How long a create may take to give in to cancellation, in real seconds."""
WAITS_S = (0.5, 1, 2, 4, 8, 16)
"""Waits between the attempts at a termination."""

_HOPELESS = (ConfigError, UnsupportedError, ValidationError, UnauthorizedError, ForbiddenError)

_log = logging.getLogger("exatlas.client")

Terminate = Callable[[str], Awaitable[None]]
"""Destroys the machine with that id."""


async def spawn(
    provider: Provider, request: ComputeRequest, ctx: Context, books: Books = NO_BOOKS, tags: Tags = UNTAGGED
) -> Compute:
    """Let the provider rent one machine, in a task that outlives the caller's cancellation.

    When cancelled, the create is finished (for up to a minute; then its machine is looked for), the machine that came
    is terminated, and the cancellation goes on. The intent is in the books before anything is sent, and the machine
    before this returns.
    """
    with SpawnWatch(ctx) as watch:
        await books.intend(request, ctx, tags)
        create = asyncio.create_task(
            _create(provider, request, watch.ctx, books, tags), name=f"exatlas spawn {ctx.launch_id}"
        )
        try:
            return await asyncio.shield(create)
        except asyncio.CancelledError:
            watch.settled = False
            watch.settled = (await outlive(lambda: _abandon(create, provider, ctx, books))).value
            raise


async def terminate_surely(terminate: Terminate, compute_id: str, clock: Clock) -> Exception | None:
    """Terminate, several times if need be, within a minute. Gives the last failure instead of raising it."""
    failure: Exception | None = None
    try:
        async with Deadline(clock, PATIENCE_S):
            for wait_s in (*WAITS_S, None):
                try:
                    await terminate(compute_id)
                except Exception as error:  # noqa: BLE001 - supervised boundary: whatever happens, the machine must go
                    failure = error
                else:
                    return None
                if wait_s is None or (isinstance(failure, _HOPELESS) and not failure.retryable):
                    return failure
                await clock.sleep(wait_s)
    except TimeoutError:
        return failure or TimeoutError(f"no answer within {PATIENCE_S:g} s")
    return failure


async def end_surely(
    provider: Provider, compute_id: str, contexts: Contexts, clock: Clock, books: Books, launch_id: str | None
) -> Exception | None:
    """:func:`terminate_surely`, with what has to be written before and after."""
    page = None if books.ledger is None else await _noted_ending(provider, books, compute_id, contexts, launch_id)

    async def terminate(compute_id: str) -> None:
        await provider.terminate(compute_id, await contexts())

    failure = await terminate_surely(terminate, compute_id, clock)
    if page is not None and failure is None:
        await books.confirm(page.launch_id, compute_id, provider, page)
    return failure


async def _noted_ending(
    provider: Provider, books: Books, compute_id: str, contexts: Contexts, launch_id: str | None
) -> Context | None:
    """Write that a machine is to go. Gives a context that names its launch, if the books have it."""
    try:
        ctx = await contexts()
    except AtlasError:
        _log.debug("compute %s ends without a word in the ledger", compute_id, exc_info=True)
        return None
    page = await books.ending(provider, compute_id, ctx, launch_id, "its time was over, or nobody waited for it")
    return None if page is None else evolve(ctx, launch_id=page)


End = Callable[[Compute], Awaitable[Exception | None]]
"""Terminates a machine, as surely as can be. Gives the last failure instead of raising it."""


class Rental:
    """A machine for the length of an ``async with`` block: terminated on every way out. Good for one block."""

    def __init__(self, spawn: Callable[[], Awaitable[Compute]], end: End) -> None:
        self._spawn = spawn
        self._terminate = end
        self._compute: Compute | None = None

    async def __aenter__(self) -> Compute:
        if self._compute is not None:
            raise ConfigError("a rental is good for one block; call rent() again", operation="rent")
        self._compute = await self._spawn()
        return self._compute

    async def __aexit__(
        self, cls: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        compute = self._compute
        if compute is None:
            return
        ended = await outlive(lambda: self._end(compute))
        if ended.value is not None:
            loud = _cleanup_error(compute, ended.value)
            if error is None and not ended.interrupted:
                raise loud from ended.value
            if error is not None:
                error.add_note(str(loud))
        if ended.interrupted:
            raise asyncio.CancelledError

    async def _end(self, compute: Compute) -> Exception | None:
        failure = await self._terminate(compute)
        if failure is not None:
            _log.error("%s", _cleanup_error(compute, failure), exc_info=failure)
        return failure


async def _create(provider: Provider, request: ComputeRequest, ctx: Context, books: Books, tags: Tags) -> Compute:
    """Rent, and see to it that the books say what came of it before anybody else knows."""
    if tags.admit is not None:
        try:
            await tags.admit()
        except BaseException:
            await books.note(ctx, LaunchState.GONE, reason="it was not admitted, and nothing was sent")
            raise
    try:
        compute = await _rented(provider, request, ctx)
    except Exception as error:
        if _in_doubt(error):
            await books.note(ctx, LaunchState.INTENDED, reason=f"in doubt: {type(error).__name__}")
        else:
            await books.note(ctx, LaunchState.GONE, reason=_kind(error))
        raise
    try:
        await books.created(compute, ctx, tags)
    except LedgerError as error:
        await _unwritten(compute, provider, ctx, error)
        raise
    return compute


def _kind(error: Exception) -> str:
    return (error.kind if isinstance(error, AtlasError) else ErrorKind.UNKNOWN).value


async def _unwritten(compute: Compute, provider: Provider, ctx: Context, error: LedgerError) -> None:
    """Give back a machine that is not in the ledger. Its launch stays as it is, for a recovery to settle."""
    failure = await terminate_surely(lambda found: provider.terminate(found, ctx), compute.id, ctx.clock)
    if failure is None:
        error.extend(f"compute {compute.id} was terminated")
        return
    error.extend(f"compute {compute.id} could not be terminated either, and is probably billing: {failure}")
    _log.error("%s", error, exc_info=failure, extra=_facts(ctx))


async def _rented(provider: Provider, request: ComputeRequest, ctx: Context) -> Compute:
    try:
        compute = await provider.spawn_compute(request, ctx)
    except AtlasError as error:
        hint_at_gpus(error, request)
        raise
    except Exception:
        _log.exception(
            "%s failed in an unexpected way while renting; there may be a machine with launch id %s",
            ctx.provider,
            ctx.launch_id,
            extra=_facts(ctx),
        )
        raise
    if not isinstance(compute, Compute):
        raise OutcomeUnknownError(
            f"the provider gave {type(compute).__name__} instead of a Compute; there may be a machine with launch id "
            f"{ctx.launch_id}",
            launch_id=ctx.launch_id,
            provider=ctx.provider,
            operation="spawn_compute",
        )
    return compute


async def _abandon(create: asyncio.Task[Compute], provider: Provider, ctx: Context, books: Books) -> bool:
    """Finish a create that nobody waits for any more, and give back what it rented. Safe to repeat.

    Gives whether surely nothing is left behind.
    """
    try:
        async with Deadline(ctx.clock, PATIENCE_S):
            await asyncio.wait([create])
    except TimeoutError:
        create.cancel()
        await asyncio.wait([create], timeout=LAST_CHANCE_S)
    compute_id, sure = await _came_of(create, provider, ctx)
    if compute_id is None:
        if not sure:
            await books.note(ctx, LaunchState.TERMINATING, reason="cancelled; there may be a machine")
        return sure
    await books.note(ctx, LaunchState.TERMINATING, compute_id=compute_id, reason="its spawn was cancelled")
    failure = await terminate_surely(lambda found: provider.terminate(found, ctx), compute_id, ctx.clock)
    if failure is None:
        await books.confirm(ctx.launch_id, compute_id, provider, ctx)
        _log.info("a spawn was cancelled, and its machine %s was terminated", compute_id, extra=_facts(ctx))
        return True
    _log.error(
        "compute %s of a cancelled spawn at %s (launch id %s) could not be terminated, and is probably billing",
        compute_id,
        ctx.provider,
        ctx.launch_id,
        exc_info=failure,
        extra=_facts(ctx),
    )
    return False


async def _came_of(create: asyncio.Task[Compute], provider: Provider, ctx: Context) -> tuple[str | None, bool]:
    """The id of the machine that a create rented, or None; and whether that is sure."""
    if not create.done():
        _log.error(
            "a cancelled spawn at %s does not end; there may yet be a machine with launch id %s",
            ctx.provider,
            ctx.launch_id,
            extra=_facts(ctx),
        )
        return await _search(provider, ctx), False
    if create.cancelled():
        # It took too long, or an event loop that shuts down has cancelled the create itself: its answer is lost.
        return await _search(provider, ctx), False
    error = create.exception()
    if error is None:
        return create.result().id, True
    if not _in_doubt(error):
        return None, True
    if not isinstance(error, OutcomeUnknownError):
        return await _search(provider, ctx), False
    _log.error(
        "a cancelled spawn at %s ended in doubt; there may be a machine with launch id %s",
        ctx.provider,
        ctx.launch_id,
        exc_info=error,
        extra=_facts(ctx),
    )
    return None, False


def _in_doubt(error: BaseException) -> bool:
    """Whether there may be a machine all the same. Providers that create once have settled most of these already."""
    if isinstance(error, TransportError):
        return error.delivered is not False
    return not isinstance(error, AtlasError) or isinstance(
        error, OutcomeUnknownError | ProviderBrokenError | ReplyShapeError
    )


def is_unsettled(error: Exception) -> bool:
    """Whether a spawn that ended in this error may have left a machine, which whoever hears of it has to settle."""
    return _in_doubt(error) or isinstance(error, LedgerError)


async def disown(ctx: Context, books: Books) -> None:
    """Write that the machine of an unsettled spawn is to go, should there be one: its error reaches nobody."""
    await books.note(ctx, LaunchState.TERMINATING, reason="in doubt, and nobody waits for it any more")
    _log.error(
        "a spawn at %s ended in doubt, and its call has lost its race; there may be a machine with launch id %s",
        ctx.provider,
        ctx.launch_id,
        extra=_facts(ctx),
    )


async def _search(provider: Provider, ctx: Context) -> str | None:
    """Look for the machine of a create whose answer is lost, over the listing lag."""
    for wait_s in (0, *LOOKS_S):
        await ctx.clock.sleep(wait_s)
        try:
            machines = await provider.list_compute(ComputeFilter(), ctx)
        except Exception:  # noqa: BLE001 - supervised boundary: a failed look says nothing; the next may get through
            _log.debug("looking for launch %s failed", ctx.launch_id, exc_info=True, extra=_facts(ctx))
            continue
        for machine in machines:
            if machine.launch_id == ctx.launch_id:
                return machine.id
    _log.error(
        "a spawn at %s was cut off, and no machine with launch id %s has shown up; there may be one all the same",
        ctx.provider,
        ctx.launch_id,
        extra=_facts(ctx),
    )
    return None


def _facts(ctx: Context) -> dict[str, str | None]:
    """What log records carry beside their text."""
    return {
        "exatlas.provider": ctx.provider,
        "exatlas.operation": "spawn_compute",
        "exatlas.launch_id": ctx.launch_id,
    }


def _cleanup_error(compute: Compute, failure: Exception) -> CleanupError:
    return CleanupError(
        f"compute {compute.id!r} could not be terminated and is probably still billing: {failure}",
        compute_id=compute.id,
        provider=compute.provider,
        operation="terminate",
    )
