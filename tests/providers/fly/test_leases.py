"""Leases: held for a block, released on every way out, and needed for changes."""

import asyncio
import logging

import pytest

from exatlas.errors import ConflictError, NotFoundError
from exatlas.providers import fly
from exatlas.providers.fly.fake import FakeFly, Fault
from exatlas.records.compute import ComputeRequest


@pytest.fixture
async def compute(provider, ctx, clock):
    made = await provider.spawn_compute(ComputeRequest(image="img", env={"A": "s3cr3t"}), ctx)
    clock.advance(5)
    return made


async def test_nobody_changes_a_leased_machine_without_the_lease(fake, provider, ctx, compute):
    async with fly.lease(compute, ctx, ttl_s=500) as lease:
        assert lease.nonce not in repr(lease)
        assert (lease.expires_at - fake.clock.now()).total_seconds() == 500
        with pytest.raises(ConflictError, match="lease currently held"):
            await provider.stop(compute.id, ctx)
    await provider.stop(compute.id, ctx)


async def test_a_lease_runs_out_by_itself(provider, ctx, compute, caplog):
    async with fly.lease(compute, ctx, ttl_s=20):
        await provider.stop(compute.id, ctx)
    assert "could not be released" not in caplog.text


async def test_a_lease_of_somebody_else_is_waited_for_and_not_for_ever(fake, ctx, compute, clock):
    fake.lease(compute.id, 13)
    async with fly.lease(compute, ctx):
        assert clock.monotonic() >= 13
    fake.lease(compute.id, 1000)
    with pytest.raises(ConflictError):
        async with fly.lease(compute, ctx):
            pass


async def test_an_update_lays_a_change_over_the_whole_config(fake, ctx, compute):
    updated = await fly.update(compute, {"restart": {"policy": "no"}, "guest": {"memory_mb": 512}}, ctx)
    machine = fake.machine(compute.id)
    assert machine.config["restart"] == {"policy": "no"}
    assert machine.config["guest"] == {"cpu_kind": "shared", "cpus": 1, "memory_mb": 512}
    assert machine.config["env"] == {"A": "s3cr3t"}
    assert "s3cr3t" not in f"{updated} {updated.raw}"
    assert machine.lease is None
    assert updated.id == compute.id


async def test_an_update_over_somebody_elses_is_refused(fake, ctx, compute):
    fake.fail(Fault.STALE, "GET", compute.id.partition("/")[2])
    await fly.update(compute, {"restart": {"policy": "no"}}, ctx)
    fake.fail(Fault.STALE, "GET", compute.id.partition("/")[2])
    with pytest.raises(ConflictError, match="current_version"):
        await fly.update(compute, {"restart": {"policy": "always"}}, ctx)
    assert fake.machine(compute.id).lease is None


async def test_a_machine_whose_config_cannot_be_read_is_not_written(fake, ctx, compute):
    fake.machine(compute.id).unreachable = True
    with pytest.raises(ConflictError, match="cannot be read while its host is away"):
        await fly.update(compute, {}, ctx)


async def test_a_release_that_fails_is_said_and_hurts_nobody(fake, ctx, compute, caplog):
    fake.fail(Fault.ERROR_BEFORE, "DELETE", "/lease", times=3)
    with caplog.at_level(logging.WARNING, logger="exatlas.providers.fly"):
        async with fly.lease(compute, ctx):
            pass
    assert "could not be released and runs out by itself" in caplog.text


async def test_what_is_not_there_cannot_be_changed(ctx):
    with pytest.raises(NotFoundError):
        await fly.update("no/where", {}, ctx)


@pytest.mark.parametrize("steps", range(16))
async def test_cancelling_an_update_anywhere_leaves_no_lease(context, provider, clock, steps):
    fake = FakeFly(clock)
    ctx = context(fake)
    compute = await provider.spawn_compute(ComputeRequest(image="img"), ctx)
    task = asyncio.create_task(fly.update(compute, {"restart": {"policy": "no"}}, ctx))
    for _ in range(steps):
        await asyncio.sleep(0)
    in_flight = ("POST", f"/v1/apps/{compute.id.replace('/', '/machines/')}/lease") in fake.calls
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    held = fake.machine(compute.id).lease
    assert held is None or (in_flight and (held.expires_at - clock.now()).total_seconds() <= 30)


@pytest.mark.parametrize("more", range(8))
async def test_cancelling_again_does_not_stop_the_release(fake, ctx, compute, more):
    async def hold():
        async with fly.lease(compute, ctx, ttl_s=10_000):
            await asyncio.Event().wait()

    task = asyncio.create_task(hold())
    while fake.machine(compute.id).lease is None:
        await asyncio.sleep(0)
    for _ in range(5):
        await asyncio.sleep(0)
    task.cancel()
    for _ in range(more):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    assert fake.machine(compute.id).lease is None


async def test_regions_and_volumes_are_fly_s_own(fake, ctx, provider):
    compute = await provider.spawn_compute(ComputeRequest(image="img", volume_gb=2), ctx)
    (volume,) = await fly.list_volumes(compute.id.partition("/")[0], ctx)
    assert (volume.size_gb, volume.attached_to) == (2, compute.id.partition("/")[2])
    assert "iad" in [region.code for region in await fly.list_regions(ctx)]
    assert await fly.list_volumes("nowhere", ctx) == []
