"""The same streams under uvicorn with FastAPI and Starlette, and under aiohttp, with browsers of all manners."""

import asyncio
import logging

import pytest

import exatlas

STRANGE = ["", "x", "7", "0-0", "ffffffff-3", "gggggggg-1", "-end", "ffffffff-99999999999999999999", "a" * 5000]
LARGE = "x" * 100_000
"""A chunk of which a few dozen fill every buffer of a socket."""


async def submit(site, **options):
    return await site.atlas.run_job(endpoint="tap", input={"x": 1}, **options)


async def status_of(site, job):
    return (await site.atlas.get_job(job)).status


async def test_a_stream_from_its_head_to_done(site, tap, visit):
    job = await submit(site)
    page = await visit(f"{site.url}/jobs/{job.id}")
    assert page.response.status == 200
    assert page.response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert page.response.headers["Cache-Control"] == "no-store, no-transform"
    tap.put("a")
    assert await page.data() == {"index": 0, "output": "a"}
    tap.put({"text": "line\nbreak"}, tap.END)
    assert await page.rest() == [
        ("message", {"index": 1, "output": {"text": "line\nbreak"}}),
        ("done", {"chunks": 2}),
    ]
    assert page.raw.startswith(b"retry: 2000\n\n")


async def test_the_head_comes_before_the_first_chunk(site, visit):
    job = await submit(site)
    page = await visit(f"{site.url}/jobs/{job.id}")
    assert page.response.status == 200
    page.leave()


async def test_the_getter_gives_the_applications_client(site, session):
    async with session.get(f"{site.url}/provider") as response:
        assert await response.json() == {"name": "memory"}


async def test_a_job_that_fails_ends_in_an_error_event(site, tap, visit):
    job = await submit(site)
    page = await visit(f"{site.url}/jobs/{job.id}")
    tap.put("a", ValueError("boom"))
    [first, (kind, error)] = await page.rest()
    assert first == ("message", {"index": 0, "output": "a"})
    assert kind == "error"
    assert error.pop("message").endswith("ended as failed: boom")
    assert error == {"kind": "provider", "retryable": False, "status": "failed"}


async def test_a_job_that_is_not_there_is_an_error_event_too(site, visit):
    page = await visit(f"{site.url}/jobs/nothing")
    [(kind, error)] = await page.rest()
    assert (kind, error["kind"]) == ("error", "not_found")


async def test_wrong_arguments_fail_the_request(site, session, caplog):
    with caplog.at_level(logging.CRITICAL):
        async with session.get(f"{site.url}/jobs/x?on_exit=maybe") as response:
            assert response.status == 500


async def test_an_error_that_will_pass_lets_the_browser_come_back_for_the_rest(site, cloud, tap, visit):
    cloud.fail_next("stream_job", exatlas.TransportError("the line is down"), after_acting=True)
    job = await submit(site)
    tap.put("a", "b")
    page = await visit(f"{site.url}/jobs/{job.id}")
    [first, (kind, error)] = await page.rest()
    assert first == ("message", {"index": 0, "output": "a"})
    assert (kind, error) == ("error", {"kind": "transport", "message": "the line is down", "retryable": True})
    again = await visit(f"{site.url}/jobs/{job.id}", page.last_event_id)
    tap.put(tap.END)
    assert await again.rest() == [("message", {"index": 1, "output": "b"}), ("done", {"chunks": 2})]


async def test_a_browser_that_comes_back_gets_what_it_does_not_have(site, tap, visit):
    job = await submit(site)
    tap.put("a", "b", "c")
    page = await visit(f"{site.url}/jobs/{job.id}")
    assert await page.outputs(2) == ["a", "b"]
    page.leave()
    tap.put(tap.END)
    again = await visit(f"{site.url}/jobs/{job.id}", page.last_event_id)
    assert [data for _, data in await again.rest()][-2:] == [{"index": 2, "output": "c"}, {"chunks": 3}]


@pytest.mark.parametrize("ending", ["done", "error"])
async def test_a_browser_that_has_heard_the_end_is_told_to_stop(site, tap, visit, ending):
    job = await submit(site)
    tap.put("a", tap.END if ending == "done" else ValueError("boom"))
    page = await visit(f"{site.url}/jobs/{job.id}")
    events = await page.rest()
    assert events[-1][0] == ending
    again = await visit(f"{site.url}/jobs/{job.id}", page.last_event_id)
    assert again.response.status == 204


