"""Stop and start against the fake: asked once, waited for on the server, and looked at before it is asked again."""

import asyncio

import pytest
from attrs import evolve

from exatlas.errors import ConflictError, NoCapacityError, NotFoundError, ProviderBrokenError
from exatlas.fakes.faults import dangerous
from exatlas.providers.fly.fake import FakeFly, Fault
from exatlas.records.compute import ComputeRequest, ComputeStatus

IMAGE = "img"


@pytest.fixture
def slow(clock):
    return FakeFly(clock, boot_s=10, stop_s=5)


@pytest.fixture
def spawn(provider, clock):
    """A started machine."""

    async def run(ctx, **fields):
        compute = await provider.spawn_compute(ComputeRequest(image=IMAGE, **fields), ctx)
        clock.advance(30)
        return compute

    return run


def count(fake, method, end):
    return sum(one == method and path.endswith(end) for one, path in fake.calls)


async def test_stop_and_start_return_when_it_is_so(slow, context, provider, spawn, clock):
    ctx = context(slow)
    compute = await spawn(ctx, volume_gb=1)
    before = clock.monotonic()
    for _ in range(2):
        await provider.stop(compute.id, ctx)
    assert clock.monotonic() == before + 5
    stopped = await provider.get_compute(compute.id, ctx)
    assert (stopped.status, stopped.cost_usd_per_hour) == (ComputeStatus.STOPPED, None)
    for _ in range(2):
        await provider.start(compute.id, ctx)
    assert clock.monotonic() == before + 15
    assert (await provider.get_compute(compute.id, ctx)).status is ComputeStatus.RUNNING
    assert (count(slow, "POST", "/stop"), count(slow, "POST", "/start")) == (1, 1)
    assert count(slow, "GET", "/wait") == 2


async def test_a_stopped_machine_bills_its_root_file_system_and_its_volume(slow, context, provider, spawn, clock):
    ctx = context(slow)
    compute = await spawn(ctx, volume_gb=30)
    await provider.stop(compute.id, ctx)
    machine, volume = slow.invoice()
    clock.advance(720 * 3600)
    later_machine, later_volume = slow.invoice()
    assert f"{later_machine.usd - machine.usd:.4f}" == "0.1500"
    assert f"{later_volume.usd - volume.usd:.4f}" == "4.5000"
    assert later_machine.open
    assert later_volume.open


async def test_a_stop_is_waited_for_in_the_version_that_was_stopped(slow, context, provider, spawn):
    ctx = context(slow)
    compute = await spawn(ctx)
    waits = []

    class Overheard:
        async def send(self, call):
            waits.extend([call.url] if "/wait" in call.url else [])
            return await ctx.transport.send(call)

    await provider.stop(compute.id, evolve(ctx, transport=Overheard()))
    await provider.start(compute.id, evolve(ctx, transport=Overheard()))
    version = slow.machine(compute.id).version
    assert [f"version={version}" in url for url in waits] == [True, False]


async def test_a_stop_of_a_machine_on_its_way_is_only_waited_for(slow, context, provider, spawn):
    ctx = context(slow)
    compute = await spawn(ctx)
    slow.machine(compute.id).go(slow.clock.now(), (0, "stopping"), (3, "stopped"))
    await provider.stop(compute.id, ctx)
    assert count(slow, "POST", "/stop") == 0


async def test_a_wait_longer_than_fly_holds_is_made_of_several(clock, context, provider, spawn):
    fake = FakeFly(clock, stop_s=100)
    ctx = context(fake)
    compute = await spawn(ctx)
    await provider.stop(compute.id, ctx)
    assert count(fake, "GET", "/wait") == 2
    assert (await provider.get_compute(compute.id, ctx)).status is ComputeStatus.STOPPED


async def test_a_stop_that_takes_longer_than_our_patience_is_on_its_way(clock, context, provider, spawn):
    fake = FakeFly(clock, stop_s=1000)
    ctx = context(fake)
    compute = await spawn(ctx)
    before = clock.monotonic()
    await provider.stop(compute.id, ctx)
    assert 120 <= clock.monotonic() - before < 130
    assert (await provider.get_compute(compute.id, ctx)).status is ComputeStatus.STOPPING


async def test_a_wait_is_never_longer_than_the_caller_gives_a_request(slow, context, provider, spawn):
    ctx = context(slow, timeout_s=2)
    compute = await spawn(ctx)
    await provider.stop(compute.id, ctx)
    assert count(slow, "GET", "/wait") == 3
    assert (await provider.get_compute(compute.id, ctx)).status is ComputeStatus.STOPPED


