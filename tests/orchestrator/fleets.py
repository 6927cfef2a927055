"""What several workers in one process need to be cut off, to have wrong clocks, and to die."""

from datetime import timedelta

from exatlas.errors import LedgerError


class Wire:
    """One worker's way to the ledger, which can be cut."""

    def __init__(self, ledger):
        self._ledger = ledger
        self.cut = False

    def __getattr__(self, name):
        method = getattr(self._ledger, name)

        async def call(*args, **options):
            if self.cut:
                raise LedgerError("away")
            return await method(*args, **options)

        return call


class Skewed:
    """A clock whose hands are wrong. Its seconds are as long as everybody's."""

    def __init__(self, clock, by=timedelta(0)):
        self._clock, self.by = clock, by
        self.monotonic, self.sleep = clock.monotonic, clock.sleep

    def now(self):
        return self._clock.now() + self.by


async def die(orch):
    """As a process that is killed: nothing is closed, and nothing goes on."""

    async def nothing():
        for loop in orch._loops:
            loop.cancel()
        orch._endings.stop()

    orch._close = nothing
    await orch.__aexit__(None, None, None)
