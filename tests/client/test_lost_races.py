"""A spawn that ended in doubt in a race that another won: nobody waits for its machine."""

import pytest

from exatlas import Atlas, LaunchState
from exatlas.errors import OutcomeUnknownError, TransportError
from exatlas.ledger import MemoryLedger
from exatlas.providers.memory import MemoryProvider


@pytest.mark.parametrize("is_lost", [False, True])
async def test_a_recovery_that_adopts_does_not_keep_it(clock, is_lost):
    ledger = MemoryLedger(clock)
    async with (
        MemoryProvider(clock=clock) as doubtful,
        MemoryProvider(clock=clock) as sound,
        Atlas(doubtful, clock=clock, env={}, ledger=ledger, owner="tests") as atlas,
    ):
        doubtful.fail_next("spawn_compute", TransportError("cut"), after_acting=True)
        doubtful.fail_next("list_compute", TransportError("cut"), times=20)

        async def spawn(provider):
            return await atlas.spawn_compute(image="img", gpu="l4", provider=provider)

        if is_lost:
            await atlas.first_ok(spawn, [doubtful, sound])
        else:
            with pytest.raises(OutcomeUnknownError):
                await spawn(doubtful)
        doubtful._faults._orders.clear()
        (machine,) = doubtful.rented
        states = {launch.state for launch in await ledger.find() if launch.compute_id is None}
        assert states == {LaunchState.TERMINATING if is_lost else LaunchState.INTENDED}
        await atlas.recover("adopt", older_than=0, provider=doubtful)
        assert doubtful.rented == ([] if is_lost else [machine])
