"""Several spawns at once do not run for the same offer."""

import asyncio
from decimal import Decimal

import pytest
from attrs import evolve

from exatlas.errors import InvalidRequestError, NoCapacityError
from exatlas.providers.vast import claims, instances
from exatlas.providers.vast.fake import FakeHost, FakeVast
from exatlas.providers.vast.offers import Choice, Offer
from exatlas.records.compute import ComputeRequest

REQUEST = ComputeRequest(image="img", gpu="a40")


def choice(number, kind=(0, 0)):
    offer = Offer(
        id=number,
        machine_id=number,
        gpu_name="A40",
        gpu_count=1,
        gpu_ram_mib=46068,
        cpus=16,
        memory_gb=64,
        country="DE",
        hosting_type=1,
        base_usd_per_hour=Decimal("0.4"),
        storage_usd_per_gb_month=Decimal(0),
        min_bid_usd_per_hour=None,
    )
    return Choice(offer=offer, bid=None, usd_per_hour=Decimal("0.4"), kind=kind)


def market(clock, count):
    hosts = [FakeHost(machine_id=n, gpu_name="A40", gpu_ram=46068, base=0.4, country="DE") for n in range(count)]
    return FakeVast(clock, hosts=hosts)


def numbers(choices, ctx):
    return [one.offer.id for one in claims.each_once(choices, ctx)]


async def test_an_offer_is_given_to_one_spawn_only(ctx):
    first = claims.each_once([choice(1), choice(2)], ctx)
    assert next(first).offer.id == 1
    assert numbers([choice(1), choice(2), choice(3)], ctx) == [2, 3]
    assert list(first) == []


async def test_a_claim_ends_by_itself_or_is_given_back(ctx, clock):
    assert numbers([choice(1)], ctx) == [1]
    assert numbers([choice(1)], ctx) == []
    claims.release(1, ctx)
    assert numbers([choice(1)], ctx) == [1]
    clock.advance(claims.CLAIM_S)
    assert numbers([choice(1)], ctx) == [1]


async def test_accounts_do_not_know_of_each_other(ctx):
    assert numbers([choice(1)], ctx) == numbers([choice(1)], evolve(ctx, account="another")) == [1]


async def test_not_too_many_and_not_too_many_alike(ctx):
    choices = [choice(number, (number // 10, 0)) for number in range(30)]
    assert numbers(choices, ctx) == [0, 1, 2, 3, 10, 11, 12, 13]


@pytest.mark.parametrize("count", [2, 10, 20])
async def test_many_spawns_at_once_all_get_a_machine(context, clock, count):
    fake = market(clock, count)
    ctx = context(fake)
    made = await asyncio.gather(*(instances.spawn(REQUEST, ctx) for _ in range(count)))
    assert len({compute.id for compute in made}) == len(fake.rented()) == count
    assert sum("/asks/" in path for _, path in fake.calls) == count, "nobody ran for an offer that was gone"


async def test_what_is_left_over_is_no_capacity(context, clock):
    ctx = context(market(clock, 2))
    done = await asyncio.gather(*(instances.spawn(REQUEST, ctx) for _ in range(3)), return_exceptions=True)
    (error,) = [end for end in done if isinstance(end, Exception)]
    assert isinstance(error, NoCapacityError)
    assert "no other spawn of this process has in hand" in error.message


async def test_an_offer_that_was_not_taken_after_all_can_be_tried_again(context, clock):
    fake = market(clock, 1)
    ctx = context(fake)
    wrong = evolve(REQUEST, provider_opts={"runtype": "unjudged"})
    with pytest.raises(InvalidRequestError):
        await instances.spawn(wrong, ctx)
    assert (await instances.spawn(REQUEST, ctx)).id
