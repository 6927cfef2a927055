"""A worker's right to act: said again and again, and given up at the moment at which others may have taken it over."""

import os
import secrets
import socket
from datetime import datetime, timedelta

from exatlas.protocols import Clock, Ledger
from exatlas.records.lease import Standing

RENEWALS = 4
"""In one lease: some may fail."""
SURE = 0.9
"""The part of a lease that a worker takes for its own. Clocks do not run at quite the same speed."""


class Lease:
    """One worker of an owner, under a name that nobody had before.

    A worker whose ledger cannot be reached stops acting before anybody can take it for dead, by its own steady clock:
    no two clocks have to agree.
    """

    def __init__(self, ledger: Ledger, clock: Clock, owner: str, seconds: float) -> None:
        self.owner = owner
        self.seconds = seconds
        self.name = ""
        """Changes when the lease is lost: a worker that was taken for dead stays dead."""
        self.eldest = False
        """Whether what one worker does for all is this one's to do."""
        self._ledger = ledger
        self._clock = clock
        self._until = float("-inf")
        self._epoch = clock.now(), clock.monotonic()

    @property
    def held(self) -> bool:
        """Whether nobody can have taken its sessions."""
        return self._clock.monotonic() < self._until

    @property
    def now(self) -> datetime:
        """The present instant by the ledger's clock, which all workers share. It never jumps."""
        instant, steady = self._epoch
        return instant + timedelta(seconds=self._clock.monotonic() - steady)

    async def take(self) -> None:
        """Become a worker, under a new name."""
        name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        asked = self._clock.monotonic()
        standing = await self._ledger.enlist(name, self.owner, self.seconds)
        if not self.name:
            self._epoch = standing.now, self._clock.monotonic()
        self.name = name
        self._keep(standing, asked)

    async def renew(self) -> tuple[str, ...]:
        """Say that it lives. Gives the launches that others have taken.

        Raises:
            LeaseLostError: they have taken everything.
        """
        asked = self._clock.monotonic()
        standing = await self._ledger.renew(self.name)
        self._keep(standing, asked)
        return standing.seized

    async def leave(self) -> None:
        """Let others have what is left."""
        self.give_up()
        await self._ledger.leave(self.name)

    def give_up(self) -> None:
        """Act no more."""
        self._until = float("-inf")
        self.eldest = False

    def _keep(self, standing: Standing, asked: float) -> None:
        self._until = asked + self.seconds * SURE
        self.eldest = standing.eldest
