"""Workers that are started, killed, frozen, cut off and left in any order, with clocks that are wrong: nothing is lost.

The world is one cloud, one ledger and up to four workers. After each step, and when all is over:

- a session is looked after by one worker; whoever has lost it stops within a quarter of a lease;
- it ends by its limits, and costs no more than they say, but for one poll interval at the difference of each price rise
  and the time that its end takes: a takeover where its worker is dead, a minute where the cloud refuses to terminate;
- it is not ended as idle when it was used at any worker;
- every stream of events has no gap, or says where it is; every session has one beginning and one end;
- in the end nothing is rented that the ledger does not have, and the other way round.
"""

from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from exatlas.errors import NoCapacityError, ProviderBrokenError, TransportError
from exatlas.orchestrator.budget import Budget
from tests.orchestrator.world import GRACE_S, TAKEOVER_S, World

MOST_WORKERS = 4
LIMITS = st.fixed_dictionaries(
    {},
    optional={
        "idle_ttl": st.integers(30, 2000),
        "max_runtime": st.integers(60, 5000),
        "max_cost_usd": st.sampled_from(["0.02", "0.1", "0.5"]),
    },
)
WHO = st.fixed_dictionaries({}, optional={"tenant": st.sampled_from(["t", "s"]), "user": st.sampled_from(["u", "v"])})
BUDGETS = (
    Budget(usd="0.4", per="tenant", over="day"),
    Budget(usd="0.6", per="tenant", over="month", only="t"),
    Budget(usd="0.3", per="user", over="day"),
)
WAITS = st.sampled_from([0, 0.1, 0.3, 1, 300])
"""How long a call is waited for, in seconds: what takes longer goes on while other things happen."""
THEN = st.sampled_from([0, 0, 1, 15, 200, 1000])
"""How long nothing else happens afterwards, in seconds."""
HOURS = st.integers(-30, 30).map(lambda hours: hours * 3600.0)
FAULTS = st.sampled_from(
    [TransportError("cut"), ProviderBrokenError("it failed", status=500), NoCapacityError("it is full")]
)
CALLS = st.sampled_from(["spawn_compute", "terminate", "get_compute", "list_compute", "stop", "start"])
ANSWERS = st.sampled_from(["intend", "advance", "seize", "claim", "touch", "hold", "renew"])


