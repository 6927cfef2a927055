"""Sessions over a client: machines with limits, shared polling, a reaper, and events. One process per owner.

``orchestrator``  the facade, and what happens when
``session``       a machine with its limits, as last seen
``policy``        when a session has to end (pure)
``timers``        one heap of instants for all sessions
``watch``         one list per account for all sessions
``orphans``       machines with a mark of ours that nothing explains
``events``        what happens, as records
``feed``          the latest of them, for readers at their own pace
"""

from exatlas.orchestrator.orchestrator import Orchestrator, Reaped
from exatlas.orchestrator.session import Limits, Phase, Session

__all__ = ["Limits", "Orchestrator", "Phase", "Reaped", "Session"]
