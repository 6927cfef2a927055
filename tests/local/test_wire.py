import pytest
from aiohttp import web

from exatlas.local.wire import is_secret, read_body, reply, tell_faults, whole_number
from exatlas.providers.runpod.submission import RefusedError


@pytest.fixture
async def url(listen):
    async def refuse(_):
        raise RefusedError(418, "short and stout")

    async def move(_):
        raise web.HTTPFound("/elsewhere")

    async def measure(request):
        return reply({"body": str(await read_body(request, 10))})

    async def count(request):
        return reply(whole_number(request, "n", 7))

    application = web.Application(middlewares=[tell_faults])
    application.add_routes(
        [web.get("/refuse", refuse), web.get("/move", move), web.post("/measure", measure), web.get("/count", count)]
    )
    async with listen(application) as url:
        yield url


@pytest.mark.parametrize(
    ("method", "path", "status", "error"),
    [
        ("GET", "/refuse", 418, "short and stout"),
        ("GET", "/nowhere", 404, "Not Found"),
        ("POST", "/refuse", 405, "Method Not Allowed"),
        ("GET", "/count?n=x", 400, "n must be a whole number"),
        ("GET", "/count?n=-1", 400, "n must be a whole number"),
        ("GET", "/count?n=9999999999999999", 400, "n must be a whole number"),
    ],
)
async def test_faults_are_told_in_json(session, url, method, path, status, error):
    async with session.request(method, url + path) as response:
        assert (response.status, await response.json()) == (status, {"error": error})
        assert response.headers.get("Allow") == ("GET,HEAD" if status == 405 else None)


async def test_a_redirect_is_not_a_fault(session, url):
    async with session.get(url + "/move", allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (302, "/elsewhere")


@pytest.mark.parametrize(("query", "number"), [("", 7), ("?n=0", 0), ("?n=12", 12)])
async def test_whole_numbers_in_the_query(session, url, query, number):
    async with session.get(url + "/count" + query) as response:
        assert await response.json() == number


@pytest.mark.parametrize(("size", "kept"), [(0, True), (10, True), (11, False), (300_000, False)])
async def test_bodies_are_kept_up_to_the_limit_and_measured_beyond(session, url, size, kept):
    async with session.post(url + "/measure", data=b"x" * size) as response:
        assert (await response.json())["body"] == str(b"x" * size if kept else size)


def test_secrets_match_only_themselves():
    assert is_secret("k-1", "k-1")
    for wrong in (None, "", "k-2", "k-1 ", "k-é", "\udcff"):
        assert not is_secret(wrong, "k-1")
