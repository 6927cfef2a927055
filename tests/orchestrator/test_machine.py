"""Any order of calls, deaths, cuts, prices and time, at any number of workers: a state machine under hypothesis."""

import asyncio
from collections import Counter, defaultdict
from contextlib import aclosing, suppress
from datetime import timedelta
from decimal import Decimal

from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from exatlas import Atlas, Budget, ManualClock, Orchestrator
from exatlas.errors import AtlasError, NotFoundError, TransportError
from exatlas.ledger import MemoryLedger
from exatlas.orchestrator import events
from exatlas.providers.memory import MemoryProvider
from tests.orchestrator.fleets import Skewed, Wire, die

MACHINE = {"image": "img", "gpu": "l4", "cloud_type": "secure"}
LEASE_S, POLL_S = 30.0, 30.0
TAKEOVER_S = LEASE_S * 1.25
RETRY_S = 60.0 + 60.0
"""A termination is tried for a minute, and again a minute later."""
SLACK_S = POLL_S + TAKEOVER_S + RETRY_S
"""How late an end may come while a worker with a ledger is there: a price or a limit is seen at the next poll, a worker
may have to be taken for dead before, and a termination may fail."""
PRICE = Decimal("0.44")
DEAREST = PRICE * 4
TENANT = Budget(usd=3, per="tenant", over="month")
USER = Budget(usd=2, per="user", over="month")

LIMITS = st.fixed_dictionaries(
    {},
    optional={
        "idle_ttl": st.integers(60, 2000),
        "max_runtime": st.integers(60, 5000),
        "max_cost_usd": st.sampled_from(["0.05", "0.20", "1"]),
    },
)
WHICH = st.integers(0, 5)


class Worker:
    """One orchestrator, its way to the ledger, and its clock."""

    def __init__(self, cloud, clock, ledger):
        self.wire, self.clock = Wire(ledger), Skewed(clock)
        self.atlas = Atlas(cloud, clock=self.clock, env={}, ledger=self.wire, owner="tests")
        self.orch = Orchestrator(self.atlas, lease=LEASE_S, poll_every=POLL_S, budgets=[TENANT, USER])

    async def close(self, *, dead=False):
        await (die(self.orch) if dead else self.orch.__aexit__(None, None, None))
        await self.atlas.aclose()


class Known:
    """What was told about a session to whoever rented it."""

    def __init__(self, session, now):
        self.session, self.limits = session, session.limits
        self.started = now
        self.used = [now]
        self.stopped = False


