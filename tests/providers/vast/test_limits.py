"""The routes' limits are kept, so that Vast never has to refuse: the fake refuses everything that comes too soon."""

import asyncio

import pytest

from exatlas.errors import QuotaError
from exatlas.providers.vast import instances, limits, translate
from exatlas.providers.vast.fake import FakeVast
from exatlas.providers.vast.fake.cloud import INTERVALS_S
from exatlas.records.compute import ComputeFilter, ComputeRequest

REQUEST = ComputeRequest(image="img", gpu="rtx_4090")


async def run(count, make):
    await asyncio.gather(*(make() for _ in range(count)))


@pytest.mark.parametrize(
    ("count", "make", "least_s"),
    [
        (4, lambda ctx, one: instances.spawn(REQUEST, ctx), 13.5),
        (12, lambda ctx, one: instances._choices(REQUEST, ctx), 60),
        (5, lambda ctx, one: instances.get(one, ctx), 8),
        (5, lambda ctx, one: instances.list_all(ComputeFilter(), ctx), 4),
        (4, lambda ctx, one: instances.stop(one, ctx), 3),
        (3, lambda ctx, one: instances.terminate("9", ctx), 8),
    ],
    ids=["create", "search", "get", "list", "stop", "terminate"],
)
async def test_no_route_is_ever_called_too_soon(fake: FakeVast, ctx, clock, count, make, least_s):
    one = (await instances.spawn(ComputeRequest(image="img", gpu="h100"), ctx)).id
    clock.advance(100)
    started, before = clock.monotonic(), len(fake.calls)
    refused = []
    answer = fake.answer

    async def watched(call):
        reply = await answer(call)
        refused.extend([call.template] if reply.status == 429 else [])
        return reply

    fake.answer = watched
    await run(count, lambda: make(ctx, one))
    assert refused == []
    assert len(fake.calls) - before >= count
    assert clock.monotonic() - started >= least_s


def test_every_interval_of_the_cloud_is_kept():
    ours = {
        (method, "list" if "v1" in template else template.removesuffix("{id}/").rstrip("/").rpartition("/")[2]): s
        for (method, template), s in limits.INTERVALS_S.items()
    }
    assert {route: ours[route] for route in INTERVALS_S} == INTERVALS_S


async def test_two_accounts_have_budgets_of_their_own_but_one_address(ctx, context, fake):
    other = context(fake, account="another")
    get, search = translate.get_instance("7", ctx), translate.search({}, "x", ctx)
    assert limits.budget(ctx, get) is limits.budget(ctx, get) is not limits.budget(other, get)
    assert limits.budget(ctx, search) is limits.budget(other, search)
    assert limits.budget(ctx, translate.fetch_log("https://s3.example/x", ctx)) is None


async def test_a_search_beyond_the_days_quota_is_told_at_once_and_never_repeated(fake, ctx, clock):
    fake.searches_left = 0
    with pytest.raises(QuotaError, match="search_quota_exceeded") as caught:
        await instances.spawn(REQUEST, ctx)
    assert not caught.value.retryable
    assert caught.value.retry_after == 86400
    assert fake.calls == [("POST", "/api/v0/bundles/")]
    assert clock.monotonic() == 0


async def test_the_quota_is_not_waited_for_even_just_before_midnight(fake, ctx, clock):
    clock.advance(86395)
    fake.searches_left = 0
    with pytest.raises(QuotaError, match="search_quota_exceeded"):
        await instances.spawn(REQUEST, ctx)
    assert len(fake.calls) == 1
