"""Sessions that other workers have left behind, or that are needed here: how they come to this worker."""

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

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
        self._lost = self._found = 0
        """How many answers of the ledger were lost, after which something may be held here that nobody knows of; and
        how many of those times were looked into."""

    async def claim(self, within_s: float = float("inf")) -> bool:
        """Take everything that nobody looks after. Gives whether there may be more, when that took too long.

        Raises:
            LeaseLostError: this worker was taken for dead.
            LedgerError: the ledger is away.
        """
        roster = self._roster
        await roster.ledger.bury(roster.lease.owner)
        until = roster.clock.monotonic() + within_s
        more = True
        while more and roster.clock.monotonic() < until:
            with self._counting_losses():
                launches = await roster.ledger.claim(roster.lease.name, BATCH)
                await self._take_all(launches)
            more = len(launches) == BATCH
            await asyncio.sleep(0)  # a ledger in memory lets nobody else run: what was told has to be written meanwhile
        lost = self._lost
        if lost != self._found:
            everything = await roster.ledger.find(owner=roster.lease.owner, states=OPEN)
            await self._take_all([one for one in everything if one.session and one.worker == roster.lease.name])
            self._found = lost
        return more

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
        with self._counting_losses():
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

    @contextmanager
    def _counting_losses(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._lost += 1
            raise

    async def _take_all(self, launches: Sequence[Launch]) -> None:
        idle = await self._idle(launches)
        accounts = {provider: await self._account_at(provider) for provider in {one.provider for one in launches}}
        for launch in launches:
            self._take(launch, idle.get(launch.launch_id), accounts[launch.provider])

    async def _idle(self, launches: Sequence[Launch]) -> Mapping[str, float]:
        """How long ago each was used, as far as that can be known. They are this worker's by now, whatever fails."""
        if not launches:
            return {}
        try:
            return await self._roster.ledger.touched([launch.launch_id for launch in launches])
        except Exception:  # noqa: BLE001 - supervised boundary: who is not looked after from here on is by nobody
            _log.warning("it cannot be told when the sessions that were taken over were used last", exc_info=True)
            return {}

    def _take(self, launch: Launch, idle_s: float | None, account: str | None) -> None:
        if launch.launch_id in self._roster:
            return
        unclear = not launch.machine or launch.state in (LaunchState.INTENDED, LaunchState.LOST)
        # Only with the key that a machine was rented with can it be looked after.
        if unclear or launch.account != account or self._look_after(launch, idle_s) is None:
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

    async def _account_at(self, provider: str) -> str | None:
        """Whose machines this client's key shows there; None where it cannot ask."""
        try:
            return (await self._atlas.context(provider)).account
        except AtlasError:
            _log.warning("there are sessions at %s, which cannot be asked from here", provider)
            return None


def _at_most(idle_s: float | None) -> float | None:
    """How long it was surely not used.

    A worker that died had not written the touches of its last span, and those of the span before may be as old as that.
    """
    return None if idle_s is None else max(idle_s - 2 * OWN_S, 0.0)
