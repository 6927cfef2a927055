"""Fixtures for Vast: the fake in process and on loopback, and its published API document as a judge."""

import copy
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from attrs import evolve, frozen

import exatlas
from exatlas.clock import ManualClock, SystemClock
from exatlas.messages import HttpCall, HttpReply, Repeat
from exatlas.protocols import Context, Transport
from exatlas.providers.vast.fake import FakeVast
from exatlas.providers.vast.provider import VastProvider
from exatlas.testing.clouds import serve
from exatlas.testing.documents import ApiDocument, JudgedTransport
from exatlas.transport.aiohttp import AiohttpTransport
from exatlas.transport.inprocess import InProcessTransport

DOCUMENT = Path(__file__).parents[4] / "shared" / "specs" / "vast.yaml"
KEY = "vastFAKEKEY0123456789"
URLS = {"rest": "https://console.vast.ai", "openai": "https://openai.vast.ai"}

SCHEMA = ("content", "application/json", "schema")
CREATE = ("paths", "/api/v0/asks/{id}", "put", "requestBody", *SCHEMA)
READ = ("paths", "/api/v0/instances/{id}", "get", "responses", "200", *SCHEMA, "properties", "instances")
ERROR = {"$ref": "#/components/schemas/Error"}
INSTANCE = ("components", "schemas", "Instance", "properties")


@frozen
class Departure:
    """A place where the published document is known to be wrong, and what it should say."""

    path: tuple[str, ...]
    said: Any
    """What stands there, None for nothing. Another text means that the document was mended and this must go."""
    right: Any
    reason: str


DEPARTURES = (
    Departure(
        (*CREATE, "required"),
        ["image"],
        [],
        "a template brings the image, as the document's own words for template_hash_id say",
    ),
    Departure(
        (*CREATE, "properties", "env", "type"),
        "string",
        "object",
        "guides, SDK and every running client send a mapping; ports are keys of it",
    ),
    Departure(
        READ,
        {"$ref": "#/components/schemas/Instance"},
        {"anyOf": [{"$ref": "#/components/schemas/Instance"}, {"type": "null"}]},
        "an instance that is gone, or too new, reads as null: the SDK handles it",
    ),
    Departure(
        (*INSTANCE, "extra_env", "items"),
        {"type": "string"},
        {"type": "array", "items": {"type": "string"}},
        "the list's own schema and the SDK have pairs of name and value",
    ),
    Departure(
        (*INSTANCE, "ports"),
        {
            "type": "array",
            "items": {"type": "integer"},
            "description": "List of additional ports exposed by the instance.",
            "example": [8080, 8081],
        },
        {
            "type": ["object", "null"],
            "additionalProperties": {"type": "array", "items": {"type": "object"}},
        },
        "the list's own schema and every client have docker's mapping, or null before it runs",
    ),
    Departure(
        ("paths", "/api/v0/bundles", "post", "responses", "429"),
        None,
        {"description": "Too Many Requests", "content": {"application/json": {"schema": ERROR}}},
        "the page on rate limits and the SDK have a limit per minute and a daily quota",
    ),
)
"""Besides these the document has lost the slash that every path ends with: see `with_slashes`."""


def with_slashes(paths: dict[str, Any]) -> dict[str, Any]:
    """The paths as Vast's client and the per-endpoint sources of the document have them; only the volumes' has none."""
    return {path if path == "/api/v0/volumes" else f"{path}/": item for path, item in paths.items()}


def published() -> dict[str, Any]:
    """The document, mended where it is known to be wrong."""
    document = copy.deepcopy(yaml.safe_load(DOCUMENT.read_bytes()))
    for departure in DEPARTURES:
        node = document
        for step in departure.path[:-1]:
            node = node[step]
        assert node.get(departure.path[-1]) == departure.said, departure.reason
        node[departure.path[-1]] = departure.right
    return {**document, "paths": with_slashes(document["paths"])}


@pytest.fixture(scope="session")
def judge_if_there() -> ApiDocument | None:
    return ApiDocument(published(), server=URLS["rest"], validate_document=False) if DOCUMENT.exists() else None


@pytest.fixture(scope="session")
def judge(judge_if_there: ApiDocument | None) -> ApiDocument:
    if judge_if_there is None:
        pytest.skip("Vast's published API document is not beside this checkout")
    return judge_if_there


UNDOCUMENTED = {
    403: "the edge's own page",
    500: "no operation has a 500",
}
"""Statuses that only the fake's faults send."""


def judged(fake: FakeVast, judge: ApiDocument | None) -> Transport:
    """The fake as a transport; the document judges REST calls and every honest reply to them."""
    inner = InProcessTransport(fake.handle)
    if judge is None:
        return inner
    spoiled = 0

    def is_judged(call: HttpCall) -> bool:
        nonlocal spoiled
        spoiled = len(fake.faults.hits)
        return call.url.startswith(f"{URLS['rest']}/api/") and b"unjudged" not in (call.body or b"")

    def is_honest(_call: HttpCall, reply: HttpReply) -> bool:
        return len(fake.faults.hits) == spoiled and reply.status not in UNDOCUMENTED

    return JudgedTransport(inner, judge, judged=is_judged, honest=is_honest)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(auto=True)


@pytest.fixture
def fake(clock: ManualClock) -> FakeVast:
    return FakeVast(clock, api_key=KEY)


@pytest.fixture
def context(judge_if_there: ApiDocument | None) -> Callable[..., Context]:
    """A context over any fake, in process."""

    def build(fake: FakeVast, **changes: Any) -> Context:
        ctx = Context(
            provider="vast",
            api_key=KEY,
            base_urls=URLS,
            transport=judged(fake, judge_if_there),
            clock=fake.clock,
            account="0123456789abcdef",
        )
        return evolve(ctx, **changes)

    return build


@pytest.fixture
def ctx(context: Callable[..., Context], fake: FakeVast) -> Context:
    return context(fake)


@pytest.fixture
def provider() -> VastProvider:
    return VastProvider()


@pytest.fixture
async def client(fake: FakeVast, judge_if_there: ApiDocument | None) -> AsyncIterator[exatlas.Atlas]:
    """The whole client over the fake, as users have it."""
    async with atlas_over(fake, judge_if_there) as atlas:
        yield atlas


def atlas_over(fake: FakeVast, judge: ApiDocument | None = None) -> exatlas.Atlas:
    return exatlas.Atlas("vast", credentials={"vast": KEY}, transport=judged(fake, judge), clock=fake.clock, env={})


@pytest.fixture
def a_call() -> HttpCall:
    """A call to judge replies by."""
    return call_to("GET", "/api/v0/instances/{id}/")


def call_to(method: str, template: str) -> HttpCall:
    return HttpCall(
        provider="vast",
        operation="get_compute",
        method=method,
        url=f"{URLS['rest']}{template.replace('{id}', '7')}",
        template=template,
        repeat=Repeat.SAFE,
        secrets=(KEY, "s3cr3t-value"),
    )


@pytest.fixture
async def loopback() -> AsyncIterator[tuple[FakeVast, exatlas.Atlas]]:
    """The fake behind a real socket, and a client with the real transport."""
    fake = FakeVast(SystemClock(), api_key=KEY)
    async with serve(fake.handle) as origin:
        transport = AiohttpTransport()
        try:
            async with exatlas.Atlas(
                "vast", credentials={"vast": KEY}, base_urls={"vast": origin}, transport=transport, env={}
            ) as atlas:
                yield fake, atlas
        finally:
            await transport.aclose()
