"""A ledger in SQL does what the one in memory does, whatever is asked of it in whatever order."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from exatlas import ManualClock
from exatlas.errors import AtlasError
from exatlas.ledger import MemoryLedger, SqlLedger
from exatlas.records.budget import Hold
from exatlas.records.launch import Launch, LaunchState
from exatlas.records.outbox import Entry

START = datetime(2026, 1, 1, tzinfo=UTC)
WORKERS = st.sampled_from([f"w{number}" for number in range(4)])
LAUNCHES = st.sampled_from([f"launch-{number}" for number in range(6)])
OWNERS = st.sampled_from(["a", "b"])
PURSES = st.sampled_from(["p", "q"])
STATES = st.sampled_from(list(LaunchState))
USD = st.integers(0, 5).map(lambda number: Decimal(number) / 4)
MAYBE_WORKER = st.none() | WORKERS


class TwoLedgers(RuleBasedStateMachine):
    """Every call goes to both."""

    def __init__(self):
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = TemporaryDirectory(prefix="exatlas-", ignore_cleanup_errors=True)
        self.clock = ManualClock()
        self.memory = MemoryLedger(self.clock)
        self.sql = SqlLedger(f"sqlite:///{Path(self.folder.name) / 'ledger.db'}", clock=self.clock)

    def both(self, ask):
        """Ask both, and compare what they give; errors too."""
        given = [self.runner.run(self.end_of(ask(ledger))) for ledger in (self.memory, self.sql)]
        assert given[0] == given[1]

    async def end_of(self, call):
        try:
            return await call
        except AtlasError as error:
            return type(error), str(error)

    @initialize()
    def two_workers(self):
        for worker in ("w0", "w1"):
            self.both(lambda ledger, name=worker: ledger.enlist(name, "a", 30))
            self.clock.advance(1)

    @rule(seconds=st.sampled_from([1, 10, 31]))
    def time_passes(self, seconds):
        self.clock.advance(seconds)

    @rule(launch_id=LAUNCHES, owner=OWNERS, worker=MAYBE_WORKER, has_session=st.booleans(), age=st.integers(0, 3))
    def intend(self, launch_id, owner, worker, has_session, age):
        at = START + timedelta(seconds=age)
        given = {"owner": owner, "provider": "p", "account": "1", "intended_at": at, "updated_at": at}
        session = {"keep_on_exit": True} if has_session else {}
        self.both(lambda ledger: ledger.intend(Launch(launch_id=launch_id, worker=worker, session=session, **given)))

    @rule(launch_id=LAUNCHES, to=STATES, expect=st.none() | STATES, worker=MAYBE_WORKER)
    def advance(self, launch_id, to, expect, worker):
        self.both(lambda ledger: ledger.advance(launch_id, to, self.clock.now(), expect=expect, worker=worker))

    @rule(worker=WORKERS, owner=OWNERS)
    def enlist(self, worker, owner):
        self.clock.advance(1)  # of two that come in one instant, nobody is the elder
        self.both(lambda ledger: ledger.enlist(worker, owner, 30))

    @rule(worker=WORKERS)
    def renew(self, worker):
        self.both(lambda ledger: ledger.renew(worker))

    @rule(owner=OWNERS)
    def bury(self, owner):
        self.both(lambda ledger: ledger.bury(owner))

    @rule(worker=WORKERS, most=st.integers(1, 3))
    def claim(self, worker, most):
        self.both(lambda ledger: ledger.claim(worker, most))

    @rule(launch_id=LAUNCHES, worker=WORKERS)
    def seize(self, launch_id, worker):
        self.both(lambda ledger: ledger.seize(launch_id, worker))

    @rule(worker=WORKERS)
    def leave(self, worker):
        self.both(lambda ledger: ledger.leave(worker))

    @rule(idle_s=st.dictionaries(LAUNCHES, st.integers(0, 50).map(float), max_size=3))
    def touch(self, idle_s):
        self.both(lambda ledger: ledger.touch(idle_s))

    @rule(owner=OWNERS, kinds=st.lists(st.sampled_from("xyz"), max_size=4))
    def publish(self, owner, kinds):
        news = [Entry(at=self.clock.now(), kind=kind, facts={"n": 1}) for kind in kinds]
        self.both(lambda ledger: ledger.publish(owner, news, 1000))

    @rule(owner=OWNERS, after=st.integers(0, 10), most=st.integers(1, 5))
    def entries(self, owner, after, most):
        self.both(lambda ledger: ledger.entries(owner, after, most))
        self.both(lambda ledger: ledger.last_entry(owner))

    @rule(launch_id=LAUNCHES, amounts=st.dictionaries(PURSES, USD), most=USD, settled=st.booleans())
    def hold(self, launch_id, amounts, most, settled):
        holds = [Hold(purse=purse, usd=usd, most_usd=most * 2) for purse, usd in amounts.items()]
        self.both(lambda ledger: ledger.hold(launch_id, holds, settled=settled))

    @rule(launch_id=LAUNCHES, owner=OWNERS, states=st.sets(STATES, max_size=2))
    def look(self, launch_id, owner, states):
        self.both(lambda ledger: ledger.get(launch_id))
        self.both(lambda ledger: ledger.find(owner=owner, states=states))
        self.both(lambda ledger: ledger.touched([launch_id]))
        self.both(lambda ledger: ledger.held(["p", "q"]))
        self.both(lambda ledger: ledger.holds_of(launch_id))
        self.both(lambda ledger: ledger.unsettled(owner))

    def teardown(self):
        self.both(lambda ledger: ledger.find())
        self.runner.run(self.sql.aclose())
        self.runner.close()
        self.folder.cleanup()


TestAlike = TwoLedgers.TestCase
TestAlike.settings = settings(max_examples=25, stateful_step_count=40, deadline=None)
