"""How long each session may go on, by the budgets of those whom it is for."""

import asyncio
import logging

from exatlas.orchestrator.endings import Endings
from exatlas.orchestrator.funding import Funding, Funds
from exatlas.orchestrator.policy import Breach
from exatlas.orchestrator.roster import Roster
from exatlas.orchestrator.watch import Tracked

RETRY_S = 5.0
"""How long after the ledger failed a session's budgets are asked again."""

_log = logging.getLogger("exatlas.orchestrator")


class Allowances:
    """Asks for sessions, and ends those that get nothing."""

    def __init__(self, funding: Funding, roster: Roster, endings: Endings) -> None:
        self._funding = funding
        self._roster = roster
        self._endings = endings
        self._asking: dict[str, asyncio.Task[None]] = {}

    async def fund(self, tracked: Tracked) -> Funds:
        """Hold what a session needs to go on, and come back when that is used up.

        Raises:
            LedgerError: the ledger is away.
        """
        funds = await self._funding.extend(tracked.session, self._roster.now)
        tracked.funded_until = funds.until
        if self._roster.holds(tracked) and funds.exhausted is None:
            self._roster.schedule(tracked)
        return funds

    def ask(self, tracked: Tracked) -> None:
        """The same, in a task of its own where there is a budget. A session whose budget is spent is ended."""
        session = tracked.session
        session_id = session.id
        if session_id not in self._asking and self._funding.concerns(session.tenant, session.user, self._roster.now):
            task = asyncio.create_task(self._ask(tracked), name=f"exatlas budget of {session_id}")
            self._asking[session_id] = task
            task.add_done_callback(lambda _: self._asking.pop(session_id, None))

    def stop(self) -> None:
        """Ask no more."""
        for task in self._asking.values():
            task.cancel()

    async def _ask(self, tracked: Tracked) -> None:
        try:
            funds = await self.fund(tracked)
        except Exception:  # noqa: BLE001 - supervised boundary: a ledger is the user's, and may come back
            _log.warning("the budgets of session %s cannot be asked", tracked.session.id, exc_info=True)
            if self._roster.holds(tracked):
                self._roster.timers.set(tracked.session.id, RETRY_S)
            return
        if funds.exhausted is not None and self._roster.holds(tracked):
            reason = f"the budget of {funds.exhausted} is spent"
            self._endings.end(tracked, reason, Breach.BUDGET, budget=funds.exhausted)
