"""Real processes on one PostgreSQL, killed at random: every machine is accounted for."""

import asyncio
import json
import random
import sys
from collections import Counter
from datetime import UTC, datetime

import pytest

from exatlas import Atlas, LaunchState
from exatlas.ledger import SqlLedger
from exatlas.orchestrator import events
from exatlas.orchestrator.events import from_entry
from exatlas.providers.runpod.fake import FakeRunPod
from exatlas.testing.clocks import FastClock
from exatlas.testing.clouds import serve
from exatlas.transport.inprocess import InProcessTransport

CHILD = """
import asyncio, json, random, sys
from exatlas import Atlas, Orchestrator
from exatlas.errors import AtlasError
from exatlas.ledger import SqlLedger

AT_ONCE = 40

def say(**what):
    print(json.dumps(what), flush=True)

async def one_user(orch, wanted, chance):
    while wanted:
        try:
            session = await orch.spawn(image="img", gpu="l4", user=f"u{chance.randrange(50)}", keep_on_exit=True)
        except AtlasError:  # taken for dead for a moment, on a busy machine
            await asyncio.sleep(0.2)
            continue
        wanted -= 1
        say(got=session.id)
        if chance.random() < 0.3:
            await end(orch, session.id)

async def end(orch, session_id):
    say(ending=session_id)
    try:
        await orch.terminate(session_id)
    except AtlasError as error:
        say(failed=repr(error))
    else:
        say(ended=session_id)

async def somebody_elses(orch, chance):
    '''Calls about sessions that this worker may not hold.'''
    while True:
        await asyncio.sleep(0.1)
        try:
            sessions = await orch.list(user=f"u{chance.randrange(50)}")
            for session in sessions[:5]:
                await orch.touch(session)
            if sessions and chance.random() < 0.5:
                await end(orch, chance.choice(sessions).id)
        except AtlasError:
            pass

async def main():
    url, rest, runtime, key, wanted, seed = sys.argv[1:]
    chance = random.Random(int(seed))
    ledger = SqlLedger(url)
    urls = {"runpod": {"rest": rest, "runtime": runtime}}
    options = {"credentials": {"runpod": key}, "base_urls": urls, "env": {}}
    async with Atlas("runpod", ledger=ledger, owner="fleet", **options) as atlas:
        async with Orchestrator(atlas, lease=4, poll_every=10, reap_every=5, grace=4) as orch:
            stirring = asyncio.create_task(somebody_elses(orch, chance))
            async with asyncio.TaskGroup() as users:
                for number in range(AT_ONCE):
                    users.create_task(one_user(orch, (int(wanted) + number) // AT_ONCE, chance))
            say(done=True)
            await asyncio.to_thread(sys.stdin.read)
            stirring.cancel()
    await ledger.aclose()

asyncio.run(main())
"""

WORKERS = 3
SESSIONS = 2000
"""That somebody wants; some of their spawns die with a worker."""
KILLS = 8
PATIENCE_S = 200.0


class Worker:
    """A process, and what it has said."""

    def __init__(self, fleet, wanted):
        self.fleet, self.wanted = fleet, wanted
        self.said = []
        self.done = asyncio.Event()
        self.task = asyncio.create_task(self.run())

    async def run(self):
        arguments = (*self.fleet.arguments, str(self.wanted), str(self.fleet.chance.randrange(10**6)))
        self.child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", CHILD, *arguments), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        try:
            while line := await self.child.stdout.readline():
                said = json.loads(line)
                self.said.append(said)
                if "done" in said:
                    self.done.set()
            await self.child.wait()
        finally:
            if self.child.returncode is None:
                self.child.kill()
            await self.child.wait()
            self.done.set()

    @property
    def left(self):
        """How many sessions nobody was given yet."""
        return self.wanted - sum("got" in said for said in self.said)


