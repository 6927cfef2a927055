"""Filesystems: create, list, delete."""

import pytest

from exatlas.errors import ConflictError, OutcomeUnknownError, QuotaError, ValidationError
from exatlas.fakes.faults import dangerous
from exatlas.providers import lambda_labs
from exatlas.providers.lambda_labs import filesystems, machines, spawning
from exatlas.providers.lambda_labs.fake import Fault
from exatlas.records.compute import ComputeRequest

EAST = "us-east-1"
POST = ("POST", "/filesystems")


async def test_a_filesystems_life(fake, ctx):
    made = await lambda_labs.filesystems.create(ctx, name="models", region=EAST)
    assert (made.name, made.region, made.mount_point) == ("models", EAST, "/lambda/nfs/models")
    assert made.is_in_use is False
    assert await lambda_labs.filesystems.list(ctx) == (made,)
    await lambda_labs.filesystems.delete(ctx, made.id)
    await lambda_labs.filesystems.delete(ctx, made.id)
    assert await lambda_labs.filesystems.list(ctx) == ()
    assert ("POST", "/file-systems") not in fake.calls, "only the list has a hyphen"


async def test_one_in_use_cannot_be_deleted(fake, ctx):
    made = await filesystems.create(ctx, name="models", region=EAST)
    compute = await spawning.spawn(ComputeRequest(image="i", gpu="a10", network_volume_id=made.id), ctx)
    (seen,) = await filesystems.list(ctx)
    assert seen.is_in_use is True
    with pytest.raises(ConflictError):
        await filesystems.delete(ctx, made.id)
    await machines.terminate(compute.id, ctx)
    await filesystems.delete(ctx, made.id)


async def test_a_name_is_taken_once(ctx):
    await filesystems.create(ctx, name="models", region=EAST)
    with pytest.raises(ConflictError, match="global/duplicate"):
        await filesystems.create(ctx, name="models", region="us-west-1")


async def test_the_account_may_have_so_many(ctx):
    for number in range(24):
        await filesystems.create(ctx, name=f"m{number}", region=EAST)
    with pytest.raises(QuotaError):
        await filesystems.create(ctx, name="more", region=EAST)


@pytest.mark.parametrize("fault", [fault for fault in dangerous() if fault is not Fault.TWICE])
async def test_a_lost_answer_is_found_by_its_name(fake, ctx, fault):
    fake.fail(fault, *POST)
    made = await filesystems.create(ctx, name="models", region=EAST)
    assert list(fake.filesystems.items) == [made.id]


async def test_one_delivered_twice_is_there_once_and_told(fake, ctx):
    fake.limited = False
    fake.fail(Fault.TWICE, *POST)
    with pytest.raises(ConflictError):
        await filesystems.create(ctx, name="models", region=EAST)
    assert len(fake.filesystems.items) == 1


async def test_an_old_one_of_the_same_name_is_not_taken_for_ours(fake, ctx, clock):
    await filesystems.create(ctx, name="models", region=EAST)
    clock.advance(3600)
    fake.fail(Fault.DROP_BEFORE, *POST)
    with pytest.raises(OutcomeUnknownError, match="list them before"):
        await filesystems.create(ctx, name="models", region=EAST)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "1a"}, "name"),
        ({"name": "a_b"}, "name"),
        ({"name": "a" * 61}, "name"),
        ({"name": 7}, "name"),
        ({"region": " "}, "region"),
    ],
)
async def test_a_wrong_argument_is_refused_before_anything_is_sent(fake, ctx, change, field):
    with pytest.raises(ValidationError) as caught:
        await filesystems.create(ctx, **{"name": "n", "region": EAST, **change})
    assert [fault.partition(":")[0] for fault in caught.value.faults] == [field]
    assert fake.calls == []