async def test_a_position_that_says_nothing_is_answered_with_a_gap_first(site, tap, visit):
    job = await submit(site)
    tap.put("a", tap.END)
    for strange in STRANGE:
        page = await visit(f"{site.url}/jobs/{job.id}", strange)
        assert await page.rest() == [
            ("gap", {"reason": "unknown", "from": None, "to": None}),
            ("message", {"index": 0, "output": "a"}),
            ("done", {"chunks": 1}),
        ], strange


async def test_several_browsers_on_one_job(site, tap, visit):
    job = await submit(site)
    pages = [await visit(f"{site.url}/jobs/{job.id}") for _ in range(5)]
    tap.put("a")
    for page in pages:
        assert await page.data() == {"index": 0, "output": "a"}
    pages[0].leave()
    tap.put("b", tap.END)
    for page in pages[1:]:
        assert await page.rest() == [("message", {"index": 1, "output": "b"}), ("done", {"chunks": 2})]


@pytest.mark.parametrize("on_exit", ["leave", "cancel"])
@pytest.mark.parametrize("manner", ["reset", "half_close", "close"])
async def test_a_browser_that_vanishes(site, tap, rude, manner, on_exit):
    for chunks in ([], ["a"]):
        job = await submit(site)
        browser = await rude(f"{site.url}/jobs/{job.id}?on_exit={on_exit}")
        tap.put(*chunks)
        await browser.read_until(b'"output":"a"' if chunks else b"retry")
        getattr(browser, manner)()
        await site.at_rest()
        assert await status_of(site, job) == ("cancelled" if on_exit == "cancel" else "in_progress")
        if on_exit == "leave":
            tap.put(tap.END)
            await eventually_ended(site, job)
    assert tap.cancelled is (on_exit == "cancel")


async def eventually_ended(site, job):
    assert [chunk async for chunk in site.atlas.stream_job(job)][1:] == []


async def test_the_job_is_cancelled_when_its_last_browser_leaves(site, tap, visit, eventually):
    job = await submit(site)
    first, second = [await visit(f"{site.url}/jobs/{job.id}?on_exit=cancel") for _ in range(2)]
    tap.put("a")
    await first.data()
    await second.data()
    first.leave()
    await eventually(lambda: len(site.relays) == 1)
    assert await status_of(site, job) == "in_progress"
    second.leave()
    await site.at_rest()
    assert await status_of(site, job) == "cancelled"


async def test_a_job_that_ended_by_itself_is_not_cancelled(site, cloud, tap, visit):
    job = await submit(site)
    page = await visit(f"{site.url}/jobs/{job.id}?on_exit=cancel")
    cloud.fail_next("cancel_job", AssertionError("not to be called"))
    tap.put(tap.END)
    assert await page.rest() == [("done", {"chunks": 0})]
    await site.at_rest()
    assert await status_of(site, job) == "completed"


async def test_a_browser_that_does_not_read_holds_the_stream_back(site, cloud, tap, rude, eventually):
    job = await submit(site)
    browser = await rude(f"{site.url}/jobs/{job.id}")
    tap.put(*[LARGE] * 300)
    taken = await taken_until_still(site, eventually)
    assert taken * len(LARGE) < 15_000_000, "more was taken than sockets and their buffers hold"
    browser.reset()


async def taken_until_still(site, eventually):
    """Wait until no chunk has moved for a while; gives how many have."""
    await eventually(lambda: any(counting.next for counting in site.relays._countings._of.values()))
    [counting] = site.relays._countings._of.values()
    seen = -1
    while seen != counting.next:
        seen = counting.next
        await asyncio.sleep(0.2)
    return seen


async def test_a_browser_that_takes_nothing_for_a_minute_is_cut(site, clock, tap, rude, eventually):
    job = await submit(site)
    browser = await rude(f"{site.url}/jobs/{job.id}?on_exit=cancel")
    tap.put(*[LARGE] * 300)
    await taken_until_still(site, eventually)
    for _ in range(5):
        clock.advance(15)
        await asyncio.sleep(0.01)
    await eventually(lambda: len(site.relays) == 0)
    assert await status_of(site, job) == "cancelled"
    browser.reset()