class Life(RuleBasedStateMachine):
    """Any life of a fleet."""

    workers = Bundle("workers")
    sessions = Bundle("sessions")

    @initialize(target=workers, kept=st.sampled_from([12, 10_000]), has_budgets=st.booleans(), wrong_by=HOURS)
    def begin(self, kept, has_budgets, wrong_by):
        self.world = World(kept, BUDGETS if has_budgets else ())
        return self.world.begin(wrong_by)

    # ---- workers

    @precondition(lambda self: len(self.world.up()) < MOST_WORKERS)
    @rule(target=workers, wrong_by=HOURS)
    def start_worker(self, wrong_by):
        return self.world.begin(wrong_by)

    @rule(worker=consumes(workers))
    def crash(self, worker):
        self.world.crash(worker)

    @rule(worker=consumes(workers))
    def leave(self, worker):
        self.world.mend(worker)
        self.world.leave(worker)

    @rule(worker=workers)
    def freeze(self, worker):
        self.world.freeze(worker)

    @precondition(lambda self: self.world.frozen())
    @rule(number=st.integers(0, MOST_WORKERS - 1))
    def thaw(self, number):
        frozen = self.world.frozen()
        self.world.thaw(frozen[number % len(frozen)])

    @rule(worker=workers)
    def cut_off_its_ledger(self, worker):
        self.world.cut(worker)

    @precondition(lambda self: self.world.cut_off())
    @rule(number=st.integers(0, MOST_WORKERS - 1))
    def bring_a_ledger_back(self, number):
        cut_off = self.world.cut_off()
        self.world.mend(cut_off[number % len(cut_off)])

    @rule(worker=workers, operation=ANSWERS)
    def lose_an_answer_of_its_ledger(self, worker, operation):
        self.world.lose_answer(worker, operation)

    @rule(worker=workers, wrong_by=HOURS)
    def jump(self, worker, wrong_by):
        worker.hands.wrong_by = wrong_by

    # ---- sessions

    @rule(
        target=sessions,
        worker=workers,
        limits=LIMITS,
        who=WHO,
        keep=st.booleans(),
        gpu=st.sampled_from(["l4", "h100"]),
        wait_s=WAITS,
        then_s=THEN,
    )
    def spawn(self, worker, limits, who, keep, gpu, wait_s, then_s):
        if not worker.is_up:
            return multiple()
        known = set(self.world.ledger._launches)
        wanted = {"image": "img", "gpu": gpu, "keep_on_exit": keep, **limits, **who}
        self.world.ask(worker, worker.orch.spawn(**wanted), wait_s)
        made = sorted(set(self.world.ledger._launches) - known)
        self.world.pass_time(then_s)
        return multiple(*made)

    @rule(
        worker=workers, session=sessions, wait_s=WAITS, times=st.integers(1, 3), every_s=st.sampled_from([1, 20, 300])
    )
    def touch(self, worker, session, wait_s, times, every_s):
        for number in range(times):
            if worker.is_up:
                self.world.pass_time(every_s if number else 0)
                self.world.ask(worker, self.world.touch(worker, session), wait_s)

    @rule(
        worker=workers,
        session=sessions,
        what=st.sampled_from(["stop", "start", "terminate", "info"]),
        wait_s=WAITS,
        then_s=THEN,
    )
    def change(self, worker, session, what, wait_s, then_s):
        if worker.is_up:
            self.world.ask(worker, self.world.change(worker, session, what), wait_s)
            self.world.pass_time(then_s)

    @rule(worker=workers, who=WHO)
    def list(self, worker, who):
        if worker.is_well:
            found = self.world.ask(worker, worker.orch.list(**who), 300)
            ids = [session.id for session in found]
            assert len(ids) == len(set(ids))
            assert all(getattr(session, name) == value for session in found for name, value in who.items())

    @rule(worker=workers, number=st.integers(0, 3))
    def cancel_a_call(self, worker, number):
        if worker.is_up and number < len(worker.calls):
            worker.calls[number].cancel()
            self.world.run(self.world.settle())

    @rule(worker=workers)
    def reap(self, worker):
        if worker.is_up:
            self.world.ask(worker, worker.orch.reap(), 300)

    # ---- the cloud

    @rule(session=sessions)
    def preempt(self, session):
        self.world.lose(session)

    @rule(session=sessions)
    def break_down(self, session):
        for compute_id in self.world.machines(session):
            self.world.cloud.break_down(compute_id)

    @rule(session=sessions, factor=st.sampled_from(["0.25", "0.5", "2", "4"]), then_s=THEN)
    def change_price(self, session, factor, then_s):
        self.world.reprice(session, factor)
        self.world.pass_time(then_s)

    @rule(operation=CALLS, error=FAULTS, after_acting=st.booleans(), times=st.integers(1, 9))
    def fail(self, operation, error, after_acting, times):
        # A refusal says that nothing was done.
        after = after_acting and not isinstance(error, NoCapacityError)
        self.world.cloud.fail_next(operation, error, after_acting=after, times=times)

    # ---- readers, and time

    @rule(worker=workers, after=st.sampled_from([0, 3, None]), session=st.none() | sessions)
    def read(self, worker, after, session):
        if worker.is_up:
            self.world.read(worker, after, session)

    @rule(seconds=st.integers(0, 5) | st.integers(5, 120) | st.integers(120, 2500) | st.just(7200))
    def pass_time(self, seconds):
        self.world.pass_time(seconds)

    @rule(seconds=st.sampled_from([TAKEOVER_S, GRACE_S, 2 * TAKEOVER_S]))
    def let_things_settle(self, seconds):
        self.world.pass_time(seconds)

    @invariant()
    def all_is_well(self):
        self.world.judge.check()

    def teardown(self):
        if not hasattr(self, "world"):
            return
        try:
            self.world.judge.check()
            self.world.end()
        finally:
            self.world.close()


Life.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
TestLife = Life.TestCase
