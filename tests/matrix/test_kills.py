"""SIGKILL at every step of a process: what the ledger has is enough for the next one to clean up."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path

import pytest

from exatlas import Atlas, Orchestrator
from exatlas.fakes.faults import Fault
from exatlas.ledger import SqlLedger
from exatlas.testing.clocks import FastClock
from exatlas.testing.clouds import serve
from exatlas.transport.inprocess import InProcessTransport
from tests.matrix.counting import count
from tests.matrix.template import OPERATIONS, SPEED

SERVED = ("runpod", "vast", "lambda_labs", "fly")
"""The cloud in memory dies with its process, and has nothing to lose."""
FAULTS = (None, Fault.DROP_AFTER, Fault.ERROR_AFTER)
MOST = 20_000


class Template:
    """The process that forks."""

    def __init__(self, process):
        self._process = process

    async def run(self, **order) -> int:
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        async with asyncio.timeout(60):
            return int(await self._process.stdout.readline())


@asynccontextmanager
async def template() -> AsyncIterator[Template]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.matrix.template"),
        cwd=Path(__file__).parent.parent.parent,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield Template(process)
    finally:
        process.kill()
        await process.communicate()


class Served:
    """A provider's fake on loopback, a new one for each case."""

    def __init__(self, provider):
        self.provider = provider
        self.module = import_module(f"exatlas.providers.{provider}.case")
        self.renew()

    def renew(self):
        self.cloud = self.module.fake(FastClock(SPEED, start=datetime.now(UTC)))
        self.case = self.module.case_of(self.cloud)

    async def handle(self, call):
        return await self.cloud.handle(call)


async def settled(served, ledger, owner):
    """What is left, by the cloud and by the ledger, after a recovery and a pass of the reaper."""
    served.cloud.faults.clear()
    clock = FastClock(SPEED, start=datetime.now(UTC))
    async with Atlas(
        served.case.provider,
        ledger=ledger,
        owner=owner,
        env={},
        clock=clock,
        credentials={served.provider: served.cloud.api_key},
        transport=InProcessTransport(served.cloud.handle),
    ) as atlas:
        assert (await atlas.recover("adopt", older_than=0)).complete
        async with Orchestrator(atlas, ledger) as orch:
            assert (await orch.reap()).orphans == ()
        launches = {one.launch_id: one for one in await ledger.find(owner=owner)}
        marks = {line.launch_id for line in served.cloud.invoice()}
        assert marks <= set(launches), "a machine that the ledger does not know"
        assert (await atlas.recover("terminate", older_than=0)).complete
    assert list(served.case.rented()) == [], "a machine that nobody wants"
    assert all(one.state.is_final for one in await ledger.find(owner=owner))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("sql_url", ["sqlite", "postgres"], indirect=True)
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("provider", SERVED)
async def test_killed_at_every_step(provider, operation, sql_url, kill_every):
    kind = sql_url.partition(":")[0]
    served = Served(provider)
    # By this one's clock, every lease of those who were killed has run out.
    ledger = SqlLedger(sql_url, clock=FastClock(SPEED, start=datetime.now(UTC) + timedelta(days=1)))
    await ledger.find(owner="nobody")
    tried = 0
    try:
        async with template() as forks, serve(served.handle) as origin:
            for number, fault in enumerate(FAULTS):
                for steps in range(number * kill_every // len(FAULTS), MOST, kill_every):
                    served.renew()
                    if fault is not None:
                        served.case.trouble(fault, "spawn_compute", 1)
                    owner = f"{fault}-{steps}"
                    urls = served.cloud.base_urls(origin)
                    order = {"provider": provider, "operation": operation, "urls": urls, "key": served.cloud.api_key}
                    ended = await forks.run(**order, ledger=sql_url, owner=owner, steps=steps)
                    assert ended in (0, -signal.SIGKILL)
                    await settled(served, ledger, owner)
                    tried += 1
                    if ended == 0:
                        break
    finally:
        await ledger.aclose()
    count(provider, f"SIGKILL, {kind}", operation, tried)
