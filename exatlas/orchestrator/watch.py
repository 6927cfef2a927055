"""What the clouds say about the machines of all sessions: one list for each account, however many there are."""

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from attrs import define, evolve, field

from exatlas.client.atlas import Atlas
from exatlas.errors import NotFoundError
from exatlas.fanout import fan_out
from exatlas.orchestrator.session import Session
from exatlas.records.compute import Compute

AT_ONCE = 8
"""Accounts that are listed, and machines that are looked for, at the same time."""

_log = logging.getLogger("exatlas.orchestrator")


@define
class Tracked:
    """A session, and what it takes to reach its machine."""

    _session: Session = field(alias="session")
    account: tuple[Any, ...] = field(repr=False)
    """The same for the machines that one list shows."""
    options: Mapping[str, Any] = field(repr=False)
    """Whom to ask, with what key."""
    changed: float
    """When it was last changed by a call of ours, by the monotonic clock: what was asked before says nothing."""
    last: Compute | None = field(default=None, repr=False)
    """The machine as it was last shown."""
    is_unwritten: bool = False
    """Whether the ledger was away when something new was seen of it."""
    funded_until: datetime | None = None
    """When its budgets have to be asked again; None for never."""
    quiet_until: datetime | None = None
    """Until then a touch is no news; None for one that was not touched yet."""
    _touched_at: datetime | None = None
    """A touch that is not in the record yet: many touches make one new record, when somebody looks."""

    @property
    def session(self) -> Session:
        """The session as last seen, and touched."""
        if self._touched_at is not None:
            self.session = evolve(self._session, touched_at=self._touched_at)
        return self._session

    @session.setter
    def session(self, session: Session) -> None:
        self._session, self._touched_at = session, None

    def touch(self, now: datetime) -> None:
        """It is used."""
        self._touched_at = now


Seen = Callable[[Tracked, Compute], Awaitable[None]]
Absent = Callable[[Tracked], Awaitable[None]]


class Watch:
    """Compares sessions with the clouds.

    Args:
        seen: Called with a machine as the cloud shows it now.
        absent: Called when a read of the cloud has confirmed that a machine is gone.
    """

    def __init__(self, atlas: Atlas, seen: Seen, absent: Absent) -> None:
        self._atlas = atlas
        self._seen = seen
        self._absent = absent

    async def look(self, everything: Iterable[Tracked]) -> list[Compute]:
        """Look at all of them. Gives every machine that was listed, of whomever.

        A cloud that cannot be reached says nothing about its machines.
        """
        by_account: dict[tuple[Any, ...], list[Tracked]] = {}
        for tracked in everything:
            by_account.setdefault(tracked.account, []).append(tracked)
        outcomes = await fan_out(self._look_at_account, by_account.values(), limit=AT_ONCE, clock=self._atlas.clock)
        for outcome in outcomes:
            if outcome.error is not None:
                account = outcome.input[0].session.compute.provider
                _log.warning("the machines at %s cannot be listed: %s", account, outcome.error)
        return [machine for outcome in outcomes for machine in outcome.value or ()]

    async def _look_at_account(self, group: list[Tracked]) -> list[Compute]:
        asked = self._atlas.clock.monotonic()
        machines: list[Compute] = await self._atlas.list_compute(**group[0].options)
        by_id = {machine.id: machine for machine in machines}
        missing = []
        for tracked in group:
            machine = by_id.get(tracked.session.compute.id)
            if tracked.changed > asked:
                continue
            if machine is None or machine.status.is_terminal:
                missing.append(tracked)
            else:
                await self._seen(tracked, machine)
        await fan_out(self._look_for, missing, limit=AT_ONCE, clock=self._atlas.clock)
        return machines

    async def _look_for(self, tracked: Tracked) -> None:
        """A list may lag. Only a read of that very machine tells whether it is gone."""
        try:
            machine = await self._atlas.get_compute(tracked.session.compute.id, **tracked.options)
        except NotFoundError:
            await self._absent(tracked)
            return
        if machine.status.is_terminal:
            await self._absent(tracked)
        else:
            await self._seen(tracked, machine)
