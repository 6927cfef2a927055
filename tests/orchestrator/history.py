"""What the cloud really billed, and from when to when nobody could have known or done better. Exact."""

from datetime import timedelta
from decimal import Decimal

from attrs import define, field


def usd(rate, span):
    return rate * Decimal(str(max(span.total_seconds(), 0.0))) / 3600


@define
class Life:
    """One machine, by the cloud's own books."""

    mark: str
    rates: list = field(factory=list)
    """Pairs of an instant and a price from then on; none while it is stopped or gone."""
    ended_at: object = None

    def spent(self, begin, end):
        bounds = [*[at for at, _ in self.rates[1:]], end]
        return sum(
            (usd(rate, min(until, end) - max(at, begin)) for (at, rate), until in zip(self.rates, bounds, strict=True)),
            Decimal(0),
        )

    @property
    def dearest(self):
        return max((rate for _, rate in self.rates), default=Decimal(0))

    @property
    def rises(self):
        """When it became dearer, and by how much."""
        pairs = zip(self.rates, self.rates[1:], strict=False)
        return [(at, rate - before) for (_, before), (at, rate) in pairs if rate > before]


class History:
    """The lives of all machines."""

    def __init__(self, cloud):
        self._cloud = cloud
        self.lives = {}

    def look(self, now):
        """Write down what has changed. Called whenever the cloud was told to do something."""
        for machine in self._cloud._fleet.everything():
            life = self.lives.setdefault(machine.id, Life(machine.launch_id))
            rate = Decimal(0) if machine.on_since is None else machine.usd_per_hour
            if not life.rates or life.rates[-1][1] != rate:
                life.rates.append((now, rate))
            if machine.ended and life.ended_at is None:
                life.ended_at = now

    def of(self, mark):
        return [life for life in self.lives.values() if life.mark == mark]


class Excuses:
    """From when to when nothing was to be expected for a launch: its worker was dead, cut off, or refused."""

    def __init__(self):
        self._spans = {}

    def add(self, mark, begin, seconds):
        self._spans.setdefault(mark, []).append((begin, begin + timedelta(seconds=seconds)))

    def until(self, mark, at, within_s):
        """The end of the time in which something has to be done that takes so long undisturbed."""
        end = at + timedelta(seconds=within_s)
        for begin, over in sorted(self._spans.get(mark, ())):
            if begin <= end and over > at:
                end = max(end, over + timedelta(seconds=within_s))
        return end

    def total(self, mark, within_s):
        """All of it together, and what an end takes after it."""
        return sum((over - begin for begin, over in self._spans.get(mark, ())), timedelta(seconds=within_s))
