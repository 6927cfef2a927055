"""Workers as processes: each has a wall clock, ways to ledger and cloud, and can be killed or frozen."""

import asyncio
from contextvars import Context, ContextVar, copy_context
from datetime import timedelta
from weakref import WeakSet

from exatlas import Atlas, Orchestrator
from exatlas.errors import AtlasError, LedgerError, NotFoundError
from exatlas.providers.memory import MemoryProvider

OWNER = "tests"
RUNNING_IN: ContextVar["Process | None"] = ContextVar("running_in", default=None)
"""Whose task this is."""


def task_of_a_process(loop, coroutine, context=None, **options):
    """A task factory: every task belongs to the process whose code has started it, and dies with it."""
    task = asyncio.Task(coroutine, loop=loop, context=context, **options)
    process = RUNNING_IN.get() if context is None else context.get(RUNNING_IN)
    if process is not None:
        process.tasks.add(task)
    return task


class Gate:
    """What everything that leaves a process or comes into it goes through."""

    def __init__(self):
        self.is_dead = False
        self._open = asyncio.Event()
        self._open.set()

    @property
    def is_frozen(self):
        return not self._open.is_set()

    async def through(self):
        if not self.is_dead:
            await self._open.wait()
        if self.is_dead:
            raise asyncio.CancelledError

    def freeze(self):
        self._open.clear()

    def thaw(self):
        self._open.set()

    def kill(self):
        self.is_dead = True
        self._open.set()


class Hands:
    """A clock of one host: its hands are wrong and jump, its seconds are as long as everybody's."""

    def __init__(self, clock, gate, wrong_by, begun):
        self._clock, self._gate, self._begun = clock, gate, begun
        self.wrong_by = wrong_by

    def now(self):
        return self._clock.now() + timedelta(seconds=self.wrong_by)

    def monotonic(self):
        return self._clock.monotonic() + self._begun

    async def sleep(self, seconds):
        await self._gate.through()
        await self._clock.sleep(seconds)
        await self._gate.through()


class Wire:
    """The way to the ledger, which can be cut, or lose an answer."""

    def __init__(self, ledger, gate):
        self._ledger, self._gate = ledger, gate
        self.is_cut = False
        self.loses = set()
        """Operations whose next answer is lost."""

    def __getattr__(self, name):
        method = getattr(self._ledger, name)

        async def call(*args, **options):
            await self._gate.through()
            await asyncio.sleep(0)
            if self.is_cut:
                raise LedgerError("the ledger is away")
            try:
                answer = await method(*args, **options)
                if name in self.loses:
                    self.loses.discard(name)
                    raise LedgerError("the ledger's answer is lost")
            finally:
                await self._gate.through()
            return answer

        return call


class Line(MemoryProvider):
    """The way to a cloud that others use too."""

    def __init__(self, world, process):
        self.__dict__.update(world.cloud.__dict__)
        self._world, self._process = world, process

    async def _call(self, operation, ctx, act):
        await self._process.gate.through()

        def acted():
            try:
                return act()
            finally:
                self._world.history.look(self._world.now)

        try:
            answer = await super()._call(operation, ctx, acted)
        except NotFoundError:
            raise
        except AtlasError:
            self._world.failed(self._process, operation)
            raise
        finally:
            await self._process.gate.through()
        return answer

    async def terminate(self, compute_id, ctx):
        await self._process.gate.through()
        mark = self._world.mark_of(compute_id)
        with self._world.judge.terminating(self._process, compute_id, mark):
            try:
                await super().terminate(compute_id, ctx)
            except AtlasError:
                self._world.not_terminated(mark)
                raise


class Process:
    """One worker."""

    def __init__(self, world, name, wrong_by, options):
        self.name = name
        self.world = world
        self.tasks = WeakSet()
        self.calls = []
        """What was asked of it and is still going on."""
        self.readers = []
        self.gate = Gate()
        self.hands = Hands(world.clock, self.gate, wrong_by, begun=1000.0 * int(name))
        self.wire = Wire(world.ledger, self.gate)
        self.unwell_until = float("-inf")
        """What it did before then it may have decided by what it did not know to be old."""
        self.is_gone = False
        self._context: Context = copy_context()
        self._context.run(RUNNING_IN.set, self)
        self.atlas = Atlas(Line(world, self), clock=self.hands, env={}, ledger=self.wire, owner=OWNER)
        self.orch = Orchestrator(self.atlas, **options)
        self._tell, self.orch._outbox.tell = self.orch._outbox.tell, self._told

    def __repr__(self):
        return f"worker {self.name}"

    @property
    def lease(self):
        return self.orch._lease

    @property
    def is_up(self):
        return not self.is_gone and not self.gate.is_frozen

    @property
    def is_well(self):
        return self.is_up and not self.wire.is_cut

    @property
    def is_unwell(self):
        return not self.is_well or self.world.now_s < self.unwell_until

    def _told(self, event):
        """A worker that has too much to tell gives up the oldest."""
        waiting = self.orch._outbox._waiting
        if len(waiting) >= self.world.kept:
            self.world.judge.mute.add(waiting[0].session)
            self.world.had_silence = True
        self._tell(event)

    def start(self, coroutine):
        """Run something in it."""
        return self.world.loop.create_task(coroutine, context=self._context)

    def ask(self, coroutine):
        """Run a call of one of its users."""
        self.calls = [call for call in self.calls if not call.done()]
        self.calls.append(self.start(coroutine))
        self.calls[-1].add_done_callback(self._look_at)
        return self.calls[-1]

    def _look_at(self, call):
        """What a cloud or a ledger refuses is no matter here."""
        error = None if call.cancelled() else call.exception()
        if error is not None and not isinstance(error, AtlasError):
            self.world.troubles.append(error)

    async def die(self):
        """As one that is killed: nothing is closed, and nothing goes on."""
        self.is_gone = True
        self.gate.kill()
        while tasks := [task for task in self.tasks if not task.done()]:
            for task in tasks:
                task.cancel()
            await asyncio.sleep(0)

    async def leave(self):
        await self.orch.__aexit__(None, None, None)
        await self.atlas.aclose()
        self.is_gone = True
