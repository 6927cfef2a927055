"""A machine with limits, for somebody: what a session is, as last seen."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Any

from attrs import evolve, field, frozen

from exatlas.records import checks
from exatlas.records.checks import rule
from exatlas.records.compute import Compute, ComputeStatus
from exatlas.records.launch import Launch, LaunchState, RateSegment, cost_usd
from exatlas.records.serial import structure, unstructure


class Phase(StrEnum):
    """Where a session is in its life."""

    ACTIVE = "active"
    STOPPED = "stopped"
    """Its machine was stopped; kept disks may cost something."""
    ENDING = "ending"
    """Its machine is to go, and no read of the cloud has confirmed that it is."""


def as_money(value: Any) -> Any:
    """An int or a string becomes a Decimal; a float does by its shortest text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return value
    try:
        return Decimal(str(value))
    except InvalidOperation:
        return value


def money(value: object) -> str | None:
    """The rule for an amount to spend."""
    if isinstance(value, Decimal) and value.is_finite() and value > 0:
        return None
    return f"expected a positive amount of dollars, {checks.given(value)}"


@frozen(kw_only=True)
class Limits:
    """What ends a session by itself; None in a field is no such limit."""

    idle_ttl: timedelta | None = field(
        default=None, converter=checks.as_span, metadata=rule(checks.optional(checks.positive_span))
    )
    """How long it lives without a touch (seconds or timedelta). Does not run while the machine is stopped."""
    max_runtime: timedelta | None = field(
        default=None, converter=checks.as_span, metadata=rule(checks.optional(checks.positive_span))
    )
    """How long it lives at all, stopped or not, from the moment its machine was rented."""
    max_cost_usd: Decimal | None = field(default=None, converter=as_money, metadata=rule(checks.optional(money)))
    """How much it may cost, by the prices that its cloud has told."""

    def __attrs_post_init__(self) -> None:
        checks.validate(self)


@frozen(kw_only=True)
class Session:
    """One machine with its limits, as last seen. A snapshot: it never changes by itself."""

    id: str
    """The launch id of its machine."""
    tenant: str | None = None
    user: str | None = None
    limits: Limits = field(factory=Limits)
    keep_on_exit: bool = False
    """Whether the machine stays rented when its orchestrator is left."""
    phase: Phase = Phase.ACTIVE
    compute: Compute
    is_ready: bool = False
    """Whether the machine was ever seen running."""
    started_at: datetime
    """When its machine was rented. Aware, UTC, as are all instants here."""
    touched_at: datetime
    rates: tuple[RateSegment, ...] = ()
    """Prices, oldest first. Empty where the cloud has told none."""

    def cost_usd(self, now: datetime) -> Decimal:
        """What it has cost until an instant."""
        return cost_usd(self.rates, now)


def compute_to_json(compute: Compute) -> dict[str, Any]:
    """What a ledger keeps of a session's machine: no secret, and nothing in the cloud's own words."""
    return unstructure(evolve(compute, auth=None, raw={}))


def session_of(launch: Launch, now: datetime, idle_s: float | None) -> Session | None:
    """A session as the ledger has it; None for a launch without one, or whose machine is not there yet.

    Args:
        launch: Its page.
        now: Taken for the last use where that is not known.
        idle_s: How long ago it was used last, if that is known.

    Raises:
        ValidationError: what is there cannot be a session.
    """
    if not launch.session or not launch.machine or launch.state in (LaunchState.INTENDED, LaunchState.GONE):
        return None
    compute = structure(launch.machine, Compute)
    ending = launch.state is LaunchState.TERMINATING
    return Session(
        id=launch.launch_id,
        tenant=launch.tenant,
        user=launch.user,
        limits=from_json(launch.session),
        keep_on_exit=bool(launch.session.get("keep_on_exit")),
        phase=Phase.ENDING if ending else phase_of(Phase.ACTIVE, compute.status),
        compute=compute,
        is_ready=launch.ready_at is not None,
        started_at=launch.created_at or launch.intended_at,
        touched_at=now - timedelta(seconds=idle_s or 0.0),
        rates=launch.rates,
    )


def phase_of(before: Phase, status: ComputeStatus) -> Phase:
    """Where a session is, by what its machine is."""
    if before is Phase.ENDING:
        return before
    if status in (ComputeStatus.STOPPED, ComputeStatus.STOPPING):
        return Phase.STOPPED
    return Phase.ACTIVE if status in (ComputeStatus.RUNNING, ComputeStatus.PROVISIONING) else before


def to_json(limits: Limits, *, keep_on_exit: bool) -> dict[str, Any]:
    """What a ledger keeps of a session's limits."""
    return {
        "idle_ttl_s": None if limits.idle_ttl is None else limits.idle_ttl.total_seconds(),
        "max_runtime_s": None if limits.max_runtime is None else limits.max_runtime.total_seconds(),
        "max_cost_usd": None if limits.max_cost_usd is None else str(limits.max_cost_usd),
        "keep_on_exit": keep_on_exit,
    }


def from_json(kept: Mapping[str, Any]) -> Limits:
    """The limits that a ledger has kept; none for a machine that had no session.

    Raises:
        ValidationError: what is there cannot be limits.
    """
    return Limits(
        idle_ttl=kept.get("idle_ttl_s"), max_runtime=kept.get("max_runtime_s"), max_cost_usd=kept.get("max_cost_usd")
    )
