"""What a client writes into its ledger, and when. Without a ledger nothing here does anything.

==============================  ==========================================================
before the create leaves        ``intended``: the spawn fails if this cannot be written
before the caller has the id    ``created``: the machine is given back if this cannot be
before a terminate leaves       ``terminating``
after a read that says so       ``gone``
==============================  ==========================================================

The last two are written as well as can be: a machine must go although the ledger is away, and
:meth:`exatlas.Atlas.recover` finds out later what became of it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from importlib import import_module
from typing import Any

from attrs import field, frozen

from exatlas.cancellation import Deadline, outlive
from exatlas.errors import AtlasError, ConflictError, LedgerError, NotFoundError
from exatlas.protocols import Context, Ledger, Provider
from exatlas.records.compute import Compute, ComputeRequest
from exatlas.records.launch import Launch, LaunchState, RateSegment

CONFIRM_WAITS_S = (0.0, 1.0, 2.0)
"""Waits before each read that may confirm the end of a machine."""
CONFIRM_S = 30.0
"""How long all these reads may take together."""
NOTE_S = 5.0
"""How long to try to write what need not be written, in real seconds; and to read whose it is, by the clock."""

STILL_OPEN = frozenset(LaunchState) - {LaunchState.GONE}

SERIAL = "exatlas.records.serial"
"""Imported late: whoever has no ledger need not load cattrs for it."""
_UNSPOKEN = ("env", "provider_opts")
"""Fields of a request that may hold secrets."""

_log = logging.getLogger("exatlas.client")


@frozen(kw_only=True)
class Tags:
    """What a ledger keeps of a launch beside what was asked of the cloud."""

    launch_id: str | None = None
    """The mark of the machine; None for a fresh one."""
    user: str | None = None
    tenant: str | None = None
    session: Mapping[str, Any] = field(factory=dict)
    """Limits, as JSON values."""
    worker: str | None = None
    """Who looks after it. When somebody else does by the time the machine is there, nobody is given it."""
    admit: Callable[[], Awaitable[None]] | None = None
    """Asked once the intent is written; when it raises, nothing is rented."""
    facts: Callable[[Compute], Mapping[str, Any]] | None = None
    """More to write about the machine that came."""


UNTAGGED = Tags()


class Books:
    """The pages of one owner in a ledger, as one client writes them."""

    def __init__(self, ledger: Ledger | None = None, owner: str = "") -> None:
        self.ledger = ledger
        self.owner = owner

    async def intend(self, request: ComputeRequest, ctx: Context, tags: Tags = UNTAGGED) -> None:
        """Write down what is about to be rented.

        Raises:
            LedgerError: it could not be written, and nothing may be sent.
        """
        if self.ledger is None:
            return
        now = ctx.clock.now()
        launch = Launch(
            launch_id=ctx.launch_id or "",
            owner=self.owner,
            provider=ctx.provider,
            account=ctx.account,
            tenant=tags.tenant,
            user=tags.user,
            request=harmless(request),
            session=tags.session,
            worker=tags.worker,
            intended_at=now,
            updated_at=now,
        )
        try:
            await _written(self.ledger.intend(launch))
        except asyncio.CancelledError:
            # The write may have been made all the same.
            await outlive(lambda: self.note(ctx, LaunchState.GONE, reason="cancelled before anything was sent"))
            raise

    async def created(self, compute: Compute, ctx: Context, tags: Tags = UNTAGGED) -> None:
        """Write down the machine that came, and its price.

        Raises:
            LedgerError: it could not be written; nobody may get the machine.
        """
        if self.ledger is None:
            return
        now = ctx.clock.now()
        facts: dict[str, Any] = {"compute_id": compute.id, "rates": first_rate(compute, now), "reason": None}
        facts |= tags.facts(compute) if tags.facts else {}
        await _written(self.ledger.advance(ctx.launch_id or "", LaunchState.CREATED, now, worker=tags.worker, **facts))

    async def note(self, ctx: Context, to: LaunchState, *, launch_id: str | None = None, **facts: Any) -> None:
        """Move a launch on, if that can be written. What cannot is left to a recovery, with a word in the log."""
        if self.ledger is None:
            return
        page = launch_id or ctx.launch_id or ""
        try:
            async with asyncio.timeout(NOTE_S):
                await self.ledger.advance(page, to, ctx.clock.now(), **facts)
        except (NotFoundError, ConflictError):
            # Never written, or somebody else has settled it.
            _log.debug("launch %s cannot become %s", page, to.value, exc_info=True)
        except Exception:  # noqa: BLE001 - supervised boundary: a ledger is the user's, and must not stop what goes on
            _log.warning("the ledger does not know that launch %s is %s", page, to.value, exc_info=True)

    async def ending(
        self, provider: Provider, compute_id: str, ctx: Context, launch_id: str | None, reason: str
    ) -> str | None:
        """Write down that a machine is to go. Gives its launch id; None for one that the ledger does not know."""
        if self.ledger is None:
            return None
        launch = await self._page_of(self.ledger, provider, compute_id, ctx, launch_id)
        if launch is None:
            return None
        facts = {"compute_id": compute_id, "reason": reason}
        await self.note(ctx, LaunchState.TERMINATING, launch_id=launch.launch_id, **facts)
        return launch.launch_id

    async def confirm(self, launch_id: str | None, compute_id: str, provider: Provider, ctx: Context) -> bool:
        """Read the cloud until it says that a machine is gone, and write that down. Gives whether it said so."""
        if self.ledger is None or launch_id is None:
            return False
        if not await is_gone(provider, compute_id, ctx):
            return False
        await self.note(ctx, LaunchState.GONE, launch_id=launch_id)
        return True

    async def terminate(
        self, provider: Provider, compute_id: str, ctx: Context, launch_id: str | None, reason: str
    ) -> None:
        """Terminate once, with what has to be written before and after."""
        page = await self.ending(provider, compute_id, ctx, launch_id, reason)
        await provider.terminate(compute_id, ctx)
        await self.confirm(page, compute_id, provider, ctx)

    async def _page_of(
        self, ledger: Ledger, provider: Provider, compute_id: str, ctx: Context, launch_id: str | None
    ) -> Launch | None:
        try:
            async with asyncio.timeout(NOTE_S):
                marked = await ledger.get(launch_id) if launch_id else None
                if marked is not None and marked.compute_id in (None, compute_id):
                    return None if marked.state.is_final else marked
                found = await ledger.find(provider=ctx.provider, account=ctx.account, compute_id=compute_id)
                here = [launch for launch in found if not launch.state.is_final]
                if here:
                    return here[-1]
                elsewhere = await ledger.find(
                    owner=self.owner, states=STILL_OPEN, provider=ctx.provider, compute_id=compute_id
                )
        except Exception:  # noqa: BLE001 - supervised boundary: a machine must go although the ledger is away
            _log.warning("the ledger cannot be asked about compute %s", compute_id, exc_info=True)
            return None
        # A key that was rotated, or another account: only a machine that this key shows is surely meant.
        return elsewhere[0] if len(elsewhere) == 1 and await _shows(provider, elsewhere[0], ctx) else None


NO_BOOKS = Books()
"""For a client without a ledger."""


def harmless(request: ComputeRequest) -> dict[str, Any]:
    """The request as JSON values, without what may be secret."""
    plain: dict[str, Any] = import_module(SERIAL).unstructure(request)
    return {name: value for name, value in plain.items() if name not in _UNSPOKEN}


def first_rate(compute: Compute, now: datetime) -> tuple[RateSegment, ...]:
    """What a machine costs from now on, as far as its cloud says."""
    price = compute.cost_usd_per_hour
    return () if price is None else (RateSegment(since=now, usd_per_hour=price),)


async def is_gone(provider: Provider, compute_id: str, ctx: Context) -> bool:
    """Whether a read of the cloud says that a machine is gone. Asks several times; an error says nothing."""
    try:
        async with Deadline(ctx.clock, CONFIRM_S):
            for wait_s in CONFIRM_WAITS_S:
                await ctx.clock.sleep(wait_s)
                if await _says_gone(provider, compute_id, ctx):
                    return True
    except TimeoutError:
        _log.debug("compute %s is not known to be gone: no answer in time", compute_id)
    return False


async def _shows(provider: Provider, launch: Launch, ctx: Context) -> bool:
    """Whether a read with this key shows the machine of a launch."""
    try:
        async with Deadline(ctx.clock, NOTE_S):
            machine = await provider.get_compute(launch.compute_id or "", ctx)
    except Exception:  # noqa: BLE001 - supervised boundary: the machine is about to go, and this read is extra
        _log.debug("reading compute %s failed", launch.compute_id, exc_info=True)
        return False
    return machine.launch_id in (None, launch.launch_id)


async def _says_gone(provider: Provider, compute_id: str, ctx: Context) -> bool:
    try:
        found = await provider.get_compute(compute_id, ctx)
    except NotFoundError:
        return True
    except Exception:  # noqa: BLE001 - supervised boundary: the machine was terminated, and this read is extra
        _log.debug("reading compute %s failed", compute_id, exc_info=True)
        return False
    return found.status.is_terminal


async def _written(write: Awaitable[Any]) -> None:
    """Await a write that must not fail; whatever a user's ledger raises becomes a LedgerError."""
    try:
        await write
    except LedgerError:
        raise
    except Exception as error:
        text = str(error) if isinstance(error, AtlasError) else type(error).__name__
        raise LedgerError(f"the ledger could not be written: {text}", retryable=False) from error


Contexts = Callable[[], Awaitable[Context]]
"""Gives a context for each attempt, because keys may rotate."""
