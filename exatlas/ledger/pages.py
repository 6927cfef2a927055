"""Launches as rows: what many callers write of them within one transaction takes three statements together.

To a server on another machine, statements cost a round trip each. So new launches are added in one, those that are to
move on are locked and read in another, and what became of them is written in a third.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson
from attrs import evolve, frozen
from sqlalchemy import Connection, bindparam, collate, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from exatlas.errors import AtlasError, ConflictError
from exatlas.ledger.memory import lost, missing
from exatlas.ledger.schema import by_code_point, launches, touches, workers
from exatlas.records.launch import Launch, LaunchState
from exatlas.records.serial import structure, unstructure

# Made once: to build a statement costs several times what it costs to run it.
PAGE = (launches.c.record, launches.c.worker)
"""What :func:`launch_of` reads."""
READ = select(*PAGE).where(launches.c.launch_id == bindparam("which"))
_THESE = select(launches.c.launch_id, *PAGE).where(launches.c.launch_id.in_(bindparam("which", expanding=True)))
_LOCK = {
    "sqlite": _THESE,
    # Whatever the database's own collation is: locks are taken as Python sorts, in which order others take theirs.
    "postgresql": _THESE.order_by(collate(launches.c.launch_id, "C")).with_for_update(),
}
_ADD = {
    name: insert(launches).on_conflict_do_nothing().returning(launches.c.launch_id)
    for name, insert in (("sqlite", sqlite.insert), ("postgresql", postgresql.insert))
}
_FORGET = delete(touches).where(touches.c.launch_id == bindparam("which"))
_CHANGE = update(launches).where(launches.c.launch_id == bindparam("which"))


@frozen
class Intent:
    """A launch to be written down for the first time."""

    launch: Launch

    @property
    def launch_id(self) -> str:
        """Whose page it is."""
        return self.launch.launch_id


@frozen
class Step:
    """A launch to be moved on, as :meth:`exatlas.Launch.advanced` takes it."""

    launch_id: str
    to: LaunchState
    at: datetime
    expect: LaunchState | None
    worker: str | None
    facts: Mapping[str, Any]


def write(connection: Connection, items: Sequence[Intent | Step]) -> list[Launch | AtlasError]:
    """Write all that can be, and give for each item the launch as it is now, or why it was refused."""
    gone = _gone(connection, {item.launch.worker for item in items if isinstance(item, Intent)})
    intents: dict[str, Intent] = {}
    for item in items:
        if isinstance(item, Intent) and item.launch.worker not in gone:
            intents.setdefault(item.launch_id, item)
    added = _added(connection, intents.values())
    known = {launch_id: intents[launch_id].launch for launch_id in added}
    known |= _locked(connection, {item.launch_id for item in items if isinstance(item, Step)} - added)
    changed: dict[str, Launch] = {}
    ends: list[Launch | AtlasError] = []
    for item in items:
        if isinstance(item, Intent):
            is_new = item.launch_id in added and intents[item.launch_id] is item
            ends.append(item.launch if is_new else _refusal(item.launch, gone))
            continue
        end = _moved(known.get(item.launch_id), item)
        if isinstance(end, Launch):
            known[item.launch_id] = changed[item.launch_id] = end
        ends.append(end)
    if changed:
        connection.execute(_CHANGE, [{"which": launch_id, **row_of(changed[launch_id])} for launch_id in changed])
        ended = [{"which": launch_id} for launch_id in sorted(changed) if changed[launch_id].state.is_final]
        if ended:
            connection.execute(_FORGET, ended)
    return ends


def row_of(launch: Launch) -> dict[str, Any]:
    """The row of a launch, but for who looks after it, which others decide."""
    return {
        "launch_id": launch.launch_id,
        "owner": launch.owner,
        "provider": launch.provider,
        "account": launch.account,
        "state": launch.state.value,
        "compute_id": launch.compute_id,
        "intended_at": launch.intended_at,
        "record": orjson.dumps(unstructure(launch)).decode(),
        "tenant": launch.tenant,
        "user": launch.user,
        "is_session": bool(launch.session),
    }


def launch_of(row: Any) -> Launch:
    """The launch of a row with what `PAGE` names."""
    return evolve(structure(orjson.loads(row.record), Launch), worker=row.worker)


def _gone(connection: Connection, names: Collection[str | None]) -> frozenset[str]:
    """Which of these workers were taken for dead. The others cannot be before this transaction has ended."""
    known = [name for name in names if name is not None]
    if not known:
        return frozenset()
    theirs = select(workers.c.worker, workers.c.gone).where(workers.c.worker.in_(known))
    rows = connection.execute(theirs.order_by(by_code_point(connection, workers.c.worker)).with_for_update(read=True))
    return frozenset(row.worker for row in rows if row.gone)


def _added(connection: Connection, intents: Iterable[Intent]) -> set[str]:
    """Add what is not there yet, and give the ids of it.

    A launch that is there is no error of the database: that would fail a whole transaction of PostgreSQL.
    """
    rows = [{**row_of(intent.launch), "worker": intent.launch.worker} for intent in intents]
    return set(connection.execute(_ADD[connection.dialect.name], rows).scalars()) if rows else set()


def _locked(connection: Connection, ids: Collection[str]) -> dict[str, Launch]:
    if not ids:
        return {}
    rows = connection.execute(_LOCK[connection.dialect.name], {"which": list(ids)})
    return {row.launch_id: launch_of(row) for row in rows}


def _moved(launch: Launch | None, step: Step) -> Launch | AtlasError:
    if launch is None:
        return missing(step.launch_id)
    try:
        return launch.advanced(step.to, step.at, expect=step.expect, worker=step.worker, **step.facts)
    except ConflictError as error:
        return error


def _refusal(launch: Launch, gone: Collection[str]) -> ConflictError:
    if launch.worker is not None and launch.worker in gone:
        return lost(launch.worker)
    return ConflictError(f"launch {launch.launch_id} is in the ledger already")
