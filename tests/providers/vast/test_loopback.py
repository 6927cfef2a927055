"""The same over real sockets with the real transport: a handful of whole lives."""

import pytest

import exatlas
from exatlas.providers.vast.fake import Fault

REQUEST = {"image": "img", "gpu": "rtx_4090", "cloud_type": "secure"}


async def test_rent_read_log_and_give_back(loopback):
    fake, atlas = loopback
    async with atlas.rent(**REQUEST, name="web", ports=["8000/tcp"], env={"A": "s3cr3t"}) as compute:
        seen = await atlas.get_compute(compute)
        assert (seen.status, seen.name) == (exatlas.ComputeStatus.RUNNING, compute.name)
        assert [item.id for item in await atlas.list_compute()] == [compute.id]
        fake.log(compute.id, "a", "b")
        assert [line.line async for line in atlas.stream_logs(compute, tail=1, follow=False)] == ["b"]
    assert fake.rented() == []


async def test_a_machine_found_again_after_a_broken_connection(loopback):
    fake, atlas = loopback
    fake.fail(Fault.DROP_AFTER, "PUT")
    compute = await atlas.spawn_compute(**REQUEST)
    assert [machine.id for machine in fake.rented()] == [compute.id]
    await atlas.stop(compute)
    assert not fake.rented()[0].has_gpu
    await atlas.terminate(compute)
    assert fake.rented() == []


async def test_the_market_and_a_stream(loopback):
    fake, atlas = loopback
    assert {item.canonical for item in await atlas.list_gpu_types()} >= {"rtx_4090", "h100_sxm"}
    fake.completions["llm"] = ['{"a":1}']
    events = [event.data async for event in atlas.stream_events("llm", "v1/chat/completions", {})]
    assert events == [{"a": 1}]


async def test_a_lost_bid_is_given_back(loopback):
    fake, atlas = loopback
    fake.rival(4242, 5.0)
    with pytest.raises(exatlas.NoCapacityError, match="a higher bid may win"):
        await atlas.spawn_compute(**REQUEST, spot=True, region_hints=["DE"])
    assert fake.rented() == []
    assert len(fake.invoice()) == 1


async def test_a_wrong_key(loopback):
    _, atlas = loopback
    with pytest.raises(exatlas.UnauthorizedError, match="Invalid user key"):
        await atlas.list_compute(api_key="another")
