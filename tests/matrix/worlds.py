"""Every provider with its fake cloud and the books that are kept of it."""

import asyncio
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from importlib import import_module
from typing import Any

from exatlas import Atlas, ManualClock, Orchestrator
from exatlas.errors import LedgerError, TransportError
from exatlas.fakes.case import PATIENCE, Case, NotApplicableError
from exatlas.fakes.faults import Fault
from exatlas.ledger import MemoryLedger
from exatlas.transport.inprocess import InProcessTransport

PROVIDERS = ("memory", "runpod", "vast", "lambda_labs", "fly")
STOPPING = ("memory", "runpod", "vast", "fly")
"""Those whose machines can be stopped and started."""
OWNER = "matrix"


class DefectError(Exception):
    """What a ledger of somebody's own may raise."""


class Knife:
    """Raises at one call of those that go through it: before or after the call was made."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.left = 0
        self.after = False
        self.cut = False
        self.slow = False
        """Whether calls take steps of the event loop, at which they can be cut where nothing else waits."""

    def arm(self, number: int, error: Exception, *, after: bool) -> None:
        """Raise at the call of that number, from 0."""
        self.left, self.error, self.after, self.cut = number, error, after, False

    def disarm(self) -> None:
        """Let everything through."""
        self.error = None

    async def through(self, call: Any) -> Any:
        """Make the call, or do not, or do and say nothing of it."""
        await self._step()
        if self.error is not None and not self.cut:
            self.left -= 1
            if self.left < 0:
                self.cut = True
                if self.after:
                    await call()
                raise self.error
        given = await call()
        await self._step()
        return given

    async def _step(self) -> None:
        if self.slow:
            await asyncio.sleep(0)


class CutLedger(MemoryLedger):
    """A ledger whose reads and writes of launches go through a knife."""

    knife: Knife

    async def intend(self, *args: Any) -> Any:
        return await self.knife.through(lambda: super(CutLedger, self).intend(*args))

    async def advance(self, *args: Any, **facts: Any) -> Any:
        return await self.knife.through(lambda: super(CutLedger, self).advance(*args, **facts))

    async def get(self, *args: Any) -> Any:
        return await self.knife.through(lambda: super(CutLedger, self).get(*args))

    async def find(self, **wanted: Any) -> Any:
        return await self.knife.through(lambda: super(CutLedger, self).find(**wanted))


class CutTransport:
    """A transport whose calls go through a knife."""

    def __init__(self, inner: InProcessTransport) -> None:
        self._inner = inner
        self.knife = Knife()

    async def send(self, call: Any) -> Any:
        return await self.knife.through(lambda: self._inner.send(call))

    async def open(self, call: Any) -> Any:
        return await self.knife.through(lambda: self._inner.open(call))

    async def aclose(self) -> None:
        await self._inner.aclose()


class World(AbstractAsyncContextManager["World"]):
    """One provider, one account, one ledger, and a client of them all."""

    case: Case
    atlas: Atlas

    def __init__(self, provider: str) -> None:
        self.name = provider
        self._stack = AsyncExitStack()
        self.transport: CutTransport | None = None
        self.wanted: set[str] = set()
        """Machines that a caller was given, and has not given back."""

    async def __aenter__(self) -> "World":
        module = import_module(f"exatlas.providers.{self.name}.case")
        if self.name == "memory":
            self.case = await self._stack.enter_async_context(module.case())
            self._cloud: Any = self.case.provider
        else:
            self._cloud = module.fake(ManualClock(auto=True, patience=PATIENCE))
            self.transport = CutTransport(InProcessTransport(self._cloud.handle))
            self.case = module.case_of(self._cloud, transport=self.transport)
        self.clock = self.case.options["clock"]
        self.ledger = CutLedger(self.clock)
        self.ledger.knife = Knife()
        client = Atlas(self.case.provider, env={}, ledger=self.ledger, owner=OWNER, **self.case.options)
        self.atlas = await self._stack.enter_async_context(client)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    @property
    def request(self) -> Mapping[str, Any]:
        """A machine that the cloud grants."""
        return self.case.request

    def trouble(self, fault: Fault, operation: str) -> bool:
        """Let the next call of an operation go wrong. Gives whether that can be."""
        try:
            self.case.trouble(fault, operation, 1)
        except (NotApplicableError, KeyError):
            return False
        return True

    def peace(self) -> None:
        """Nothing goes wrong any more."""
        self.ledger.knife.disarm()
        self.ledger.knife.slow = False
        if self.transport:
            self.transport.knife.disarm()
        if self.name == "memory":
            self._cloud._faults._orders.clear()
        else:
            self._cloud.faults.clear()

    def marks(self, *, open_only: bool = False) -> set[str | None]:
        """The launch ids of all machines that ever were, or are still there."""
        return {line.launch_id for line in self._cloud.invoice() if line.open or not open_only}

    async def check_at_once(self, *, nothing_else: bool) -> None:
        """Before any recovery, what the ledger has closed is gone; in peace, so is what nobody was given."""
        self.ledger.knife.disarm()
        self.ledger.knife.slow = False
        billing = {line.launch_id for line in self._cloud.invoice() if line.open}
        closed = {one.launch_id for one in await self.ledger.find(owner=OWNER) if one.state.is_final}
        assert not billing & closed, "the ledger has closed what is still there"
        if nothing_else:
            assert set(self.case.rented()) == self.wanted, "a machine that nobody was given"

    async def check(self, *, strictly: bool) -> None:
        """After a recovery and one pass of the reaper: nobody has lost a machine, and no machine its ledger.

        Strictly, there is none that nobody was given: a recovery that adopts has found none to adopt.
        """
        self.peace()
        recovery = await self.atlas.recover("adopt", older_than=0)
        assert recovery.complete, recovery
        async with Orchestrator(self.atlas) as orch:
            reaped = await orch.reap()
            assert reaped.orphans == (), reaped
            for tracked in list(orch._roster):  # what it has adopted stays, for the count below
                orch._roster.forget(tracked.session.id)
        launches = {launch.launch_id: launch for launch in await self.ledger.find(owner=OWNER)}
        assert self.marks() <= set(launches), "a machine that the ledger does not know"
        there = {machine.id for machine in await self.atlas.list_compute() if not machine.status.is_terminal}
        assert set(self.case.rented()) <= there, "what bills is listed, and so may be what is stopped"
        assert there == {one.compute_id for one in launches.values() if not one.state.is_final}, "ledger and cloud"
        assert self.wanted <= there, "a machine that somebody has was ended"
        assert not strictly or there == self.wanted, "a machine that nobody was given"
        assert (await self.atlas.recover("terminate", older_than=0)).complete
        left = [machine for machine in await self.atlas.list_compute() if not machine.status.is_terminal]
        assert (left, list(self.case.rented())) == ([], []), "a machine that nobody wants"
        assert all(one.state.is_final for one in await self.ledger.find(owner=OWNER))


ERRORS: Mapping[str, Exception] = {
    "transport": TransportError("cut off"),
    "ledger": LedgerError("away"),
    "bug": DefectError("a defect"),
}
