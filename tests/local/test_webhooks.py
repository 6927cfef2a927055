import asyncio
import logging

import aiohttp
import pytest
from aiohttp import web

from exatlas.clock import ManualClock
from exatlas.local import webhooks
from exatlas.local.desk import Desk
from exatlas.local.webhooks import Courier
from exatlas.providers.runpod.queue import Queue


class Receiver:
    """Answers with the statuses it is given, one after the other; None never answers."""

    def __init__(self, *statuses):
        self.statuses = list(statuses)
        self.requests = []
        self.got = asyncio.Event()

    async def answer(self, request):
        self.requests.append((request.headers.copy(), await request.json()))
        self.got.set()
        status = self.statuses.pop(0)
        if status is None:
            await asyncio.Event().wait()
        headers = {"Location": "/hook"} if status == 307 else {}
        return web.Response(status=status, headers=headers)

    async def next(self):
        await self.got.wait()
        self.got.clear()


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
async def desk(clock):
    desk = Desk(Queue(new_id=iter("abc").__next__), clock)
    async with aiohttp.ClientSession() as session:
        courier = Courier(desk, session)
        timekeeper = asyncio.create_task(desk.keep_time(courier.deliver))
        yield desk
        desk.close()
        await timekeeper
        await courier.aclose()


@pytest.fixture
async def receive(listen):
    """Start a receiver; gives it and its address."""
    stack = []

    async def start(*statuses):
        receiver = Receiver(*statuses)
        application = web.Application()
        application.add_routes([web.post("/hook", receiver.answer)])
        context = listen(application)
        stack.append(context)
        return receiver, f"{await context.__aenter__()}/hook?k=shh"

    yield start
    for context in stack:
        await context.__aexit__(None, None, None)


def finish(desk, url) -> str:
    job = desk.ask(Queue.submit, {"input": {"x": 1}, "webhook": url})["id"]
    desk.ask(Queue.take, "w")
    desk.ask(Queue.post_output, "w", job, {"output": {"y": 2}})
    return job


async def idle(desk):
    """Wait until no call is under way: the time keeper sleeps until the next one, or for the job's retention."""
    while not desk.clock.sleepers:
        await asyncio.sleep(0)


async def test_the_call_looks_like_runpods(desk, receive):
    receiver, url = await receive(200)
    job = finish(desk, url)
    await receiver.next()
    [(headers, body)] = receiver.requests
    assert body == {**desk.ask(Queue.status, job), "input": {"x": 1}, "webhook": url}
    assert headers["User-Agent"] == "Go-http-client/2.0"
    assert headers["Content-Type"] == "application/json"
    assert len(headers["traceparent"]) == 55


@pytest.mark.parametrize("status", [200, 202, 204])
async def test_any_2xx_is_an_answer(desk, receive, clock, status):
    receiver, url = await receive(status)
    finish(desk, url)
    await receiver.next()
    await idle(desk)
    clock.advance(100)
    await idle(desk)
    assert len(receiver.requests) == 1


async def test_three_attempts_ten_seconds_apart(desk, receive, clock, caplog):
    receiver, url = await receive(500, 404, 307)
    with caplog.at_level(logging.WARNING, "exatlas.local"):
        finish(desk, url)
        for _ in range(2):
            await receiver.next()
            while desk.queue.next_deadline(clock.monotonic()) != clock.monotonic() + 10:
                await asyncio.sleep(0)
            clock.advance(9.9)
            assert not receiver.got.is_set()
            clock.advance(0.1)
        await receiver.next()
        while len(caplog.records) < 3:
            await asyncio.sleep(0)
    clock.advance(100)
    await idle(desk)
    assert len(receiver.requests) == 3
    assert "shh" not in caplog.text
    assert "job a-u1, attempt 3, answered 307" in caplog.text


async def test_a_receiver_that_cannot_be_reached_is_tried_again(desk, clock, caplog, unused_tcp_port):
    with caplog.at_level(logging.WARNING, "exatlas.local"):
        finish(desk, f"http://127.0.0.1:{unused_tcp_port}/hook?k=shh")
        while not caplog.records:
            await asyncio.sleep(0)
    assert "attempt 1, failed: ClientConnectorError" in caplog.text
    assert "shh" not in caplog.text
    assert desk.queue.next_deadline(0) == 10


async def test_a_url_that_only_looked_like_one_is_dropped_after_its_attempts(desk, clock, caplog):
    with caplog.at_level(logging.WARNING, "exatlas.local"):
        finish(desk, "http://a b:x/")
        while not caplog.records:
            await asyncio.sleep(0)
    assert "attempt 1, failed: InvalidUrl" in caplog.text


async def test_a_receiver_that_never_answers_is_given_up_on(desk, receive, monkeypatch, caplog):
    monkeypatch.setattr(webhooks, "PATIENCE_S", 0.05)
    receiver, url = await receive(None)
    with caplog.at_level(logging.WARNING, "exatlas.local"):
        finish(desk, url)
        await receiver.next()
        while not caplog.records:
            await asyncio.sleep(0.01)
    assert "attempt 1, failed: TimeoutError" in caplog.text


async def test_closing_drops_a_call_under_way(desk, receive):
    receiver, url = await receive(None)
    finish(desk, url)
    await receiver.next()  # the fixture closes the courier while the receiver is still silent