class Fleet:
    def __init__(self, url, fake, origin, chance):
        urls = fake.base_urls(origin)
        self.arguments = (url, urls["rest"], urls["runtime"], fake.api_key)
        self.chance = chance
        self.living = []
        self.all = []
        self.kills = 0

    def start(self, wanted):
        worker = Worker(self, wanted)
        self.living.append(worker)
        self.all.append(worker)

    async def kill_one(self):
        """SIGKILL, and another process that gets on with the rest."""
        worker = self.chance.choice([one for one in self.living if hasattr(one, "child")])
        worker.child.kill()
        await worker.task
        self.kills += 1
        self.living.remove(worker)
        self.start(worker.left)

    def ids(self, word):
        return [said[word] for worker in self.all for said in worker.said if word in said]


async def run_fleet(fleet):
    for _ in range(WORKERS):
        fleet.start(SESSIONS // WORKERS)
    try:
        async with asyncio.timeout(PATIENCE_S):
            while len(fleet.ids("got")) < SESSIONS // 20:
                await asyncio.sleep(0.1)
            while fleet.kills < KILLS:
                await asyncio.sleep(fleet.chance.uniform(0.3, 1.5))
                await fleet.kill_one()
            for worker in fleet.living:
                await worker.done.wait()
            await asyncio.sleep(8)  # what the last one left is taken over
            for worker in fleet.living:
                worker.child.stdin.close()
                await worker.task
    finally:
        for worker in fleet.living:
            worker.task.cancel()
        await asyncio.wait([worker.task for worker in fleet.living])


@pytest.mark.timeout(300)
@pytest.mark.parametrize("sql_url", ["postgres"], indirect=True)
async def test_workers_that_are_killed_lose_nothing(sql_url, capsys):
    fake = FakeRunPod(quota_per_minute=10**9)
    chance = random.Random(20260101)
    async with serve(fake.handle) as origin:
        fleet = Fleet(sql_url, fake, origin, chance)
        await run_fleet(fleet)
    got, asked_to_end, ended = fleet.ids("got"), set(fleet.ids("ending")), set(fleet.ids("ended"))
    ledger = SqlLedger(sql_url)
    try:
        await check(fake, ledger, got, asked_to_end, ended)
        told = [from_entry(entry) for entry in await everything(ledger)]
    finally:
        await ledger.aclose()
    check_events(told)
    counts = {"kills": fleet.kills, "ended": len(ended), "not ended at once": len(fleet.ids("failed"))}
    with capsys.disabled():
        sys.stdout.write(f"\n{len(got)} sessions at {WORKERS} workers: {counts}, {len(told)} events\n")


async def check(fake, ledger, got, asked_to_end, ended):
    assert len(set(got)) == len(got) > SESSIONS * 0.8
    by_mark = Counter(line.launch_id for line in fake.invoice())
    assert max(by_mark.values()) == 1, "a machine was rented twice"
    transport = InProcessTransport(fake.handle)
    async with Atlas(
        "runpod",
        ledger=ledger,
        owner="fleet",
        env={},
        credentials={"runpod": fake.api_key},
        transport=transport,
        clock=FastClock(start=datetime.now(UTC)),
    ) as atlas:
        assert (await atlas.recover("adopt", older_than=0)).complete
        launches = {launch.launch_id: launch for launch in await ledger.find(owner="fleet")}
        rented = {line.launch_id for line in fake.invoice() if line.open}
        assert set(by_mark) <= set(launches), "a machine that the ledger does not know"
        assert rented == {mark for mark, launch in launches.items() if not launch.state.is_final}
        assert set(got) - asked_to_end <= rented, "a session that somebody has was ended"
        assert not ended & rented, "a session that was told to have ended is still there"
        assert (await atlas.recover("terminate", older_than=0)).complete
    assert fake.rented() == []
    assert {launch.state for launch in await ledger.find(owner="fleet")} == {LaunchState.GONE}


async def everything(ledger):
    found = []
    while page := await ledger.entries("fleet", found[-1].seq if found else 0, 1000):
        found += page
    return found


def check_events(told):
    numbers = [event.seq for event in told]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    ends = Counter(event.session for event in told if isinstance(event, events.Terminated | events.Lost))
    twice = [name for name, number in ends.items() if number > 1]
    assert not twice, [event for event in told if event.session == twice[0]]
    begun = Counter(event.session for event in told if isinstance(event, events.Created))
    assert max(begun.values()) == 1
