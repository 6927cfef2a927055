"""Workers that look after sessions, and sessions that are there already: in a ledger, and looked after by nobody yet.

``other``  a worker in a process of its own, to be killed
``bare``   the database without a ledger
"""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from attrs import evolve

from exatlas.client.atlas import Atlas
from exatlas.orchestrator import Limits, Orchestrator, events
from exatlas.orchestrator.session import compute_to_json, to_json
from exatlas.protocols import Context, Ledger
from exatlas.providers.memory.provider import MemoryProvider
from exatlas.records.compute import Compute, ComputeFilter, ComputeStatus
from exatlas.records.launch import Launch, LaunchState, RateSegment

OWNER = "render-farm"
NEVER_S = 30 * 24 * 3600.0
LIMITS = Limits(idle_ttl=6 * 3600, max_runtime=24 * 3600)
REQUEST = {"gpu": "l4", "image": "pytorch/pytorch:2.5.0-cuda12.1-cudnn9-runtime"}
KEPT = 50_000
"""Events that are kept: one for each session at least, so that all who are adopted can be read of."""


class ReadyCloud(MemoryProvider):
    """Has machines that nobody has rented of it, and lists them at no cost where that was prepared."""

    def __init__(self) -> None:
        super().__init__()
        self.machines: list[Compute] = []
        self.prepared: list[Compute] = []
        self.asked: asyncio.Queue[float] = asyncio.Queue()
        """The CPU time of this process after each list call. Whoever waits for one goes on once the poll is over."""

    def prepare(self) -> None:
        """Make the records of the next list call now."""
        self.prepared = [evolve(machine) for machine in self.machines]

    async def list_compute(self, filters: ComputeFilter, ctx: Context, /) -> list[Compute]:
        """New records in each answer, as a cloud's own are."""
        if not self.prepared:
            self.prepare()
        machines, self.prepared = self.prepared, []
        self.asked.put_nowait(time.process_time())
        return machines


@asynccontextmanager
async def working(cloud: MemoryProvider, ledger: Ledger, **options: Any) -> AsyncGenerator[Orchestrator, None]:
    """A worker that polls and reaps only when it is told to."""
    often = {"poll_every": NEVER_S, "reap_every": NEVER_S, "events_kept": KEPT} | options
    async with Atlas(cloud, ledger=ledger, owner=OWNER, env={}) as atlas, Orchestrator(atlas, **often) as orchestrator:
        yield orchestrator


async def fill(ledger: Ledger, cloud: ReadyCloud, number: int) -> None:
    """Write so many sessions into a ledger, and their machines into the cloud. They outlive their workers."""
    async with Atlas(cloud, env={}) as atlas:
        account = (await atlas.context()).account
    start = len(cloud.machines)
    cloud.machines += [_machine(index) for index in range(start, start + number)]
    launches = [_launch(machine, account) for machine in cloud.machines[start:]]
    for first in range(0, number, 5000):
        await asyncio.gather(*(ledger.intend(launch) for launch in launches[first : first + 5000]))


async def adopted(worker: Orchestrator, number: int, after: int | None = 0) -> datetime:
    """Wait until so many sessions were taken over since an event, or from now on. Gives when the last one was."""
    async with aclosing(worker.events(after=after)) as reader:
        left = number
        async for event in reader:
            left -= isinstance(event, events.Adopted)
            if not left:
                return event.at
    raise RuntimeError("the worker was left before it had them all")


def _machine(index: int) -> Compute:
    mark = f"{index:012x}"
    return Compute(
        id=f"mem-{index:08}",
        provider="memory",
        status=ComputeStatus.RUNNING,
        name=f"render-worker-{mark}",
        launch_id=mark,
        image=REQUEST["image"],
        gpu_type="l4",
        gpu_native="L4",
        gpu_count=1,
        cost_usd_per_hour=Decimal("0.80"),
        region="memory-1",
        created_at=datetime.now(UTC),
    )


def _launch(machine: Compute, account: str) -> Launch:
    now = datetime.now(UTC)
    return Launch(
        launch_id=machine.launch_id or "",
        owner=OWNER,
        provider=machine.provider,
        account=account,
        state=LaunchState.READY,
        tenant="studio",
        user="ada",
        request={"gpu": ["l4"], "gpu_count": 1, "image": REQUEST["image"]},
        session=to_json(LIMITS, keep_on_exit=True),
        machine=compute_to_json(machine),
        compute_id=machine.id,
        rates=(RateSegment(since=now, usd_per_hour=Decimal("0.80")),),
        intended_at=now,
        created_at=now,
        ready_at=now,
        updated_at=now,
    )
