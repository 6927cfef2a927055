"""Fixtures for Fly.io: the fake in process and on loopback, and its published API document as a judge."""

import asyncio
import copy
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from attrs import evolve

from exatlas.clock import ManualClock, SystemClock
from exatlas.messages import HttpCall, HttpReply, Repeat
from exatlas.protocols import Context, Transport
from exatlas.providers.fly.fake import FakeFly
from exatlas.providers.fly.fake.account import KEY
from exatlas.providers.fly.provider import FlyProvider
from exatlas.testing.clouds import serve
from exatlas.testing.documents import ApiDocument, JudgedTransport
from exatlas.transport.aiohttp import AiohttpTransport
from exatlas.transport.inprocess import InProcessTransport

DOCUMENT = Path(__file__).parents[4] / "shared" / "specs" / "fly-machines.json"
URLS = {"machines": "https://api.machines.dev", "platform": "https://api.fly.io"}

DEPARTURES = {
    "replies with an error status": "only a few are documented; all have the schema of the documented ones",
    "services[].autostop": "true, false or 'suspend' in replies, whatever word went out (superfly/fly-go)",
    "status: name_taken": "added to the document's words on 2026-08-20",
    "bodies of actions": "start, stop, delete and the like are documented without one and have one",
    "POST …/lease": "documented bare and sent in an envelope (fly.io/docs, superfly/fly-go)",
    "the log API": "it is another API, without a document",
    "config.spot": "in the document since 2026-05-27",
}
"""What Fly sends, and takes, against the saved document. :func:`mended` lets the first four pass, the judge passes over
the next two, and no test sends the last."""


def mended(document: dict[str, Any]) -> dict[str, Any]:
    """The published document with what it is known to lack."""
    content = copy.deepcopy(document)
    schemas = content["components"]["schemas"]
    error = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorResponse"}}}}
    for path in content["paths"].values():
        for operation in path.values():
            for answer in operation["responses"].values():
                answer["content"] = answer.get("content") or {"application/json": {"schema": {}}}
            operation["responses"].setdefault("default", {"description": "an error", **error})
    schemas["main.statusCode"]["enum"].append("name_taken")
    schemas["fly.MachineService"]["properties"]["autostop"] = {"enum": ["off", "stop", "suspend", True, False]}
    return content


class Once(ApiDocument):
    """A judge that remembers its verdicts: hundreds of tests send the same calls, and a check takes milliseconds."""

    def __init__(self, content: dict[str, Any]) -> None:
        super().__init__(content, server="https://api.machines.dev/v1", validate_document=False)
        self._requests: dict[Any, Any] = {}
        self._replies: set[Any] = set()

    def request(self, call: HttpCall) -> Any:
        key = (call.method, call.url, call.body, tuple(sorted(call.headers.items())))
        if key not in self._requests:
            self._requests[key] = super().request(call)
        return self._requests[key]

    def reply(self, request: Any, reply: HttpReply) -> None:
        key = (request.method, request.path, reply.status, reply.body)
        if key not in self._replies:
            super().reply(request, reply)
            self._replies.add(key)


@pytest.fixture(scope="session")
def document_if_there() -> dict[str, Any] | None:
    return json.loads(DOCUMENT.read_text()) if DOCUMENT.exists() else None


@pytest.fixture(scope="session")
def judge_if_there(document_if_there: dict[str, Any] | None) -> ApiDocument | None:
    return None if document_if_there is None else Once(mended(document_if_there))


@pytest.fixture(scope="session")
def judge(judge_if_there: ApiDocument | None) -> ApiDocument:
    if judge_if_there is None:
        pytest.skip("Fly's published API document is not beside this checkout")
    return judge_if_there


def judged(fake: FakeFly, judge: ApiDocument | None) -> Transport:
    """The fake as a transport; the document judges calls to the Machines API and every honest reply to them."""

    async def on_wires(call: HttpCall) -> Any:
        """A step before and after each call, as a socket takes, so that it can be cut off at either."""
        await asyncio.sleep(0)
        reply = await fake.handle(call)
        await asyncio.sleep(0)
        return reply

    inner = InProcessTransport(on_wires)
    if judge is None:
        return inner
    spoiled = 0

    def is_judged(call: HttpCall) -> bool:
        nonlocal spoiled
        spoiled = len(fake.faults.hits)
        return call.url.startswith(URLS["machines"])

    def is_honest(call: HttpCall, reply: HttpReply) -> bool:
        enveloped = urlsplit(call.url).path.endswith("/lease") and reply.status < 300
        return len(fake.faults.hits) == spoiled and not enveloped

    return JudgedTransport(inner, judge, judged=is_judged, honest=is_honest)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(auto=True)


@pytest.fixture
def fake(clock: ManualClock) -> FakeFly:
    return FakeFly(clock)


@pytest.fixture
def context(clock: ManualClock, judge_if_there: ApiDocument | None) -> Callable[..., Context]:
    """A context over any fake, in process."""

    def build(fake: FakeFly, **changes: Any) -> Context:
        ctx = Context(
            provider="fly",
            api_key=fake.api_key,
            base_urls=URLS,
            transport=judged(fake, judge_if_there),
            clock=fake.clock,
            account=f"account-{id(fake)}",
        )
        return evolve(ctx, **changes)

    return build


@pytest.fixture
def ctx(context: Callable[..., Context], fake: FakeFly) -> Context:
    return context(fake)


@pytest.fixture
def provider() -> FlyProvider:
    return FlyProvider()


@pytest.fixture
def a_call() -> HttpCall:
    """A call to judge replies by."""
    return HttpCall(
        provider="fly",
        operation="get_compute",
        method="GET",
        url="https://api.machines.dev/v1/apps/x/machines/y",
        template="/v1/apps/{app}/machines/{machine}",
        headers={"authorization": f"FlyV1 {KEY}"},
        repeat=Repeat.SAFE,
        secrets=(KEY, "s3cr3t-value"),
    )


@pytest.fixture
async def loopback() -> AsyncIterator[tuple[FakeFly, Context]]:
    """The fake behind a real socket, and a context with the real transport."""
    fake = FakeFly(SystemClock())
    async with serve(fake.handle) as origin:
        transport = AiohttpTransport()
        try:
            yield (
                fake,
                Context(
                    provider="fly",
                    api_key=KEY,
                    base_urls=fake.base_urls(origin),
                    transport=transport,
                    clock=SystemClock(),
                    account=f"loopback-{origin}",
                ),
            )
        finally:
            await transport.aclose()
