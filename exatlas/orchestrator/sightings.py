"""What the clouds show of machines, taken over into sessions."""

from decimal import Decimal

from attrs import evolve

from exatlas.orchestrator import events
from exatlas.orchestrator.allowance import Allowances
from exatlas.orchestrator.endings import Endings
from exatlas.orchestrator.roster import Roster, Written
from exatlas.orchestrator.session import Phase, Session, compute_to_json, phase_of
from exatlas.orchestrator.watch import Tracked
from exatlas.records.compute import Compute, ComputeStatus
from exatlas.records.launch import LaunchState, RateSegment


class Sightings:
    """Compares what is seen with what was known, writes down what is new, and tells it."""

    def __init__(self, roster: Roster, endings: Endings, allowances: Allowances) -> None:
        self._roster = roster
        self._endings = endings
        self._allowances = allowances

    async def seen(self, tracked: Tracked, machine: Compute) -> None:
        """A machine is there, and like this."""
        roster, before = self._roster, tracked.session
        if not roster.holds(tracked) or (tracked.last == machine and not tracked.is_unwritten):
            return
        tracked.last = machine
        after = _updated(before, machine, roster)
        tracked.session = after
        if after.phase is Phase.ENDING:
            return
        if after.rates != before.rates or after.phase is not before.phase:
            roster.schedule(tracked)
        if after.rates != before.rates:
            self._allowances.ask(tracked)
        if tracked.is_unwritten or _is_news(before, after):
            written = await self._write(tracked, after)
            tracked.is_unwritten = written is Written.AWAY
            if written is Written.LEAVE:
                return
        if machine.status is not before.compute.status:
            roster.about(after, events.StatusChanged, before=before.compute.status, after=machine.status)
        if after.is_ready and not before.is_ready:
            roster.about(after, events.Ready)

    async def _write(self, tracked: Tracked, after: Session) -> Written:
        state = LaunchState.READY if after.is_ready else LaunchState.CREATED
        machine = compute_to_json(after.compute)
        return await self._roster.write(tracked, state, rates=after.rates, machine=machine)

    async def absent(self, tracked: Tracked) -> None:
        """A read says that a machine is gone."""
        roster, session = self._roster, tracked.session
        if not roster.holds(tracked) or session.id in self._endings:
            return
        reason = "its cloud does not know it any more"
        if session.phase is not Phase.ENDING:
            written = await roster.write(tracked, LaunchState.LOST, reason=reason)
            if written is Written.LEAVE:
                return
            if written is Written.SETTLED:  # somebody has ended it without a word to us
                tracked.session = evolve(session, phase=Phase.ENDING)
        # Told by whoever has written it: where the ledger is away, the next look finds the same.
        if await roster.write(tracked, LaunchState.GONE) in (Written.DONE, Written.SETTLED):
            await self._endings.ended(tracked)


def _updated(before: Session, machine: Compute, roster: Roster) -> Session:
    return evolve(
        before,
        compute=evolve(machine, auth=before.compute.auth),
        phase=phase_of(before.phase, machine.status),
        is_ready=before.is_ready or machine.status is ComputeStatus.RUNNING,
        rates=_priced(before, machine.cost_usd_per_hour, roster),
    )


def _priced(session: Session, price: Decimal | None, roster: Roster) -> tuple[RateSegment, ...]:
    if price is None or (session.rates and session.rates[-1].usd_per_hour == price):
        return session.rates
    return (*session.rates, RateSegment(since=roster.now, usd_per_hour=price))


def _is_news(before: Session, after: Session) -> bool:
    """Whether others would want to know. What a cloud says in its own words alone is none."""
    plain = evolve(after.compute, raw=before.compute.raw)
    return plain != before.compute or after.rates != before.rates or after.is_ready is not before.is_ready
