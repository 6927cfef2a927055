"""When sessions were used last, as all workers know it: written together, and seldom for each."""

from collections.abc import Mapping

from exatlas.errors import NotFoundError
from exatlas.protocols import Clock, Ledger

OWN_S = 30.0
"""How often the touches of a worker's own sessions are written: others need them only when it dies."""
FOREIGN_S = 5.0
"""How often those of another worker's sessions are, at most, for each: it has to know before it ends them."""
SHORT_S = 4 * FOREIGN_S
"""Sessions whose idle time is shorter have every touch written."""


class Touches:
    """Touches that are not written yet. What was used later counts, whoever says so."""

    def __init__(self, ledger: Ledger, clock: Clock, owner: str) -> None:
        self._ledger = ledger
        self._clock = clock
        self._owner = owner
        self._waiting: dict[str, float] = {}
        self._foreign: dict[str, float] = {}
        """When the touch of a session of others was written last."""
        self._written: dict[str, float] = {}
        """When that of a session of this worker's was, if that is not long ago."""

    def own(self, session_id: str) -> None:
        """A session of this worker's was used."""
        self._waiting[session_id] = self._clock.monotonic()

    async def foreign(self, session_id: str) -> None:
        """A session of another worker's was used.

        Raises:
            NotFoundError: there is no such session, or it has ended.
            LedgerError: it could not be written.
        """
        now = self._clock.monotonic()
        if now - self._foreign.get(session_id, float("-inf")) < FOREIGN_S:
            self._waiting[session_id] = now
            return
        launch = await self._ledger.get(session_id)
        ours = launch is not None and launch.owner == self._owner and launch.session
        if launch is None or not ours or session_id not in await self._ledger.touch({session_id: 0.0}):
            self.forget(session_id)
            raise NotFoundError(f"there is no session {session_id!r}, or it has ended")
        if (launch.session.get("idle_ttl_s") or SHORT_S) >= SHORT_S:
            self._foreign[session_id] = now

    def forget(self, session_id: str) -> None:
        """It has ended."""
        self._waiting.pop(session_id, None)
        self._foreign.pop(session_id, None)
        self._written.pop(session_id, None)

    async def write(self, *, all_of_them: bool = False) -> None:
        """Write what waits for it: those of others' sessions, or all."""
        now = self._clock.monotonic()
        self._foreign = {
            name: at for name, at in self._foreign.items() if now - at < FOREIGN_S or name in self._waiting
        }
        self._written = {name: at for name, at in self._written.items() if now - at < OWN_S}
        # One that comes after a while is written at once: whoever takes over would believe that there was none.
        due = [name for name in self._waiting if all_of_them or name in self._foreign or name not in self._written]
        taken = {name: self._waiting.pop(name) for name in due}
        if not taken:
            return
        try:
            await self._ledger.touch({name: self._clock.monotonic() - at for name, at in taken.items()})
        except BaseException:
            self._waiting = taken | self._waiting
            raise
        self._foreign |= {name: now for name in taken if name in self._foreign}
        self._written |= {name: now for name in taken if name not in self._foreign}

    async def idle_s(self, session_ids: list[str]) -> Mapping[str, float]:
        """How long ago each was used last, as far as the ledger knows; another worker may know of a later use."""
        return await self._ledger.touched(session_ids)

    async def run(self) -> None:
        """Write again and again, until cancelled. Raises what the ledger raises."""
        rounds = 0
        while True:
            await self._clock.sleep(FOREIGN_S)
            rounds += 1
            await self.write(all_of_them=rounds % int(OWN_S / FOREIGN_S) == 0)
