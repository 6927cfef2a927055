"""Vast's fake, as a case for the conformance suite."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from secrets import token_hex
from typing import Any

from exatlas.clock import ManualClock
from exatlas.fakes.case import PATIENCE, Case
from exatlas.protocols import Clock
from exatlas.providers.vast.fake import FakeHost, FakeVast
from exatlas.providers.vast.fake.instances import KEY
from exatlas.providers.vast.provider import VastProvider
from exatlas.transport.inprocess import InProcessTransport

HOSTS = 40
CALLS = {
    "spawn_compute": ("PUT", "/"),
    "get_compute": ("GET", "/"),
    "list_compute": ("GET", "/api/v1/instances/"),
    "terminate": ("DELETE", "/"),
}
"""Method and end of the path of the calls that make up an operation."""


def case_of(cloud: FakeVast, **options: Any) -> Case:
    """The case over a fake that the options lead to."""
    return Case(
        provider=VastProvider(),
        options={"credentials": {"vast": cloud.api_key}, "clock": cloud.clock, **options},
        request={"gpu": "rtx_4090", "image": "app:1", "env": {"PASSWORD": "s3cr3t-value-of-env"}},
        unknown_id="7000000",
        rented=lambda: [instance.id for instance in cloud.rented()],
        requests=lambda: len(cloud.calls),
        trouble=lambda fault, operation, times: cloud.fail(fault, *CALLS[operation], times=times),
        exhaust=cloud.sell_out,
        wrong_key="vastWRONGKEY0123456789",
        log=cloud.log,
        secrets=(cloud.api_key, KEY),
    )


def fake(clock: Clock) -> FakeVast:
    """A fresh account, whose key no other has, and a market of many machines of one kind."""
    hosts = [_host(number) for number in range(HOSTS)]
    return FakeVast(clock, api_key=f"vast{token_hex(16)}", page_size=2, hosts=hosts)


def _host(number: int) -> FakeHost:
    return FakeHost(machine_id=4000 + number, gpu_name="RTX 4090", gpu_ram=24564, base=0.35, country="DE")


@asynccontextmanager
async def case() -> AsyncGenerator[Case, None]:
    """A fresh fake in the process, with a clock that turns itself."""
    cloud = fake(ManualClock(auto=True, patience=PATIENCE))
    yield case_of(cloud, transport=InProcessTransport(cloud.handle))
