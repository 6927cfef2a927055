"""Sessions that other workers have left behind, or that are needed here: how they come to this worker."""

import logging
from collections.abc import Sequence

from attrs import evolve

from exatlas.client.atlas import Atlas
from exatlas.client.recovery import OPEN
from exatlas.errors import AtlasError, NotFoundError, ValidationError
from exatlas.orchestrator import events
from exatlas.orchestrator.allowance import Allowances
from exatlas.orchestrator.endings import Endings
from exatlas.orchestrator.roster import Roster
from exatlas.orchestrator.session import Phase, compute_to_json, session_of
from exatlas.orchestrator.touches import OWN_S
from exatlas.orchestrator.watch import Tracked
from exatlas.records.launch import Launch, LaunchState
from exatlas.records.recovery import Recovered

BATCH = 500
"""Launches that are claimed at once."""

_log = logging.getLogger("exatlas.orchestrator")


class Takeover:
    """Brings sessions here."""

    def __init__(self, atlas: Atlas, roster: Roster, endings: Endings, allowances: Allowances) -> None:
        self._atlas = atlas
        self._roster = roster
        self._endings = endings
        self._allowances = allowances
        self._unsure = False
        """Whether a claim's answer was lost: something may be held here that nobody knows of."""

    async def claim(self) -> None:
        """Take everything that nobody looks after.

        Raises:
            LeaseLostError: this worker was taken for dead.
            LedgerError: the ledger is away.
        """
        roster = self._roster
        await roster.ledger.bury(roster.lease.owner)
        was_unsure, self._unsure = self._unsure, True
        while len(launches := await roster.ledger.claim(roster.lease.name, BATCH)) == BATCH:
            await self._take_all(launches)
        await self._take_all(launches)
        if was_unsure:
            everything = await roster.ledger.find(owner=roster.lease.owner, states=OPEN)
            await self._take_all([one for one in everything if one.session and one.worker == roster.lease.name])
        self._unsure = False

    async def seize(self, session_id: str) -> Tracked:
        """Take one session, from whomever.

        Raises:
            NotFoundError: there is none, or it has ended.
            ConflictError: somebody is ending it.
            LedgerError: the ledger is away.
        """
        roster = self._roster
        launch = await roster.ledger.get(session_id)
        if launch is None or launch.owner != roster.lease.owner or not launch.session or not launch.machine:
            raise NotFoundError(f"there is no session {session_id!r}, or it has ended")
        taken = await roster.ledger.seize(session_id, roster.lease.name)
        idle = (await roster.ledger.touched([session_id])).get(session_id)
        session = session_of(taken, roster.now, _at_most(idle))
        if session is None:
            raise NotFoundError(f"there is no session {session_id!r}, or it has ended")
        tracked = roster.find(session_id) or roster.track(session, {"provider": launch.provider})
        self._allowances.ask(tracked)
        return tracked

    async def adopt(self, one: Recovered) -> None:
        """Make a session of a launch that a settling has cleared up."""
        launch = one.launch
        if launch.launch_id not in self._roster.unclear or launch.state.is_final:
            return
        if one.compute is not None and launch.state is not LaunchState.TERMINATING:
            machine = compute_to_json(one.compute)
            tracked = self._look_after(evolve(launch, machine=machine), None)
            if tracked is not None:
                await self._roster.write(tracked, launch.state, machine=machine)

    async def _take_all(self, launches: Sequence[Launch]) -> None:
        idle = await self._roster.ledger.touched([launch.launch_id for launch in launches]) if launches else {}
        for launch in launches:
            await self._take(launch, idle.get(launch.launch_id))

    async def _take(self, launch: Launch, idle_s: float | None) -> None:
        if launch.launch_id in self._roster:
            return
        unclear = not launch.machine or launch.state in (LaunchState.INTENDED, LaunchState.LOST)
        if unclear or not await self._is_ours(launch) or self._look_after(launch, idle_s) is None:
            self._roster.doubt(launch.launch_id)

    def _look_after(self, launch: Launch, idle_s: float | None) -> Tracked | None:
        try:
            session = session_of(launch, self._roster.now, _at_most(idle_s))
        except ValidationError:
            _log.exception("the session of launch %s cannot be read", launch.launch_id)
            return None
        if session is None:
            return None
        self._roster.unclear.pop(launch.launch_id, None)
        tracked = self._roster.track(session, {"provider": launch.provider})
        self._roster.about(session, events.Adopted, compute_id=session.compute.id)
        if session.phase is Phase.ENDING:
            self._endings.end(tracked, "it was asked to go")
        else:
            self._allowances.ask(tracked)
        return tracked

    async def _is_ours(self, launch: Launch) -> bool:
        """Whether this client has the key that the machine was rented with."""
        try:
            ctx = await self._atlas.context(launch.provider)
        except AtlasError:
            _log.warning("session %s is at %s, which cannot be asked from here", launch.launch_id, launch.provider)
            return False
        return ctx.account == launch.account


def _at_most(idle_s: float | None) -> float | None:
    """How long it was surely not used.

    A worker that died had not written the touches of its last span, and those of the span before may be as old as that.
    """
    return None if idle_s is None else max(idle_s - 2 * OWN_S, 0.0)