class Machine(RuleBasedStateMachine):
    """Workers and sessions."""

    def __init__(self):
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = ManualClock(auto=True)
        self.ledger = MemoryLedger(self.clock)
        self.cloud = MemoryProvider(clock=self.clock)
        self.run(self.cloud.__aenter__())
        self.workers = []
        self.known = {}
        self.asked_to_end = set()
        self.unserved_s, self.healthy_since, self.looked = 0.0, None, 0.0
        self.troubles = 1

    def run(self, work):
        return self.loop.run_until_complete(work)

    @property
    def now(self):
        return self.clock.monotonic()

    @property
    def healthy(self):
        return [worker for worker in self.workers if not worker.wire.cut]

    def watch_health(self):
        """How long nobody was there who could have ended anything."""
        if self.healthy and self.healthy_since is None:
            self.healthy_since = self.now
        if not self.healthy:
            self.healthy_since = None
            self.unserved_s += self.now - self.looked
        self.looked = self.now

    def pick(self, which):
        return self.workers[which % len(self.workers)]

    def some(self, which):
        return list(self.known.values())[which % len(self.known)]

    # ---- workers

    @initialize()
    def first(self):
        self.start_worker()

    @precondition(lambda self: len(self.workers) < 3)
    @rule()
    def start_worker(self):
        worker = Worker(self.cloud, self.clock, self.ledger)
        self.run(worker.orch.__aenter__())
        self.workers.append(worker)
        self.watch_health()

    @precondition(lambda self: self.workers)
    @rule(which=WHICH)
    def crash(self, which):
        worker = self.pick(which)
        self.workers.remove(worker)
        self.run(worker.close(dead=True))
        self.troubles += 1
        self.watch_health()

    @precondition(lambda self: len(self.workers) > 1)
    @rule(which=WHICH)
    def leave(self, which):
        worker = self.pick(which)
        self.workers.remove(worker)
        worker.wire.cut = False
        self.asked_to_end |= {one.session.id for one in worker.orch._roster}
        self.run(worker.close())
        self.watch_health()

    @precondition(lambda self: self.workers)
    @rule(which=WHICH)
    def cut_off(self, which):
        self.pick(which).wire.cut = True
        self.troubles += 1
        self.watch_health()

    @precondition(lambda self: len(self.healthy) < len(self.workers))
    @rule()
    def mend(self):
        for worker in self.workers:
            worker.wire.cut = False
        self.watch_health()

    @precondition(lambda self: self.workers)
    @rule(which=WHICH, hours=st.integers(-50, 50))
    def jump(self, which, hours):
        self.pick(which).clock.by = timedelta(hours=hours)

    # ---- sessions

    @precondition(lambda self: self.workers)
    @rule(which=WHICH, limits=LIMITS, tenant=st.sampled_from("ab"), user=st.sampled_from("xy"))
    def spawn(self, which, limits, tenant, user):
        async def spawn():
            with suppress(AtlasError):
                session = await self.pick(which).orch.spawn(**MACHINE, **limits, tenant=tenant, user=user)
                self.known[session.id] = Known(session, self.now)

        self.run(spawn())

    @precondition(lambda self: self.workers and self.known)
    @rule(which=WHICH, what=WHICH)
    def touch(self, which, what):
        known = self.some(what)

        async def touch():
            with suppress(AtlasError):
                await self.pick(which).orch.touch(known.session.id)
                known.used.append(self.now)

        self.run(touch())

    @precondition(lambda self: self.workers and self.known)
    @rule(which=WHICH, what=WHICH, call=st.sampled_from(["stop", "start", "terminate", "info"]))
    def act(self, which, what, call):
        known = self.some(what)

        async def act():
            with suppress(AtlasError):
                if call == "terminate":
                    self.asked_to_end.add(known.session.id)
                await getattr(self.pick(which).orch, call)(known.session.id)
                known.used += [self.now] if call == "start" else []

        self.run(act())
        self.watch_health()

    @precondition(lambda self: self.workers)
    @rule(which=WHICH)
    def reap(self, which):
        async def reap():
            with suppress(AtlasError):
                await self.pick(which).orch.reap()

        self.run(reap())

    # ---- the world

    @precondition(lambda self: self.cloud.rented)
    @rule(what=WHICH)
    def preempt(self, what):
        self.cloud.lose(self.cloud.rented[what % len(self.cloud.rented)])

    @precondition(lambda self: self.cloud.rented)
    @rule(what=WHICH, times=st.sampled_from(["0.5", "1", "2", "4"]))
    def reprice(self, what, times):
        self.cloud.set_price(self.cloud.rented[what % len(self.cloud.rented)], PRICE * Decimal(times))
        self.troubles += 1

    @rule(call=st.sampled_from(["spawn_compute", "terminate", "get_compute", "list_compute"]), after=st.booleans())
    def fail(self, call, after):
        self.cloud.fail_next(call, TransportError("cut"), after_acting=after)
        self.troubles += 1

    @rule(seconds=st.integers(1, 4000))
    def wait(self, seconds):
        self.watch_health()
        self.run(self.clock.sleep(seconds))
        self.watch_health()

    # ---- what must hold

    @invariant()
    def nothing_outlives_its_limits(self):
        if self.healthy_since is None or self.now - self.healthy_since < SLACK_S:
            return
        billing = {charge.launch_id for charge in self.cloud.invoice() if charge.open}
        for mark, known in self.known.items():
            runtime = known.limits.max_runtime
            if mark in billing and runtime is not None:
                assert self.now - known.started <= runtime.total_seconds() + SLACK_S

    @invariant()
    def nobody_spends_much_more_than_may_be(self):
        """A price is seen at the next poll, and a machine that nobody looks after bills on."""
        late = DEAREST * Decimal(SLACK_S * self.troubles + self.unserved_s) / 3600
        spent = defaultdict(Decimal)
        for charge in self.cloud.invoice():
            known = self.known.get(charge.launch_id)
            if known is not None:
                session = known.session
                limit = known.limits.max_cost_usd
                assert limit is None or charge.usd <= limit + late
                spent[session.tenant] += charge.usd
                spent[session.tenant, session.user] += charge.usd
        machines = len(self.known) or 1
        for whose, usd in spent.items():
            assert usd <= (USER if isinstance(whose, tuple) else TENANT).usd + late * machines, whose

    @invariant()
    def nobody_holds_what_another_holds(self):
        rows = self.ledger._launches
        for worker in self.workers:
            lease = worker.orch._lease
            mine = [mark for mark in worker.orch._roster.ids if rows[mark].worker == lease.name]
            assert not mine or lease.name in self.ledger._workers or not lease.held

    @invariant()
    def events_are_a_row_without_gaps(self):
        if not self.healthy:
            return
        told = self.run(self.told(self.healthy[0].orch))
        assert [event.seq for event in told] == list(range(1, len(told) + 1))
        ends = Counter(event.session for event in told if isinstance(event, events.Terminated | events.Lost))
        assert all(number == 1 for number in ends.values())
        last = {}
        for event in told:
            if event.session is None:
                continue
            assert not isinstance(last.get(event.session), events.Terminated | events.Lost), event
            last[event.session] = event
            if isinstance(event, events.IdleExpired):
                self.was_idle(event)

    def was_idle(self, event):
        known = self.known.get(event.session)
        if known is None:
            return
        at = (event.at - self.clock.now()).total_seconds() + self.now
        used = max(instant for instant in known.used if instant <= at + 1e-6)
        assert at - used >= known.limits.idle_ttl.total_seconds() - 1e-3

    async def told(self, orch):
        for _ in range(30):
            await asyncio.sleep(0)
        found = []
        async with aclosing(orch.events(after=0)) as reader:
            while len(found) < orch._outbox.feed.last:
                found.append(await anext(reader))
        return found

    def teardown(self):
        try:
            self.run(self.settle())
        finally:
            self.run(self.cloud.__aexit__(None, None, None))
            self.run(self.sweep())
            self.loop.close()

    async def sweep(self):
        """What a failed check has left running."""
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    async def settle(self):
        """Whatever it was: a worker that is left alone with it for a while has an explanation for everything."""
        self.cloud._faults._orders.clear()
        for worker in self.workers:
            worker.wire.cut = False
            await worker.close(dead=True)
        last = Worker(self.cloud, self.clock, self.ledger)
        await last.orch.__aenter__()
        await self.clock.sleep(2 * 300 + SLACK_S)
        open_ones = {one.compute_id for one in await self.ledger.find() if not one.state.is_final}
        assert set(self.cloud.rented) == open_ones
        assert {session.compute.id for session in await last.orch.list()} <= open_ones
        for mark in self.asked_to_end & set(self.known):
            with suppress(NotFoundError):
                assert (await last.orch.info(mark)) is not None
        await last.close()
        await last.atlas.aclose()
        async with Atlas(self.cloud, clock=self.clock, env={}, ledger=self.ledger, owner="tests") as atlas:
            await atlas.recover("terminate", older_than=0)
        assert self.cloud.rented == []
        assert all(one.state.is_final for one in await self.ledger.find())


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
