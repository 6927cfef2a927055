"""One cloud, one ledger and some workers of one owner, under a clock that turns itself in one event loop."""

import asyncio
import logging
from datetime import UTC, datetime
from decimal import Decimal
from itertools import count
from unittest.mock import patch

from exatlas import ManualClock
from exatlas.errors import AtlasError
from exatlas.ledger import MemoryLedger
from exatlas.orchestrator.endings import RETRY_S
from exatlas.providers.memory import MemoryProvider
from exatlas.records.launch import LaunchState
from tests.orchestrator.history import Excuses, History
from tests.orchestrator.judge import Judge
from tests.orchestrator.processes import OWNER, Process, task_of_a_process

LEASE_S, POLL_S, GRACE_S, REAP_S = 40.0, 60.0, 90.0, 300.0
TAKEOVER_S = 1.25 * LEASE_S + 5
"""A lease, a quarter of one until somebody looks, and what calls take."""
LATENCY_S = 0.2
EVENING = datetime(2026, 1, 31, 21, tzinfo=UTC)
"""A day and a month end soon."""


class Pausing(ManualClock):
    """Turns itself while somebody waits for something, and not at the moment at which that has come."""

    is_held = True

    def _turn_when_idle(self, loop, patience):
        if self.is_held:
            self._turning = None
        else:
            super()._turn_when_idle(loop, patience)

    async def during(self, work):
        self.is_held = False
        self._turn_soon(asyncio.get_running_loop())
        try:
            return await work
        finally:
            self.is_held = True


class Row(MemoryLedger):
    """The ledger, which never forgets what was published, and tells the world of what matters."""

    def __init__(self, world):
        super().__init__(world.clock)
        self._world = world
        self.row = []

    async def publish(self, owner, entries, keep):
        last = await super().publish(owner, entries, keep)
        self.row += [*self._outboxes[owner].entries][-len(entries) :] if len(entries) <= keep else entries
        return last

    async def advance(self, launch_id, to, at, **facts):
        before = self._launches.get(launch_id)
        after = await super().advance(launch_id, to, at, **facts)
        self._world.advanced(before, after)
        return after

    async def seize(self, launch_id, worker):
        before = await self.get(launch_id)
        given = await super().seize(launch_id, worker)
        if before is not None and before.worker != worker:
            self._world.moved(launch_id, before.worker)
        return given

    async def claim(self, worker, most):
        given = await super().claim(worker, most)
        for launch in given:
            self._world.moved(launch.launch_id, None)
        return given