async def test_a_browser_far_behind_the_others_is_cut(site, tap, visit, rude, monkeypatch, eventually):
    monkeypatch.setattr("exatlas.web.positions.MOST_BEHIND", 20)
    job = await submit(site)
    tap.put("first")
    slow = await rude(f"{site.url}/jobs/{job.id}")
    await slow.read_until(b"first")
    fast = await visit(f"{site.url}/jobs/{job.id}")
    assert await fast.outputs(1) == ["first"]
    sent = 1
    while len(site.relays) == 2:
        tap.put(LARGE)
        await fast.event()
        sent += 1
    assert sent > 20
    slow.reset()
    fast.leave()


async def test_silence_is_broken_by_comments(site, clock, tap, rude, eventually):
    job = await submit(site)
    browser = await rude(f"{site.url}/jobs/{job.id}?keep_alive=7")
    await browser.read_until(b"retry")
    await eventually(lambda: clock.sleepers == 1)
    clock.advance(7)
    await browser.read_until(b": keep-alive\n\n")
    await eventually(lambda: clock.sleepers == 1)
    clock.advance(4)
    tap.put("a")
    await browser.read_until(b'"a"')
    clock.advance(3)
    await eventually(lambda: clock.sleepers == 1)
    clock.advance(3.9)
    tap.put("b")
    assert b"keep-alive" not in await browser.read_until(b'"b"'), "a chunk came in time"


async def test_a_head_request_takes_no_chunk(site, cloud, session):
    job = await submit(site)
    async with session.head(f"{site.url}/jobs/{job.id}") as response:
        assert response.status in (200, 405)  # FastAPI has no HEAD for routes of GET
    await site.at_rest()
    assert len(site.relays._countings._of) <= 1


async def test_a_machines_log(site, cloud, visit):
    machine = await site.atlas.spawn_compute(gpu="h100", image="x")
    cloud.log(machine.id, "hello")
    page = await visit(f"{site.url}/logs/{machine.id}")
    while (line := await page.data())["source"] == "system":
        pass
    assert (line["line"], line["source"]) == ("hello", "container")
    cloud.log(machine.id, "world")
    assert (await page.data())["line"] == "world"
    page.leave()
    again = await visit(f"{site.url}/logs/{machine.id}", page.last_event_id)
    assert await again.data() == {"reason": "unknown", "from": None, "to": None}
    while (await again.data())["line"] != "hello":
        pass
    assert (await again.data())["line"] == "world"
    await site.atlas.terminate(machine)
    assert (await again.rest())[-1] == ("done", {})
    over = await visit(f"{site.url}/logs/{machine.id}", again.last_event_id)
    assert over.response.status == 204


@pytest.mark.parametrize("on_exit", ["leave", "cancel"])
async def test_a_server_that_shuts_down_with_streams_open(
    cloud, clock, tap, visit, shell, site_of, on_exit, nothing_left
):
    async with site_of(shell, lambda: exatlas.Atlas(cloud, clock=clock, env={})) as site:
        job = await submit(site)
        pages = [await visit(f"{site.url}/jobs/{job.id}?on_exit={on_exit}") for _ in range(3)]
        tap.put("a")
        for page in pages:
            await page.data()
        await site.stop()
        assert len(site.relays) == 0
        assert cloud.open_streams == 0
        assert site.atlas.closed
        for page in pages:
            assert await page.rest() == [], "no last event: the browser comes back, to the next server"
    assert tap.cancelled is (on_exit == "cancel")


async def test_uvicorn_may_cut_by_its_own_deadline(cloud, clock, tap, visit, site_of, monkeypatch, caplog):
    monkeypatch.setattr("exatlas.web.starlette._server_is_leaving", lambda: False)
    make = lambda: exatlas.Atlas(cloud, clock=clock, env={})  # noqa: E731 - as it stands in an application
    with caplog.at_level(logging.CRITICAL, "uvicorn.error"):
        async with site_of("fastapi", make, timeout_graceful_shutdown=1) as site:
            job = await submit(site)
            page = await visit(f"{site.url}/jobs/{job.id}?on_exit=cancel")
            tap.put("a")
            await page.data()
            await site.stop()
    assert (len(site.relays), cloud.open_streams, site.atlas.closed, tap.cancelled) == (0, 0, True, True)


async def test_a_stream_that_starts_while_the_server_leaves_is_cut_at_once(site, visit):
    site.relays.close()
    job = await submit(site)
    page = await visit(f"{site.url}/jobs/{job.id}")
    assert await page.rest() == []