@pytest.mark.parametrize(
    "fault", [*dangerous(), Fault.DROP_BEFORE, Fault.STALL_BEFORE, Fault.ERROR_BEFORE, Fault.LIMITED]
)
@pytest.mark.parametrize("where", ["action", "wait"])
@pytest.mark.parametrize("times", [1, 2])
async def test_a_lost_stop_or_start_is_looked_at_before_it_is_repeated(
    slow, context, provider, spawn, fault, where, times
):
    ctx = context(slow)
    compute = await spawn(ctx)
    for act, status in (("stop", ComputeStatus.STOPPED), ("start", ComputeStatus.RUNNING)):
        slow.fail(fault, "*", f"/{act if where == 'action' else 'wait'}", times=times)
        await getattr(provider, act)(compute.id, ctx)
        assert (await provider.get_compute(compute.id, ctx)).status is status
        acted = fault in dangerous() and times == 1
        assert not acted or count(slow, "POST", f"/{act}") == 1, "what was done is not asked for again"
        slow.faults.clear()
    assert len(slow.rented()) == 1


async def test_a_stop_that_never_gets_through_is_the_callers(slow, context, provider, spawn):
    ctx = context(slow)
    compute = await spawn(ctx)
    slow.fail(Fault.ERROR_BEFORE, "POST", "/stop", times=3)
    with pytest.raises(ProviderBrokenError):
        await provider.stop(compute.id, ctx)
    assert count(slow, "POST", "/stop") == 3


@pytest.mark.parametrize("act", ["stop", "start"])
async def test_a_lease_of_somebody_else_is_waited_for(slow, context, provider, spawn, clock, act):
    ctx = context(slow)
    compute = await spawn(ctx)
    if act == "start":
        slow.machine(compute.id).go(clock.now(), (0, "stopped"))
    slow.lease(compute.id, 13)
    before = clock.monotonic()
    await getattr(provider, act)(compute.id, ctx)
    assert 13 <= clock.monotonic() - before < 30


async def test_a_lease_that_goes_on_and_on_is_a_conflict(slow, context, provider, spawn):
    ctx = context(slow)
    compute = await spawn(ctx)
    slow.lease(compute.id, 100_000)
    with pytest.raises(ConflictError, match="lease currently held by deployer") as caught:
        await provider.stop(compute.id, ctx)
    assert caught.value.retry_after > 1000
    assert count(slow, "POST", "/stop") < 70


@pytest.mark.parametrize("state", ["replacing", "updating"])
async def test_a_machine_in_the_middle_of_an_update_counts_as_starting(slow, context, provider, spawn, clock, state):
    ctx = context(slow)
    compute = await spawn(ctx)
    slow.machine(compute.id).go(clock.now(), (0, state), (6, "started"))
    await provider.start(compute.id, ctx)
    assert (await provider.get_compute(compute.id, ctx)).status is ComputeStatus.RUNNING


async def test_a_machine_that_was_made_and_not_launched_cannot_be_stopped(slow, context, provider, spawn):
    ctx = context(slow)
    compute = await spawn(ctx, provider_opts={"skip_launch": True})
    with pytest.raises(ConflictError, match="unable to stop machine from current state: 'created'; it is created"):
        await provider.stop(compute.id, ctx)


async def test_a_full_host_is_no_capacity(slow, context, provider, spawn):
    ctx = context(slow)
    compute = await spawn(ctx)
    await provider.stop(compute.id, ctx)
    slow.full_hosts.add(compute.id.partition("/")[2])
    with pytest.raises(NoCapacityError, match="could not reserve resource"):
        await provider.start(compute.id, ctx)


async def test_a_machine_that_fails_on_its_way_up_is_said(slow, context, provider, spawn, clock):
    ctx = context(slow)
    compute = await spawn(ctx)
    slow.machine(compute.id).go(clock.now(), (0, "starting"), (3, "failed"))
    with pytest.raises(ConflictError, match="was asked to start and is failed"):
        await provider.start(compute.id, ctx)


async def test_a_machine_that_ends_by_itself_was_started(slow, context, provider, spawn, clock):
    ctx = context(slow)
    compute = await spawn(ctx)
    slow.machine(compute.id).go(clock.now(), (0, "starting"), (3, "stopped"))
    await provider.start(compute.id, ctx)


async def test_a_machine_that_destroys_itself_counts_as_stopped(slow, context, provider, spawn, clock):
    ctx = context(slow)
    compute = await spawn(ctx)
    slow.machine(compute.id).go(clock.now(), (0, "stopping"), (3, "destroyed"))
    await provider.stop(compute.id, ctx)


@pytest.mark.parametrize("act", ["stop", "start"])
async def test_what_is_not_there_is_not_found(ctx, provider, act):
    for compute_id in ("nope", "no/where"):
        with pytest.raises(NotFoundError):
            await getattr(provider, act)(compute_id, ctx)


@pytest.mark.parametrize("steps", range(0, 30, 2))
async def test_cancelling_a_stop_anywhere_cancels_it(slow, context, provider, spawn, steps):
    ctx = context(slow)
    compute = await spawn(ctx)
    slow.fail(Fault.ERROR_AFTER, "POST", "/stop")
    task = asyncio.create_task(provider.stop(compute.id, ctx))
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    await provider.stop(compute.id, ctx)
    assert (await provider.get_compute(compute.id, ctx)).status is ComputeStatus.STOPPED
