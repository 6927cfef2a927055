"""Workers and what they hold, in SQL. Plain functions over a transaction.

A burial, a claim and a fenced write of the same launch exclude each other by the lock on its row: what a worker writes
after its burial was committed finds somebody else's name there, or none.

Locks are taken on workers first, then on launches by rising id, then on the rest; a burial and a claim pass over what
others have locked where nothing is lost by that. What waits while it holds launches is done in a transaction of its
own, for the launches of a grouped one come in another order.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Connection, Float, Row, Select, cast, delete, func, literal, select, update
from sqlalchemy.dialects import postgresql, sqlite

from exatlas.errors import ConflictError
from exatlas.ledger.memory import lost, missing
from exatlas.ledger.pages import PAGE
from exatlas.ledger.schema import (
    by_code_point,
    given,
    insert_missing,
    is_free,
    is_open,
    launches,
    seizures,
    touches,
    workers,
)
from exatlas.records.launch import LaunchState
from exatlas.records.lease import Standing

REMEMBERED_S = 7 * 24 * 3600.0
"""How long the names of workers that are gone are kept."""


def enlist(connection: Connection, now: float, worker: str, owner: str, lease_s: float) -> Standing:
    """See :class:`exatlas.Ledger`."""
    connection.execute(delete(workers).where(workers.c.gone, workers.c.renewed < now - REMEMBERED_S))
    new = {"worker": worker, "owner": owner, "lease_s": lease_s, "enlisted": now, "renewed": now}
    if not insert_missing(connection, workers, **new):
        raise ConflictError(f"worker {worker} is in the ledger already")
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
    # One that is locked is being buried by others, or was not idle after all.
    found = connection.execute(select(workers.c.worker).where(dying).with_for_update(skip_locked=True))
    dead = frozenset(found.scalars())
    if dead:
        _free(connection, dead)
    return dead


def claim(connection: Connection, worker: str, most: int) -> list[Row[Any]]:
    """See :class:`exatlas.Ledger`. Gives rows."""
    owner = _owner_of(connection, worker)
    age = launches.c.intended_at, launches.c.launch_id
    free = select(launches.c.launch_id).where(launches.c.owner == owner, is_free).order_by(*age).limit(most)
    ids = list(connection.execute(free.with_for_update(skip_locked=True)).scalars())
    if not ids:
        return []
    these = launches.c.launch_id.in_(given(connection, ids))
    taken = connection.execute(update(launches).where(these).values(worker=worker).returning(*PAGE, *age))
    _forget(connection, worker, ids)
    return sorted(taken, key=lambda row: (row.intended_at, row.launch_id))


def seize(connection: Connection, launch_id: str, worker: str) -> Any:
    """See :class:`exatlas.Ledger`. Gives a row."""
    _owner_of(connection, worker)
    one = launches.c.launch_id == launch_id
    row = connection.execute(select(*PAGE, launches.c.state).where(one).with_for_update()).first()
    if row is None or row.state == LaunchState.GONE.value:
        raise missing(launch_id)
    if row.worker == worker:
        return row
    if row.worker is not None:
        if row.state == LaunchState.TERMINATING.value:
            raise ConflictError(f"launch {launch_id} is being terminated")
        if connection.execute(_living(workers.c.worker == row.worker)).first():
            insert_missing(connection, seizures, worker=row.worker, launch_id=launch_id)
    _forget(connection, worker, [launch_id])
    return connection.execute(update(launches).where(one).values(worker=worker).returning(*PAGE)).one()


def leave(connection: Connection, worker: str) -> None:
    """See :class:`exatlas.Ledger`."""
    _free(connection, [worker])


def touch(connection: Connection, now: float, idle_s: Sequence[Mapping[str, float]]) -> list[frozenset[str]]:
    """See :class:`exatlas.Ledger`; for several callers at once."""
    least: dict[str, float] = {}
    for one in idle_s:
        for name, idle in one.items():
            least[name] = min(idle, least.get(name, idle))
    present = set(
        connection.execute(_touching(connection, {name: now - idle for name, idle in least.items()})).scalars()
    )
    return [frozenset(present.intersection(one)) for one in idle_s]


def touched(connection: Connection, now: float, launch_ids: Collection[str]) -> dict[str, float]:
    """See :class:`exatlas.Ledger`."""
    found = connection.execute(select(touches).where(touches.c.launch_id.in_(given(connection, launch_ids))))
    return {row.launch_id: now - row.touched for row in found}


def _owner_of(connection: Connection, worker: str) -> str:
    """The owner of a living worker, that cannot be buried before this transaction has ended."""
    row = connection.execute(_living(workers.c.worker == worker).with_for_update(read=True)).first()
    if row is None:
        raise lost(worker)
    return str(row.owner)


def _living(which: ColumnElement[bool]) -> Select[Any]:
    return select(workers.c.worker, workers.c.owner).where(which, ~workers.c.gone)


def _free(connection: Connection, names: Collection[str]) -> None:
    """Take workers for dead. Nothing comes to them from now on, for that takes a lock on the worker, too."""
    connection.execute(update(workers).where(workers.c.worker.in_(names)).values(gone=True))
    theirs = launches.c.worker.in_(names) & is_open
    held = select(launches.c.launch_id).where(theirs).order_by(by_code_point(connection, launches.c.launch_id))
    connection.execute(select(func.count()).select_from(held.with_for_update().subquery()))
    connection.execute(update(launches).where(theirs).values(worker=None))
    connection.execute(delete(seizures).where(seizures.c.worker.in_(names)))


def _standing(connection: Connection, now: float, worker: str, owner: str) -> Standing:
    by_age = _living(workers.c.owner == owner).order_by(workers.c.enlisted, workers.c.worker)
    eldest = connection.execute(by_age.limit(1)).scalar()
    told = delete(seizures).where(seizures.c.worker == worker).returning(seizures.c.launch_id)
    seized = tuple(sorted(connection.execute(told).scalars()))
    return Standing(now=datetime.fromtimestamp(now, UTC), eldest=eldest == worker, seized=seized)


def _forget(connection: Connection, worker: str, launch_ids: list[str]) -> None:
    """The worker has got back what was taken from it before."""
    these = seizures.c.launch_id.in_(given(connection, launch_ids))
    connection.execute(delete(seizures).where(seizures.c.worker == worker, these))


def _touching(connection: Connection, at: Mapping[str, float]) -> Any:
    """Write the instants of open launches, where they are later than what is there; gives the ids."""
    if connection.dialect.name == "postgresql":
        pairs: Any = func.jsonb_each_text(cast(dict(at), postgresql.JSONB))
        into: Any = postgresql.insert(touches)
        latest: Any = func.greatest
    else:
        pairs = func.json_each(literal(orjson.dumps(dict(at)).decode()))
        into = sqlite.insert(touches)
        latest = func.max
    given_at = pairs.table_valued("key", "value", name="given")
    query = (
        select(launches.c.launch_id, cast(given_at.c.value, Float))
        .join_from(given_at, launches, launches.c.launch_id == given_at.c.key)
        .where(is_open)
        .order_by(by_code_point(connection, launches.c.launch_id))
    )
    writing = into.from_select(["launch_id", "touched"], query)
    later = latest(touches.c.touched, into.excluded.touched)
    return writing.on_conflict_do_update(index_elements=["launch_id"], set_={"touched": later}).returning(
        touches.c.launch_id
    )
