"""What holds for volumes, templates and endpoints alike."""

import pytest

from exatlas.errors import OutcomeUnknownError, RateLimitedError, ReplyShapeError, TransportError, ValidationError
from exatlas.providers.runpod import network_volumes, templates
from exatlas.providers.runpod.fake import Fault


async def make(ctx):
    return await network_volumes.create(ctx, name="models", size_gb=50, region="EU-RO-1")


@pytest.mark.parametrize(
    "fault",
    [
        Fault.DROP_AFTER,
        Fault.STALL_AFTER,
        Fault.ERROR_AFTER,
        Fault.GARBAGE_AFTER,
        Fault.WRONG_TYPES_AFTER,
        Fault.DROP_BEFORE,
    ],
)
async def test_a_create_whose_answer_is_lost_is_an_unknown_outcome_and_not_repeated(fake, ctx, fault):
    fake.fail(fault, "POST", "/network-volumes")
    with pytest.raises(OutcomeUnknownError, match="a network volume named 'models' may have been created") as caught:
        await make(ctx)
    assert caught.value.operation == "create_network_volume"
    assert fake.calls.count(("POST", "/network-volumes")) == 1


async def test_a_create_is_repeated_after_a_clear_no(fake, ctx):
    fake.fail(Fault.LIMITED, "POST", "/network-volumes", times=2)
    await make(ctx)
    assert len(await network_volumes.list(ctx)) == 1
    fake.fail(Fault.LIMITED, "POST", "/network-volumes", times=3)
    with pytest.raises(RateLimitedError):
        await make(ctx)


@pytest.mark.parametrize("page_size", [None, 1, 2])
async def test_a_list_has_everything_over_all_pages(fake, ctx, page_size):
    made = [await templates.create(ctx, name=f"t{number}", image="i") for number in range(3)]
    fake.page_size = page_size
    assert list(await templates.list(ctx)) == made


async def test_deleting_is_repeated_over_trouble(fake, ctx):
    volume = await make(ctx)
    fake.fail(Fault.DROP_AFTER, "DELETE", volume.id)
    await network_volumes.delete(ctx, volume.id)
    assert await network_volumes.list(ctx) == ()


async def test_trouble_that_stays_is_the_callers(fake, ctx):
    fake.fail(Fault.DROP_BEFORE, "GET", "/network-volumes", times=3)
    with pytest.raises(TransportError):
        await network_volumes.list(ctx)
    fake.fail(Fault.WRONG_TYPES_AFTER, "GET", "/network-volumes")
    with pytest.raises(ReplyShapeError) as caught:
        await network_volumes.list(ctx)
    assert caught.value.operation == "list_network_volumes"


@pytest.mark.parametrize("wrong", ["", "..", None])
async def test_a_wrong_id_is_refused(ctx, wrong):
    with pytest.raises(ValidationError, match="network volume id"):
        await network_volumes.get(ctx, wrong)
