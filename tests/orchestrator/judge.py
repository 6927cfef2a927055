"""What must hold, whatever happens. Looks at the cloud, the ledger and the insides of every worker; changes nothing."""

from contextlib import aclosing, contextmanager
from datetime import timedelta
from decimal import Decimal
from itertools import zip_longest

from attrs import define, field

from exatlas.errors import AtlasError
from exatlas.orchestrator import events
from exatlas.orchestrator.budget import purses
from exatlas.orchestrator.events import from_entry
from exatlas.orchestrator.session import from_json
from exatlas.records.launch import LaunchState

END_S = 5.0
"""What an end takes where nothing goes wrong: the calls, and the retries that a call's own faults are not."""
TOLD_S = 15.0
"""When a worker is told at the latest that a session was taken from it: a quarter of a lease, and some calls."""
CRASH_S = 60.0
"""So much longer a session may live that was taken over: the latest touches of a dead worker are not known."""
WRITTEN_S = 6.0
"""When a use is written at the latest, so that it outlives its worker."""
ENDS = ("Terminated", "Lost")
BEGINNINGS = ("Created", "Adopted")


def later(at, seconds):
    return at + timedelta(seconds=seconds)


@define(eq=False)
class Reader:
    """Somebody who reads events at one worker, and what came."""

    process: object
    session: str | None = None
    tenant: str | None = None
    last: int = 0
    """The number up to which everything was seen, or said to be missed."""
    got: list = field(factory=list, repr=False)
    checked: int = 0
    has_begun: bool = True
    """Whether `last` is known: a reader that begins now learns it from its first event."""

    async def follow(self, after):
        """Read to the end. What the ledger cannot give now is asked for again."""
        is_open = True
        while is_open:
            try:
                reader = self.process.orch.events(after=after, session=self.session, tenant=self.tenant)
                async with aclosing(reader):
                    async for event in reader:
                        self.got.append(event)
                        after = event.seq
                is_open = False
            except AtlasError:
                await self.process.hands.sleep(1)

    def wants(self, entry):
        return self.session in (None, entry.session) and self.tenant in (None, entry.tenant)

    def misses(self, row, upto):
        """Numbers of what it wants and has not seen, up to one."""
        return [entry.seq for entry in row[self.last : upto] if self.wants(entry)]

    def check(self, row):
        for event in self.got[self.checked :]:
            is_gap = isinstance(event, events.Missed)
            before = event.seq - (event.count if is_gap else 1)
            if not self.has_begun:
                self.last, self.has_begun = before, True
            assert not self.misses(row, before), f"{self} has not seen {self.misses(row, before)}, and was not told so"
            assert before >= self.last, f"{self} sees {event} after {self.last}"
            if not is_gap:
                assert event == from_entry(row[event.seq - 1])
            self.last = event.seq
        self.checked = len(self.got)


@define
class Course:
    """What was told of one session, in the order of the numbers."""

    kinds: list = field(factory=list)
    end: object = None


