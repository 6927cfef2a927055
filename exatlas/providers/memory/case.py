"""The in-memory cloud, as a case for the conformance suite."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from exatlas.clock import ManualClock
from exatlas.errors import AtlasError, ProviderBrokenError, TransportError, TransportTimeoutError
from exatlas.fakes.case import PATIENCE, Case, JobKit, NotApplicableError
from exatlas.fakes.faults import BEFORE, Fault
from exatlas.providers.memory.provider import MemoryProvider

ENV = {"PASSWORD": "s3cr3t-value-of-env"}


@asynccontextmanager
async def case(cls: type[MemoryProvider] = MemoryProvider) -> AsyncGenerator[Case, None]:
    """A fresh cloud with a clock that turns itself."""
    clock = ManualClock(auto=True, patience=PATIENCE)
    async with cls(clock=clock, handlers={"work": _work}) as cloud:

        def trouble(fault: Fault, operation: str, times: int) -> None:
            if operation not in ("spawn_compute", "list_compute") or fault in (Fault.LIMITED, Fault.EDGE):
                raise NotApplicableError("nothing travels in memory, so nothing is sent again")
            cloud.fail_next(operation, _error_of(fault), after_acting=fault not in BEFORE, times=times)

        yield Case(
            provider=cloud,
            options={"clock": clock},
            request={"gpu": "l4", "image": "app:1", "env": ENV},
            unknown_id="mem-999999",
            rented=lambda: cloud.rented,
            requests=lambda: 0,
            trouble=trouble,
            exhaust=lambda: cloud.set_capacity("l4", 0),
            jobs=JobKit(
                endpoint="work",
                counting=lambda chunks: {"chunks": chunks},
                outputs=lambda chunks: [{"number": number} for number in range(chunks)],
                failing={"chunks": 1, "then": "fail"},
                endless={"chunks": 1, "then": "go on"},
            ),
            log=cloud.log,
        )


async def _work(job: Any) -> AsyncIterator[Any]:
    for number in range(job["input"]["chunks"]):
        yield {"number": number}
    then = job["input"].get("then")
    if then == "fail":
        raise ValueError("the job was told to fail")
    if then == "go on":
        await asyncio.Event().wait()


def _error_of(fault: Fault) -> AtlasError:
    if fault in (Fault.STALL_BEFORE, Fault.STALL_AFTER):
        return TransportTimeoutError("no reply in time")
    if fault in (Fault.ERROR_BEFORE, Fault.ERROR_AFTER):
        return ProviderBrokenError("the cloud failed", status=500)
    return TransportError("the connection broke")
