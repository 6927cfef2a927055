"""Whole lives over real sockets, with the real transport."""

import asyncio

import pytest
from attrs import evolve

from exatlas.errors import NoCapacityError, OutcomeUnknownError
from exatlas.providers import lambda_labs
from exatlas.providers.lambda_labs.fake import Fault
from exatlas.records.compute import ComputeFilter, ComputeRequest, ComputeStatus

EAST, WEST = "us-east-1", "us-west-1"
LAUNCH = ("POST", "/instance-operations/launch")


def request(**fields):
    ports = ["8000/tcp"]
    return ComputeRequest(**{"image": "i:1", "gpu": "a10", "region_hints": [EAST, WEST], "ports": ports, **fields})


async def test_a_machines_life(loopback, provider):
    fake, ctx = loopback
    compute = await provider.spawn_compute(request(name="web", env={"A": "ü\n'\"$x"}), ctx)
    seen = [(await provider.get_compute(compute.id, ctx)).status]
    while seen[-1] is ComputeStatus.PROVISIONING:
        await ctx.clock.sleep(20)
        seen.append((await provider.get_compute(compute.id, ctx)).status)
    assert seen[-1] is ComputeStatus.RUNNING
    (listed,) = await provider.list_compute(ComputeFilter(name="web"), ctx)
    assert listed.ports[0].url == "tcp://198.51.100.7:8000"
    await provider.terminate(compute.id, ctx)
    await provider.terminate(compute.id, ctx)
    assert fake.rented() == []
    assert fake.rulesets.items == {}


async def test_a_shortage_then_another_region(loopback, provider):
    fake, ctx = loopback
    fake.capacity.phantom.add(("gpu_1x_a10", EAST))
    compute = await provider.spawn_compute(request(), ctx)
    assert compute.region == WEST
    fake.capacity.sell_out("gpu_1x_a10")
    with pytest.raises(NoCapacityError):
        await provider.spawn_compute(request(), ctx)
    await lambda_labs.terminate_all([compute], ctx)
    assert fake.rulesets.items == {}


async def test_the_catalogue(loopback, provider):
    _, ctx = loopback
    assert {"h100_sxm", "a10"} <= {item.canonical for item in await provider.list_gpu_types(ctx)}


async def test_a_filesystems_life(loopback):
    fake, ctx = loopback
    made = await lambda_labs.filesystems.create(ctx, name="models", region=EAST)
    assert await lambda_labs.filesystems.list(ctx) == (made,)
    await lambda_labs.filesystems.delete(ctx, made.id)
    assert fake.filesystems.items == {}


@pytest.mark.parametrize("fault", [Fault.DROP_AFTER, Fault.ERROR_AFTER, Fault.GARBAGE_AFTER, Fault.TRUNCATED_AFTER])
async def test_a_lost_answer_is_found_again(loopback, provider, fault):
    fake, ctx = loopback
    fake.fail(fault, *LAUNCH)
    compute = await provider.spawn_compute(request(), evolve(ctx, launch_id="0123456789ab"))
    assert [each.id for each in fake.rented()] == [compute.id]
    assert fake.calls.count(LAUNCH) == 1
    await provider.terminate(compute.id, ctx)
    assert fake.rulesets.items == {}


async def test_a_broken_connection_is_no_second_machine(loopback, provider):
    fake, ctx = loopback
    fake.fail(Fault.DROP_BEFORE, *LAUNCH)
    with pytest.raises(OutcomeUnknownError):
        await provider.spawn_compute(request(), ctx)
    assert fake.rented() == []
    assert fake.rulesets.items == {}


async def test_a_cancelled_termination_still_takes_the_ruleset(loopback, provider):
    fake, ctx = loopback
    compute = await provider.spawn_compute(request(), ctx)
    task = asyncio.create_task(provider.terminate(compute.id, ctx))
    while fake.rented():
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.02)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert fake.rulesets.items == {}
