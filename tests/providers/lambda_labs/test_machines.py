"""Machines once they are rented, against the fake."""

import asyncio
from decimal import Decimal

import pytest
from attrs import evolve

from exatlas.errors import (
    ConflictError,
    NotFoundError,
    ProviderBrokenError,
    RateLimitedError,
    ReplyShapeError,
)
from exatlas.providers import lambda_labs
from exatlas.providers.lambda_labs import machines, rulesets, spawning
from exatlas.providers.lambda_labs.fake import FakeLambda, Fault
from exatlas.records.compute import ComputeFilter, ComputeRequest, ComputeStatus
from exatlas.records.gpu import Stock

KEY = "secret_fake_0123456789abcdef.FAKEKEY"
EAST, WEST = "us-east-1", "us-west-1"
TERMINATE = ("POST", "/instance-operations/terminate")


def request(**fields):
    return ComputeRequest(**{"image": "org/app:1", "gpu": "a10", "region_hints": [EAST], **fields})


async def rent(ctx, **fields):
    return await spawning.spawn(request(**fields), ctx)


@pytest.fixture
def slow(clock):
    """A cloud whose machines take their time."""
    return FakeLambda(clock, api_key=KEY, boot_s=180, terminating_s=10)


# --- reading ---


async def test_reading_a_machine_over_its_life(slow, context, clock):
    ctx = context(slow)
    slow.keeps_terminated = True
    compute = await rent(ctx, ports=["80/tcp"])
    seen = []
    for wait_s in (0, 60, 200):
        clock.advance(wait_s)
        found = await machines.get(compute.id, ctx)
        seen.append((found.status, found.public_ip, len(found.ports), found.image))
    await machines.terminate(compute.id, ctx)
    clock.advance(60)
    seen.append(((await machines.get(compute.id, ctx)).status,))
    assert seen == [
        (ComputeStatus.PROVISIONING, None, 0, None),
        (ComputeStatus.PROVISIONING, "198.51.100.7", 0, None),
        (ComputeStatus.RUNNING, "198.51.100.7", 1, "org/app:1"),
        (ComputeStatus.TERMINATED,),
    ]


async def test_an_unhealthy_machine_is_failed_and_bills(slow, context, clock):
    ctx = context(slow)
    slow.sick_hosts = 1
    compute = await rent(ctx)
    clock.advance(180 + 3600)
    assert (await machines.get(compute.id, ctx)).status is ComputeStatus.FAILED
    assert slow.rented()
    assert slow.invoice()[0].usd >= Decimal("1.29")


async def test_a_preempted_machine_is_terminated_and_its_ruleset_goes_when_that_is_seen(slow, context, clock):
    ctx = context(slow)
    compute = await rent(ctx, ports=["80/tcp"])
    clock.advance(3600)
    slow.preempt(compute.id)
    assert (await machines.get(compute.id, ctx)).status is ComputeStatus.TERMINATED
    assert slow.rented() == []
    clock.advance(60)
    assert len(slow.rulesets.items) == 1
    await machines.terminate(compute.id, ctx)
    assert slow.rulesets.items == {}


async def test_a_new_machine_may_hide_from_reads_for_a_moment(fake, ctx):
    fake.listing_lag_s = 3.5
    compute = await rent(ctx)
    assert (await machines.get(compute.id, ctx)).id == compute.id


async def test_a_machine_nobody_has_is_not_found(fake, ctx):
    with pytest.raises(NotFoundError, match="does not exist"):
        await machines.get("nope", ctx)
    assert fake.calls == [("GET", "/instances"), ("GET", "/instances/nope"), ("GET", "/instances/nope")]


async def test_a_list_is_filtered_here(fake, ctx, clock):
    one = await rent(ctx, name="web")
    fake.boot_s = 600
    two = await rent(ctx, gpu="h100_pcie", region_hints=[WEST])
    before = len(fake.calls)

    async def ids(**filters):
        return [each.id for each in await machines.list_all(ComputeFilter(**filters), ctx)]

    assert await ids(name="web") == await ids(name=one.name) == await ids(region=EAST) == [one.id]
    assert await ids(status="running") == [one.id]
    assert (
        await ids(status="provisioning") == await ids(gpu="h100_pcie") == await ids(gpu="H100 (80 GB PCIe)") == [two.id]
    )
    assert await ids(status="failed") == []
    assert await ids() == [one.id, two.id]
    assert set(fake.calls[before:]) == {("GET", "/instances")}


@pytest.mark.parametrize("fault", [Fault.GARBAGE_AFTER, Fault.TRUNCATED_AFTER, Fault.WRONG_TYPES_AFTER])
async def test_an_unreadable_read_names_operation_status_and_path(fake, ctx, fault):
    await rent(ctx)
    fake.fail(fault, "GET", "/instances")
    with pytest.raises(ReplyShapeError) as caught:
        await machines.list_all(ComputeFilter(), ctx)
    error = caught.value
    assert (error.provider, error.operation, error.status) == ("lambda_labs", "list_compute", 200)
    assert error.paths


