"""Logs: uploaded on demand, read from elsewhere, compared with the upload before."""

from contextlib import aclosing

import pytest
from attrs import evolve

from exatlas.errors import (
    EdgeBlockedError,
    NotFoundError,
    ProviderBrokenError,
    RateLimitedError,
    ReplyShapeError,
    TransportError,
    ValidationError,
)
from exatlas.fakes.replies import json_reply
from exatlas.providers.vast import instances, logs
from exatlas.providers.vast.fake import Fault
from exatlas.records.compute import ComputeRequest
from exatlas.transport.inprocess import InProcessTransport


@pytest.fixture
async def box(ctx):
    compute = await instances.spawn(ComputeRequest(image="img", gpu="rtx_4090"), ctx)
    return compute.id


async def read(box, ctx, tail=None):
    return [line.line async for line in logs.stream(box, ctx, tail=tail, follow=False)]


@pytest.mark.parametrize(
    ("tail", "seen"), [(None, list("abcde")), (3, list("cde")), (5, list("abcde")), (9, list("abcde"))]
)
async def test_the_last_lines_oldest_first(fake, ctx, box, tail, seen):
    fake.log(box, *"abcde")
    assert await read(box, ctx, tail) == seen


async def test_a_line_says_where_it_comes_from_and_not_when(fake, ctx, box):
    fake.log(box, "hello")
    (line,) = [line async for line in logs.stream(box, ctx, tail=1, follow=False)]
    assert (line.line, line.at, line.source, line.cursor) == ("hello", None, "container", None)


async def test_no_tail_and_no_following_is_nothing(fake, ctx, box):
    before = len(fake.calls)
    assert await read(box, ctx, 0) == []
    assert len(fake.calls) == before


async def test_a_silent_machine_has_no_lines(ctx, box):
    assert await read(box, ctx) == []


async def test_an_upload_is_waited_for(fake, ctx, box, clock):
    fake.upload_s = 3
    fake.log(box, "a")
    assert await read(box, ctx) == ["a"]


async def test_an_upload_that_never_comes_is_the_clouds_fault(fake, ctx, box):
    fake.upload_s = 1000
    with pytest.raises(ProviderBrokenError, match="was not uploaded within 9 s"):
        await read(box, ctx)


@pytest.mark.parametrize(("tail", "seen"), [(2, list("bcde")), (0, list("de")), (None, list("abcde"))])
async def test_following_gives_the_past_and_then_what_comes(fake, ctx, box, tail, seen):
    fake.log(box, *"abc")
    found = []
    answer, looks = fake.answer, []

    async def writing(call):
        reply = await answer(call)
        looks.append(call.url)
        if "instance_logs" in call.url and sum("instance_logs" in url for url in looks) == 1:
            fake.log(box, "d", "e")
        return reply

    fake.answer = writing
    async with aclosing(logs.stream(box, ctx, tail=tail, follow=True)) as lines:
        async for line in lines:
            found.append(line.line)
            if line.line == "e":
                break
    assert found == seen


async def test_following_ends_with_the_machine(fake, ctx, box):
    fake.log(box, "a")
    seen = []
    async for line in logs.stream(box, ctx, tail=5, follow=True):
        seen.append(line.line)
        await instances.terminate(box, ctx)
    assert seen == ["a"]


@pytest.mark.parametrize("fault", [Fault.DROP_BEFORE, Fault.ERROR_BEFORE, Fault.LIMITED])
async def test_passing_trouble_is_sat_out(fake, ctx, box, fault):
    fake.log(box, "a", "b")
    fake.fail(fault, "PUT", times=8)
    assert await read(box, ctx, 2) == ["a", "b"]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault.DROP_BEFORE, TransportError),
        (Fault.ERROR_BEFORE, ProviderBrokenError),
        (Fault.LIMITED, RateLimitedError),
    ],
)
async def test_trouble_that_stays_is_the_readers(fake, ctx, box, fault, error):
    fake.fail(fault, "PUT", times=100)
    with pytest.raises(error):
        await read(box, ctx)


async def test_a_machine_that_is_not_there(ctx):
    for name in ("7", "nope"):
        with pytest.raises(NotFoundError):
            await read(name, ctx)


async def test_an_edge_block_is_told_at_once(fake, ctx, box):
    fake.fail(Fault.EDGE, "PUT")
    with pytest.raises(EdgeBlockedError):
        await read(box, ctx)


async def test_a_wrong_tail_is_refused_before_anything_is_sent(fake, ctx, box):
    before = len(fake.calls)
    with pytest.raises(ValidationError):
        await read(box, ctx, 10_001)
    assert len(fake.calls) == before


@pytest.mark.parametrize("url", ["http://169.254.169.254/x", "ftp://s3.example/x", "file:///etc/passwd", "/x"])
async def test_an_address_that_is_not_https_is_not_read(ctx, url):
    asked = []

    async def cloud(call):
        asked.append(call.url)
        return json_reply(200, {"success": True, "result_url": url})

    with pytest.raises(ReplyShapeError, match="not https"):
        await read("7", evolve(ctx, transport=InProcessTransport(cloud)))
    assert len(asked) == 1


async def test_the_storage_service_never_sees_the_key(fake, ctx, box):
    seen = []
    answer = fake.answer

    async def watched(call):
        if "instance_logs" in call.url:
            seen.append(dict(call.headers))
        return await answer(call)

    fake.answer = watched
    await read(box, ctx)
    assert seen == [{}]


@pytest.mark.parametrize(
    ("seen", "lines", "news"),
    [
        ([], [], []),
        ([], ["a"], ["a"]),
        (["a"], ["a"], []),
        (["a", "b"], ["a", "b", "c"], ["c"]),
        (["a", "b", "c"], ["b", "c", "d"], ["d"]),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        (["a", "a"], ["a", "a", "a"], ["a"]),
        (["a", "b", "a"], ["b", "a", "b", "a"], ["b", "a"]),
        (["a", "b"], ["b"], []),
        (["a", "b"], [], []),
        (["a", "10%"], ["a", "10% 20%"], ["10% 20%"]),
        (["x", "a", "10%"], ["a", "10% 20%", "b"], ["10% 20%", "b"]),
        (["10%"], ["10% 20%"], ["10% 20%"]),
    ],
)
def test_what_is_new_in_an_upload(seen, lines, news):
    assert logs.after(seen, lines) == news