class Judge:
    def __init__(self, world):
        self._world = world
        self.faults = []
        """What was seen in the middle of things."""
        self._terminating = {}
        self.uses = {}
        """When a session was used, or may have been."""
        self.sure_uses = {}
        """When it surely was, and where."""
        self.mute = set()
        """Sessions of which a worker that died may have known something that it had not told."""
        self.readers = []
        self._courses = {}
        self._told = 0
        self._unheld = {}

    def fault(self, said):
        self.faults.append(f"{self._world.now_s:.1f} s: {said}")

    # ---- as things happen

    @contextmanager
    def terminating(self, process, compute_id, mark):
        """A termination travels."""
        world, others = self._world, self._terminating.setdefault(compute_id, [])
        launch = world.ledger._launches.get(mark)
        holder = None if launch is None else world.holder(launch)
        was_told = world.now_s - world.taken.get(mark, float("-inf")) > TOLD_S
        if holder not in (None, process) and was_told and not process.is_unwell:
            self.fault(f"{process} terminates {compute_id}, which {holder} looks after")
        for other, name in others:
            if other is not process and world.is_alive(name) and not other.is_unwell and not process.is_unwell:
                self.fault(f"{process} terminates {compute_id} while {other} does")
        me = (process, process.lease.name)
        others.append(me)
        try:
            yield
        finally:
            others.remove(me)

    def advanced(self, before, after):
        """The ledger moves on."""

    def used(self, mark, at, process, *, surely):
        self.uses[mark] = max(at, self.uses.get(mark, at))
        if surely:
            self.sure_uses.setdefault(mark, []).append((at, process))

    def stops(self, process):
        """What was used at a process a moment ago may not be written."""
        written = later(self._world.now, -WRITTEN_S)
        for mark, uses in self.sure_uses.items():
            self.sure_uses[mark] = [(at, where) for at, where in uses if where is not process or at <= written]

    def follow(self, process, after=0, **whose):
        """Read what happens, at a worker."""
        reader = Reader(process, last=after or 0, has_begun=after is not None, **whose)
        self.readers.append(reader)
        process.start(reader.follow(after))

    def dies(self, process):
        orch = process.orch
        self.mute |= {entry.session for entry in orch._outbox._waiting}
        self.mute |= set(orch._endings._tasks) | set(orch._spawning.marks)

    def left(self, process):
        feed, waiting = process.orch._outbox.feed, process.orch._outbox._waiting
        self.mute |= {entry.session for entry in waiting}
        for reader in self.readers:
            if reader.process is process:
                reader.check(self._world.ledger.row)
                missed = reader.misses(self._world.ledger.row, feed.last)
                assert process.is_unwell or not reader.has_begun or not missed, f"{reader} ends before {missed}"

    # ---- after every step

    def check(self):
        self.readers = [reader for reader in self.readers if not reader.process.is_gone]
        for reader in self.readers:
            reader.check(self._world.ledger.row)
        self._check_row()
        self._check_owners()
        self._check_limits()
        self._check_budgets()
        assert not self.faults, "\n".join(self.faults)
        assert not self._world.troubles, self._world.troubles

    def check_readers_are_up_to_date(self, number):
        for reader in self.readers:
            process = reader.process
            reader.check(self._world.ledger.row)
            if not process.is_unwell and reader.has_begun:
                missed = reader.misses(self._world.ledger.row, number)
                assert not missed, f"{reader} has still not seen {missed}"

    def _check_row(self):
        row = self._world.ledger.row
        for entry in row[self._told :]:
            self._told += 1
            assert entry.seq == self._told
            if entry.session is not None and entry.kind != "Orphaned":
                self._check_course(entry)
            if entry.kind == "IdleExpired":
                self._check_idle(entry)

    def _check_course(self, entry):
        course = self._courses.setdefault(entry.session, Course())
        if course.end is not None:
            # One who was frozen or cut off says late what was before, and to whom it could give no session.
            is_late = entry.at <= course.end.at or entry.kind == "SpawnFailed"
            is_excused = self._world.had_silence and is_late
            assert is_excused, f"{entry} comes after {course.end}, {course.kinds}"
        if entry.kind in ENDS:
            assert course.end is None, f"{entry} is the second end, after {course.end}"
            course.end = entry
        if entry.session not in self.mute and not self._world.had_silence:
            assert course.kinds or entry.kind == "SpawnRequested", f"{entry} is the first word"
            begun = any(kind in BEGINNINGS for kind in course.kinds)
            may_be_first = entry.kind in (*BEGINNINGS, "SpawnRequested", "SpawnFailed")
            assert begun or may_be_first, f"{entry} comes after {course.kinds}"
            if entry.kind == "Terminated":
                assert "Terminating" in course.kinds, f"{entry} comes after {course.kinds}"
        course.kinds.append(entry.kind)

    def _check_idle(self, entry):
        launch = self._world.ledger._launches[entry.session]
        limits = from_json(launch.session)
        for at, process in self.sure_uses.get(entry.session, ()):
            idle = entry.at - at
            assert idle + timedelta(milliseconds=1) >= limits.idle_ttl or at > entry.at, (
                f"{entry} ends as idle what was used at {process} {idle} before"
            )

    def _check_owners(self):
        world = self._world
        for launch in world.launches():
            mark = launch.launch_id
            acting = [one for one in world.up() if one.is_up and one.lease.held and mark in one.orch._roster]
            was_told = world.now_s - world.taken.get(mark, float("-inf")) > TOLD_S
            for process in acting:
                if process.lease.name != launch.worker and was_told and not process.is_unwell and not _over(launch):
                    raise AssertionError(f"{process} looks after {mark}, which is {launch.worker}'s")
            self._check_is_held(launch)

    def _check_is_held(self, launch):
        world, mark = self._world, launch.launch_id
        holder = world.holder(launch)
        orch = None if holder is None else holder.orch
        is_held = orch is not None and (
            mark in orch._roster or mark in orch._roster.unclear or mark in orch._spawning.marks
        )
        if is_held or launch.state.is_final or not world.well():
            self._unheld.pop(mark, None)
            return
        since = self._unheld.setdefault(mark, world.now)
        assert world.now <= world.excuses.until(mark, since, TOLD_S), f"nobody looks after {launch}"

    # ---- limits and money

    def _check_limits(self):
        world = self._world
        for launch in world.launches():
            for life in world.history.of(launch.launch_id):
                self._check_cost(launch, life)
                if life.ended_at is None and world.well() and launch.state not in _DOUBTFUL and launch.session:
                    for what, at, within_s in self._dues(launch, life):
                        until = world.excuses.until(launch.launch_id, at, within_s)
                        assert world.now <= until, f"{what} of {launch} was over at {at}, and {until} is too"

    def _dues(self, launch, life):
        limits, mark, begin = from_json(launch.session), launch.launch_id, life.rates[0][0]
        if limits.max_runtime is not None:
            yield "the runtime", begin + limits.max_runtime, END_S
        if limits.max_cost_usd is not None and (at := reached(launch.rates, limits.max_cost_usd)) is not None:
            yield "the money", at, END_S
        if limits.idle_ttl is not None and life.rates[-1][1] > 0:
            moved_s = self._world.taken.get(mark)
            moved = begin if moved_s is None else later(self._world.now, moved_s - self._world.now_s)
            at = max(begin, self.uses.get(mark, begin), moved) + limits.idle_ttl
            on_again = self._world.blind.until(mark, life.rates[-1][0], self._world.poll_s)
            yield "the idle time", max(at, on_again), END_S + (0 if moved_s is None else CRASH_S)

    def _check_cost(self, launch, life):
        limits = from_json(launch.session)
        if limits.max_cost_usd is None or launch.state in _DOUBTFUL or not self._world.well():
            return
        spent = life.spent(life.rates[0][0], self._world.now)
        at = reached(launch.rates, limits.max_cost_usd) or (self._world.now if launch.rates else life.rates[0][0])
        end = self._world.excuses.until(launch.launch_id, at, END_S)
        allowed = limits.max_cost_usd + self._unseen(launch, life) + _cost(life.dearest, end - at)
        assert spent <= allowed, f"{launch} has cost {spent}, and {allowed} was allowed"

    def _unseen(self, launch, life):
        """What it cost more than could be known: the difference, until the next look was due."""
        until = self._world.blind.until
        poll_s = self._world.poll_s
        doubted = self._world.doubted.get(launch.launch_id, timedelta(0))
        return sum(
            (_cost(more, until(launch.launch_id, at, poll_s) - at) for at, more in life.rises),
            _cost(life.dearest, doubted),
        )

    def _check_budgets(self):
        """Nobody's budget is passed by more than what could not be known of prices, and what ends take."""
        world = self._world
        spent, allowed, most = {}, {}, {}
        for launch in world.launches():
            instants = {world.start, world.now} | {later(world.start, 86400 * day) for day in range(world.days)}
            owned = {}
            for instant in instants:
                owned |= purses(world.budgets, launch.owner, launch.tenant, launch.user, min(instant, world.now))
            for purse, budget in owned.items():
                most[purse.key] = budget.usd
                for life in world.history.of(launch.launch_id):
                    cost = life.spent(purse.begin, min(purse.end, world.now))
                    spent[purse.key] = spent.get(purse.key, Decimal(0)) + cost
                    extra = self._unseen(launch, life) + _cost(
                        life.dearest, world.excuses.total(launch.launch_id, END_S)
                    )
                    allowed[purse.key] = allowed.get(purse.key, Decimal(0)) + extra
        for key, usd in spent.items():
            assert usd <= most[key] + allowed[key] or not world.well(), (
                f"{key} has spent {usd} of {most[key]}, and {allowed[key]} more was allowed"
            )

    # ---- in the end

    def check_the_end(self):
        """When every worker is gone and everything was settled: every session had one beginning and one end."""
        self._check_row()
        for launch in self._world.launches():
            course = self._courses.get(launch.launch_id, Course())
            assert launch.state.is_final, f"{launch} is still open"
            was_session = any(kind in BEGINNINGS for kind in course.kinds)
            if was_session and launch.launch_id not in self.mute:
                assert course.end is not None, f"nobody has told the end of {launch}: {course.kinds}"
        for line in self._world.cloud.invoice():
            life = self._world.history.lives[line.compute_id]
            assert abs(life.spent(life.rates[0][0], self._world.now) - line.usd) < Decimal("0.00001")


_DOUBTFUL = (LaunchState.INTENDED, LaunchState.LOST)


def _over(launch):
    return launch.state.is_final


def _cost(rate, span):
    return rate * Decimal(str(max(span.total_seconds(), 0.0))) / 3600


def reached(rates, most):
    """When so much is spent at these prices; None for not foreseeable."""
    left = most
    for segment, following in zip_longest(rates, rates[1:]):
        if segment.usd_per_hour > 0:
            at = later(segment.since, float(left / segment.usd_per_hour * 3600))
            if following is None or at <= following.since:
                return at
        if following is not None:
            left -= _cost(segment.usd_per_hour, following.since - segment.since)
    return None