@pytest.mark.parametrize("fault", [Fault.DROP_BEFORE, Fault.ERROR_BEFORE, Fault.LIMITED, Fault.DROP_AFTER])
async def test_reads_are_repeated(fake, ctx, fault):
    compute = await rent(ctx)
    fake.fail(fault, "GET", "/instances", times=2)
    assert (await machines.get(compute.id, ctx)).id == compute.id


async def test_many_reads_at_once_are_one_request(fake, ctx):
    computes = [await rent(ctx) for _ in range(3)]
    before = len(fake.calls)
    found = await asyncio.gather(*(machines.get(each.id, ctx) for each in computes * 10))
    assert [each.id for each in found] == [each.id for each in computes * 10]
    assert fake.calls[before:] == [("GET", "/instances")]
    await machines.get(computes[0].id, ctx)
    assert len(fake.calls) == before + 2, "and nothing is kept"


async def test_a_cancelled_reader_leaves_the_others_their_list(fake, ctx):
    compute = await rent(ctx)
    readers = [asyncio.create_task(machines.get(compute.id, ctx)) for _ in range(3)]
    await asyncio.sleep(0)
    readers[0].cancel()
    found = await asyncio.gather(*readers, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert [each.id for each in found[1:]] == [compute.id] * 2


async def test_a_list_nobody_waits_for_is_cut(fake, ctx):
    compute = await rent(ctx)
    before = len(fake.calls)
    readers = [asyncio.create_task(machines.get(compute.id, ctx)) for _ in range(3)]
    await asyncio.sleep(0)
    for reader in readers:
        reader.cancel()
    await asyncio.gather(*readers, return_exceptions=True)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert len(fake.calls) == before
    assert (await machines.get(compute.id, ctx)).id == compute.id


async def test_a_list_that_fails_fails_all_who_wait_and_the_next_one_is_new(fake, ctx):
    compute = await rent(ctx)
    fake.fail(Fault.GARBAGE_AFTER, "GET", "/instances")
    found = await asyncio.gather(*(machines.get(compute.id, ctx) for _ in range(3)), return_exceptions=True)
    assert [type(each) for each in found] == [ReplyShapeError] * 3
    assert (found[0].operation, found[0].status) == ("get_compute", 200)
    assert (await machines.get(compute.id, ctx)).id == compute.id


async def test_what_this_process_ended_is_never_read_from_an_older_list(fake, ctx):
    fake.terminating_s = 60
    compute = await rent(ctx)
    fake.fail(Fault.DRIP, "GET", "/instances")
    older = asyncio.create_task(machines.get(compute.id, ctx))
    while fake.calls[-1] != ("GET", "/instances") or not fake.faults.hits:
        await asyncio.sleep(0)
    await machines.terminate(compute.id, ctx)
    assert (await machines.get(compute.id, ctx)).status is ComputeStatus.TERMINATING
    assert (await older).status is ComputeStatus.RUNNING


# --- ending ---


@pytest.mark.parametrize("keeps_terminated", [False, True])
@pytest.mark.parametrize("terminating_s", [0, 10])
async def test_terminating_ends_the_bill_takes_the_ruleset_and_may_be_repeated(
    fake, ctx, clock, keeps_terminated, terminating_s
):
    fake.keeps_terminated, fake.terminating_s = keeps_terminated, terminating_s
    compute = await rent(ctx, ports=["80/tcp"])
    clock.advance(3500)
    await machines.terminate(compute.id, ctx)
    assert fake.rulesets.items == {}
    await machines.terminate(compute.id, ctx)
    await machines.terminate("never-was", ctx)
    assert fake.rented() == []
    (line,) = fake.invoice()
    assert line.usd == Decimal("1.29") * 59 / 60
    assert await machines.list_all(ComputeFilter(), ctx) == []


async def test_a_ruleset_held_for_long_is_swept_by_the_next_spawn_or_termination(fake, ctx, clock):
    fake.terminating_s = 300
    compute = await rent(ctx, ports=["80/tcp"])
    clock.advance(3600)
    await machines.terminate(compute.id, ctx)
    assert len(fake.rulesets.items) == 1, "half a minute was not enough"
    clock.advance(300)
    other = await rent(ctx, ports=["80/tcp"])
    await machines.terminate(other.id, ctx)
    assert [item for item in fake.rulesets.items.values() if item["name"].endswith(compute.launch_id)] == []


async def test_stale_rulesets_are_swept_and_young_used_and_foreign_ones_are_not(fake, ctx, clock):
    compute = await rent(ctx, ports=["80/tcp"])
    now = clock.now()
    for number, name in enumerate(("exatlas-0123456789ab", "exatlas-mine", "my-0123456789ab", "0123456789ab")):
        fake.rulesets.create({"name": name, "region": EAST, "rules": []}, f"old{number}", now)
    clock.advance(rulesets.STALE_AFTER.total_seconds() + 60)
    fake.rulesets.create({"name": "exatlas-0123456789ac", "region": EAST, "rules": []}, "young", clock.now())
    before = len(fake.calls)
    assert await lambda_labs.sweep_rulesets(ctx) == 1
    assert fake.calls[before:] == [("GET", "/firewall-rulesets"), ("DELETE", "/firewall-rulesets/old0")]
    assert set(fake.rulesets.items) == {"old1", "old2", "old3", "young", *fake.instance(compute.id).ruleset_ids}


async def test_a_machine_without_ports_costs_no_look_at_rulesets(fake, ctx):
    compute = await rent(ctx)
    await machines.terminate(compute.id, ctx)
    assert fake.calls[-1] == TERMINATE


async def test_a_machine_still_booting_loses_its_ruleset_though_its_tags_are_not_shown(slow, context):
    ctx = context(slow)
    compute = await rent(ctx, ports=["80/tcp"])
    await machines.terminate(compute.id, ctx)
    assert slow.rulesets.items == {}


async def test_a_machine_of_somebody_elses_is_terminated_and_its_ruleset_left(fake, ctx):
    fake.rulesets.create({"name": "theirs", "region": EAST, "rules": []}, "r1", fake.clock.now())
    compute = await rent(ctx)
    body = dict(fake.instance(compute.id).body)
    fake.instance(compute.id).body = body | {"name": "theirs", "tags": [], "firewall_rulesets": [{"id": "r1"}]}
    await machines.terminate(compute.id, ctx)
    assert list(fake.rulesets.items) == ["r1"]


@pytest.mark.parametrize("lag_s", [3, 6])
async def test_a_machine_too_new_to_be_seen_is_terminated_all_the_same(fake, ctx, lag_s):
    fake.listing_lag_s = lag_s
    compute = await rent(ctx)
    await machines.terminate(compute.id, ctx)
    assert fake.rented() == []


async def test_a_machine_that_refuses_to_end_is_asked_until_it_does(fake, ctx):
    compute = await rent(ctx)
    fake.stubborn[compute.id] = 4
    await machines.terminate(compute.id, ctx)
    assert fake.rented() == []
    assert fake.calls.count(TERMINATE) == 5


async def test_a_machine_that_never_ends_is_no_success(fake, ctx):
    compute = await rent(ctx)
    fake.stubborn[compute.id] = 100
    with pytest.raises(ConflictError, match="it may still bill"):
        await machines.terminate(compute.id, ctx)
    assert len(fake.rented()) == 1


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault not in (Fault.EDGE, Fault.STALE)])
@pytest.mark.parametrize("ports", [(), ("80/tcp",)])
async def test_terminating_is_repeated_over_trouble(fake, ctx, fault, ports):
    fake.terminating_s = 10
    compute = await rent(ctx, ports=ports)
    fake.fail(fault, *TERMINATE, times=2)
    await machines.terminate(compute.id, ctx)
    assert fake.rented() == []
    if fault is Fault.STALL_AFTER:
        # It was gone before Lambda could say which machine it was, so its ruleset is one of the stale, in a while.
        await ctx.clock.sleep(rulesets.STALE_AFTER.total_seconds())
        await machines.terminate(compute.id, ctx)
    assert fake.rulesets.items == {}


