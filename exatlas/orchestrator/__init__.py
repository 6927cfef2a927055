"""Sessions over a client: machines with limits, shared polling, a reaper, and events. Any number of workers share them.

``orchestrator``  the facade, and what happens when
``session``       a machine with its limits, as last seen
``policy``        when a session has to end (pure)
``budget``        what tenants and users may spend (pure)
``funding``       what sessions hold in purses
``allowance``     how long each session may go on by that
``estimate``      what a machine may cost, before there is one
``roster``        the sessions that a worker looks after, and what is written about them
``timers``        one heap of instants for all sessions
``spawning``      how they begin
``endings``       how they end
``watch``         one list per account for all sessions
``sightings``     what the clouds show, taken over into sessions
``touches``       uses of sessions, written together
``lease``         a worker's right to act
``takeover``      how sessions come from one worker to another
``reaper``        what no session explains
``orphans``       machines with a mark of ours that nothing explains
``events``        what happens, as records
``outbox``        how they come to all workers
``feed``          the latest of them, for readers at their own pace
"""

from exatlas.orchestrator.budget import Budget, BudgetState
from exatlas.orchestrator.orchestrator import Orchestrator
from exatlas.orchestrator.reaper import Reaped
from exatlas.orchestrator.session import Limits, Phase, Session

__all__ = ["Budget", "BudgetState", "Limits", "Orchestrator", "Phase", "Reaped", "Session"]
