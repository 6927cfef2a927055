"""One stream on its way to one browser, without a server."""

import asyncio
import logging

import pytest

import exatlas
from exatlas.web import relay
from exatlas.web.relay import Relays


class Screen:
    """Takes what is written, or refuses to."""

    def __init__(self, *, stuck_after=None, gone_after=None):
        self.pieces = []
        self.stuck_after = stuck_after
        self.gone_after = gone_after
        self.gone = asyncio.Event()

    async def write(self, piece):
        if len(self.pieces) == self.gone_after:
            raise ConnectionResetError
        if len(self.pieces) == self.stuck_after:
            await asyncio.Event().wait()
        self.pieces.append(piece)

    @property
    def text(self):
        return b"".join(self.pieces).decode()


@pytest.fixture
def clock():
    return exatlas.ManualClock(auto=True)


@pytest.fixture
def relays(atlas):
    return Relays(atlas)


async def show(relays, screen, job, **options):
    shown = relays.job(job, None, 15, options)
    await shown.run(screen.write, screen.gone.wait)
    return shown


async def test_a_whole_stream(atlas, relays):
    job = await atlas.run_job(endpoint="echo", input={"x": "a b"})
    screen = Screen()
    shown = await show(relays, screen, job)
    assert shown.over
    assert '"output":"b"' in screen.text
    assert screen.text.rstrip().endswith('data: {"chunks":2}')
    assert len(relays) == 0


async def test_a_fault_of_ours_is_told_without_its_text(atlas, relays, monkeypatch, caplog):
    async def broken(*args, **options):
        yield exatlas.JobChunk(index=0, output=object(), received_at=atlas.clock.now())

    monkeypatch.setattr(atlas, "stream_job", broken)
    screen = Screen()
    with caplog.at_level(logging.ERROR, "exatlas.web"):
        await show(relays, screen, exatlas.JobRef(id="j", endpoint="echo"))
    assert '"message":"the stream failed inside the service"' in screen.text
    assert "relaying a stream failed" in caplog.text


async def test_a_browser_that_a_write_finds_gone(atlas, cloud, relays):
    cloud.serve("tap", endless)
    job = await atlas.run_job(endpoint="tap", input={"x": 1})
    shown = await show(relays, Screen(gone_after=2), job, on_exit="cancel")
    assert not shown.over
    assert (await atlas.get_job(job)).status == "cancelled"


async def test_a_cancel_that_fails_is_logged_and_the_browser_let_go(atlas, cloud, relays, caplog):
    cloud.serve("tap", endless)
    cloud.fail_next("cancel_job", exatlas.ProviderBrokenError("down"))
    job = await atlas.run_job(endpoint="tap", input={"x": 1})
    with caplog.at_level(logging.ERROR, "exatlas.web"):
        await show(relays, Screen(gone_after=2), job, on_exit="cancel")
    assert "may still be running" in caplog.text
    await atlas.cancel_job(job)


async def test_a_cancel_that_hangs_is_given_up(atlas, cloud, relays, caplog):
    cloud.serve("tap", endless)
    job = await atlas.run_job(endpoint="tap", input={"x": 1})
    cloud.hold_next("cancel_job")
    with caplog.at_level(logging.ERROR, "exatlas.web"):
        await show(relays, Screen(gone_after=2), job, on_exit="cancel")
    assert "may still be running" in caplog.text
    await atlas.cancel_job(job)


async def endless(job):
    number = 0
    while True:
        yield number
        number += 1
        await asyncio.sleep(0)


async def test_cancelling_anywhere_leaves_nothing_and_cancels_the_job(atlas, cloud, relays, cancel_everywhere):
    async def three(job):
        for number in range(3):
            yield number
            await asyncio.sleep(0)

    cloud.serve("tap", three)

    async def trial(cut):
        job = await atlas.run_job(endpoint="tap", input={"x": 1})
        shown = relays.job(job, None, 1e6, {"on_exit": "cancel"})
        await cut(shown.run(Screen().write, asyncio.Event().wait))
        assert len(relays) == 0
        assert shown.over or cut.steps == 0 or (await atlas.get_job(job)).status.is_terminal
        await atlas.cancel_job(job)

    assert await cancel_everywhere(trial) > 5


async def test_closing_waits_for_streams_to_end(atlas, cloud, relays):
    cloud.serve("tap", endless)
    job = await atlas.run_job(endpoint="tap", input={"x": 1})
    showing = asyncio.create_task(show(relays, Screen(stuck_after=3), job, on_exit="cancel"))
    while len(relays) == 0:
        await asyncio.sleep(0)
    await relays.aclose()
    assert len(relays) == 0
    assert (await atlas.get_job(job)).status == "cancelled"
    await showing
    await relays.aclose()


async def test_closing_does_not_wait_for_ever(atlas, cloud, relays, monkeypatch, caplog):
    monkeypatch.setattr(relay, "CLOSE_PATIENCE_S", 0.0)
    cloud.serve("tap", endless)
    job = await atlas.run_job(endpoint="tap", input={"x": 1})
    hold = cloud.hold_next("cancel_job")
    monkeypatch.setattr(relay, "CANCEL_PATIENCE_S", 1e9)
    showing = asyncio.create_task(show(relays, Screen(), job, on_exit="cancel"))
    while len(relays) == 0:
        await asyncio.sleep(0)
    with caplog.at_level(logging.ERROR, "exatlas.web"):
        await relays.aclose()
    assert "1 relayed streams do not end" in caplog.text
    hold.release()
    await showing


@pytest.mark.parametrize("span", [0, -1, "soon", None, float("nan")])
async def test_a_keep_alive_that_cannot_be(relays, span):
    with pytest.raises(exatlas.ValidationError, match=r"keep_alive|timeout"):
        relays.job("j", None, span, {"endpoint": "echo"})


async def test_events_are_asked_for_once(atlas, relays, monkeypatch):
    async def events(*args, **options):
        yield exatlas.StreamEvent(data={"delta": "hi"})

    monkeypatch.setattr(atlas, "stream_events", events)
    screen = Screen()
    shown = relays.events("e", "openai/v1/x", {}, None, 15, {})
    await shown.run(screen.write, screen.gone.wait)
    assert 'data: {"delta":"hi"}\n\nevent: done\n' in screen.text
    assert "-0\n\n" in screen.text, "the browser has an id to come back with"
    assert relays.events("e", "openai/v1/x", {}, "12345678-0", 15, {}) is None
