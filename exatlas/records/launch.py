"""What a ledger keeps of one machine: what was wanted, what came of it, and where it is in its life."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from attrs import evolve, field, frozen

from exatlas.errors import ConflictError, LeaseLostError


class LaunchState(StrEnum):
    """Where a launch is. Every state but `gone` may stand for a machine that bills."""

    INTENDED = "intended"
    """Written down before the create leaves. There may be a machine, or not."""
    CREATED = "created"
    """The cloud has given an id."""
    READY = "ready"
    """It was seen working."""
    TERMINATING = "terminating"
    """Somebody wants it gone, and no read of the cloud has confirmed that it is."""
    GONE = "gone"
    """A refusal, or a read of the cloud, says that there is nothing."""
    LOST = "lost"
    """It was there, and the cloud does not know it any more although nobody ended it."""

    @property
    def is_final(self) -> bool:
        """Whether nothing more can come of it."""
        return self is LaunchState.GONE


TRANSITIONS: Mapping[LaunchState, frozenset[LaunchState]] = MappingProxyType(
    {
        LaunchState.INTENDED: frozenset(
            {LaunchState.CREATED, LaunchState.TERMINATING, LaunchState.GONE, LaunchState.LOST}
        ),
        LaunchState.CREATED: frozenset(
            {LaunchState.READY, LaunchState.TERMINATING, LaunchState.GONE, LaunchState.LOST}
        ),
        LaunchState.READY: frozenset({LaunchState.TERMINATING, LaunchState.GONE, LaunchState.LOST}),
        LaunchState.TERMINATING: frozenset({LaunchState.GONE}),
        LaunchState.LOST: frozenset({LaunchState.CREATED, LaunchState.TERMINATING, LaunchState.GONE}),
        LaunchState.GONE: frozenset(),
    }
)
"""From each state, where it may go. Staying is always allowed, and changes nothing but the facts."""


@frozen(kw_only=True)
class RateSegment:
    """What a machine costs from an instant on, until the next segment begins."""

    since: datetime
    """Aware, UTC."""
    usd_per_hour: Decimal


@frozen(kw_only=True)
class Launch:
    """One spawn and its machine, as the ledger has it. Holds no key and no environment value."""

    launch_id: str
    """The mark that is written on the machine."""
    owner: str
    """Whose machines these are: a reaper with this name may end them, and no other."""
    provider: str
    account: str
    """Fingerprint of provider and key."""
    state: LaunchState = LaunchState.INTENDED
    tenant: str | None = None
    user: str | None = None
    request: Mapping[str, Any] = field(factory=dict, repr=False, hash=False)
    """The request as JSON values, without what may be secret."""
    session: Mapping[str, Any] = field(factory=dict, repr=False, hash=False)
    """The limits of the session that it belongs to, as JSON values; empty for a machine without one."""
    machine: Mapping[str, Any] = field(factory=dict, repr=False, hash=False)
    """Its machine as a session last saw it, as JSON values without secrets; empty without a session."""
    worker: str | None = None
    """Who looks after it, or did so last; None for nobody."""
    compute_id: str | None = None
    rates: tuple[RateSegment, ...] = ()
    """Oldest first. Empty for a machine whose price nobody knows."""
    intended_at: datetime
    """Aware, UTC, as are all instants here."""
    created_at: datetime | None = None
    ready_at: datetime | None = None
    ended_at: datetime | None = None
    """When it was seen gone."""
    updated_at: datetime
    reason: str | None = None
    """Why it is where it is, in a sentence without secrets."""

    def advanced(
        self,
        to: LaunchState,
        at: datetime,
        *,
        expect: LaunchState | None = None,
        worker: str | None = None,
        **facts: Any,
    ) -> "Launch":
        """This launch in another state, or in the same one with more facts.

        Raises:
            LeaseLostError: `worker` does not hold it.
            ConflictError: it cannot go there from where it is, or it is not in the state `expect`.
        """
        if worker is not None and worker != self.worker:
            raise LeaseLostError(f"launch {self.launch_id} is not held by worker {worker} any more")
        if expect is not None and self.state is not expect:
            raise ConflictError(f"launch {self.launch_id} is {self.state.value} and no longer {expect.value}")
        if to is not self.state and to not in TRANSITIONS[self.state]:
            raise ConflictError(f"launch {self.launch_id} is {self.state.value} and cannot become {to.value}")
        marks: dict[str, Any] = {}
        if to is not self.state:
            name = _INSTANTS.get(to)
            marks = {name: at} if name else {}
        return evolve(self, state=to, updated_at=at, **{**marks, **facts})

    def cost_usd(self, now: datetime) -> Decimal:
        """What it has cost until `now`, or until it ended: price times time, segment by segment."""
        return cost_usd(self.rates, self.ended_at or now)


def cost_usd(rates: Sequence[RateSegment], end: datetime) -> Decimal:
    """What was spent until an instant: price times time, segment by segment. Nothing where no price is known."""
    bounds = [*[segment.since for segment in rates[1:]], end]
    return sum(
        (
            segment.usd_per_hour * Decimal(str(max((min(until, end) - segment.since).total_seconds(), 0.0))) / 3600
            for segment, until in zip(rates, bounds, strict=False)
        ),
        Decimal(0),
    )


_INSTANTS = {LaunchState.CREATED: "created_at", LaunchState.READY: "ready_at", LaunchState.GONE: "ended_at"}
