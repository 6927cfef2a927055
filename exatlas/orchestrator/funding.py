"""Budgets in force: what sessions hold in purses, before they rent and while they live, and what they spent after."""

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from attrs import evolve, frozen

from exatlas.errors import BudgetError, UnsupportedError
from exatlas.orchestrator import budget as sums
from exatlas.orchestrator.budget import ENOUGH_USD, Budget, BudgetState, Purse, Spending
from exatlas.orchestrator.session import Limits, Session, from_json
from exatlas.protocols import Ledger
from exatlas.records.budget import Hold
from exatlas.records.launch import Launch, RateSegment

TRIES = 3
"""How often to try to take what is left, when others take it meanwhile."""

_log = logging.getLogger("exatlas.orchestrator")


@frozen(kw_only=True)
class Funds:
    """How long a session may go on."""

    until: datetime | None
    """When to ask again; None for never."""
    exhausted: str | None = None
    """The purse that is empty now, in words."""


UNLIMITED = Funds(until=None)


class Funding:
    """The budgets of one owner.

    Args:
        stretch: For how long ahead sessions without a bound of their own hold something.
    """

    def __init__(self, budgets: Sequence[Budget], ledger: Ledger, owner: str, stretch: timedelta) -> None:
        self._budgets = tuple(budgets)
        self._ledger = ledger
        self._owner = owner
        self._stretch = stretch

    def concerns(self, tenant: str | None, user: str | None, now: datetime) -> bool:
        """Whether somebody has a budget."""
        return bool(self._budgets) and bool(self._purses(tenant, user, now))

    async def reserve(
        self,
        launch_id: str,
        tenant: str | None,
        user: str | None,
        limits: Limits,
        usd_per_hour: Decimal | None,
        now: datetime,
    ) -> None:
        """Hold what a machine will need that may cost so much an hour, before it is rented.

        Cancelling gives up the wait: it may be held all the same, until the launch is settled.

        Raises:
            BudgetError: there is too little, and nothing is held.
            UnsupportedError: nobody knows what it may cost.
            LedgerError: the ledger is away.
        """
        owned = self._purses(tenant, user, now)
        if not owned:
            return
        if usd_per_hour is None:
            if limits.max_cost_usd is None:
                raise UnsupportedError(
                    "there is a budget, and the cloud tells no price beforehand; say what it may cost: max_cost_usd",
                    operation="spawn",
                )
            # As if it were spent at once.
            usd_per_hour = limits.max_cost_usd * 3600 * 1000
        rates = (RateSegment(since=now, usd_per_hour=usd_per_hour),)
        spending = Spending(owner=self._owner, tenant=tenant, user=user, limits=limits, started_at=now, rates=rates)
        holds = self._wanted(spending, owned, now)
        short = await self._ledger.hold(launch_id, holds)
        if short is None:
            return
        needed = next(hold.usd for hold in holds if hold.purse == short.purse)
        name = sums.words(short.purse)
        raise BudgetError(
            f"the budget of {name} has {short.left_usd:f} USD left, and this needs {needed:.6f}; nothing was rented",
            budget=name,
            left_usd=short.left_usd,
            operation="spawn",
        )

    async def extend(self, session: Session, now: datetime) -> Funds:
        """Hold what a session needs to go on, at its present price. Safe to repeat; idempotent.

        Raises:
            LedgerError: the ledger is away.
        """
        owned = self._purses(session.tenant, session.user, now)
        if not owned or not session.rates:
            return UNLIMITED
        spending = self._of(session)
        await self._close_former(session.id, spending, owned, now)
        if await self._ledger.hold(session.id, self._wanted(spending, owned, now)) is None:
            return Funds(until=sums.ask_again(spending, owned, now, self._stretch))
        return await self._take_what_is_left(session.id, spending, owned, now)

    async def settle(self, launch: Launch, now: datetime) -> None:
        """What a launch that has ended holds becomes what it has spent. Safe to repeat.

        Raises:
            LedgerError: the ledger is away.
        """
        held = await self._ledger.holds_of(launch.launch_id)
        if not held:
            return
        spending = Spending(
            owner=self._owner,
            tenant=launch.tenant,
            user=launch.user,
            limits=from_json(launch.session),
            started_at=launch.created_at or launch.intended_at,
            rates=launch.rates or (RateSegment(since=now, usd_per_hour=Decimal(0)),),
        )
        spent = {key: spending.spent(sums.purse_of(key), launch.ended_at or now) for key in held}
        holds = [Hold(purse=key, usd=usd, most_usd=ENOUGH_USD) for key, usd in spent.items()]
        await self._ledger.hold(launch.launch_id, holds, settled=True)

    async def settle_ended(self, now: datetime) -> None:
        """Settle whatever has ended without that, whoever has ended it."""
        if not self._budgets:
            return
        for launch in await self._ledger.unsettled(self._owner):
            await self.settle(launch, now)

    async def left(self, tenant: str | None, user: str | None, now: datetime) -> list[BudgetState]:
        """What somebody's budgets have left."""
        owned = self._purses(tenant, user, now)
        held = await self._ledger.held([purse.key for purse in owned]) if owned else {}
        return sums.states(owned, held)

    def _purses(self, tenant: str | None, user: str | None, now: datetime) -> dict[Purse, Budget]:
        return sums.purses(self._budgets, self._owner, tenant, user, now)

    def _of(self, session: Session) -> Spending:
        return Spending(
            owner=self._owner,
            tenant=session.tenant,
            user=session.user,
            limits=session.limits,
            started_at=session.started_at,
            rates=session.rates,
        )

    def _wanted(self, spending: Spending, owned: dict[Purse, Budget], now: datetime) -> list[Hold]:
        return [
            Hold(purse=purse.key, usd=sums.wanted(spending, purse, now, self._stretch), most_usd=budget.usd)
            for purse, budget in owned.items()
        ]

    async def _close_former(
        self, launch_id: str, spending: Spending, owned: dict[Purse, Budget], now: datetime
    ) -> None:
        """In spans that are over, a session holds what it has spent there."""
        present = {purse.key for purse in owned}
        former = [key for key in await self._ledger.holds_of(launch_id) if key not in present]
        spent = {key: spending.spent(sums.purse_of(key), now) for key in former}
        holds = [Hold(purse=key, usd=usd, most_usd=ENOUGH_USD) for key, usd in spent.items()]
        if holds:
            await self._ledger.hold(launch_id, holds)

    async def _take_what_is_left(
        self, launch_id: str, spending: Spending, owned: dict[Purse, Budget], now: datetime
    ) -> Funds:
        """Too little for all that is wanted: what is there, for as long as it lasts."""
        for _ in range(TRIES):
            own = await self._ledger.holds_of(launch_id)
            total = await self._ledger.held([purse.key for purse in owned])
            has = {
                purse: own.get(purse.key, Decimal(0)) + max(budget.usd - total[purse.key], Decimal(0))
                for purse, budget in owned.items()
            }
            span = sums.lasts(spending, has, now)
            if span <= timedelta(0):
                empty = min(has, key=lambda purse: has[purse] - spending.spent(purse, now))
                return Funds(until=now, exhausted=str(empty))
            part = evolve(spending, limits=Limits(max_runtime=now + span - spending.started_at))
            if await self._ledger.hold(launch_id, self._wanted(part, owned, now)) is None:
                return Funds(until=now + span)
        _log.debug("what is left of the budgets of launch %s is taken by others again and again", launch_id)
        own = await self._ledger.holds_of(launch_id)
        has = {purse: own.get(purse.key, Decimal(0)) for purse in owned}
        span = sums.lasts(spending, has, now)
        return Funds(until=now + span, exhausted=None if span else str(next(iter(owned))))
