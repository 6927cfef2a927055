"""The case that the conformance suite tries Vast by."""

import exatlas
from exatlas.providers.vast.case import HOSTS, case
from exatlas.providers.vast.fake import Fault


async def test_the_case_tells_the_truth_about_its_cloud():
    async with case() as one, exatlas.Atlas(one.provider, env={}, **one.options) as atlas:
        compute = await atlas.spawn_compute(**one.request)
        assert list(one.rented()) == [compute.id]
        assert one.requests() == 2
        one.log(compute.id, "hello")
        assert [line.line async for line in atlas.stream_logs(compute, follow=False)] == ["hello"]
        assert compute.id != one.unknown_id


async def test_trouble_meets_the_operation_it_is_meant_for():
    async with case() as one, exatlas.Atlas(one.provider, env={}, **one.options) as atlas:
        for operation in ("spawn_compute", "list_compute", "terminate", "get_compute"):
            one.trouble(Fault.ERROR_BEFORE, operation, 1)
        try:
            await atlas.spawn_compute(**one.request)
        except exatlas.OutcomeUnknownError:
            assert list(one.rented()) == []
        else:
            raise AssertionError("the create was meant to fail")


async def test_the_market_is_large_and_can_be_emptied():
    async with case() as one, exatlas.Atlas(one.provider, env={}, **one.options) as atlas:
        (kind,) = await atlas.list_gpu_types()
        assert kind.raw["offers"] == HOSTS
        one.exhaust()
        assert await atlas.list_gpu_types() == []
