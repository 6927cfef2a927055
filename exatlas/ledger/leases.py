"""Workers and what they hold, in SQL. Plain functions over a transaction.

A burial, a claim and a fenced write of the same launch exclude each other by the lock on its row: what a worker writes
after its burial was committed finds somebody else's name there, or none.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from exatlas.errors import ConflictError
from exatlas.ledger.memory import lost, missing
from exatlas.ledger.pages import PAGE
from exatlas.ledger.schema import launches, touches, workers
from exatlas.records.launch import LaunchState
from exatlas.records.lease import Standing

REMEMBERED_S = 7 * 24 * 3600.0
"""How long the names of workers that are gone are kept."""

_open = launches.c.state != LaunchState.GONE.value


def enlist(connection: Connection, now: float, worker: str, owner: str, lease_s: float) -> Standing:
    """See :class:`exatlas.Ledger`."""
    connection.execute(delete(workers).where(workers.c.gone, workers.c.renewed < now - REMEMBERED_S))
    if connection.execute(select(workers.c.worker).where(workers.c.worker == worker)).first() is not None:
        raise ConflictError(f"worker {worker} is in the ledger already")
    connection.execute(insert(workers).values(worker=worker, owner=owner, lease_s=lease_s, enlisted=now, renewed=now))
    return _standing(connection, now, worker, owner)


def renew(connection: Connection, now: float, worker: str) -> Standing:
    """See :class:`exatlas.Ledger`."""
    alive = (workers.c.worker == worker) & ~workers.c.gone
    own = connection.execute(update(workers).where(alive).values(renewed=now).returning(workers.c.owner)).first()
    if own is None:
        raise lost(worker)
    return _standing(connection, now, worker, own.owner)


def bury(connection: Connection, now: float, owner: str) -> frozenset[str]:
    """See :class:`exatlas.Ledger`."""
    dying = (workers.c.owner == owner) & ~workers.c.gone & (now - workers.c.renewed >= workers.c.lease_s)
    found = connection.execute(select(workers.c.worker).where(dying).with_for_update(skip_locked=True))
    dead = frozenset(found.scalars())
    for worker in sorted(dead):
        leave(connection, worker)
    return dead


def claim(connection: Connection, worker: str, most: int) -> list[Row[Any]]:
    """See :class:`exatlas.Ledger`. Gives rows."""
    owner = _owner_of(connection, worker)
    free = (
        select(launches.c.launch_id)
        .where(launches.c.owner == owner, launches.c.worker.is_(None), launches.c.is_session, _open)
        .order_by(launches.c.intended_at, launches.c.launch_id)
        .limit(most)
        .with_for_update(skip_locked=True)
    )
    ids = list(connection.execute(free).scalars())
    if not ids:
        return []
    connection.execute(update(launches).where(launches.c.launch_id.in_(ids)).values(worker=worker, former=None))
    taken = select(*PAGE).where(launches.c.launch_id.in_(ids))
    return list(connection.execute(taken.order_by(launches.c.intended_at, launches.c.launch_id)))


def seize(connection: Connection, launch_id: str, worker: str) -> Any:
    """See :class:`exatlas.Ledger`. Gives a row."""
    _owner_of(connection, worker)
    one = launches.c.launch_id == launch_id
    row = connection.execute(select(*PAGE, launches.c.state).where(one).with_for_update()).first()
    if row is None or row.state == LaunchState.GONE.value:
        raise missing(launch_id)
    if row.worker == worker:
        return row
    if row.worker is not None and row.state == LaunchState.TERMINATING.value:
        raise ConflictError(f"launch {launch_id} is being terminated")
    connection.execute(update(launches).where(one).values(worker=worker, former=row.worker))
    return connection.execute(select(*PAGE).where(one)).one()


def leave(connection: Connection, worker: str) -> None:
    """See :class:`exatlas.Ledger`."""
    connection.execute(update(workers).where(workers.c.worker == worker).values(gone=True))
    # In one order, as everybody takes them: two that wait for each other would both wait for nothing.
    held = select(launches.c.launch_id).where(launches.c.worker == worker, _open).order_by(launches.c.launch_id)
    ids = held.with_for_update().scalar_subquery()
    connection.execute(update(launches).where(launches.c.launch_id.in_(ids)).values(worker=None))


def touch(connection: Connection, now: float, idle_s: Mapping[str, float]) -> frozenset[str]:
    """See :class:`exatlas.Ledger`."""
    present = select(launches.c.launch_id).where(launches.c.launch_id.in_(list(idle_s)), _open)
    known = sorted(connection.execute(present).scalars())
    if known:
        values = [{"launch_id": name, "touched": now - idle_s[name]} for name in known]
        connection.execute(_later(connection), values)
    return frozenset(known)


def touched(connection: Connection, now: float, launch_ids: list[str]) -> dict[str, float]:
    """See :class:`exatlas.Ledger`."""
    found = connection.execute(select(touches).where(touches.c.launch_id.in_(launch_ids)))
    return {row.launch_id: now - row.touched for row in found}


def _owner_of(connection: Connection, worker: str) -> str:
    """The owner of a living worker, that cannot be buried before this transaction has ended."""
    alive = select(workers.c.owner).where(workers.c.worker == worker, ~workers.c.gone).with_for_update(read=True)
    row = connection.execute(alive).first()
    if row is None:
        raise lost(worker)
    return str(row.owner)


def _standing(connection: Connection, now: float, worker: str, owner: str) -> Standing:
    living = select(workers.c.worker).where(workers.c.owner == owner, ~workers.c.gone)
    eldest = connection.execute(living.order_by(workers.c.enlisted, workers.c.worker).limit(1)).scalar()
    seized = frozenset(connection.execute(select(launches.c.launch_id).where(launches.c.former == worker)).scalars())
    if seized:
        connection.execute(update(launches).where(launches.c.former == worker).values(former=None))
    return Standing(now=datetime.fromtimestamp(now, UTC), eldest=eldest == worker, seized=seized)


def _later(connection: Connection) -> Any:
    """Keep the later one."""
    if connection.dialect.name == "postgresql":
        of_postgres = postgresql.insert(touches)
        newer: Any = func.greatest(touches.c.touched, of_postgres.excluded.touched)
        return of_postgres.on_conflict_do_update(index_elements=["launch_id"], set_={"touched": newer})
    of_sqlite = sqlite.insert(touches)
    newer = func.max(touches.c.touched, of_sqlite.excluded.touched)
    return of_sqlite.on_conflict_do_update(index_elements=["launch_id"], set_={"touched": newer})
