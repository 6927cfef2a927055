"""Lambda's fake, as a case for the conformance suite."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from secrets import token_hex
from typing import Any

from exatlas.clock import ManualClock
from exatlas.fakes.case import PATIENCE, Case
from exatlas.protocols import Clock
from exatlas.providers.lambda_labs.fake import FakeLambda
from exatlas.providers.lambda_labs.provider import LambdaProvider
from exatlas.transport.inprocess import InProcessTransport

KIND = "gpu_1x_a10"
CALLS = {
    "spawn_compute": ("POST", "/instance-operations/launch"),
    "get_compute": ("GET", ""),
    "list_compute": ("GET", "/instances"),
    "terminate": ("POST", "/instance-operations/terminate"),
}
"""Method and end of the path of the calls that make up an operation."""


def case_of(cloud: FakeLambda, **options: Any) -> Case:
    """The case over a fake that the options lead to."""
    return Case(
        provider=LambdaProvider(),
        options={"credentials": {"lambda_labs": cloud.api_key}, "clock": cloud.clock, **options},
        request={
            "gpu": "a10",
            "image": "app:1",
            "ports": ["8000/tcp"],
            "region_hints": ["us-east-1", "us-west-1"],
            "env": {"PASSWORD": "s3cr3t-value-of-env"},
        },
        unknown_id="0" * 32,
        rented=lambda: [each.id for each in cloud.rented()],
        requests=lambda: len(cloud.calls),
        trouble=lambda fault, operation, times: cloud.fail(fault, *CALLS[operation], times=times),
        exhaust=lambda: cloud.capacity.sell_out(KIND),
        wrong_key="secret_wrong_0123456789abcdef.WRONGKEY",
        secrets=(cloud.api_key,),
    )


def fake(clock: Clock) -> FakeLambda:
    """A fresh account, whose key no other has. Its machines boot, and keep their rulesets for a while when they end.

    Requests that leave in time may arrive bunched up over a socket, so the limits are kept in the process only.
    """
    key = f"secret_{token_hex(8)}.{token_hex(16)}"
    return FakeLambda(clock, api_key=key, boot_s=120.0, terminating_s=5.0, limited=False)


@asynccontextmanager
async def case() -> AsyncGenerator[Case, None]:
    """A fresh fake in the process, with a clock that turns itself."""
    cloud = fake(ManualClock(auto=True, patience=PATIENCE))
    cloud.limited = True
    yield case_of(cloud, transport=InProcessTransport(cloud.handle))
