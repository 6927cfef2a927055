"""Log lines over a stream that never ends by itself."""

import asyncio
from contextlib import aclosing

import pytest
from attrs import evolve

from exatlas.errors import EdgeBlockedError, NotFoundError, ProviderBrokenError, TransportError, ValidationError
from exatlas.messages import HttpReply
from exatlas.providers.runpod import logs, pods
from exatlas.providers.runpod.fake import Fault
from exatlas.records.compute import ComputeRequest
from exatlas.transport.inprocess import InProcessTransport, StreamingReply


@pytest.fixture
async def pod(fake, ctx):
    compute = await pods.spawn(ComputeRequest(gpu="l4", image="img"), ctx)
    fake.calls.clear()
    return compute.id


def write(fake, pod, *lines):
    for line in lines:
        fake.log(pod, line)


async def read(pod, ctx, tail=None):
    return [line.line async for line in logs.stream(pod, ctx, tail=tail, follow=False)]


@pytest.mark.parametrize(
    ("tail", "seen"), [(None, list("abcde")), (3, list("cde")), (5, list("abcde")), (9, list("abcde"))]
)
async def test_the_last_lines_oldest_first(fake, ctx, pod, tail, seen):
    write(fake, pod, *"abcde")
    assert await read(pod, ctx, tail) == seen


async def test_a_line_carries_instant_source_and_cursor(fake, ctx, pod, clock):
    at = clock.now()
    fake.log(pod, "hello", "system")
    (line,) = [line async for line in logs.stream(pod, ctx, tail=1, follow=False)]
    assert (line.line, line.at, line.source) == ("hello", at, "system")
    assert line.cursor.endswith("/000000000001")


async def test_no_tail_and_no_following_is_nothing(fake, ctx, pod):
    write(fake, pod, "a")
    assert await read(pod, ctx, 0) == []
    assert fake.calls == []


async def test_a_silent_machine_ends_the_reading_soon(fake, ctx, pod, clock):
    started = clock.monotonic()
    assert await read(pod, ctx) == []
    assert clock.monotonic() - started == logs.IDLE_S


async def test_a_machine_that_never_stops_talking_does_not_hold_us(fake, ctx, pod):
    async def chatter():
        while True:
            fake.log(pod, "again")
            await fake.clock.sleep(1)

    task = asyncio.create_task(chatter())
    assert len(await read(pod, ctx, 20)) == 20
    task.cancel()


async def test_following_gives_the_past_and_then_what_comes(fake, ctx, pod):
    write(fake, pod, *"abc")
    seen = []
    async with aclosing(logs.stream(pod, ctx, tail=2, follow=True)) as lines:
        async for line in lines:
            seen.append(line.line)
            if line.line == "c":
                write(fake, pod, "d", "e")
            if line.line == "e":
                break
    assert seen == list("bcde")
    assert fake._log_news == [], "nobody listens any more"


async def test_following_ends_with_the_machine(fake, ctx, pod):
    write(fake, pod, "a")
    seen = []
    async for line in logs.stream(pod, ctx, tail=5, follow=True):
        seen.append(line.line)
        await pods.terminate(pod, ctx)
        fake.log(pod, "b")
    assert seen == ["a"]


@pytest.mark.parametrize("cuts", [[1], [2, 1], [1, 1, 1], [0, 2]])
async def test_a_broken_connection_is_taken_up_after_the_last_line(fake, ctx, pod, cuts):
    fake.log_cuts = cuts
    write(fake, pod, *"abcdef")
    seen = []
    async with aclosing(logs.stream(pod, ctx, tail=100, follow=True)) as lines:
        async for line in lines:
            seen.append(line.line)
            if line.line == "f":
                break
    assert seen == list("abcdef")
    assert len(fake.calls) > 1


@pytest.mark.parametrize("fault", [Fault.DROP_BEFORE, Fault.ERROR_BEFORE, Fault.LIMITED])
async def test_passing_trouble_is_sat_out(fake, ctx, pod, fault):
    write(fake, pod, *"ab")
    fake.fail(fault, "GET", "/logs", times=3)
    assert await read(pod, ctx, 2) == ["a", "b"]


@pytest.mark.parametrize(
    ("fault", "error"), [(Fault.DROP_BEFORE, TransportError), (Fault.ERROR_BEFORE, ProviderBrokenError)]
)
async def test_trouble_that_stays_is_the_readers(fake, ctx, pod, fault, error):
    fake.fail(fault, "GET", "/logs", times=logs.MOST_FAILURES)
    with pytest.raises(error):
        await read(pod, ctx)
    assert len(fake.calls) == logs.MOST_FAILURES


async def test_a_machine_that_is_not_there(ctx):
    with pytest.raises(NotFoundError):
        await read("nope", ctx)


async def test_an_edge_block_is_told_at_once(fake, ctx, pod):
    fake.fail(Fault.EDGE, "GET", "/logs")
    with pytest.raises(EdgeBlockedError):
        await read(pod, ctx)


async def test_a_wrong_tail_is_refused_before_anything_is_sent(fake, ctx, pod):
    with pytest.raises(ValidationError):
        await read(pod, ctx, 5001)
    assert fake.calls == []


async def test_lines_without_ids_go_on_by_their_instant(ctx, clock):
    asked = []

    async def cloud(call):
        asked.append((call.url.partition("?")[2], dict(call.headers).get("last-event-id")))
        if len(asked) == 3:
            return HttpReply(status=404, body=b'{"detail":"pod not found"}')

        async def body():
            yield b'data: {"line":"x","ts":"2026-06-01T12:02:03Z"}\r\n\r\n'
            if len(asked) == 2:
                raise TransportError("cut")

        return StreamingReply(status=200, headers={"content-type": "text/event-stream"}, body=body())

    changed = evolve(ctx, transport=InProcessTransport(cloud))
    assert [line.line async for line in logs.stream("p", changed, tail=7, follow=True)] == ["x", "x"]
    assert asked == [
        ("tail=7", None),
        ("since=2026-06-01T12%3A02%3A03Z", None),
        ("since=2026-06-01T12%3A02%3A03Z", None),
    ]


@pytest.mark.parametrize("follow", [False, True])
@pytest.mark.parametrize("steps", range(8))
async def test_cancelling_anywhere_leaves_nothing_behind(fake, ctx, pod, steps, follow):
    write(fake, pod, "a")

    async def consume():
        async for _ in logs.stream(pod, ctx, tail=5, follow=follow):
            pass

    task = asyncio.create_task(consume())
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert fake._log_news == []


async def test_a_success_that_is_no_stream_is_the_clouds_fault(ctx):
    async def cloud(_call):
        return HttpReply(status=204)

    with pytest.raises(ProviderBrokenError, match="without a stream"):
        await read("p", evolve(ctx, transport=InProcessTransport(cloud)))
