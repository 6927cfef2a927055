"""When a session has to end, and when to ask again. Pure: a session and an instant in, a decision out."""

from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from exatlas.orchestrator.session import Phase, Session

MOMENT = timedelta(milliseconds=1)
"""Added where an instant was computed from money, so that the money is surely spent then."""
FAR = timedelta(days=365)
"""Nothing is foreseen beyond this: prices change, and dates end."""

TOUCH_NEWS = timedelta(seconds=10)
"""Touches of one session in this time are one event."""
TOUCHES_TOLD = 20
"""Of a session with a long idle time, so many touches are told in that time."""


class Breach(StrEnum):
    """A limit that was reached."""

    IDLE = "idle"
    DEADLINE = "deadline"
    BUDGET = "budget"


def breach(session: Session, now: datetime) -> Breach | None:
    """The limit that a session has reached, or None. One that ends already reaches none."""
    if session.phase is Phase.ENDING:
        return None
    limits = session.limits
    if limits.max_cost_usd is not None and session.cost_usd(now) >= limits.max_cost_usd:
        return Breach.BUDGET
    if limits.max_runtime is not None and now - session.started_at >= limits.max_runtime:
        return Breach.DEADLINE
    idle = session.phase is Phase.ACTIVE and limits.idle_ttl is not None
    return Breach.IDLE if idle and now - session.touched_at >= (limits.idle_ttl or FAR) else None


def next_breach(session: Session, now: datetime) -> datetime | None:
    """When the first limit will be reached if nothing changes; None for never, or not for a year."""
    if session.phase is Phase.ENDING:
        return None
    limits = session.limits
    spans = []
    if limits.idle_ttl is not None and session.phase is Phase.ACTIVE:
        spans.append(session.touched_at - now + limits.idle_ttl)
    if limits.max_runtime is not None:
        spans.append(session.started_at - now + limits.max_runtime)
    rate = session.rates[-1].usd_per_hour if session.rates else Decimal(0)
    if limits.max_cost_usd is not None and rate > 0:
        seconds = (limits.max_cost_usd - session.cost_usd(now)) / rate * 3600
        spans.append(timedelta(seconds=min(float(seconds), FAR.total_seconds())) + MOMENT)
    first = min(spans, default=FAR)
    return None if first >= FAR else now + max(first, timedelta(0))
