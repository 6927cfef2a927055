"""Fixtures for Lambda: the fake in process and on loopback, and its published API document as a judge."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from exatlas.clock import ManualClock
from exatlas.messages import HttpCall, HttpReply, Repeat
from exatlas.protocols import Context, Transport
from exatlas.providers.lambda_labs.fake import FakeLambda
from exatlas.providers.lambda_labs.provider import LambdaProvider
from exatlas.testing.clouds import serve
from exatlas.testing.documents import ApiDocument, JudgedTransport
from exatlas.transport.aiohttp import AiohttpTransport
from exatlas.transport.inprocess import InProcessTransport

DOCUMENT = Path(__file__).parents[4] / "shared" / "specs" / "lambda-cloud.json"
KEY = "secret_fake_0123456789abcdef.FAKEKEY"
LAUNCH = "0123456789ab"
URLS = {"api": "https://cloud.lambda.ai/api/v1"}

DEPARTURES: dict[str, Callable[[HttpReply], bool]] = {
    "429 is nowhere in the document, whose introduction states the limits all the same": lambda r: r.status == 429,
    "no 5xx is in the document, and they come": lambda r: r.status >= 500,
}
"""What Lambda has been seen to send without documenting it, and the fake sends too."""


class QuickClock:
    """Real time, a hundred times as fast: limits of a second are kept in ten milliseconds."""

    FACTOR = 100

    def __init__(self) -> None:
        self._begun = time.monotonic()

    def monotonic(self) -> float:
        return (time.monotonic() - self._begun) * self.FACTOR

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.monotonic())

    async def sleep(self, seconds: float, /) -> None:
        await asyncio.sleep(seconds / self.FACTOR)


@pytest.fixture(scope="session")
def judge_if_there() -> ApiDocument | None:
    return ApiDocument(DOCUMENT, server="https://cloud.lambda.ai") if DOCUMENT.exists() else None


@pytest.fixture(scope="session")
def judge(judge_if_there: ApiDocument | None) -> ApiDocument:
    if judge_if_there is None:
        pytest.skip("Lambda's published API document is not beside this checkout")
    return judge_if_there


def judged(fake: FakeLambda, judge: ApiDocument | None) -> Transport:
    """The fake as a transport; the document judges every call and every honest reply."""
    inner = InProcessTransport(fake.handle)
    if judge is None:
        return inner
    spoiled = 0

    def is_judged(call: HttpCall) -> bool:
        nonlocal spoiled
        spoiled = len(fake.faults.hits)
        return b"unjudged" not in (call.body or b"")

    def is_honest(_: HttpCall, reply: HttpReply) -> bool:
        return len(fake.faults.hits) == spoiled and not any(departs(reply) for departs in DEPARTURES.values())

    return JudgedTransport(inner, judge, judged=is_judged, honest=is_honest)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(auto=True)


@pytest.fixture
def fake(clock: ManualClock) -> FakeLambda:
    return FakeLambda(clock, api_key=KEY)


@pytest.fixture
def context(judge_if_there: ApiDocument | None) -> Callable[..., Context]:
    """A context over any fake, in process."""

    def build(fake: FakeLambda, **changes: Any) -> Context:
        ctx = Context(
            provider="lambda_labs",
            api_key=KEY,
            base_urls=URLS,
            transport=judged(fake, judge_if_there),
            clock=fake.clock,
            account=f"account-{id(fake)}",
        )
        return evolve(ctx, **changes)

    return build


@pytest.fixture
def ctx(context: Callable[..., Context], fake: FakeLambda) -> Context:
    return context(fake)


@pytest.fixture
def launch(ctx: Context) -> Context:
    """The context of one spawn."""
    return evolve(ctx, launch_id=LAUNCH)


@pytest.fixture
def provider() -> LambdaProvider:
    return LambdaProvider()


@pytest.fixture
def a_call() -> HttpCall:
    """A call to judge replies by."""
    return HttpCall(
        provider="lambda_labs",
        operation="get_compute",
        method="GET",
        url="https://cloud.lambda.ai/api/v1/instances/x",
        template="/api/v1/instances/{id}",
        repeat=Repeat.SAFE,
        secrets=(KEY, "s3cr3t-value"),
    )


@pytest.fixture
async def loopback() -> AsyncIterator[tuple[FakeLambda, Context]]:
    """The fake behind a real socket, and a context with the real transport; time runs a hundred times as fast."""
    clock = QuickClock()
    # Requests that leave in time may arrive bunched up, so the limit is proved in process, where nothing is on the way.
    fake = FakeLambda(clock, api_key=KEY, boot_s=60, terminating_s=10, limited=False)
    async with serve(fake.handle) as origin:
        transport = AiohttpTransport()
        try:
            yield (
                fake,
                Context(
                    provider="lambda_labs",
                    api_key=KEY,
                    base_urls=fake.base_urls(origin),
                    transport=transport,
                    clock=clock,
                    account=f"loopback-{origin}",
                ),
            )
        finally:
            await transport.aclose()