class World:
    def __init__(self, kept, budgets):
        self.loop = asyncio.new_event_loop()
        self.loop.set_task_factory(task_of_a_process)
        self.loop.set_exception_handler(lambda _, context: self.troubles.append(context))
        self.troubles = []
        """What nobody has caught."""
        self.clock = Pausing(EVENING, auto=True)
        self.cloud = MemoryProvider(clock=self.clock, latency_s=LATENCY_S, boot_s=20)
        self.ledger = Row(self)
        self.kept = kept
        self.budgets = budgets
        self.processes = []
        self.history = History(self.cloud)
        self.excuses, self.blind = Excuses(), Excuses()
        """When limits could not be kept, and when prices could not be seen."""
        self._alone_since = self.now
        """Since when no worker is well."""
        self.doubted = {}
        """How long nobody knew of a machine."""
        self.taken = {}
        """When a launch was taken from somebody who has to be told."""
        self.had_silence = False
        """Whether anybody could not tell at once what it knew."""
        self.judge = Judge(self)
        numbers = count(1)
        self._names = patch("secrets.token_hex", lambda size: f"{next(numbers):0{2 * size}x}")
        self._names.start()
        logging.disable()

    poll_s = POLL_S + 2
    """A poll, and what its calls take."""
    start = EVENING

    @property
    def days(self):
        return (self.now - EVENING).days + 2

    @property
    def now(self):
        return self.clock.now()

    @property
    def now_s(self):
        return self.clock.monotonic()

    def run(self, coroutine):
        return self.loop.run_until_complete(self.clock.during(coroutine))

    def launches(self):
        return list(self.ledger._launches.values())

    def is_alive(self, worker):
        """Whether the ledger takes a worker for living."""
        return worker in self.ledger._workers

    def holder(self, launch):
        """The process that looks after a launch, if there is one."""
        return next((one for one in self.up() if one.lease.name == launch.worker), None)

    def up(self):
        return [process for process in self.processes if not process.is_gone]

    def well(self):
        return [process for process in self.processes if process.is_well]

    def frozen(self):
        return [process for process in self.up() if process.gate.is_frozen]

    def cut_off(self):
        return [process for process in self.up() if process.wire.is_cut]

    def mark_of(self, compute_id):
        return self.cloud._known(compute_id).launch_id

    # ---- what may go on for how long

    def disturbed(self, *processes):
        """Something befell these: what they look after, and what nobody does, has to find somebody."""
        for process in processes:
            process.unwell_until = self.now_s + TAKEOVER_S
            self.judge.stops(process)
        for launch in self.launches():
            holder = self.holder(launch)
            if holder is None or holder in processes or not holder.is_well:
                self.excuse(launch.launch_id, TAKEOVER_S)
        if self._alone_since is not None:
            for launch in self.launches():
                self.excuse(launch.launch_id, TAKEOVER_S, since=self._alone_since)
        self._alone_since = None if self.well() else self.now

    def excuse(self, mark, seconds, since=None):
        begin = since or self.now
        seconds += (self.now - begin).total_seconds()
        self.excuses.add(mark, begin, seconds)
        self.blind.add(mark, begin, seconds)

    def failed(self, process, operation):
        """A call of a process failed, and what it might have seen was not seen."""
        for launch in self.launches():
            if launch.worker == process.lease.name:
                self.blind.add(launch.launch_id, self.now, LATENCY_S)
        del operation

    def not_terminated(self, mark):
        self.excuse(mark, RETRY_S + 1)

    def advanced(self, before, after):
        mark = after.launch_id
        doubtful = (LaunchState.INTENDED, LaunchState.LOST)
        if before.state in doubtful and after.state is not before.state:
            for life in self.history.of(mark):
                self.excuse(mark, 0, since=life.rates[0][0])
                self.doubted[mark] = self.now - life.rates[0][0]
        self.judge.advanced(before, after)

    def moved(self, mark, former):
        self.taken[mark] = self.now_s
        self.blind.add(mark, self.now, LATENCY_S)
        del former

    # ---- what happens

    def begin(self, wrong_by=0.0):
        process = Process(
            self,
            str(len(self.processes) + 1),
            wrong_by,
            {
                "lease": LEASE_S,
                "poll_every": POLL_S,
                "grace": GRACE_S,
                "reap_every": REAP_S,
                "events_kept": self.kept,
                "budgets": self.budgets,
            },
        )
        self.run(self.until(process.start(process.orch.__aenter__())))
        self.processes.append(process)
        self.disturbed()
        self.judge.follow(process)
        return process

    async def until(self, call, seconds=300.0):
        """Wait for a call, for so long. What a cloud or a ledger refuses is no matter here."""
        patience = asyncio.ensure_future(self.clock.sleep(seconds))
        await asyncio.wait([call, patience], return_when=asyncio.FIRST_COMPLETED)
        patience.cancel()
        if call.done() and not call.cancelled() and not isinstance(call.exception(), AtlasError):
            return call.result()
        return None

    async def settle(self, rounds=30):
        for _ in range(rounds):
            await asyncio.sleep(0)

    def ask(self, process, coroutine, wait_s):
        """Ask something of a process, and wait for a while."""
        call = process.ask(coroutine)
        self.run(self.settle(3))
        return self.run(self.until(call, wait_s)) if wait_s else None

    def crash(self, process):
        self.judge.dies(process)
        process.is_gone = True
        self.disturbed(process)
        self.run(process.die())

    def leave(self, process):
        """It waits for what is going on, and that for the cloud."""
        self.disturbed(process)
        call = process.start(process.leave())
        self.run(self.until(call, 600.0))
        assert call.done(), f"{process} does not leave"
        self.judge.left(process)
        self.disturbed()

    def freeze(self, process):
        """Its tasks do not run: what it has sent arrives, and no answer comes in."""
        if process.is_up:
            process.gate.freeze()
            self.had_silence = True
            self.disturbed(process)

    def thaw(self, process):
        if process.gate.is_frozen:
            process.gate.thaw()
            self.disturbed(process)

    def cut(self, process):
        if not process.wire.is_cut:
            process.wire.is_cut = self.had_silence = True
            self.disturbed(process)

    def mend(self, process):
        self.thaw(process)
        process.wire.loses.clear()
        if process.wire.is_cut:
            process.wire.is_cut = False
            self.disturbed(process)

    def lose_answer(self, process, operation):
        process.wire.loses.add(operation)
        self.disturbed(process)

    async def touch(self, process, session):
        at = self.now
        self.judge.used(session, at, process, surely=False)
        await process.orch.touch(session)
        self.judge.used(session, at, process, surely=True)

    async def change(self, process, session, what):
        at = self.now
        if what == "start":
            self.judge.used(session, at, process, surely=False)
        await getattr(process.orch, what)(session)
        if what == "start":
            self.judge.used(session, at, process, surely=True)

    def machines(self, mark):
        return [machine.id for machine in self.cloud._fleet.everything() if machine.launch_id == mark]

    def lose(self, mark):
        for compute_id in self.machines(mark):
            self.cloud.lose(compute_id)
        self.history.look(self.now)

    def reprice(self, mark, factor):
        for compute_id in self.machines(mark):
            price = self.cloud._known(compute_id).usd_per_hour
            self.cloud.set_price(compute_id, min(price * Decimal(factor), Decimal(20)))
        self.history.look(self.now)

    def read(self, process, after, session):
        self.judge.follow(process, after, session=session)

    def pass_time(self, seconds):
        number = len(self.ledger.row)
        self.run(self.clock.sleep(seconds))
        if seconds >= 10:
            self.judge.check_readers_are_up_to_date(number)

    # ---- the end of the world

    def end(self):
        """Everybody leaves or dies, and somebody new cleans up."""
        for process in self.up():
            if process.is_well:
                self.leave(process)
            else:
                self.crash(process)
        self.cloud._faults._orders.clear()
        last = self.begin()
        self.pass_time(TAKEOVER_S + 2 * GRACE_S + 2 * REAP_S + 2 * RETRY_S)
        self.judge.check()
        sessions = self.ask(last, last.orch.list(), 300)
        assert sorted(self.cloud.rented) == sorted(session.compute.id for session in sessions)
        assert self._open() == {session.id for session in sessions}
        self.leave(last)
        kept = [session for session in sessions if session.keep_on_exit]
        assert sorted(self.cloud.rented) == sorted(session.compute.id for session in kept)
        assert self._open() == {session.id for session in kept}
        last = self.begin()
        self.pass_time(TAKEOVER_S)
        for session in kept:
            self.ask(last, last.orch.terminate(session), 300)
        self.leave(last)
        assert self.cloud.rented == []
        assert self.run(self.ledger.unsettled(OWNER)) == []
        self.judge.check_the_end()

    def _open(self):
        return {launch.launch_id for launch in self.launches() if not launch.state.is_final}

    def close(self):
        """Whatever is left goes away without a word."""
        for process in self.up():
            self.run(process.die())
        self.run(self._end_all())
        self.run(self.cloud.aclose())
        self.run(self.loop.shutdown_asyncgens())
        self.loop.close()
        self._names.stop()
        logging.disable(logging.NOTSET)

    async def _end_all(self):
        while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in tasks:
                task.cancel()
            await asyncio.sleep(0)
