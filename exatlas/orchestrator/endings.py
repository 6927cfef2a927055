"""How sessions end: in a task of their own, one at most for each, until a read of the cloud says that it is gone."""

import asyncio
import logging
from datetime import timedelta

from attrs import evolve

from exatlas.client.atlas import Atlas
from exatlas.client.spawning import terminate_surely
from exatlas.errors import AtlasError, LeaseLostError, NotFoundError
from exatlas.orchestrator import events, policy
from exatlas.orchestrator.events import Event
from exatlas.orchestrator.funding import Funding
from exatlas.orchestrator.policy import Breach
from exatlas.orchestrator.roster import Roster, Written
from exatlas.orchestrator.session import Phase
from exatlas.orchestrator.touches import Touches
from exatlas.orchestrator.watch import Tracked
from exatlas.records.launch import LaunchState

RETRY_S = 60.0
"""How long after a failed termination it is tried again."""

_KINDS: dict[Breach, type[Event]] = {
    Breach.IDLE: events.IdleExpired,
    Breach.DEADLINE: events.DeadlineReached,
    Breach.BUDGET: events.BudgetExhausted,
}

_log = logging.getLogger("exatlas.orchestrator")

Ending = asyncio.Task[Exception | None]
"""Gives why it did not end, or None."""


class Endings:
    """Terminations in progress."""

    def __init__(self, atlas: Atlas, roster: Roster, touches: Touches, funding: Funding) -> None:
        self._atlas = atlas
        self._roster = roster
        self._touches = touches
        self._funding = funding
        self._tasks: dict[str, Ending] = {}

    def __contains__(self, session_id: str) -> bool:
        return session_id in self._tasks

    def end(self, tracked: Tracked, reason: str, breach: Breach | None = None, *, budget: str | None = None) -> Ending:
        """End a session, unless that is being done already."""
        session_id = tracked.session.id
        task = self._tasks.get(session_id)
        if task is None:
            task = asyncio.create_task(self._end(tracked, reason, breach, budget), name=f"exatlas session {session_id}")
            self._tasks[session_id] = task
            task.add_done_callback(lambda _: self._tasks.pop(session_id, None))
        return task

    async def all_done(self) -> None:
        """Wait until none is in progress."""
        while self._tasks:
            await asyncio.wait(list(self._tasks.values()))

    def stop(self) -> None:
        """Leave them where they are: others may be at it. Who is still there later goes on."""
        for session_id, task in self._tasks.items():
            task.cancel()
            self._roster.timers.set(session_id, RETRY_S)

    async def _end(self, tracked: Tracked, reason: str, breach: Breach | None, budget: str | None) -> Exception | None:
        roster, session = self._roster, tracked.session
        if breach is Breach.IDLE and not await self._is_idle(tracked):
            return None
        tracked.session = evolve(tracked.session, phase=Phase.ENDING)
        if await roster.write(tracked, LaunchState.TERMINATING, reason=reason) is Written.LEAVE:
            return LeaseLostError(f"session {session.id} is looked after by another worker")
        if breach is not None:
            spent = {"cost_usd": session.cost_usd(roster.now), "budget": budget} if breach is Breach.BUDGET else {}
            roster.about(session, _KINDS[breach], **spent)
        roster.about(session, events.Terminating, reason=reason)
        failure = await self._terminate(tracked)
        if not roster.holds(tracked):
            return failure
        if failure is not None:
            roster.about(session, events.TerminateFailed, reason=str(failure))
            roster.timers.set(session.id, RETRY_S)
            return failure
        if await self._is_written(tracked):
            await self.ended(tracked)
        return None

    async def ended(self, tracked: Tracked) -> None:
        """The machine of a session is gone."""
        session = tracked.session
        self._roster.forget(session.id)
        self._touches.forget(session.id)
        if session.phase is Phase.ENDING:
            self._roster.about(session, events.Terminated, cost_usd=session.cost_usd(self._roster.now))
        else:
            self._roster.about(session, events.Lost)
        await self.settle(session.id)

    async def settle(self, session_id: str) -> None:
        """Give its budgets back what it did not spend; where that cannot be now, a later round does it."""
        try:
            launch = await self._roster.ledger.get(session_id)
            if launch is not None and launch.state.is_final:
                await self._funding.settle(launch, self._roster.now)
        except Exception:  # noqa: BLE001 - supervised boundary: a ledger is the user's, and may come back
            _log.warning("the budgets of session %s are not settled yet", session_id, exc_info=True)

    async def _is_idle(self, tracked: Tracked) -> bool:
        """Whether no worker has seen it used. Where it was, or that cannot be told, it is asked again later."""
        session, now = tracked.session, self._roster.now
        try:
            idle = await self._touches.idle_s([session.id])
        except Exception:  # noqa: BLE001 - supervised boundary: what cannot be known must not end a session
            _log.warning("it cannot be told whether session %s is used elsewhere", session.id, exc_info=True)
            self._roster.timers.set(session.id, RETRY_S)
            return False
        if session.id in idle:
            used = now - timedelta(seconds=idle[session.id])
            tracked.session = evolve(tracked.session, touched_at=max(tracked.session.touched_at, used))
        if policy.breach(tracked.session, now) is Breach.IDLE:
            return True
        self._roster.schedule(tracked)
        return False

    async def _terminate(self, tracked: Tracked) -> Exception | None:
        session = tracked.session

        async def terminate(_: str) -> None:
            await self._atlas.terminate(session.compute, **tracked.options)

        failure = await terminate_surely(terminate, session.compute.id, self._roster.clock)
        if failure is None and not await self._is_gone(tracked):
            return AtlasError(f"no read says that {session.compute.id} is gone", provider=session.compute.provider)
        return failure

    async def _is_gone(self, tracked: Tracked) -> bool:
        """Whether the client has had it confirmed and written; where it has not, a read says it here."""
        session = tracked.session
        try:
            launch = await self._roster.ledger.get(session.id)
        except Exception:  # noqa: BLE001 - supervised boundary: a ledger is the user's, and the cloud knows better
            launch = None
        if launch is not None and launch.state.is_final:
            return True
        try:
            machine = await self._atlas.get_compute(session.compute.id, **tracked.options)
        except NotFoundError:
            return True
        except Exception:  # noqa: BLE001 - supervised boundary: nothing is known, and it is asked again
            _log.debug("it cannot be told whether session %s is gone", session.id, exc_info=True)
            return False
        return machine.status.is_terminal

    async def _is_written(self, tracked: Tracked) -> bool:
        """Whether the ledger says that it is gone, and that this worker is the one to tell. Else it is asked later.

        A worker that stood still in the middle of an ending has others tell of it: there is one end of each session.
        """
        written = await self._roster.write(tracked, LaunchState.GONE)
        if written is Written.AWAY:
            self._roster.timers.set(tracked.session.id, RETRY_S)
        return written in (Written.DONE, Written.SETTLED)
