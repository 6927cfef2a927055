"""What launches hold in purses, in SQL. Plain functions over a transaction.

A purse's row is locked before its holds are looked at, and purses are taken in one order, so that two launches that
want the last dollar find out who was first.
"""

from collections.abc import Collection, Sequence
from decimal import ROUND_CEILING, Decimal

from sqlalchemy import Connection, insert, select, update

from exatlas.ledger.schema import holds, insert_missing, launches, purses
from exatlas.records.budget import Hold, Shortfall
from exatlas.records.launch import LaunchState

MILLIONTHS = 1_000_000


def hold(connection: Connection, launch_id: str, wanted: Sequence[Hold], settled: bool) -> Shortfall | None:
    """See :class:`exatlas.Ledger`."""
    by_purse = {one.purse: one for one in wanted}
    totals, own = _locked(connection, sorted(by_purse), launch_id)
    if not settled:
        for purse, one in by_purse.items():
            more = _whole(one.usd) - own.get(purse, 0)
            left = int(one.most_usd * MILLIONTHS) - totals[purse]
            if more > 0 and more > left:
                return Shortfall(purse=purse, left_usd=_usd(max(left, 0)))
    for purse, one in sorted(by_purse.items()):
        amount = _whole(one.usd)
        _write(connection, purse, launch_id, amount, settled, had=own.get(purse))
        total = update(purses).where(purses.c.purse == purse)
        connection.execute(total.values(total=purses.c.total + amount - own.get(purse, 0)))
    # One that is settled in one purse is so in all.
    connection.execute(update(holds).where(holds.c.launch_id == launch_id).values(settled=settled))
    return None


def held(connection: Connection, wanted: Collection[str]) -> dict[str, Decimal]:
    """See :class:`exatlas.Ledger`."""
    found = connection.execute(select(purses).where(purses.c.purse.in_(list(wanted))))
    return dict.fromkeys(wanted, Decimal(0)) | {row.purse: _usd(row.total) for row in found}


def holds_of(connection: Connection, launch_id: str) -> dict[str, Decimal]:
    """See :class:`exatlas.Ledger`."""
    found = connection.execute(select(holds).where(holds.c.launch_id == launch_id))
    return {row.purse: _usd(row.amount) for row in found}


def unsettled(connection: Connection, owner: str) -> list[str]:
    """See :class:`exatlas.Ledger`. Gives launch ids."""
    open_ones = select(holds.c.launch_id).where(~holds.c.settled)
    ended = select(launches.c.launch_id).where(
        launches.c.launch_id.in_(open_ones),
        launches.c.owner == owner,
        launches.c.state == LaunchState.GONE.value,
    )
    return list(connection.execute(ended.order_by(launches.c.intended_at, launches.c.launch_id)).scalars())


def _locked(connection: Connection, wanted: list[str], launch_id: str) -> tuple[dict[str, int], dict[str, int]]:
    """What all launches hold in each purse, and what this one does; nobody changes it until the transaction ends."""
    for purse in wanted:
        insert_missing(connection, purses, purse=purse, total=0)
    mine = select(purses).where(purses.c.purse.in_(wanted)).order_by(purses.c.purse).with_for_update()
    totals = {row.purse: row.total for row in connection.execute(mine)}
    own = select(holds).where(holds.c.launch_id == launch_id, holds.c.purse.in_(wanted))
    return totals, {row.purse: row.amount for row in connection.execute(own)}


def _write(connection: Connection, purse: str, launch_id: str, amount: int, settled: bool, *, had: int | None) -> None:
    if had is None:
        connection.execute(insert(holds).values(purse=purse, launch_id=launch_id, amount=amount, settled=settled))
        return
    one = (holds.c.purse == purse) & (holds.c.launch_id == launch_id)
    connection.execute(update(holds).where(one).values(amount=amount, settled=settled))


def _whole(usd: Decimal) -> int:
    """In millionths, rounded up: a budget is never overdrawn by rounding."""
    return int((usd * MILLIONTHS).to_integral_value(ROUND_CEILING))


def _usd(amount: int) -> Decimal:
    return Decimal(amount) / MILLIONTHS
