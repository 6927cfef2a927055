"""A RunPod endpoint on loopback calls real servers back."""

import asyncio
import socket
from contextlib import asynccontextmanager
from io import BytesIO

import aiohttp
import pytest
import uvicorn
from aiohttp import web
from starlette.applications import Starlette

import exatlas
from exatlas import local
from exatlas.web import aiohttp as web_aiohttp, starlette as web_starlette
from exatlas.webhooks import Webhooks

SECRET = "s" * 32


def answer(job):
    if job["input"].get("fail"):
        raise ValueError("boom")
    return {"echo": job["input"]}


@pytest.fixture
async def runtime():
    async with local.serve(answer, endpoint="abc") as runtime:
        yield runtime


@asynccontextmanager
async def under_uvicorn(hooks, make, listener):
    app = Starlette(routes=[web_starlette.webhook_route(hooks)], lifespan=web_starlette.lifespan(make, webhooks=hooks))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield
    finally:
        server.should_exit = True
        await serving


@asynccontextmanager
async def under_aiohttp(hooks, make, listener):
    app = web.Application()
    web_aiohttp.setup(app, make, webhooks=hooks)
    app.add_routes([web_aiohttp.webhook_route(hooks)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.SockSite(runner, listener).start()
    try:
        yield
    finally:
        await runner.cleanup()


@pytest.fixture(params=[under_uvicorn, under_aiohttp])
async def hooks(request, runtime):
    def make():
        return exatlas.Atlas(
            default_provider="runpod",
            base_urls={"runpod": runtime.base_url},
            credentials={"runpod": runtime.api_key},
            env={},
        )

    with socket.create_server(("127.0.0.1", 0)) as listener:
        base_url = f"http://127.0.0.1:{listener.getsockname()[1]}/hooks"
        hooks = Webhooks(base_url, secrets=[SECRET], confirm=True, max_body_bytes=3_000_000)
        async with request.param(hooks, make, listener):
            yield hooks


async def test_a_job_calls_back_when_it_has_ended(hooks):
    job = await hooks.run_job(endpoint="abc", input={"text": "x" * 1_200_000})
    async with asyncio.timeout(20):
        ended = await hooks.await_webhook(job, poll_every=1000)
    assert (ended.id, ended.status) == (job.id, "completed")
    assert len(ended.output["echo"]["text"]) == 1_200_000, "longer than aiohttp's own limit"


async def test_a_job_that_fails_calls_back_too(hooks):
    job = await hooks.run_job(endpoint="abc", input={"fail": True})
    async with asyncio.timeout(20):
        ended = await hooks.await_webhook(job, poll_every=1000)
    assert (ended.status, "boom" in ended.error.message) == ("failed", True)


async def test_a_job_whose_callback_goes_astray_is_asked_for(hooks):
    job = await hooks._client.run_job(endpoint="abc", input={"x": 1}, webhook="http://127.0.0.1:9/nobody")
    async with asyncio.timeout(20):
        assert (await hooks.await_webhook(job, poll_every=0.05)).status == "completed"


async def test_what_each_stranger_is_answered(hooks):
    good = hooks.url_for("abc")
    cases = [
        (good[:-1] + ("A" if good[-1] != "A" else "B"), b"{}", 401),
        (good.replace("/abc/", "/xyz/"), b"{}", 401),
        (hooks.url_for("abc", expires_in=1e-3), b"{}", 401),
        (good, b"<html>", 400),
        (good, b" " * 3_000_001, 413),
        (good, b'{"id":"made-up","status":"COMPLETED","output":1}', 401),
        (good + "/more", b"{}", 404),
    ]
    async with aiohttp.ClientSession() as session:
        for url, body, status in cases:
            async with session.post(url, data=BytesIO(body)) as response:
                assert response.status == status, (body[:20], status)
                if status == 401:
                    assert await response.read() == b"", "no hint"
        async with session.get(good) as response:
            assert response.status == 405


async def test_a_repeated_delivery_is_accepted_and_ignored(hooks):
    url = hooks.url_for("abc")
    job = await hooks._client.run_job(endpoint="abc", input={"x": 1}, mode="sync")
    body = b'{"id":"%b","status":"COMPLETED","output":"a lie"}' % job.id.encode()
    async with aiohttp.ClientSession() as session:
        for _ in range(3):
            async with session.post(url, data=body) as response:
                assert response.status == 200
    assert (await hooks.await_webhook(job.id, endpoint="abc")).output == {"echo": {"x": 1}}
