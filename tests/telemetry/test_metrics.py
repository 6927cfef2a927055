"""Records as metrics: what is counted, and by what it is split."""

import asyncio

import pytest

import exatlas
from exatlas.fakes.faults import Fault
from exatlas.messages import StreamEnd, StreamRecord

UNITS = {
    "http.client.request.duration": "s",
    "exatlas.client.retries": "{attempt}",
    "exatlas.client.budget.wait": "s",
    "exatlas.client.open_streams": "{stream}",
    "exatlas.client.stream.duration": "s",
    "exatlas.client.stream.first_chunk": "s",
    "exatlas.client.stream.chunks": "{chunk}",
    "exatlas.client.stream.gaps": "{gap}",
    "exatlas.client.spawns": "{spawn}",
    "exatlas.client.spawn.duration": "s",
}


async def count(_job):
    for number in range(4):
        yield number


async def run(atlas, endpoint="ep"):
    return await atlas.run_job(endpoint=endpoint, input={"n": 1})


async def test_requests_by_what_they_were_and_how_they_ended(atlas, fake, collected):
    fake.fail(Fault.ERROR_BEFORE, "GET", "/pods")
    await atlas.list_compute()
    await atlas.list_compute()
    good = collected.point("http.client.request.duration", http__response__status_code=200)
    bad = collected.point("http.client.request.duration", http__response__status_code=500)
    assert (good.count, bad.count) == (2, 1)
    assert dict(bad.attributes) == {
        "exatlas.provider": "runpod",
        "exatlas.operation": "list_compute",
        "exatlas.end": "replied",
        "http.request.method": "GET",
        "http.response.status_code": 500,
        "url.scheme": "https",
        "url.template": "/v2/pods",
        "server.address": "api.runpod.io",
        "server.port": 443,
        "error.type": "500",
    }
    assert good.explicit_bounds == (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)


async def test_retries_are_attempts_beyond_the_first(atlas, fake, collected):
    fake.fail(Fault.ERROR_BEFORE, "GET", "/pods", times=2)
    await atlas.list_compute()
    await atlas.list_compute()
    retries = collected.point("exatlas.client.retries")
    assert retries.value == 2
    assert dict(retries.attributes) == {"exatlas.provider": "runpod", "exatlas.operation": "list_compute"}


async def test_waits_for_the_budget_are_those_that_waited(atlas, fake, collected):
    fake.endpoint("ep", count)
    job = await run(atlas)
    await atlas.get_job(job)
    assert not collected.points("exatlas.client.budget.wait")
    await asyncio.gather(*(atlas.get_job(job) for _ in range(100)))
    waits = collected.point("exatlas.client.budget.wait", exatlas__operation="get_job", exatlas__endpoint="ep")
    assert 0 < waits.count < 100
    assert waits.sum > 0


async def test_streams_are_open_until_they_are_closed(atlas, fake, clock, collected):
    fake.endpoint("ep", count, step_s=2)
    streams = [atlas.stream_job(await run(atlas)) for _ in range(2)]
    for stream in streams:
        await anext(stream)
    assert collected.point("exatlas.client.open_streams", exatlas__endpoint="ep").value == 2
    await streams[0].aclose()
    assert collected.point("exatlas.client.open_streams").value == 1
    async for _ in streams[1]:
        pass
    assert collected.point("exatlas.client.open_streams").value == 0
    assert collected.point("exatlas.client.stream.chunks", exatlas__operation="stream_job").value == 5
    assert collected.point("exatlas.client.stream.duration", exatlas__end="left").count == 1
    assert collected.point("exatlas.client.stream.duration", exatlas__end="completed").count == 1
    assert collected.point("exatlas.client.stream.first_chunk").count == 2
    assert not collected.points("exatlas.client.stream.gaps")


async def test_gaps_are_counted(atlas, fake, collected):
    fake.endpoint("ep", count, step_s=20)
    job = await run(atlas)
    stream = atlas.stream_job(job)
    await anext(stream)
    fake.fail(Fault.DROP_AFTER, "GET", f"/stream/{job.id}")
    async for _ in stream:
        pass
    assert collected.point("exatlas.client.stream.gaps", exatlas__endpoint="ep").value == 1


async def test_spawns_by_how_they_ended(atlas, fake, collected):
    await atlas.spawn_compute(gpu="h100", image="x")
    await atlas.spawn_compute(gpu="h100", image="x")
    fake.fail(Fault.EDGE)
    with pytest.raises(exatlas.EdgeBlockedError):
        await atlas.spawn_compute(gpu="h100", image="x")
    assert collected.point("exatlas.client.spawns", exatlas__end="rented").value == 2
    failed = collected.point("exatlas.client.spawns", exatlas__end="failed")
    assert failed.value == 1
    assert dict(failed.attributes) == {
        "exatlas.provider": "runpod",
        "exatlas.operation": "spawn_compute",
        "exatlas.end": "failed",
        "error.type": "EdgeBlockedError",
        "exatlas.error.kind": "forbidden",
    }
    assert collected.point("exatlas.client.spawn.duration", exatlas__end="rented").count == 2


async def test_metrics_have_units_and_nothing_that_differs_from_call_to_call(atlas, fake, collected):
    fake.endpoint("ep", count, step_s=20)
    for _ in range(2):
        fake.fail(Fault.ERROR_BEFORE, "GET", "/pods")
        compute = await atlas.spawn_compute(gpu="h100", image="x")
        assert await atlas.list_compute()
        job = await run(atlas)
        stream = atlas.stream_job(job)
        await anext(stream)
        fake.fail(Fault.DROP_AFTER, "GET", f"/stream/{job.id}")
        async for _ in stream:
            pass
        await asyncio.gather(*(atlas.get_job(job) for _ in range(100)))
        await atlas.terminate(compute)
    assert collected.metrics == UNITS
    for metric in UNITS:
        for attributes in collected.points(metric):
            assert {name for name, _ in attributes}.isdisjoint(
                {"exatlas.request_id", "exatlas.attempt", "exatlas.stream.chunks", "http.response.body.size"}
            )


def test_an_end_whose_beginning_was_missed_is_counted_all_the_same(collected, clock):
    record = StreamRecord(
        provider="p",
        operation="stream_job",
        endpoint="ep",
        serial=1,
        end=StreamEnd.COMPLETED,
        chunks=2,
        gaps=0,
        duration_s=1.0,
        ended_at=clock.now(),
    )
    collected.hook.on_event(record)
    assert collected.spans == []
    assert collected.point("exatlas.client.stream.chunks").value == 2
