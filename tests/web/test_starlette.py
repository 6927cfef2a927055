"""What is particular to Starlette and FastAPI."""

import signal
import subprocess
import sys
from contextlib import asynccontextmanager

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

import exatlas
from exatlas.web import starlette as web_starlette
from exatlas.webhooks import Webhooks


def request(state=None):
    return Request({"type": "http", "headers": [], **({} if state is None else {"state": state})})


@pytest.mark.parametrize("state", [None, {}, {"exatlas": "something else"}])
async def test_an_application_without_the_lifespan_is_told_what_to_do(state):
    with pytest.raises(exatlas.ConfigError, match=r"lifespan=exatlas\.web\.starlette\.lifespan\(\)"):
        await web_starlette.get_atlas(request(state))
    with pytest.raises(exatlas.ConfigError):
        web_starlette.stream_job(request(state), "j", endpoint="e")


async def test_every_start_of_an_application_has_a_client_of_its_own(cloud):
    life = web_starlette.lifespan(lambda: exatlas.Atlas(cloud, env={}))
    clients = []
    for _ in range(2):
        async with life(None) as state:
            clients.append(await web_starlette.get_atlas(request(state)))
            assert not clients[-1].closed
        assert clients[-1].closed
    assert clients[0] is not clients[1]


async def test_the_client_closes_when_the_application_fails(cloud):
    with pytest.raises(RuntimeError):
        async with web_starlette.lifespan(lambda: exatlas.Atlas(cloud, env={}))(None) as state:
            client = await web_starlette.get_atlas(request(state))
            raise RuntimeError
    assert client.closed


async def test_webhooks_use_the_applications_client(cloud):
    hooks = Webhooks("https://app.example", secrets=["s" * 16])
    async with web_starlette.lifespan(lambda: exatlas.Atlas(cloud, env={}), webhooks=hooks)(None) as state:
        assert hooks._client is await web_starlette.get_atlas(request(state))


async def test_a_lifespan_inside_another_and_an_application_inside_another(cloud, site_of, session, monkeypatch):
    async def name(request):
        atlas = await web_starlette.get_atlas(request)
        return JSONResponse({"name": atlas.provider().name, "own": request.state.own})

    async with site_of("starlette", lambda: exatlas.Atlas(cloud, env={})) as site:
        lifespan = site.app.router.lifespan_context

        @asynccontextmanager
        async def own(app):
            async with lifespan(app) as state:
                yield {**state, "own": 1}

        app = Starlette(routes=[Mount("/inner", Starlette(routes=[Route("/name", name)]))], lifespan=own)
        async with app.router.lifespan_context(app) as state:
            sent = []

            async def send(message):
                sent.append(message)

            scope = {"type": "http", "method": "GET", "path": "/inner/name", "headers": [], "query_string": b""}
            await app({**scope, "state": dict(state)}, None, send)
    assert sent[1]["body"] == b'{"name":"memory","own":1}'


def test_a_server_that_leaves_is_noticed_by_its_signal_handler(monkeypatch):
    class Server:
        should_exit = False

        def handle_exit(self, number, frame):
            """Never called here."""

    server = Server()
    monkeypatch.setattr(signal, "getsignal", lambda _: server.handle_exit)
    assert not web_starlette._server_is_leaving()
    server.should_exit = True
    assert web_starlette._server_is_leaving()
    for other in (signal.SIG_DFL, None, lambda number, frame: None):
        monkeypatch.setattr(signal, "getsignal", lambda _, other=other: other)
        assert not web_starlette._server_is_leaving()


def test_without_starlette_the_extra_is_named():
    code = "import sys; sys.modules['starlette'] = None\nimport exatlas.web.starlette"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "pip install 'exatlas[starlette]'" in done.stderr.splitlines()[-1]


def test_it_loads_no_http_client():
    code = "import exatlas.web.starlette, sys; print({'aiohttp', 'fastapi', 'uvicorn'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "set()"
