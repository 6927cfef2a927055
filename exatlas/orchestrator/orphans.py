"""Machines with a mark of ours that nothing in the ledger explains."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from exatlas.protocols import Ledger
from exatlas.records.compute import Compute

FORGET = timedelta(hours=1)
"""After this long unseen, an orphan has to wait out its grace again."""


class Orphans:
    """Remembers since when each was seen. Whether they may be touched is not decided here."""

    def __init__(self, grace: timedelta) -> None:
        self._grace = grace
        self._seen: dict[str, tuple[datetime, datetime]] = {}

    async def among(
        self, machines: Iterable[Compute], ledger: Ledger, now: datetime
    ) -> tuple[list[Compute], list[Compute]]:
        """Those that were never seen before, and those whose grace is over.

        Raises:
            LedgerError: the ledger cannot be read, and nothing may be done.
        """
        self._seen = {mark: seen for mark, seen in self._seen.items() if now - seen[1] < FORGET}
        fresh, due = [], []
        for machine in machines:
            if machine.launch_id is None or machine.status.is_terminal:
                continue
            if await ledger.get(machine.launch_id) is not None:
                continue
            first, _ = self._seen.get(machine.id, (None, None))
            if first is None:
                fresh.append(machine)
            elif now - first >= self._grace:
                due.append(machine)
            self._seen[machine.id] = (first or now, now)
        return fresh, due
