"""The sessions that one worker looks after: where they are kept, when they are due, and what is written about them."""

import logging
from collections.abc import Callable, Iterator
from datetime import datetime
from enum import Enum, auto
from typing import Any

from exatlas.client.arguments import AccountOptions
from exatlas.errors import ConflictError, LeaseLostError, NotFoundError
from exatlas.orchestrator import policy
from exatlas.orchestrator.events import Event
from exatlas.orchestrator.lease import Lease
from exatlas.orchestrator.outbox import Outbox
from exatlas.orchestrator.session import Session
from exatlas.orchestrator.timers import Timers
from exatlas.orchestrator.watch import Tracked
from exatlas.protocols import Clock, Ledger
from exatlas.records.launch import LaunchState

_log = logging.getLogger("exatlas.orchestrator")


class Written(Enum):
    """What a worker may do after it wanted to write about a session."""

    DONE = auto()
    """It is written."""
    AWAY = auto()
    """It is not, because the ledger is away for a moment; the worker holds the session all the same."""
    SETTLED = auto()
    """Its launch has gone on without this worker, which still has to look after it."""
    LEAVE = auto()
    """Somebody else looks after it, or may do so: hands off."""


class Roster:
    """Sessions by id, oldest first."""

    def __init__(
        self, ledger: Ledger, clock: Clock, lease: Lease, outbox: Outbox, on_time: Callable[[str], None]
    ) -> None:
        self.ledger = ledger
        self.clock = clock
        self.lease = lease
        self.timers = Timers(clock, on_time)
        self.unclear: dict[str, float] = {}
        """Launches of this worker's that may have machines, and are no sessions, and since when (by the monotonic
        clock): a settling has to clear them up."""
        self._outbox = outbox
        self._tracked: dict[str, Tracked] = {}
        self._told_touched: dict[str, datetime] = {}

    def __iter__(self) -> Iterator[Tracked]:
        return iter(list(self._tracked.values()))

    def __len__(self) -> int:
        return len(self._tracked)

    def __contains__(self, session_id: str) -> bool:
        return session_id in self._tracked

    @property
    def ids(self) -> frozenset[str]:
        """The ids of all of them."""
        return frozenset(self._tracked)

    @property
    def now(self) -> datetime:
        """The present instant, as all workers have it."""
        return self.lease.now

    def find(self, session_id: str) -> Tracked | None:
        """One of them, or None."""
        return self._tracked.get(session_id)

    def doubt(self, launch_id: str) -> None:
        """A launch of this worker's is no session, and may have a machine all the same."""
        self.unclear.setdefault(launch_id, self.clock.monotonic())

    def doubtful_for(self, seconds: float) -> frozenset[str]:
        """Those that have been so for so long, whatever the clock says of whoever wrote them last."""
        now = self.clock.monotonic()
        return frozenset(launch_id for launch_id, since in self.unclear.items() if now - since >= seconds)

    def holds(self, tracked: Tracked) -> bool:
        """Whether this very one is still looked after here."""
        return self._tracked.get(tracked.session.id) is tracked

    def track(self, session: Session, options: dict[str, Any]) -> Tracked:
        """Look after a session from now on."""
        account = tuple(options.get(name) for name in AccountOptions.__annotations__)
        key = (session.compute.provider, *(str(part) for part in account[1:]))
        self._tracked[session.id] = tracked = Tracked(session, key, options, self.clock.monotonic())
        self.schedule(tracked)
        return tracked

    def forget(self, session_id: str) -> None:
        """Look after it no more. Safe to repeat."""
        self._tracked.pop(session_id, None)
        self._told_touched.pop(session_id, None)
        self.timers.set(session_id, None)

    def schedule(self, tracked: Tracked) -> None:
        """Come back when the first of its limits will be reached."""
        now = self.now
        at = policy.next_breach(tracked.session, now)
        if tracked.funded_until is not None:
            at = tracked.funded_until if at is None else min(at, tracked.funded_until)
        self.timers.set(tracked.session.id, None if at is None else (at - now).total_seconds())

    def is_news(self, session: Session) -> bool:
        """Whether a touch of it is to be told: not often for each."""
        every = max(policy.TOUCH_NEWS, (session.limits.idle_ttl or policy.TOUCH_NEWS) / policy.TOUCHES_TOLD)
        told = self._told_touched.get(session.id)
        if told is not None and self.now - told < every:
            return False
        self._told_touched[session.id] = self.now
        return True

    async def write(self, tracked: Tracked, to: LaunchState, **facts: Any) -> Written:
        """Write about a session, as long as this worker holds it."""
        session_id = tracked.session.id
        try:
            await self.ledger.advance(session_id, to, self.now, worker=self.lease.name, **facts)
        except LeaseLostError:
            _log.info("session %s is looked after by somebody else now", session_id)
            self.forget(session_id)
        except (NotFoundError, ConflictError):
            _log.debug("session %s cannot become %s", session_id, to.value, exc_info=True)
            return Written.SETTLED if self.holds(tracked) else Written.LEAVE
        except Exception:  # noqa: BLE001 - supervised boundary: a ledger is the user's, and must not stop what goes on
            _log.warning("the ledger does not know that session %s is %s", session_id, to.value, exc_info=True)
            return Written.AWAY if self.lease.held and self.holds(tracked) else Written.LEAVE
        return Written.DONE if self.holds(tracked) else Written.LEAVE

    def about(self, session: Session, kind: type[Event], **facts: Any) -> None:
        """Tell what has happened to a session."""
        self.tell(kind, session=session.id, tenant=session.tenant, user=session.user, **facts)

    def tell(self, kind: type[Event], **facts: Any) -> None:
        """Tell what has happened."""
        self._outbox.tell(kind(at=self.now, **facts))
