"""Each operation cut at every step, in the process: by cancellation, and by errors of the network and of the ledger."""

import asyncio
from contextlib import AsyncExitStack, suppress

import pytest

from exatlas import Orchestrator
from exatlas.errors import AtlasError
from exatlas.fakes.faults import Fault
from tests.conftest import Cut, others, settle
from tests.matrix.counting import count
from tests.matrix.operations import OPERATIONS, Operation
from tests.matrix.worlds import ERRORS, PROVIDERS, DefectError, World

FAULTS = (
    None,
    Fault.DROP_BEFORE,
    Fault.DROP_AFTER,
    Fault.STALL_AFTER,
    Fault.ERROR_AFTER,
    Fault.TRUNCATED_AFTER,
    Fault.TWICE,
    Fault.LIMITED,
)
FEWER = (None, Fault.DROP_AFTER, Fault.ERROR_AFTER, Fault.TWICE)
"""Those of a run that is not the full one."""
MOST = 3000
STRIDE = 29
"""With a fault, every so many steps there; each fault begins elsewhere."""
MANY = {"runpod": 2, "fly": 4, "vast": 7, "lambda_labs": 16}
"""And without one, where a provider takes many steps for everything."""

PAIRS = [
    pytest.param(provider, operation, id=f"{provider}-{operation.name.replace(' ', '_')}")
    for operation in OPERATIONS
    for provider in operation.providers
]


class Ready(AsyncExitStack):
    """A world in which everything is there that an operation needs."""

    def __init__(self, provider: str, operation: Operation) -> None:
        super().__init__()
        self._provider, self._operation = provider, operation

    async def __aenter__(self) -> "Ready":
        await super().__aenter__()
        self.world = await self.enter_async_context(World(self._provider))
        if self._operation.sessions:
            self.world.orch = await self.enter_async_context(Orchestrator(self.world.atlas))
        before = self._operation.before
        self.given = None if before is None else await before(self.world)
        return self

    def work(self):
        return self._operation.do(self.world, self.given)


async def check(ready: Ready, operation: Operation, *, cancelled: bool) -> None:
    world = ready.world
    if operation.sessions:
        world.peace()
        orch = world.orch
        for tracked in list(orch._roster):
            if tracked.session.compute.id not in world.wanted:
                await orch.terminate(tracked.session)
        await orch.__aexit__(None, None, None)
        ready._exit_callbacks.pop()
    await world.check(strictly=cancelled and operation.nobody)


@pytest.mark.parametrize(("provider", "operation"), PAIRS)
async def test_cancelled_at_every_step(provider, operation, every_case):
    tried = 0
    for number, fault in enumerate(FAULTS if every_case else FEWER):
        stride = 1 if every_case else MANY.get(provider, 1) if fault is None else STRIDE
        for steps in range(number % stride, MOST, stride):
            before = others()
            async with Ready(provider, operation) as ready:
                if fault is not None and not ready.world.trouble(fault, operation.troubled):
                    break
                cut = Cut(steps)
                ready.world.ledger.knife.slow = True
                with suppress(AtlasError, DefectError):
                    await cut(ready.work())
                if fault is not Fault.TWICE:
                    nothing_else = operation.nobody and fault is None
                    await ready.world.check_at_once(nothing_else=nothing_else)
                await check(ready, operation, cancelled=not cut.late)
            await settle()
            assert others() == before, f"cancelling after {steps} steps leaves tasks behind"
            tried += 1
            if cut.late:
                break
        else:
            raise AssertionError(f"the work did not end within {MOST} steps")
    count(provider, "cancel", operation.name, tried)


@pytest.mark.parametrize("what", ERRORS)
@pytest.mark.parametrize(("provider", "operation"), PAIRS)
async def test_failing_at_every_call(provider, operation, what, every_case):
    if what == "transport" and provider == "memory":
        pytest.skip("nothing travels in memory")
    tried = 0
    for after in (False, True):
        for fault in FAULTS if every_case else (None,):
            for number in range(MOST):
                async with Ready(provider, operation) as ready:
                    world = ready.world
                    knife = world.transport.knife if what == "transport" and world.transport else world.ledger.knife
                    if fault is not None and not world.trouble(fault, operation.troubled):
                        break
                    knife.arm(number, ERRORS[what], after=after)
                    with suppress(AtlasError, DefectError):
                        await asyncio.shield(asyncio.ensure_future(ready.work()))
                    was_cut = knife.cut
                    if operation.nobody and fault is None and what != "transport":
                        await world.check_at_once(nothing_else=True)
                    await check(ready, operation, cancelled=False)
                tried += 1
                if not was_cut:
                    break
    count(provider, f"{what} error", operation.name, tried)


def test_every_provider_is_there():
    assert {provider for operation in OPERATIONS for provider in operation.providers} == set(PROVIDERS)