async def test_a_long_wave_of_429_does_not_leave_a_machine(fake, ctx):
    compute = await rent(ctx)
    fake.fail(Fault.LIMITED, *TERMINATE, times=15)
    await machines.terminate(compute.id, ctx)
    assert fake.rented() == []


@pytest.mark.parametrize(
    ("fault", "times", "error"),
    [(Fault.ERROR_BEFORE, 3, ProviderBrokenError), (Fault.LIMITED, 100, RateLimitedError)],
)
async def test_terminating_never_takes_trouble_for_success(fake, ctx, fault, times, error):
    compute = await rent(ctx)
    fake.fail(fault, *TERMINATE, times=times)
    with pytest.raises(error):
        await machines.terminate(compute.id, ctx)
    assert len(fake.rented()) == 1


@pytest.mark.parametrize(
    "fault", [Fault.DROP_BEFORE, Fault.DROP_AFTER, Fault.ERROR_BEFORE, Fault.ERROR_AFTER, Fault.LIMITED, Fault.TWICE]
)
@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_rulesets_are_removed_over_trouble(fake, ctx, fault, method):
    compute = await rent(ctx, ports=["80/tcp"])
    (ruleset,) = fake.rulesets.items
    fake.fail(fault, method, "/firewall-rulesets" if method == "GET" else ruleset, times=2)
    await machines.terminate(compute.id, ctx)
    assert fake.rulesets.items == {}


