"""Log lines against the fake: each once, in order, over trouble, until the machine is gone."""

import asyncio
from contextlib import aclosing

import orjson
import pytest
from attrs import evolve

from exatlas.errors import NotFoundError, ProviderBrokenError, UnauthorizedError, ValidationError
from exatlas.messages import HttpReply
from exatlas.providers.fly.fake import FakeFly, Fault
from exatlas.records.compute import ComputeRequest
from exatlas.transport.inprocess import InProcessTransport

START_NS = 1_769_000_000_000_000_000


@pytest.fixture
async def compute(provider, ctx):
    return await provider.spawn_compute(ComputeRequest(image="img", provider_opts={"app": "workers"}), ctx)


async def read(provider, compute, ctx, count=None, **options):
    """The texts of the first lines, or of all."""
    found = []
    async with aclosing(provider.stream_logs(compute.id, ctx, **{"tail": None, "follow": False, **options})) as lines:
        async for line in lines:
            found.append(line.line)
            if len(found) == count:
                break
    return found


async def test_the_past_is_read_once_and_of_this_machine_only(fake, provider, ctx, compute):
    other = await provider.spawn_compute(ComputeRequest(image="img", provider_opts={"app": "workers"}), ctx)
    for number in range(250):
        fake.log(compute.id, f"{number}")
        fake.log(other.id, "theirs")
    assert await read(provider, compute, ctx) == [f"{number}" for number in range(150, 250)]
    assert await read(provider, compute, ctx, tail=3) == ["247", "248", "249"]
    assert await read(provider, compute, ctx, tail=0) == []


async def test_new_lines_follow_whatever_the_pages(fake, provider, ctx, compute, clock):
    fake.log(compute.id, "old")

    async def write():
        for burst in range(3):
            await clock.sleep(7)
            for number in range(130):
                fake.log(compute.id, f"{burst}-{number}", at_ns=START_NS + burst * 10_000 + number)

    writing = asyncio.create_task(write())
    found = await read(provider, compute, ctx, count=391, follow=True)
    await writing
    assert found == ["old", *(f"{burst}-{number}" for burst in range(3) for number in range(130))]


@pytest.mark.parametrize("shape", ["as_numbers", "nested", "capitals"])
async def test_any_shape_of_the_page_is_read(fake, provider, ctx, compute, shape):
    setattr(fake.log_of("workers"), shape, True)
    fake.log(compute.id, "one", at_ns=START_NS)
    fake.log(compute.id, "two", at_ns=START_NS)
    assert await read(provider, compute, ctx, count=2, follow=True) == ["one", "two"]


async def test_lines_of_one_instant_are_not_lost_and_not_repeated(fake, provider, ctx, compute):
    for text in ("a", "b", "b"):
        fake.log(compute.id, text, at_ns=START_NS)
    assert await read(provider, compute, ctx) == ["a", "b", "b"]


async def test_nothing_of_the_past_is_repeated_when_a_page_is(fake, provider, ctx, compute, clock):
    fake.log(compute.id, "a", at_ns=START_NS)

    async def write():
        await clock.sleep(3)
        fake.log_of("workers").lines.append((START_NS + 5, compute.id.partition("/")[2], "iad", "b"))

    writing = asyncio.create_task(write())
    assert await read(provider, compute, ctx, count=2, follow=True) == ["a", "b"]
    await writing


@pytest.mark.parametrize("ids", [True, False])
async def test_a_page_that_comes_twice_gives_its_lines_once(provider, ctx, ids):
    def entry(text):
        attributes = {"timestamp": "2026-11-23T10:00:00Z", "message": text, "instance": "m1"}
        return {"attributes": attributes, **({"id": text} if ids else {})}

    pages = [["a", "b"], ["a", "b"], [], ["b", "c"], ["c", "d"]]

    async def repeat(_call):
        entries = [entry(text) for text in pages.pop(0)]
        return HttpReply(status=200, body=orjson.dumps({"data": entries, "meta": {"next_token": "7"}}))

    found = []
    stream = provider.stream_logs("a/m1", evolve(ctx, transport=InProcessTransport(repeat)), tail=None, follow=True)
    async with aclosing(stream) as lines:
        async for line in lines:
            found.append(line.line)
            if line.line == "d":
                break
    assert found == ["a", "b", "c", "d"]


@pytest.mark.parametrize("fault", [Fault.DROP_BEFORE, Fault.DROP_AFTER, Fault.ERROR_BEFORE, Fault.LIMITED])
async def test_trouble_is_sat_out_without_losing_the_place(fake, provider, ctx, compute, clock, fault):
    fake.log(compute.id, "a", at_ns=START_NS)

    async def write():
        await clock.sleep(3)
        fake.fail(fault, "GET", "/logs", times=8)
        fake.log(compute.id, "b", at_ns=START_NS + 1)

    writing = asyncio.create_task(write())
    assert await read(provider, compute, ctx, count=2, follow=True) == ["a", "b"]
    await writing


async def test_trouble_that_stays_is_the_readers(fake, provider, ctx, compute):
    fake.fail(Fault.ERROR_BEFORE, "GET", "/logs", times=1000)
    with pytest.raises(ProviderBrokenError):
        await read(provider, compute, ctx, follow=True)


async def test_a_refused_token_is_said_at_once(fake, provider, ctx, compute):
    fake.api_key = "fm2_another"
    with pytest.raises(UnauthorizedError):
        await read(provider, compute, ctx, follow=True)
    assert fake.calls[-2:] != [("GET", "/api/v1/apps/workers/logs")] * 2


@pytest.mark.parametrize("app", [None, "workers"])
async def test_following_ends_with_the_machine(clock, context, provider, app):
    fake = FakeFly(clock)
    ctx = context(fake)
    opts = {"app": app} if app else {}
    compute = await provider.spawn_compute(ComputeRequest(image="img", provider_opts=opts), ctx)
    fake.log(compute.id, "a")

    async def end():
        await clock.sleep(10)
        await provider.terminate(compute.id, ctx)

    ending = asyncio.create_task(end())
    assert await read(provider, compute, ctx, follow=True) == ["a"]
    await ending
    assert clock.monotonic() < 60


async def test_a_quiet_machine_is_followed_on(fake, provider, ctx, compute, clock):
    async def write():
        await clock.sleep(100)
        fake.log(compute.id, "at last")

    writing = asyncio.create_task(write())
    assert await read(provider, compute, ctx, count=1, follow=True) == ["at last"]
    await writing


async def test_what_is_not_there_has_no_log(ctx, provider, compute):
    for compute_id in ("no/where", "nope"):
        with pytest.raises(NotFoundError):
            async for _ in provider.stream_logs(compute_id, ctx, tail=None, follow=True):
                pass


async def test_a_tail_fly_does_not_give_is_refused(ctx, provider, compute):
    with pytest.raises(ValidationError, match="tail"):
        await read(provider, compute, ctx, tail=101)


@pytest.mark.parametrize("steps", range(0, 30, 2))
async def test_cancelling_a_reader_anywhere_leaves_no_task(fake, provider, ctx, compute, steps):
    fake.log(compute.id, "a")
    task = asyncio.create_task(read(provider, compute, ctx, follow=True))
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    assert asyncio.all_tasks() == {asyncio.current_task()}
