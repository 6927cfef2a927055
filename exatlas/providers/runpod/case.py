"""RunPod's fake, as a case for the conformance suite."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from secrets import token_hex
from typing import Any

from exatlas.clock import ManualClock
from exatlas.fakes.case import PATIENCE, Case, JobKit
from exatlas.protocols import Clock
from exatlas.providers.runpod.fake import FakeRunPod
from exatlas.providers.runpod.provider import RunPodProvider
from exatlas.transport.inprocess import InProcessTransport

ENDPOINT = "ep1"
GPU = "NVIDIA L4"
CALLS = {
    "spawn_compute": ("POST", "/pods"),
    "get_compute": ("GET", ""),
    "list_compute": ("GET", "/pods"),
    "terminate": ("DELETE", ""),
    "get_job": ("GET", ""),
    "stream_job": ("GET", ""),
}
"""Method and end of the path of the calls that make up an operation."""


def case_of(cloud: FakeRunPod, **options: Any) -> Case:
    """The case over a fake that the options lead to."""
    cloud.endpoint(ENDPOINT, _work, step_s=1.0)
    return Case(
        provider=RunPodProvider(),
        options={"credentials": {"runpod": cloud.api_key}, "clock": cloud.clock, **options},
        request={"gpu": "l4", "image": "app:1", "env": {"PASSWORD": "s3cr3t-value-of-env"}},
        unknown_id="nopod00000",
        rented=lambda: [pod.id for pod in cloud.rented()],
        requests=lambda: len(cloud.calls),
        trouble=lambda fault, operation, times: cloud.fail(fault, *CALLS[operation], times=times),
        exhaust=lambda: cloud.stock.left.update({(GPU, "SECURE"): 0, (GPU, "COMMUNITY"): 0}),
        wrong_key="rpa_WRONGKEY0123456789",
        jobs=JobKit(
            endpoint=ENDPOINT,
            counting=lambda chunks: {"chunks": chunks},
            outputs=lambda chunks: [{"number": number} for number in range(chunks)],
            failing={"chunks": 1, "then": "fail"},
            endless={"chunks": 1, "then": "go on"},
        ),
        log=cloud.log,
        secrets=(cloud.api_key,),
    )


def fake(clock: Clock) -> FakeRunPod:
    """A fresh account, whose key no other has."""
    return FakeRunPod(clock, api_key=f"rpa_{token_hex(16)}", page_size=2)


@asynccontextmanager
async def case() -> AsyncGenerator[Case, None]:
    """A fresh fake in the process, with a clock that turns itself."""
    cloud = fake(ManualClock(auto=True, patience=PATIENCE))
    yield case_of(cloud, transport=InProcessTransport(cloud.handle))


async def _work(job: Any) -> AsyncIterator[Any]:
    for number in range(job["input"]["chunks"]):
        yield {"number": number}
    then = job["input"].get("then")
    if then == "fail":
        raise ValueError("the job was told to fail")
    while then == "go on":
        yield {"number": -1}
