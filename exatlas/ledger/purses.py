"""What launches hold in purses, in SQL. Plain functions over a transaction.

A purse's row is locked before its holds are looked at, so that two launches that want the last dollar find out who was
first. All purses that a transaction needs are locked at once and in one order: purses overlap, as a tenant's and
everybody's do, and would be taken crosswise otherwise.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from typing import Any

from attrs import define, field, frozen
from sqlalchemy import Connection, bindparam, select, update
from sqlalchemy.dialects import postgresql, sqlite

from exatlas.ledger.pages import PAGE
from exatlas.ledger.schema import by_code_point, given, holds, insert_missing, launches, purses
from exatlas.records.budget import Hold, Shortfall
from exatlas.records.launch import LaunchState

MILLIONTHS = 1_000_000


@frozen
class Wish:
    """What one launch is to hold."""

    launch_id: str
    holds: Sequence[Hold]
    settled: bool


@define
class _Books:
    """What the locked purses have in them, in millionths."""

    totals: dict[str, int]
    own: dict[str, dict[str, int]]
    """By launch, and then by purse."""
    settled: dict[str, bool] = field(factory=dict)
    """Launches whose holds have changed."""

    def grant(self, wish: Wish) -> Shortfall | None:
        """All of it, or nothing."""
        own = self.own[wish.launch_id]
        if not wish.settled:
            for one in wish.holds:
                more = _amount(one.usd, ROUND_CEILING) - own.get(one.purse, 0)
                left = _amount(one.most_usd, ROUND_FLOOR) - self.totals[one.purse]
                if more > max(left, 0):
                    return Shortfall(purse=one.purse, left_usd=_usd(max(left, 0)))
        for one in wish.holds:
            amount = _amount(one.usd, ROUND_HALF_EVEN if wish.settled else ROUND_CEILING)
            self.totals[one.purse] += amount - own.get(one.purse, 0)
            own[one.purse] = amount
        self.settled[wish.launch_id] = wish.settled
        return None

    def rows(self) -> list[dict[str, Any]]:
        """The holds that are to be written. Those of one launch are settled together."""
        return [
            {"purse": purse, "launch_id": launch_id, "amount": amount, "settled": settled}
            for launch_id, settled in sorted(self.settled.items())
            for purse, amount in sorted(self.own[launch_id].items())
        ]


def hold(connection: Connection, wishes: Sequence[Wish]) -> list[Shortfall | None]:
    """See :class:`exatlas.Ledger`; for several callers, one after the other."""
    books = _locked(connection, wishes)
    before = dict(books.totals)
    ends = [books.grant(wish) for wish in wishes]
    changed = [{"which": purse, "sum": total} for purse, total in books.totals.items() if total != before[purse]]
    if changed:
        total = update(purses).where(purses.c.purse == bindparam("which"))
        connection.execute(total.values(total=bindparam("sum")), changed)
    if rows := books.rows():
        connection.execute(_writing(connection), rows)
    return ends


def held(connection: Connection, wanted: Collection[str]) -> dict[str, Decimal]:
    """See :class:`exatlas.Ledger`."""
    found = connection.execute(select(purses).where(purses.c.purse.in_(given(connection, wanted))))
    return dict.fromkeys(wanted, Decimal(0)) | {row.purse: _usd(row.total) for row in found}


def holds_of(connection: Connection, launch_id: str) -> dict[str, Decimal]:
    """See :class:`exatlas.Ledger`."""
    found = connection.execute(select(holds).where(holds.c.launch_id == launch_id))
    return {row.purse: _usd(row.amount) for row in found}


def unsettled(connection: Connection, owner: str) -> list[Any]:
    """See :class:`exatlas.Ledger`. Gives rows."""
    ended = select(*PAGE).where(
        launches.c.launch_id.in_(select(holds.c.launch_id).where(~holds.c.settled)),
        launches.c.owner == owner,
        launches.c.state == LaunchState.GONE.value,
    )
    return list(connection.execute(ended.order_by(launches.c.intended_at, launches.c.launch_id)))


def _locked(connection: Connection, wishes: Sequence[Wish]) -> _Books:
    """What is in the purses that are wished of, and in those in which these launches hold something already."""
    wanted = {one.purse for wish in wishes for one in wish.holds}
    ids = sorted({wish.launch_id for wish in wishes})
    theirs = select(holds.c.launch_id, holds.c.purse, holds.c.amount).where(holds.c.launch_id.in_(ids))
    wanted |= {row.purse for row in connection.execute(theirs)}
    these = select(purses).where(purses.c.purse.in_(given(connection, wanted)))
    for purse in sorted(wanted.difference(connection.execute(these).scalars())):
        insert_missing(connection, purses, purse=purse, total=0)
    locking = these.order_by(by_code_point(connection, purses.c.purse)).with_for_update(of=purses)
    totals = {row.purse: row.total for row in connection.execute(locking)}
    own: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for row in connection.execute(theirs):
        own[row.launch_id][row.purse] = row.amount
    return _Books(totals, own)


def _writing(connection: Connection) -> Any:
    into: Any = postgresql.insert(holds) if connection.dialect.name == "postgresql" else sqlite.insert(holds)
    changes = {"amount": into.excluded.amount, "settled": into.excluded.settled}
    return into.on_conflict_do_update(index_elements=["purse", "launch_id"], set_=changes)


def _amount(usd: Decimal, rounding: str) -> int:
    """In millionths. What is held is rounded up: no purse is overdrawn by rounding."""
    return int((usd * MILLIONTHS).to_integral_value(rounding))


def _usd(amount: int) -> Decimal:
    return Decimal(amount) / MILLIONTHS
