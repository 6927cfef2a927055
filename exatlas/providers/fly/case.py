"""Fly's fake, as a case for the conformance suite."""

from base64 import b64encode
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from secrets import token_bytes
from typing import Any

from exatlas.clock import ManualClock
from exatlas.fakes.case import PATIENCE, Case
from exatlas.protocols import Clock
from exatlas.providers.fly.fake import FakeFly
from exatlas.providers.fly.fake.places import REGIONS
from exatlas.providers.fly.provider import FlyProvider
from exatlas.transport.inprocess import InProcessTransport

CALLS = {
    "spawn_compute": ("POST", "/machines"),
    "get_compute": ("GET", ""),
    "list_compute": ("GET", "/machines"),
    "terminate": ("DELETE", ""),
    "stop": ("POST", "/stop"),
    "start": ("POST", "/start"),
}
"""Method and end of the path of the calls that make up an operation."""


def case_of(cloud: FakeFly, **options: Any) -> Case:
    """The case over a fake that the options lead to."""
    return Case(
        provider=FlyProvider(),
        options={"credentials": {"fly": cloud.api_key}, "clock": cloud.clock, **options},
        request={
            "image": "app:1",
            "ports": ["8000/http", "22/tcp"],
            "volume_gb": 1,
            "region_hints": ["iad", "ewr"],
            "env": {"PASSWORD": "s3cr3t-value-of-env"},
        },
        unknown_id="exatlas-ffffffffffff/ffff8d413b29d0",
        rented=lambda: [machine.id for machine in cloud.rented()],
        requests=lambda: len(cloud.calls),
        trouble=lambda fault, operation, times: cloud.fail(fault, *CALLS[operation], times=times),
        exhaust=lambda: cloud.room.update(dict.fromkeys(REGIONS, 0)),
        wrong_key="fm2_d3JvbmcgYW5kIG5vYm9keSdz",
        log=cloud.log,
        secrets=(cloud.api_key,),
    )


def fake(clock: Clock) -> FakeFly:
    """A fresh account, whose key no other has.

    Requests that leave in time may arrive bunched up over a socket, so the limits are kept in the process only.
    """
    cloud = FakeFly(clock, api_key=f"fm2_{b64encode(token_bytes(24)).decode()}", page_size=2)
    cloud.limited = False
    return cloud


@asynccontextmanager
async def case() -> AsyncGenerator[Case, None]:
    """A fresh fake in the process, with a clock that turns itself."""
    cloud = fake(ManualClock(auto=True, patience=PATIENCE))
    cloud.limited = True
    yield case_of(cloud, transport=InProcessTransport(cloud.handle))
