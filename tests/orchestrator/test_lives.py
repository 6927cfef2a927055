"""Any order of calls, touches, losses, faults and time: the cloud, the ledger and the sessions agree in the end."""

import asyncio
from contextlib import suppress

from hypothesis import given, settings, strategies as st

from exatlas import Atlas, ManualClock, Orchestrator
from exatlas.errors import AtlasError, TransportError
from exatlas.ledger import MemoryLedger
from exatlas.orchestrator import Phase
from exatlas.providers.memory import MemoryProvider

LIMITS = st.fixed_dictionaries(
    {},
    optional={
        "idle_ttl": st.integers(60, 2000),
        "max_runtime": st.integers(60, 5000),
        "max_cost_usd": st.sampled_from(["0.05", "0.20", "1"]),
    },
)
WHICH = st.integers(0, 5)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("spawn"), LIMITS),
        st.tuples(st.sampled_from(["touch", "stop", "start", "terminate", "lose"]), WHICH),
        st.tuples(st.just("fail"), st.sampled_from(["spawn_compute", "terminate", "get_compute", "list_compute"])),
        st.tuples(st.just("wait"), st.integers(1, 1500)),
    ),
    max_size=25,
)
SLACK_S = 200
"""A failed termination is tried for a minute, and again a minute later."""


async def step(orch, cloud, clock, what, argument):
    """Do one thing. What a cloud refuses is no matter here."""
    if what == "spawn":
        await orch.spawn(image="img", gpu="l4", **argument)
    elif what == "fail":
        cloud.fail_next(argument, TransportError("cut"), after_acting=bool(len(cloud.rented) % 2))
    elif what == "wait":
        await clock.sleep(argument)
    elif len(await orch.list()) > argument:
        session = (await orch.list())[argument]
        if what == "lose":
            cloud.lose(session.compute.id)
        elif what == "touch":
            await orch.touch(session)
        else:
            await getattr(orch, what)(session)


def within_limits(session, now):
    """Whether a session may still be there, with some time for its end."""
    if session.phase is Phase.ENDING:
        return True
    limits, age = session.limits, (now - session.started_at).total_seconds()
    idle = (now - session.touched_at).total_seconds()
    rate = float(session.rates[-1].usd_per_hour)
    return (
        (limits.max_runtime is None or age <= limits.max_runtime.total_seconds() + SLACK_S)
        and (
            limits.idle_ttl is None
            or session.phase is Phase.STOPPED
            or idle <= limits.idle_ttl.total_seconds() + SLACK_S
        )
        and (
            limits.max_cost_usd is None
            or float(session.cost_usd(now)) <= float(limits.max_cost_usd) + rate * SLACK_S / 3600
        )
    )


async def live(steps):
    clock = ManualClock(auto=True)
    ledger = MemoryLedger(clock)
    async with MemoryProvider(clock=clock) as cloud, Atlas(cloud, clock=clock, env={}) as atlas:
        async with Orchestrator(atlas, ledger) as orch:
            for what, argument in steps:
                with suppress(AtlasError):
                    await step(orch, cloud, clock, what, argument)
                assert all(within_limits(session, orch.now) for session in await orch.list())
            cloud._faults._orders.clear()
            await clock.sleep(2 * 300 + SLACK_S)
            # What was rented in doubt is nobody's session, but the ledger has it.
            open_ones = {one.compute_id for one in await ledger.find() if not one.state.is_final}
            assert set(cloud.rented) == open_ones
            assert {session.compute.id for session in await orch.list()} <= open_ones
        await atlas.recover("terminate", older_than=0)
        assert cloud.rented == []
        assert all(one.state.is_final for one in await ledger.find())


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_nothing_outlives_its_limits_and_nothing_is_lost(steps):
    asyncio.run(live(steps))
