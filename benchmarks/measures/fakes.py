"""The clouds in a box: how much a fan-out adds to its slowest cloud, and how many machines a second can be rented."""

import asyncio
import time
from collections.abc import Mapping
from statistics import median
from typing import Any

from benchmarks.measures import Numbers
from exatlas.client.atlas import Atlas
from exatlas.clock import ManualClock, SystemClock
from exatlas.fakes import Case, FakeCloud
from exatlas.messages import HttpCall, HttpReply
from exatlas.protocols import ByteStream
from exatlas.providers.memory.case import case as memory_case
from exatlas.testing.cases import module_of
from exatlas.transport.inprocess import InProcessTransport, StreamingReply


class _Distant:
    """Several clouds behind one transport, each so many seconds away."""

    def __init__(self, clouds: Mapping[str, tuple[FakeCloud, float]]) -> None:
        self._clouds = clouds

    async def send(self, call: HttpCall, /) -> HttpReply:
        cloud, away_s = self._clouds[call.provider]
        await asyncio.sleep(away_s)
        return await InProcessTransport(cloud.handle).send(call)

    async def open(self, call: HttpCall, /) -> ByteStream:
        cloud, away_s = self._clouds[call.provider]
        await asyncio.sleep(away_s)
        return await InProcessTransport(cloud.handle).open(call)

    async def aclose(self) -> None:
        pass


def fan(contender: str, *, away_ms: Mapping[str, int], repeats: int) -> Numbers:
    """List the machines of all clouds at once. The floor only waits as long for each cloud as it takes alone."""
    return asyncio.run(_fan(contender, away_ms, repeats))


async def _fan(contender: str, away_ms: Mapping[str, int], repeats: int) -> Numbers:
    over_ms = []
    for _ in range(repeats):
        async with _fresh(away_ms) as atlas:
            alone = {name: await _timed(atlas.list_compute(provider=name)) for name in away_ms}
        async with _fresh(away_ms) as atlas:
            if contender == "floor":
                together = await _timed(asyncio.gather(*(asyncio.sleep(seconds) for seconds in alone.values())))
            else:
                together = await _timed(atlas.list_compute(providers=list(away_ms)))
        over_ms.append((together - max(alone.values())) * 1000)
    return {"over_ms": median(over_ms)}


def _fresh(away_ms: Mapping[str, int]) -> Atlas:
    """A client for new accounts: those of before would still be held to their clouds' request limits."""
    clouds = {name: (module_of(name).fake(SystemClock()), ms / 1000) for name, ms in away_ms.items()}
    keys = {name: cloud.api_key for name, (cloud, _) in clouds.items()}
    return Atlas(credentials=keys, transport=_Distant(clouds), env={})


async def _timed(work: Any) -> float:
    started = time.perf_counter()
    await work
    return time.perf_counter() - started


def spawns(contender: str, *, provider: str, machines: int) -> Numbers:
    """Rent machines from a fake. The floor hands it the same requests, as they were recorded, and reads nothing."""
    return asyncio.run(_spawns(contender, provider, machines))


async def _spawns(contender: str, provider: str, machines: int) -> Numbers:
    if provider == "memory":
        async with memory_case() as case:
            return await _rate(case, machines)
    module = module_of(provider)
    cloud: FakeCloud = module.fake(ManualClock(auto=True))
    recorded: list[HttpCall] = []

    async def handle(call: HttpCall) -> HttpReply | StreamingReply:
        recorded.append(call)
        return await cloud.handle(call)

    if contender == "exatlas":
        return await _rate(module.case_of(cloud, transport=InProcessTransport(cloud.handle)), machines)
    await _rate(module.case_of(cloud, transport=InProcessTransport(handle)), 1)
    started = time.perf_counter()
    for _ in range(machines):
        for call in recorded:
            await cloud.handle(call)
    return {"spawns_per_s": machines / (time.perf_counter() - started)}


async def _rate(case: Case, machines: int) -> Numbers:
    async with Atlas(case.provider, **{"env": {}, **case.options}) as atlas:
        started = time.perf_counter()
        for _ in range(machines):
            await atlas.spawn_compute(**case.request)
        return {"spawns_per_s": machines / (time.perf_counter() - started)}
