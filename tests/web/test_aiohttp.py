"""What is particular to aiohttp."""

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

import exatlas
from exatlas.web import aiohttp as web_aiohttp
from exatlas.webhooks import Webhooks


async def test_an_application_without_setup_is_told_what_to_do():
    request = make_mocked_request("GET", "/", app=web.Application())
    with pytest.raises(exatlas.ConfigError, match=r"exatlas\.web\.aiohttp\.setup\(app\)"):
        web_aiohttp.get_atlas(request)
    with pytest.raises(exatlas.ConfigError):
        await web_aiohttp.stream_job(request, "j", endpoint="e")


async def test_an_application_inside_another_shares_its_client(cloud, session):
    async def name(request):
        return web.json_response({"name": web_aiohttp.get_atlas(request).provider().name})

    inner, outer = web.Application(), web.Application()
    inner.add_routes([web.get("/name", name)])
    outer.add_subapp("/inner", inner)
    hooks = Webhooks("https://app.example", secrets=["s" * 16])
    web_aiohttp.setup(outer, lambda: exatlas.Atlas(cloud, env={}), webhooks=hooks)
    runner = web.AppRunner(outer, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        async with session.get(f"http://127.0.0.1:{runner.addresses[0][1]}/inner/name") as response:
            assert await response.json() == {"name": "memory"}
        client = hooks._client
        assert client is outer[web_aiohttp._RELAYS].atlas
        assert not client.closed
    finally:
        await runner.cleanup()
    assert client.closed


async def test_an_application_that_never_started_can_be_cleaned_up():
    def fail():
        raise RuntimeError("no configuration")

    app = web.Application()
    web_aiohttp.setup(app, fail)
    runner = web.AppRunner(app)
    with pytest.raises(RuntimeError, match="no configuration"):
        await runner.setup()
    await runner.cleanup()


async def test_a_route_may_stand_elsewhere():
    hooks = Webhooks("https://app.example/public/hooks", secrets=["s" * 16])
    assert web_aiohttp.webhook_route(hooks).path == "/public/hooks/{provider}/{endpoint}/{token}"
    assert web_aiohttp.webhook_route(hooks, "/hooks").path == "/hooks/{provider}/{endpoint}/{token}"
