"""Fixtures for RunPod: the fake in process and on loopback, and its published API document as a judge."""

import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import aiohttp
import pytest
from attrs import evolve

from exatlas.clock import ManualClock, SystemClock
from exatlas.messages import HttpCall, HttpReply, Repeat
from exatlas.protocols import Context, Transport
from exatlas.providers.runpod.fake import FakeRunPod
from exatlas.providers.runpod.provider import RunPodProvider
from exatlas.testing.clouds import serve
from exatlas.testing.documents import ApiDocument, JudgedTransport
from exatlas.transport.aiohttp import AiohttpTransport
from exatlas.transport.inprocess import InProcessTransport

DOCUMENT = Path(__file__).parents[4] / "shared" / "specs" / "runpod-rest-v2.json"
KEY = "rpa_FAKEKEY0123456789"
URLS = {
    "rest": "https://api.runpod.io/v2",
    "runtime": "https://api.runpod.ai/v2",
    "balanced": "https://{endpoint}.api.runpod.ai",
}


DEPARTURES = {
    b'{"error":"not enough free GPUs on the host machine"}': "a start refusal that is no problem document, seen live",
    b'"count":0': "a pod that came back without GPUs, which the document's minimum of 1 rules out",
}
"""What RunPod has been seen to send against its own document, and the fake sends too."""


@pytest.fixture(scope="session")
def judge_if_there() -> ApiDocument | None:
    return ApiDocument(DOCUMENT, server="https://api.runpod.io") if DOCUMENT.exists() else None


@pytest.fixture(scope="session")
def judge(judge_if_there: ApiDocument | None) -> ApiDocument:
    if judge_if_there is None:
        pytest.skip("RunPod's published API document is not beside this checkout")
    return judge_if_there


def judged(fake: FakeRunPod, judge: ApiDocument | None) -> Transport:
    """The fake as a transport; the document judges management calls and every honest reply to them."""
    inner = InProcessTransport(fake.handle)
    if judge is None:
        return inner
    spoiled = 0

    def is_judged(call: HttpCall) -> bool:
        nonlocal spoiled
        spoiled = len(fake.faults.hits)
        # The document wants an instant as Last-Event-ID, and shows ids that are none: they are sent back as they came.
        return call.url.startswith(URLS["rest"]) and not (
            b"unjudged" in (call.body or b"") or "last-event-id" in call.headers
        )

    def is_honest(_: HttpCall, reply: HttpReply) -> bool:
        return len(fake.faults.hits) == spoiled and not any(mark in reply.body for mark in DEPARTURES)

    return JudgedTransport(inner, judge, judged=is_judged, honest=is_honest)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(auto=True)


@pytest.fixture
def fake(clock: ManualClock) -> FakeRunPod:
    return FakeRunPod(clock, api_key=KEY)


@pytest.fixture
def context(clock: ManualClock, judge_if_there: ApiDocument | None) -> Callable[..., Context]:
    """A context over any fake, in process."""

    def build(fake: FakeRunPod, **changes: Any) -> Context:
        ctx = Context(
            provider="runpod",
            api_key=KEY,
            base_urls=URLS,
            transport=judged(fake, judge_if_there),
            clock=fake.clock,
            account=f"account-{id(fake)}",
        )
        return evolve(ctx, **changes)

    return build


@pytest.fixture
def ctx(context: Callable[..., Context], fake: FakeRunPod) -> Context:
    return context(fake)


@pytest.fixture
def provider() -> RunPodProvider:
    return RunPodProvider()


@pytest.fixture
def a_call() -> HttpCall:
    """A call to judge replies by."""
    return HttpCall(
        provider="runpod",
        operation="get_compute",
        method="GET",
        url="https://api.runpod.io/v2/pods/x",
        template="/v2/pods/{id}",
        repeat=Repeat.SAFE,
        secrets=(KEY, "s3cr3t-value"),
    )


@pytest.fixture
async def loopback() -> AsyncIterator[tuple[FakeRunPod, Context]]:
    """The fake behind a real socket, and a context with the real transport."""
    fake = FakeRunPod(SystemClock(), api_key=KEY)
    async with serve(fake.handle) as origin:
        transport = AiohttpTransport()
        try:
            yield (
                fake,
                Context(
                    provider="runpod",
                    api_key=KEY,
                    base_urls={"rest": f"{origin}/v2", "runtime": f"{origin}/v2", "balanced": origin},
                    transport=transport,
                    clock=SystemClock(),
                    account=f"loopback-{origin}",
                ),
            )
        finally:
            await transport.aclose()


@pytest.fixture
def http(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """aioresponses, mended for the aiohttp versions whose ClientResponse wants a `stream_writer`."""
    aioresponses = pytest.importorskip("aioresponses")
    original = aiohttp.ClientResponse.__init__
    if "stream_writer" in inspect.signature(original).parameters:

        def patient(self: Any, *args: Any, **kwargs: Any) -> None:
            if "stream_writer" not in kwargs:
                writer = Mock()
                writer.output_size = 0
                kwargs["stream_writer"] = writer
            original(self, *args, **kwargs)

        monkeypatch.setattr(aiohttp.ClientResponse, "__init__", patient)
    with aioresponses.aioresponses() as mocked:
        yield mocked
