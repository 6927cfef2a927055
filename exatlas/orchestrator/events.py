"""What happens to sessions: small frozen records, numbered in the order in which they happened."""

from datetime import datetime
from decimal import Decimal

from attrs import field, frozen

from exatlas.records.compute import ComputeStatus
from exatlas.records.outbox import Entry
from exatlas.records.serial import structure, unstructure


@frozen(kw_only=True)
class Event:
    """Something that happened."""

    seq: int = field(default=0)
    """1, 2, 3 … among all events of one owner."""
    at: datetime
    """Aware, UTC."""
    session: str | None = None
    """The session's id, which is the launch id of its machine."""
    tenant: str | None = None
    user: str | None = None


@frozen(kw_only=True)
class SpawnRequested(Event):
    """A machine is about to be rented."""


@frozen(kw_only=True)
class SpawnFailed(Event):
    """There is no session. What may have been rented in doubt is in the ledger."""

    reason: str
    """The name of the error, or `cancelled`."""


@frozen(kw_only=True)
class Created(Event):
    """A machine was rented."""

    compute_id: str


@frozen(kw_only=True)
class Adopted(Event):
    """A worker has taken over the session of another that is gone, with the limits it had."""

    compute_id: str


@frozen(kw_only=True)
class Ready(Event):
    """Its machine was seen running for the first time."""


@frozen(kw_only=True)
class Touched(Event):
    """It was used. Told at most once in ten seconds for each session."""


@frozen(kw_only=True)
class StatusChanged(Event):
    """Its machine was seen in another state."""

    before: ComputeStatus
    after: ComputeStatus


@frozen(kw_only=True)
class IdleExpired(Event):
    """Nobody has touched it for too long."""


@frozen(kw_only=True)
class DeadlineReached(Event):
    """It has lived as long as it may."""


@frozen(kw_only=True)
class BudgetExhausted(Event):
    """It has cost as much as it may, or as much as somebody's budget had for it."""

    cost_usd: Decimal
    budget: str | None = None
    """Whose budget, in words; None for the session's own limit."""


@frozen(kw_only=True)
class Terminating(Event):
    """Its machine is about to be terminated."""

    reason: str


@frozen(kw_only=True)
class Terminated(Event):
    """A read of the cloud says that its machine is gone."""

    cost_usd: Decimal


@frozen(kw_only=True)
class TerminateFailed(Event):
    """Its machine is still there, or may be; it is tried again."""

    reason: str


@frozen(kw_only=True)
class Lost(Event):
    """Its machine is gone, and nobody here has ended it."""


@frozen(kw_only=True)
class Orphaned(Event):
    """A machine with a mark of ours belongs to nothing in the ledger; `session` is its mark."""

    compute_id: str
    provider: str


@frozen(kw_only=True)
class Missed(Event):
    """So many events are not to be had: the reader was too slow, or asked for what is no longer kept, or a worker had
    to give them up because the ledger was away for too long. Whom they concerned is not known: every reader is told."""

    count: int


KINDS: dict[str, type[Event]] = {
    kind.__name__: kind
    for kind in (
        SpawnRequested,
        SpawnFailed,
        Created,
        Adopted,
        Ready,
        Touched,
        StatusChanged,
        IdleExpired,
        DeadlineReached,
        BudgetExhausted,
        Terminating,
        Terminated,
        TerminateFailed,
        Lost,
        Orphaned,
        Missed,
    )
}
"""What a ledger carries, by name."""


def to_entry(event: Event) -> Entry:
    """An event as a ledger carries it."""
    facts = {name: value for name, value in unstructure(event).items() if name not in _OWN}
    return Entry(at=event.at, kind=type(event).__name__, session=event.session, tenant=event.tenant, facts=facts)


def from_entry(entry: Entry) -> Event:
    """What a ledger carried. A kind that a newer worker knows is a bare event here."""
    own = {"seq": entry.seq, "at": entry.at.isoformat(), "session": entry.session, "tenant": entry.tenant}
    return structure({**entry.facts, **own}, KINDS.get(entry.kind, Event))


_OWN = ("seq", "at", "session", "tenant")
