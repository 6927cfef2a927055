"""What there is to rent, from live offers."""

from decimal import Decimal

import pytest

from exatlas.errors import ReplyShapeError
from exatlas.providers.vast import catalog, gpus
from exatlas.providers.vast.fake import FakeHost, FakeVast, Fault
from exatlas.records.gpu import Stock


async def types(ctx):
    return {(item.id, item.cloud_type): item for item in await catalog.list_gpu_types(ctx)}


async def test_one_record_per_model_size_and_cloud(ctx, fake):
    found = await types(ctx)
    small, large = found["A100 SXM4 40GB", "secure"], found["A100 SXM4 80GB", "secure"]
    assert (small.canonical, small.memory_gb, small.price_usd_per_hour) == ("a100_40g_sxm", 40, Decimal("0.9"))
    assert (large.canonical, large.memory_gb, large.price_usd_per_hour) == ("a100_80g_sxm", 80, Decimal("1.4"))
    assert found["GH200 SXM", "secure"].canonical == "gh200"
    assert ("RTX 3090", "secure") not in found
    assert found["RTX 3090", "community"].regions == ("PL", "SE")
    assert fake.calls == [("POST", "/api/v0/bundles/")] * 2


async def test_prices_are_per_gpu_without_a_disk_and_the_lowest(ctx):
    found = (await types(ctx))["RTX 4090", "secure"]
    assert found.price_usd_per_hour == Decimal("0.35")
    assert found.spot_price_usd_per_hour == Decimal("0.18")
    eight = (await types(ctx))["H100 SXM", "secure"]
    assert eight.price_usd_per_hour == Decimal("2.4")


async def test_what_a_spawn_would_not_take_is_not_counted(ctx):
    found = (await types(ctx))["RTX 4090", "community"]
    assert found.price_usd_per_hour == Decimal("0.3"), "neither the unverified nor the unreliable host"
    assert found.raw == {"offers": 2}


async def test_ids_are_good_for_asking(ctx):
    for item in await catalog.list_gpu_types(ctx):
        (model,) = gpus.models_of(item.id)
        mib = (item.memory_gb or 0) * 1024
        assert model.is_it(item.display_name, mib * 0.97)


@pytest.mark.parametrize(("count", "stock"), [(1, Stock.LOW), (2, Stock.LOW), (3, Stock.MEDIUM), (10, Stock.HIGH)])
async def test_stock_is_the_number_of_offers(context, clock, count, stock):
    hosts = [FakeHost(machine_id=n, gpu_name="A40", gpu_ram=46068, base=0.4, country="DE") for n in range(count)]
    (item,) = await catalog.list_gpu_types(context(FakeVast(clock, hosts=hosts)))
    assert item.stock is stock


async def test_what_is_let_is_not_there(ctx, fake):
    fake.occupy(6000)
    assert ("L40S", "secure") not in await types(ctx)


async def test_a_sloppy_search_is_sorted_out_here(ctx, fake):
    fake.sloppy = True
    found = await types(ctx)
    assert ("RTX 3090", "secure") not in found
    assert ("H100 PCIE", "community") not in found


async def test_an_empty_market(context, clock):
    assert await catalog.list_gpu_types(context(FakeVast(clock, hosts=[]))) == []


async def test_an_unreadable_market_is_told(ctx, fake):
    fake.fail(Fault.GARBAGE_AFTER, "POST")
    with pytest.raises(ReplyShapeError) as caught:
        await catalog.list_gpu_types(ctx)
    assert caught.value.operation == "list_gpu_types"
