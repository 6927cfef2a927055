"""SIGKILL at every point of a machine's life: what the ledger has is enough for another process to clean up."""

import asyncio
import sys
from datetime import UTC, datetime

import pytest

from exatlas import Atlas
from exatlas.ledger import SqlLedger
from exatlas.providers.runpod.fake import FakeRunPod
from exatlas.testing.clocks import FastClock
from exatlas.testing.clouds import serve
from exatlas.transport.inprocess import InProcessTransport

CHILD = '''
import asyncio, sys
from exatlas import Atlas
from exatlas.ledger import SqlLedger
from exatlas.transport.aiohttp import AiohttpTransport

def step(name):
    """Say where we are, and stand still until we may go on."""
    print(name, flush=True)
    sys.stdin.readline()

class Ledger(SqlLedger):
    async def intend(self, launch):
        step("before intended")
        await super().intend(launch)

    async def advance(self, launch_id, to, at, **facts):
        step(f"before {to.value}")
        return await super().advance(launch_id, to, at, **facts)

class Transport(AiohttpTransport):
    async def send(self, call):
        step(f"leaving {call.method}")
        return await super().send(call)

async def main():
    url, rest, runtime, key = sys.argv[1:]
    ledger, transport = Ledger(url), Transport()
    urls = {"runpod": {"rest": rest, "runtime": runtime}}
    options = {"credentials": {"runpod": key}, "base_urls": urls, "transport": transport}
    async with Atlas("runpod", ledger=ledger, owner="tests", env={}, **options) as atlas:
        compute = await atlas.spawn_compute(image="img", gpu="l4")
        step("spawned")
        await atlas.terminate(compute)
        step("terminated")

asyncio.run(main())
'''

POINTS = {
    "before intended": 0,
    "leaving POST": 0,
    "acted on POST": 1,
    "before created": 1,
    "spawned": 1,
    "before terminating": 1,
    "leaving DELETE": 1,
    "acted on DELETE": 0,
    "before gone": 0,
    "terminated": 0,
}
"""Where the child is killed, and how many machines are rented at that moment."""
PATIENCE_S = 30.0


class Cloud:
    """A fake whose reply to one kind of call never comes."""

    def __init__(self, silent_about):
        self.fake = FakeRunPod()
        self.acted = asyncio.Event()
        self._silent_about = silent_about

    async def handle(self, call):
        reply = await self.fake.handle(call)
        if f"acted on {call.method}" == self._silent_about:
            self.acted.set()
            await asyncio.Event().wait()
        return reply


async def kill_at(point, ledger_url, cloud, origin):
    """Run the child up to there."""
    urls = cloud.fake.base_urls(origin)
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", CHILD, ledger_url, urls["rest"], urls["runtime"], cloud.fake.api_key),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            acted = asyncio.create_task(cloud.acted.wait())
            while True:
                said = asyncio.create_task(child.stdout.readline())
                await asyncio.wait([said, acted], return_when=asyncio.FIRST_COMPLETED)
                if acted.done():
                    said.cancel()
                    return
                name = said.result().decode().strip()
                if name == point:
                    return
                assert name, f"the child ended before it came to {point!r}"
                child.stdin.write(b"\n")
    finally:
        acted.cancel()
        child.kill()
        await child.communicate()


async def killed_and_recovered(point, url, policy):
    """The fake and the ledger after all that."""
    cloud = Cloud(point)
    async with serve(cloud.handle) as origin:
        await kill_at(point, url, cloud, origin)
    fake = cloud.fake
    assert len(fake.rented()) == POINTS[point]
    ledger = SqlLedger(url)
    async with Atlas(
        "runpod",
        ledger=ledger,
        owner="tests",
        credentials={"runpod": fake.api_key},
        transport=InProcessTransport(fake.handle),
        clock=FastClock(start=datetime.now(UTC)),
        env={},
    ) as atlas:
        recovery = await atlas.recover(policy, older_than=0)
        assert recovery.complete
    launches = await ledger.find()
    await ledger.aclose()
    assert {line.launch_id for line in fake.invoice()} <= {launch.launch_id for launch in launches}
    open_ones = {launch.compute_id for launch in launches if not launch.state.is_final}
    assert {pod.id for pod in fake.rented()} == open_ones
    return open_ones


@pytest.mark.parametrize("sql_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("point", POINTS)
async def test_nothing_is_lost_with_a_process(sql_url, point):
    wanted = POINTS[point] and point not in ("leaving DELETE",)
    assert len(await killed_and_recovered(point, sql_url, "adopt")) == wanted


@pytest.mark.parametrize("sql_url", ["postgres"], indirect=True)
async def test_nor_with_postgresql(sql_url):
    assert await killed_and_recovered("acted on POST", sql_url, "terminate") == set()
