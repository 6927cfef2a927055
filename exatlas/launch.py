"""Rent a machine exactly once: mark it, send one create, and look for the mark when the answer is lost."""

import re
import secrets
from collections.abc import Awaitable, Callable, Iterable, Sequence

from exatlas.errors import (
    AtlasError,
    ForbiddenError,
    NoCapacityError,
    OutcomeUnknownError,
    ProviderBrokenError,
    ProviderError,
    ReplyShapeError,
    TransportError,
)
from exatlas.protocols import Context
from exatlas.records.compute import Compute

LOOKS_S = (0.5, 1, 2, 4, 8, 12)
"""Waits before each look, in seconds: together they outlast the listing lag of the clouds we know."""

_MARK = re.compile(r".*-([0-9a-f]{12})", re.DOTALL)


def new_launch_id() -> str:
    """Mint the mark of one spawn: 12 lower-case hex digits, fit for names, labels and tags everywhere."""
    return secrets.token_hex(6)


def mark_name(name: str | None, launch_id: str) -> str:
    """Append the mark to a machine's name, for clouds that have no better place for it."""
    return f"{name or 'exatlas'}-{launch_id}"


def launch_of(name: str | None) -> str | None:
    """The mark a name carries, or None."""
    found = _MARK.fullmatch(name or "")
    return found[1] if found else None


def may_have_acted(error: BaseException) -> bool:
    """Whether a call may have been carried out although it ended in this error."""
    if isinstance(error, TransportError):
        return error.delivered is not False
    return isinstance(error, ProviderBrokenError | ReplyShapeError)


async def in_order(
    attempts: Iterable[tuple[str, Callable[[], Awaitable[Compute]]]],
    passed_over: tuple[type[ProviderError], ...] = (NoCapacityError, ForbiddenError),
) -> Compute:
    """Rent by the first attempt that is not refused for want of capacity, or of the right to that very thing.

    Each attempt comes with the words for what it asks, such as "H100 in eu-west"; there must be at least one.

    Args:
        passed_over: The refusals after which the next attempt may fare better. Clouds with a quota for each region add
            QuotaError.

    Raises:
        NoCapacityError: no attempt found anything free; the message lists what was tried.
        ForbiddenError, QuotaError: the account may have none of it.
    """
    refused: list[tuple[str, ProviderError]] = []
    for what, create in attempts:
        try:
            return await create()
        except passed_over as error:
            refused.append((what, error))
    shortages = [error for _, error in refused if isinstance(error, NoCapacityError)]
    last = shortages[-1] if shortages else refused[-1][1]
    if len(refused) > 1:
        last.extend(f"tried {', '.join(what for what, _ in refused)}")
    raise last


async def create_once(
    create: Callable[[], Awaitable[Compute]],
    find: Callable[[], Awaitable[Compute | None]],
    ctx: Context,
    *,
    looks: Sequence[float] = LOOKS_S,
) -> Compute:
    """Run ``create`` once, and settle what became of it when its answer is lost.

    After an end that leaves the outcome open (a request that may have been delivered, a 5xx, an unreadable reply)
    ``find`` looks for the machine with this launch id, after each of the waits in ``looks``. Every other error passes.
    Cancelling while it looks leaves the outcome open; the client never does that, it finishes the call.

    Raises:
        OutcomeUnknownError: no look found the machine; there may be one all the same. The first error is the cause.
    """
    try:
        return await create()
    except AtlasError as error:
        if not may_have_acted(error):
            raise
        cause = error
    for wait_s in looks:
        await ctx.clock.sleep(wait_s)
        try:
            found = await find()
        except AtlasError as trouble:
            # A failed look says nothing about the machine. The next one may get through.
            cause.add_note(f"looking for launch {ctx.launch_id} failed: {trouble}")
            continue
        if found is not None:
            return found
    raise OutcomeUnknownError(
        f"a machine may have been rented: the create ended in {type(cause).__name__}, and no machine with launch id "
        f"{ctx.launch_id} showed up within {sum(looks):g} s. Search for that id before spawning again",
        launch_id=ctx.launch_id,
        provider=ctx.provider,
        operation="spawn_compute",
        status=cause.status,
        request_id=cause.request_id,
    ) from cause
