"""What no session explains: launches that stand still, and machines whose mark no launch has."""

import logging
from collections.abc import Sequence
from datetime import timedelta

from attrs import frozen

from exatlas.client.atlas import Atlas
from exatlas.client.spawning import terminate_surely
from exatlas.errors import AtlasError
from exatlas.orchestrator import events
from exatlas.orchestrator.orphans import Orphans
from exatlas.orchestrator.roster import Roster
from exatlas.orchestrator.spawning import Spawning
from exatlas.orchestrator.takeover import Takeover
from exatlas.orchestrator.watch import Watch
from exatlas.records.compute import Compute
from exatlas.records.recovery import Recovery

_log = logging.getLogger("exatlas.orchestrator")


@frozen(kw_only=True)
class Reaped:
    """What one run of the reaper did."""

    recovery: Recovery
    orphans: tuple[Compute, ...] = ()
    """Machines with a mark that no launch explains, whose grace is over."""
    terminated: tuple[Compute, ...] = ()
    """Those of them that were terminated."""


class Reaper:
    """Settles launches, and finds orphans. Only with ``all_marked`` are these its own to terminate."""

    def __init__(
        self,
        atlas: Atlas,
        roster: Roster,
        spawning: Spawning,
        takeover: Takeover,
        watch: Watch,
        grace: timedelta,
        all_marked: bool,
    ) -> None:
        self._atlas = atlas
        self._roster = roster
        self._spawning = spawning
        self._takeover = takeover
        self._watch = watch
        self._grace = grace
        self._all_marked = all_marked
        self._orphans = Orphans(grace)

    async def reap(self, dry_run: bool) -> Reaped:
        """See :meth:`exatlas.Orchestrator.reap`."""
        if not dry_run:
            await self._takeover.claim()
        recovery = await self.settle(dry_run)
        fresh, due = await self._orphans.among(await self._watched(), self._roster.ledger, self._roster.now)
        for machine in fresh:
            orphan = {"session": machine.launch_id, "compute_id": machine.id, "provider": machine.provider}
            self._roster.tell(events.Orphaned, **orphan)
        ended = [machine for machine in due if self._all_marked and not dry_run and await self._end(machine)]
        return Reaped(recovery=recovery, orphans=tuple(due), terminated=tuple(ended))

    async def settle(self, dry_run: bool = False) -> Recovery:
        """Settle launches that are nobody's sessions; those that turn out to be sessions come here."""
        roster = self._roster
        due = roster.doubtful_for(self._grace.total_seconds())
        young = frozenset(roster.unclear) - due
        known = roster.ids | self._spawning.marks | young
        recovery = await self._atlas.settle("adopt", self._grace, dry_run, roster.lease.name, leave=known, due=due)
        if not dry_run:
            for one in recovery.launches:
                await self._takeover.adopt(one)
            still_open = {one.launch.launch_id for one in recovery.launches if not one.launch.state.is_final}
            for launch_id in due - still_open:
                roster.unclear.pop(launch_id, None)
        return recovery

    async def _watched(self) -> Sequence[Compute]:
        """The machines of every account that has sessions; of the client's own account where there are none."""
        if len(self._roster):
            return await self._watch.look(self._roster)
        try:
            return await self._atlas.list_compute()
        except AtlasError:
            _log.debug("the machines of the client's own account cannot be listed", exc_info=True)
            return []

    async def _end(self, machine: Compute) -> bool:
        failure = await terminate_surely(lambda _: self._atlas.terminate(machine), machine.id, self._roster.clock)
        if failure is not None:
            _log.error("orphan %s could not be terminated: %s", machine.id, failure)
        return failure is None
