"""How a session begins: a machine with its limits, written down before it is rented and looked after from then on."""

import asyncio
from datetime import datetime
from decimal import Decimal
from typing import Any

from attrs import frozen

from exatlas.cancellation import outlive
from exatlas.client.atlas import Atlas
from exatlas.client.bookkeeping import Tags, first_rate
from exatlas.errors import BudgetError, ConfigError, LedgerError, UnsupportedError
from exatlas.launch import new_launch_id
from exatlas.orchestrator import events
from exatlas.orchestrator.allowance import Allowances
from exatlas.orchestrator.endings import Endings
from exatlas.orchestrator.estimate import Estimates
from exatlas.orchestrator.funding import Funding
from exatlas.orchestrator.roster import Roster
from exatlas.orchestrator.session import Limits, Session, compute_to_json, to_json
from exatlas.orchestrator.sightings import Sightings
from exatlas.orchestrator.watch import Tracked
from exatlas.records.compute import Compute, ComputeRequest


@frozen(kw_only=True)
class Wish:
    """A session that somebody wants."""

    request: ComputeRequest
    limits: Limits
    keep_on_exit: bool
    user: str | None
    tenant: str | None
    options: dict[str, Any]
    """Whom to ask, with what key."""


class Spawning:
    """Spawns in progress."""

    def __init__(
        self,
        atlas: Atlas,
        roster: Roster,
        endings: Endings,
        sightings: Sightings,
        funding: Funding,
        allowances: Allowances,
    ) -> None:
        self._atlas = atlas
        self._roster = roster
        self._endings = endings
        self._funding = funding
        self._allowances = allowances
        self._estimates = Estimates(atlas, roster.clock)
        self._sightings = sightings
        self._marks: set[str] = set()
        self._none = asyncio.Event()
        self._closed = False

    @property
    def marks(self) -> frozenset[str]:
        """The launch ids of those in progress."""
        return frozenset(self._marks)

    async def close(self) -> None:
        """Give nobody a machine any more, and wait until none is on its way. Safe to repeat."""
        self._closed = True
        if self._marks:
            await self._none.wait()

    async def spawn(self, wish: Wish) -> Session:
        """Rent it, tell of it, and look after it.

        Raises:
            LedgerError: the ledger has been away for so long that others may have taken this worker for dead.
        """
        if not self._roster.lease.held:
            raise LedgerError("the ledger has been away for too long; nothing is rented", operation="spawn")
        mark = new_launch_id()
        self._marks.add(mark)
        try:
            return await self._spawn(wish, mark)
        finally:
            self._marks.discard(mark)
            if not self._marks:
                self._none.set()
                self._none = asyncio.Event()

    async def _spawn(self, wish: Wish, mark: str) -> Session:
        roster, worker = self._roster, self._roster.lease.name
        whose = {"session": mark, "tenant": wish.tenant, "user": wish.user}
        roster.tell(events.SpawnRequested, **whose)
        asked = roster.now
        try:
            compute = await self._atlas.spawn_tagged(self._tags(wish, mark, worker, asked), wish.request, **wish.options)
        except BaseException as error:
            reason = type(error).__name__ if isinstance(error, Exception) else "cancelled"
            roster.tell(events.SpawnFailed, **whose, reason=reason)
            # There may be a machine in spite of all.
            self._roster.doubt(mark)
            if isinstance(error, Exception):
                await self._endings.settle(mark)
            raise
        session = self._begun(wish, mark, compute, asked)
        if roster.lease.name != worker:
            # Whoever took this worker for dead has found the session in the ledger, whole.
            return session
        tracked = roster.track(session, wish.options)
        roster.about(session, events.Created, compute_id=compute.id)
        try:
            await self._check(tracked)
            await self._sightings.seen(tracked, compute)
        except asyncio.CancelledError:
            await self._refuse(tracked, "its spawn was cancelled")
            raise
        return tracked.session

    def _tags(self, wish: Wish, mark: str, worker: str, asked: datetime) -> Tags:
        async def admit() -> None:
            now = self._roster.now
            if self._funding.concerns(wish.tenant, wish.user, now):
                price = await self._estimates.usd_per_hour(wish.request, wish.options)
                await self._funding.reserve(mark, wish.tenant, wish.user, wish.limits, price, self._roster.now)

        def facts(compute: Compute) -> dict[str, Any]:
            begin = self._begin(compute, asked)
            return {"created_at": begin, "rates": first_rate(compute, begin), "machine": compute_to_json(compute)}

        return Tags(
            launch_id=mark,
            user=wish.user,
            tenant=wish.tenant,
            session=to_json(wish.limits, keep_on_exit=wish.keep_on_exit),
            worker=worker,
            admit=admit,
            facts=facts,
        )

    def _begin(self, compute: Compute, asked: datetime) -> datetime:
        """Since when a machine is billed: as its cloud says, unless that cannot be. Its answer may be long in coming."""
        return min(max(compute.created_at or asked, asked), self._roster.now)

    def _begun(self, wish: Wish, mark: str, compute: Compute, asked: datetime) -> Session:
        begin = self._begin(compute, asked)
        return Session(
            id=mark,
            tenant=wish.tenant,
            user=wish.user,
            limits=wish.limits,
            keep_on_exit=wish.keep_on_exit,
            compute=compute,
            started_at=begin,
            touched_at=self._roster.now,
            rates=first_rate(compute, begin),
        )

    async def _check(self, tracked: Tracked) -> None:
        """Whether its caller may have it. What may not be is terminated."""
        session = tracked.session
        if self._closed:
            await self._refuse(tracked, "the orchestrator was left while the machine was rented")
            raise ConfigError("the orchestrator was left while the machine was rented", operation="spawn")
        has_budget = self._funding.concerns(session.tenant, session.user, self._roster.now)
        if not session.rates and (session.limits.max_cost_usd is not None or has_budget):
            await self._refuse(tracked, "what it may cost is limited, and it has no price")
            raise UnsupportedError(
                "max_cost_usd and budgets need a price, and the cloud tells none for this machine; it was terminated",
                provider=session.compute.provider,
                operation="spawn",
            )
        if has_budget:
            await self._fund(tracked)

    async def _fund(self, tracked: Tracked) -> None:
        """Hold what the machine needs by its real price, which may be more than was thought."""
        try:
            funds = await self._allowances.fund(tracked)
        except LedgerError:
            await self._refuse(tracked, "its budget cannot be asked")
            raise
        if funds.exhausted is None:
            return
        await self._refuse(tracked, f"the budget of {funds.exhausted} is spent")
        price = tracked.session.rates[-1].usd_per_hour
        raise BudgetError(
            f"the budget of {funds.exhausted} has nothing left for a machine of {price} USD an hour; it was terminated",
            budget=funds.exhausted,
            left_usd=Decimal(0),
            operation="spawn",
        )

    async def _refuse(self, tracked: Tracked, reason: str) -> None:
        """End a session that nobody was given, although its caller may be cancelled."""

        async def ended() -> None:
            await asyncio.wait([self._endings.end(tracked, reason)])

        if (await outlive(ended)).interrupted:
            raise asyncio.CancelledError
