"""What machines cost, by the second: the ground truth that a test for lost machines compares with."""

from datetime import datetime
from decimal import Decimal

from attrs import define, frozen

SECONDS_PER_HOUR = 3600


@frozen(kw_only=True)
class InvoiceLine:
    """What one machine, or one thing that outlives it, has cost so far."""

    compute_id: str
    name: str
    launch_id: str | None = None
    """The mark of the spawn that rented it, wherever this cloud keeps it."""
    seconds: float
    """How long it has billed."""
    usd: Decimal
    status: str
    """The cloud's own word for its present state."""
    open: bool
    """Whether it still bills."""


@define
class Meter:
    """Counts money from one instant to the next, at a rate that may change."""

    usd_per_hour: Decimal
    since: datetime | None
    """When it was last switched on; None while it is off."""
    counted_s: float = 0.0
    counted_usd: Decimal = Decimal(0)

    @property
    def running(self) -> bool:
        """Whether money is being counted."""
        return self.since is not None

    def switch(self, now: datetime, *, on: bool) -> None:
        """Switch it on or off; either may be repeated."""
        self._count(now)
        self.since = now if on else None

    def change(self, now: datetime, usd_per_hour: Decimal) -> None:
        """Go on at another rate."""
        self._count(now)
        self.usd_per_hour = usd_per_hour

    def seconds(self, now: datetime) -> float:
        """How long it has counted."""
        return self.counted_s + self._open_s(now)

    def usd(self, now: datetime) -> Decimal:
        """What it has counted."""
        return self.counted_usd + self.usd_per_hour * Decimal(str(self._open_s(now))) / SECONDS_PER_HOUR

    def _open_s(self, now: datetime) -> float:
        return 0.0 if self.since is None else max((now - self.since).total_seconds(), 0.0)

    def _count(self, now: datetime) -> None:
        self.counted_s, self.counted_usd = self.seconds(now), self.usd(now)
        self.since = None if self.since is None else now
