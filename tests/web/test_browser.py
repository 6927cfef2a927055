"""A real EventSource in a real browser, where Chromium is installed."""

import asyncio
import shutil
from contextlib import suppress

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

import exatlas
from exatlas.web import starlette as web_starlette

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")

PAGE = """<!doctype html><script>
const source = new EventSource("/stream"), heard = [];
const note = what => { heard.push(what); fetch("/heard", {method: "POST", body: JSON.stringify(heard)}); };
source.onmessage = event => note(JSON.parse(event.data).output);
for (const type of ["gap", "done", "error"])
    source.addEventListener(type, event => event.data ? note(type) : note("state " + source.readyState));
</script>"""


async def test_an_event_source_goes_on_after_a_cut_and_stops_at_the_end(cloud, tap, site_of, eventually, tmp_path):
    heard: list[bytes] = []
    jobs: list[exatlas.Job] = []

    async def page(request: Request) -> Response:
        return HTMLResponse(PAGE)

    async def hear(request: Request) -> Response:
        heard.append(await request.body())
        return Response()

    async def stream(request: Request) -> Response:
        return web_starlette.stream_job(request, jobs[0])

    def last() -> bytes:
        return max(heard, key=len, default=b"")

    async with site_of("starlette", lambda: exatlas.Atlas(cloud, env={})) as site:
        app: Starlette = site.app
        app.router.routes += [Route("/", page), Route("/heard", hear, methods=["POST"]), Route("/stream", stream)]
        jobs.append(await site.atlas.run_job(endpoint="tap", input={"x": 1}))
        browser = await asyncio.create_subprocess_exec(
            *[CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
            *["--no-first-run", "--disable-background-networking", f"--user-data-dir={tmp_path}", site.url],
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            tap.put("a", "b")
            await eventually(lambda: last() == b'["a","b"]')
            for relay in tuple(site.relays._running):
                relay.cut()
            tap.put("c")
            await eventually(lambda: last() == b'["a","b","state 0","c"]')  # 0: it connects again by itself
            tap.put(tap.END)
            await eventually(
                lambda: last() == b'["a","b","state 0","c","done","state 0","state 2"]'
            )  # 2: it has stopped
        finally:
            with suppress(ProcessLookupError):
                browser.kill()
            await browser.wait()
