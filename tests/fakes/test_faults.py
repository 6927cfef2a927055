import orjson
import pytest
from hypothesis import given, strategies

from exatlas.clock import ManualClock
from exatlas.errors import TransportError, TransportTimeoutError
from exatlas.fakes.faults import BEFORE, CRUMB_S, GARBAGE, Fault, FaultPlan, dangerous
from exatlas.fakes.replies import json_reply
from exatlas.messages import HttpCall
from exatlas.transport.inprocess import InProcessTransport, StreamingReply


class Forms:
    def error_reply(self, status):
        return json_reply(status, {"own": status})


class Cloud:
    """Counts what it did, and is called through a plan."""

    def __init__(self, plan):
        self.plan = plan
        self.done = 0
        self.clock = ManualClock(auto=True)
        self.transport = InProcessTransport(lambda call: plan.carry(call, self.answer, Forms(), self.clock))

    async def answer(self, call):
        self.done += 1
        return json_reply(200, {"number": self.done})

    async def get(self, path="/v1/things/a", method="GET", timeout_s=30.0):
        call = HttpCall(
            provider="p",
            operation="o",
            method=method,
            url=f"https://cloud.test{path}?q=1",
            template=path,
            timeout_s=timeout_s,
        )
        return await self.transport.send(call)


@pytest.mark.parametrize("fault", [Fault.DROP_BEFORE, Fault.DROP_AFTER, Fault.STALL_BEFORE, Fault.STALL_AFTER])
async def test_some_faults_give_no_reply(fault):
    cloud = Cloud(FaultPlan())
    cloud.plan.order(fault)
    stalls = fault in (Fault.STALL_BEFORE, Fault.STALL_AFTER)
    with pytest.raises(TransportTimeoutError if stalls else TransportError):
        await cloud.get(timeout_s=7.0)
    assert cloud.clock.monotonic() == (7.0 if stalls else 0.0)
    assert cloud.done == (0 if fault in BEFORE else 1)


@pytest.mark.parametrize(
    ("fault", "status", "done"),
    [(Fault.ERROR_BEFORE, 500, 0), (Fault.ERROR_AFTER, 500, 1), (Fault.EDGE, 403, 0), (Fault.LIMITED, 429, 0)],
)
async def test_refusals_come_in_the_clouds_own_form(fault, status, done):
    cloud = Cloud(FaultPlan())
    cloud.plan.order(fault)
    reply = await cloud.get()
    assert (reply.status, reply.json(), cloud.done) == (status, {"own": status}, done)


async def test_bodies_are_spoiled_in_three_ways():
    cloud = Cloud(FaultPlan())
    for fault in (Fault.GARBAGE_AFTER, Fault.TRUNCATED_AFTER, Fault.WRONG_TYPES_AFTER):
        cloud.plan.order(fault)
    garbage, truncated, wrong = [(await cloud.get()).body for _ in range(3)]
    assert garbage == GARBAGE
    assert b'{"number":2}'.startswith(truncated)
    assert 0 < len(truncated) < len(b'{"number":2}')
    assert "number" not in orjson.loads(wrong)
    assert cloud.done == 3


async def test_crumbs_take_their_time_and_may_take_too_long():
    cloud = Cloud(FaultPlan())
    cloud.plan.order(Fault.DRIP, times=2)
    assert (await cloud.get()).json() == {"number": 1}
    assert cloud.clock.monotonic() >= 2 * CRUMB_S
    with pytest.raises(TransportTimeoutError):
        await cloud.get(timeout_s=1.0)
    assert cloud.done == 2


async def test_a_call_may_be_delivered_twice():
    cloud = Cloud(FaultPlan())
    cloud.plan.order(Fault.TWICE)
    assert (await cloud.get(method="POST")).json() == {"number": 2}
    assert cloud.done == 2


async def test_a_lagging_replica_gives_what_it_gave_before():
    cloud = Cloud(FaultPlan())
    first = (await cloud.get()).json()
    cloud.plan.order(Fault.STALE, times=2)
    assert (await cloud.get()).json() == first
    assert (await cloud.get()).json() == {"number": 2}
    assert (await cloud.get("/v1/other")).json() == {"number": 4}


async def test_orders_wait_for_their_calls():
    cloud = Cloud(FaultPlan())
    cloud.plan.order(Fault.LIMITED, "POST", "/a", times=2)
    statuses = [
        (await cloud.get(path, method)).status
        for method, path in [("GET", "/a"), ("POST", "/b"), ("POST", "/x/a"), ("POST", "/a"), ("POST", "/a")]
    ]
    assert statuses == [200, 200, 429, 429, 200]
    assert [(hit.number, hit.path) for hit in cloud.plan.hits] == [(3, "/x/a"), (4, "/a")]
    cloud.plan.order(Fault.LIMITED)
    cloud.plan.clear()
    assert (await cloud.get()).status == 200


async def run(seed):
    cloud = Cloud(FaultPlan(seed=seed, rate=0.3))
    ends = []
    for _ in range(50):
        try:
            ends.append((await cloud.get()).body)
        except TransportError as error:
            ends.append(type(error))
    return ends, cloud.plan.hits


@given(strategies.integers())
async def test_the_same_seed_gives_the_same_run(seed):
    assert await run(seed) == await run(seed)


async def test_another_seed_gives_another_run_and_the_chance_is_kept():
    assert (await run(1))[1] != (await run(2))[1]
    counts = [len((await run(seed))[1]) for seed in range(20)]
    assert 0.2 < sum(counts) / (20 * 50) < 0.4


async def test_what_is_drawn_can_be_narrowed():
    plan = FaultPlan(rate=1.0, kinds=[Fault.LIMITED], only=lambda call: call.method == "POST")
    cloud = Cloud(plan)
    assert [(await cloud.get(method=method)).status for method in ("GET", "POST")] == [200, 429]


async def test_a_stream_is_left_alone():
    async def body():
        yield b"x"

    stream = StreamingReply(body=body())

    async def answer(_call):
        return stream

    plan = FaultPlan()
    plan.order(Fault.DROP_AFTER)
    call = HttpCall(provider="p", operation="o", method="GET", url="https://cloud.test/", template="/")
    assert await plan.carry(call, answer, Forms(), ManualClock()) is stream


def test_dangerous_faults_are_those_after_which_nobody_can_know():
    assert Fault.DROP_AFTER in dangerous()
    assert not BEFORE & set(dangerous())
