"""What a tenant or a user may spend in a day or a month. Pure: budgets, sessions and an instant in, amounts out.

A *purse* is what one budget allows in one span of time. Before it spends anything, a session *holds* in every purse
that applies what it may come to spend there: all of it where a limit of its own bounds it, else enough for a stretch
ahead, again and again. What was held becomes what was spent when the session or the span ends.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Literal

import orjson
from attrs import field, frozen

from exatlas.orchestrator.session import Limits, as_money, money
from exatlas.records import checks
from exatlas.records.checks import rule
from exatlas.records.launch import RateSegment, cost_usd

ENOUGH_USD = Decimal(10) ** 12
"""More than anybody has: the limit of a purse that is only written, and not asked."""


@frozen(kw_only=True)
class Budget:
    """What each tenant, or each user, may spend in a day or a month of UTC."""

    usd: Decimal = field(converter=as_money, metadata=rule(money))
    """An int, a string or a Decimal."""
    per: Literal["tenant", "user"] = field(metadata=rule(checks.member("tenant", "user")))
    """A user is one of a tenant: users of one name at two tenants share nothing."""
    over: Literal["day", "month"] = field(metadata=rule(checks.member("day", "month")))
    only: str | None = field(default=None, metadata=rule(checks.optional(checks.text)))
    """For the one of this name, instead of a budget for each that is otherwise the same."""

    def __attrs_post_init__(self) -> None:
        checks.validate(self)


@frozen(kw_only=True)
class Purse:
    """What one budget allows in one span."""

    owner: str
    per: str
    tenant: str | None
    user: str | None
    over: str
    begin: datetime
    """Aware, UTC."""

    @property
    def key(self) -> str:
        """Its name in the ledger. It does not say how much there is, which may change without forgetting anything."""
        parts = (self.owner, self.per, self.tenant, self.user, self.over, self.begin.date().isoformat())
        return orjson.dumps(parts).decode()

    @property
    def end(self) -> datetime:
        """When the next one begins."""
        if self.over == "day":
            return self.begin + timedelta(days=1)
        return (self.begin.replace(day=1) + timedelta(days=32)).replace(day=1)

    def __str__(self) -> str:
        whose = f"tenant {self.tenant}" if self.per == "tenant" else f"user {self.user}"
        if self.per == "user" and self.tenant is not None:
            whose += f" of tenant {self.tenant}"
        span = self.begin.date().isoformat()
        return f"{whose}, {self.over} {span if self.over == 'day' else span[:7]}"


@frozen(kw_only=True)
class BudgetState:
    """What is left of a budget in the present span."""

    budget: Budget
    purse: str
    """Whose and when, in words."""
    left_usd: Decimal
    """For sessions that are not there yet: what others hold is not left."""


@frozen(kw_only=True)
class Spending:
    """Who spends, since when, and how much at most."""

    owner: str
    tenant: str | None
    user: str | None
    limits: Limits
    started_at: datetime
    rates: Sequence[RateSegment]
    """Oldest first, never empty: before there is a machine, what it may cost."""

    def spent(self, purse: Purse, now: datetime) -> Decimal:
        """What it has spent in a span until now."""
        return cost_usd(self.rates, min(max(now, purse.begin), purse.end)) - cost_usd(self.rates, purse.begin)

    @property
    def usd_per_hour(self) -> Decimal:
        """Its present price."""
        return self.rates[-1].usd_per_hour

    @property
    def is_bounded(self) -> bool:
        """Whether a limit of its own says what it can cost."""
        return self.limits.max_cost_usd is not None or self.limits.max_runtime is not None

    def ahead(self, now: datetime, until: datetime) -> Decimal:
        """What it may still spend until an instant, at its present price and within its own limits."""
        if self.limits.max_runtime is not None:
            until = min(until, self.started_at + self.limits.max_runtime)
        most = _price(self.usd_per_hour, until - now)
        if self.limits.max_cost_usd is not None:
            most = min(most, self.limits.max_cost_usd - cost_usd(self.rates, now))
        return max(most, Decimal(0))


def purses(
    budgets: Iterable[Budget], owner: str, tenant: str | None, user: str | None, now: datetime
) -> dict[Purse, Budget]:
    """The purses that somebody draws on now, and the budget of each."""
    found: dict[Purse, Budget] = {}
    for budget in budgets:
        name = tenant if budget.per == "tenant" else user
        if name is None or budget.only not in (None, name):
            continue
        begin = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        purse = Purse(
            owner=owner,
            per=budget.per,
            tenant=tenant,
            user=None if budget.per == "tenant" else user,
            over=budget.over,
            begin=begin if budget.over == "day" else begin.replace(day=1),
        )
        general = found.get(purse)
        if general is None or general.only is None:
            found[purse] = budget
    return found


def purse_of(key: str) -> Purse:
    """The purse of a name in the ledger."""
    owner, per, tenant, user, over, begin = orjson.loads(key)
    instant = datetime.fromisoformat(begin).replace(tzinfo=UTC)
    return Purse(owner=owner, per=per, tenant=tenant, user=user, over=over, begin=instant)


def wanted(spending: Spending, purse: Purse, now: datetime, stretch: timedelta) -> Decimal:
    """What it has to hold in a purse to go on."""
    until = purse.end if spending.is_bounded else min(purse.end, now + stretch)
    return spending.spent(purse, now) + spending.ahead(now, until)


def ask_again(spending: Spending, among: Iterable[Purse], now: datetime, stretch: timedelta) -> datetime:
    """When to ask again, if all that was wanted is held: well before a stretch is over, and when a span ends."""
    first = min(purse.end for purse in among)
    return first if spending.is_bounded else min(first, now + stretch / 2)


def lasts(spending: Spending, has: Mapping[Purse, Decimal], now: datetime) -> timedelta:
    """How long what it has in each purse will do at its present price; nothing where one is empty."""
    left = min(amount - spending.spent(purse, now) for purse, amount in has.items())
    span = min(purse.end for purse in has) - now
    if left <= 0:
        return timedelta(0)
    if spending.usd_per_hour <= 0:
        return span
    # Whole milliseconds, rounded down: to hold for so long must not take more than there is.
    return min(timedelta(milliseconds=int(min(left / spending.usd_per_hour * 3_600_000, Decimal(10**10)))), span)


def _price(usd_per_hour: Decimal, span: timedelta) -> Decimal:
    return usd_per_hour * Decimal(str(max(span.total_seconds(), 0.0))) / 3600


def states(owned: Mapping[Purse, Budget], held: Mapping[str, Decimal]) -> list[BudgetState]:
    """What is left in purses of which so much is held."""
    return [
        BudgetState(budget=budget, purse=str(purse), left_usd=max(budget.usd - held[purse.key], Decimal(0)))
        for purse, budget in owned.items()
    ]


def words(key: str) -> str:
    """A purse in words, by its name in the ledger."""
    return str(purse_of(key))