@pytest.mark.parametrize(("shaky", "left"), [(1, 0), (2, 0), (3, 1)])
async def test_the_firewalls_internal_error_passes(fake, ctx, shaky, left):
    compute = await rent(ctx, ports=["80/tcp"])
    fake.rulesets.shaky = shaky
    await machines.terminate(compute.id, ctx)
    assert len(fake.rulesets.items) == left


async def test_a_ruleset_that_cannot_be_removed_is_told_and_no_error(fake, ctx, caplog):
    compute = await rent(ctx, ports=["80/tcp"])
    (ruleset,) = fake.rulesets.items
    fake.fail(Fault.ERROR_BEFORE, "DELETE", ruleset, times=3)
    await machines.terminate(compute.id, ctx)
    assert fake.rented() == []
    assert "may be left" in caplog.text


# --- many at once ---


async def test_many_machines_end_with_one_call(fake, ctx):
    computes = [await rent(ctx, ports=["80/tcp"]) for _ in range(3)]
    kept = await rent(ctx, ports=["80/tcp"])
    await lambda_labs.terminate_all([*computes, "never-was", computes[0].id], ctx)
    assert [each.id for each in fake.rented()] == [kept.id]
    assert fake.calls.count(TERMINATE) == 1
    assert list(fake.rulesets.items) == fake.instance(kept.id).ruleset_ids


async def test_none_of_many_is_no_call(fake, ctx):
    await lambda_labs.terminate_all(["a", "b"], ctx)
    assert fake.calls == [("GET", "/instances")]


async def test_one_that_goes_meanwhile_or_refuses_does_not_keep_the_others(fake, ctx):
    computes = [await rent(ctx, ports=["80/tcp"]) for _ in range(3)]
    fake.stubborn[computes[0].id] = 1
    await lambda_labs.terminate_all(computes, ctx)
    assert fake.rented() == []
    assert fake.rulesets.items == {}
    more = [await rent(ctx) for _ in range(2)]
    fake.fail(Fault.STALE, "GET", "/instances")
    await machines.list_all(ComputeFilter(), ctx)
    fake.faults.clear()
    await machines.list_all(ComputeFilter(), ctx)
    await machines.terminate(more[0].id, ctx)
    fake.fail(Fault.STALE, "GET", "/instances")
    await lambda_labs.terminate_all(more, ctx)
    assert fake.rented() == []


# --- restarting ---


async def test_restart_needs_a_machine_that_is_up(slow, context, clock):
    ctx = context(slow)
    compute = await rent(ctx)
    with pytest.raises(ConflictError):
        await lambda_labs.restart(compute, ctx)
    clock.advance(200)
    await lambda_labs.restart(compute.id, ctx)
    with pytest.raises(NotFoundError):
        await lambda_labs.restart("nope", ctx)


# --- what there is ---


async def test_the_catalogue_has_a_record_per_gpu(fake, ctx):
    fake.capacity.sell_out("gpu_1x_a10")
    fake.capacity.sell_out("gpu_1x_gh200", "us-west-1", "us-south-1", "us-midwest-1", "europe-central-1")
    types = {item.canonical: item for item in await machines.list_gpu_types(ctx)}
    assert (types["a10"].stock, types["a10"].regions) == (Stock.UNAVAILABLE, ())
    assert (types["gh200"].stock, types["gh200"].regions) == (Stock.LOW, (EAST,))
    assert types["h100_sxm"].price_usd_per_hour == Decimal("3.99"), "the lowest per GPU, here in machines of eight"
    assert types["h100_sxm"].id == "H100 (80 GB SXM5)"
    assert types["h100_sxm"].cloud_type == "secure"
    assert None not in types
    assert fake.calls == [("GET", "/instance-types")]
    compute = await rent(ctx, gpu=types["h100_sxm"].id)
    assert compute.gpu_type == "h100_sxm"


# --- cancelling ---


@pytest.mark.parametrize("steps", range(0, 40, 2))
async def test_cancelling_a_terminate_anywhere_cancels_it_and_a_second_one_ends_everything(fake, ctx, steps):
    fake.terminating_s = 10
    compute = await rent(ctx, ports=["80/tcp"])
    task = asyncio.create_task(machines.terminate(compute.id, ctx))
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    if not fake.rented():
        assert fake.rulesets.items == {}
    await machines.terminate(compute.id, ctx)
    assert fake.rented() == []
    assert fake.rulesets.items == {}


async def test_two_accounts_do_not_wait_for_each_other(fake, ctx, clock):
    other = evolve(ctx, account="another")
    fake.limited = False
    await asyncio.gather(*(machines.list_all(ComputeFilter(), each) for each in (ctx, other)))
    assert clock.monotonic() < 1
