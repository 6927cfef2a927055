"""Sessions: machines with limits, looked after until they are surely gone."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self, Unpack

from attrs import evolve

from exatlas.cancellation import outlive
from exatlas.client import arguments
from exatlas.client.arguments import CallOptions, SpawnOptions
from exatlas.client.atlas import Atlas
from exatlas.errors import (
    AtlasError,
    ConfigError,
    ConflictError,
    LeaseLostError,
    LedgerError,
    NotFoundError,
    ValidationError,
)
from exatlas.ledger import MemoryLedger
from exatlas.orchestrator import events, policy
from exatlas.orchestrator.allowance import Allowances
from exatlas.orchestrator.budget import Budget, BudgetState
from exatlas.orchestrator.endings import Endings
from exatlas.orchestrator.events import Event
from exatlas.orchestrator.feed import KEPT, Whose
from exatlas.orchestrator.funding import Funding
from exatlas.orchestrator.lease import RENEWALS, Lease
from exatlas.orchestrator.outbox import Outbox
from exatlas.orchestrator.reaper import Reaped, Reaper
from exatlas.orchestrator.roster import Roster
from exatlas.orchestrator.session import Limits, Phase, Session, session_of
from exatlas.orchestrator.sightings import Sightings
from exatlas.orchestrator.spawning import Spawning, Wish
from exatlas.orchestrator.takeover import Takeover
from exatlas.orchestrator.touches import Touches
from exatlas.orchestrator.watch import Tracked, Watch
from exatlas.protocols import Ledger
from exatlas.records import checks
from exatlas.records.compute import ComputeRequest
from exatlas.records.launch import Launch, LaunchState

STRETCH_S = 600.0
"""For how long ahead a session without a bound of its own holds what it will cost, at least."""
ELSEWHERE_S = (0.1, 0.3, 1.0, *[2.0] * 30)
"""Waits between looks at a session that another worker is ending."""

_log = logging.getLogger("exatlas.orchestrator")


class SessionOptions(SpawnOptions, total=False):
    """What :meth:`Orchestrator.spawn` takes: what `spawn_compute` takes, and the session's limits."""

    user: str | None
    tenant: str | None
    max_runtime: float | timedelta | None
    max_cost_usd: Any
    keep_on_exit: bool


class Orchestrator:
    """Rents machines as sessions and ends them by their limits. One worker of its owner, in one event loop.

    Use it with ``async with``. On the way out every session of its own is ended but those with ``keep_on_exit``.

    Any number of workers with the same accounts, on any number of hosts, may share an owner and a ledger. Each session
    is held by one of them; the sessions of a worker that is gone are taken over by the others, with their limits,
    within about a lease and a quarter. Calls about a session work at every worker: `touch` and `info` without moving
    it, `stop`, `start` and `terminate` by taking it over first. A worker that cannot reach the ledger for nine tenths
    of a lease stops acting until it can, because others may have taken its sessions.

    Every ``poll_every`` it costs one list call for each account that has sessions here. A cloud that cannot be reached
    ends nothing: a machine counts as gone only when a read of it says so.

    Args:
        atlas: The client to rent with; yours to close, after this.
        ledger: Where machines are written down: the client's own, unless it has none. Without either it is in memory.
        poll_every: Between two looks at the machines (seconds or timedelta).
        reap_every: Between two runs of :meth:`reap`, by the eldest worker.
        grace: How long a launch has to stand still, and an orphan to be seen, before the reaper acts.
        lease: How long a worker may be silent before the others take over its sessions.
        budgets: What tenants and users may spend. All workers of an owner should have the same.
        all_marked: Every machine with a launch id in these accounts is this owner's: the reaper then terminates those
            that the ledger does not know. Without it they are only told of.
        events_kept: How many events can be read again.

    Raises:
        ConfigError: the client keeps its books in another ledger.
    """

    def __init__(
        self,
        atlas: Atlas,
        ledger: Ledger | None = None,
        *,
        poll_every: float | timedelta = 30.0,
        reap_every: float | timedelta = 300.0,
        grace: float | timedelta = 300.0,
        lease: float | timedelta = 30.0,
        budgets: Iterable[Budget] = (),
        all_marked: bool = False,
        events_kept: int = KEPT,
    ) -> None:
        spans = {"poll_every": poll_every, "reap_every": reap_every, "grace": grace, "lease": lease}
        lengths = {name: arguments.seconds("Orchestrator", span, name) or 0.0 for name, span in spans.items()}
        budgets = tuple(budgets)
        arguments.check(
            "Orchestrator",
            all_marked=checks.flag(all_marked),
            events_kept=checks.whole(1)(events_kept),
            budgets=None if all(isinstance(one, Budget) for one in budgets) else "expected exatlas.Budget records",
        )
        if ledger is not None or atlas.ledger is None:
            atlas.keep_books(ledger or MemoryLedger(atlas.clock))
        if atlas.ledger is None:
            raise ConfigError("the client keeps no books")
        self._atlas = atlas
        self._clock = atlas.clock
        self._ledger = atlas.ledger
        self._every_s = lengths
        self._lease = Lease(self._ledger, self._clock, atlas.owner, lengths["lease"])
        self._outbox = Outbox(self._ledger, atlas.owner, self._clock, events_kept)
        self._roster = roster = Roster(self._ledger, self._clock, self._lease, self._outbox, self._on_time)
        self._touches = Touches(self._ledger, self._clock, atlas.owner)
        stretch = timedelta(seconds=max(STRETCH_S, 2 * lengths["poll_every"]))
        self._funding = Funding(budgets, self._ledger, atlas.owner, stretch)
        self._endings = Endings(atlas, roster, self._touches, self._funding)
        self._allowances = Allowances(self._funding, roster, self._endings)
        self._sightings = Sightings(roster, self._endings, self._allowances)
        self._watch = Watch(atlas, self._sightings.seen, self._sightings.absent)
        self._takeover = Takeover(atlas, roster, self._endings, self._allowances)
        self._spawning = Spawning(atlas, roster, self._endings, self._sightings, self._funding, self._allowances)
        grace_span = timedelta(seconds=lengths["grace"])
        self._reaper = Reaper(atlas, roster, self._spawning, self._takeover, self._watch, grace_span, all_marked)
        self._group = asyncio.TaskGroup()
        self._loops: list[asyncio.Task[None]] = []
        self._open = False

    # ---- life

    async def __aenter__(self) -> Self:
        if self._loops:
            raise ConfigError("an orchestrator is good for one block; make a new one")
        await self._lease.take()
        await self._outbox.open()
        await self._group.__aenter__()
        self._open = True
        loops = [
            self._roster.timers.run(),
            self._outbox.send(),
            self._outbox.follow(),
            self._every(self._lease.seconds / RENEWALS, self._renew, at_once=True),
            self._every(self._every_s["poll_every"], self._poll),
            self._every(self._every_s["reap_every"], self._reap),
            self._every(1.0, self._touches.run),
        ]
        self._loops = [self._group.create_task(loop) for loop in loops]
        return self

    async def __aexit__(
        self, cls: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        ended = await outlive(self._close)
        # The group raises nothing of ours: what failed was told, and is in the ledger.
        await self._group.__aexit__(None, None, None)
        if ended.interrupted:
            raise asyncio.CancelledError

    async def _close(self) -> None:
        """End what is to end, and the tasks. Safe to repeat."""
        timers, send, follow, renew, *others = self._loops
        for loop in (timers, *others):
            loop.cancel()
        self._allowances.stop()
        await self._spawning.close()
        leaving = [tracked for tracked in self._roster if not tracked.session.keep_on_exit]
        for tracked in leaving:
            self._endings.end(tracked, "its orchestrator was left")
        await self._endings.all_done()
        for loop in (renew, follow):
            loop.cancel()
        for tracked in leaving:
            if self._roster.holds(tracked):
                _log.error("session %s could not be ended; others have to: it may be billing", tracked.session.id)
        await self._leave()
        await self._outbox.close()
        send.cancel()

    async def _leave(self) -> None:
        """Let other workers have what is left."""
        try:
            await self._touches.write(all_of_them=True)
            await self._lease.leave()
        except Exception:  # noqa: BLE001 - supervised boundary: the lease runs out by itself
            _log.warning("the ledger does not know that this worker has left", exc_info=True)

    async def _every(self, seconds: float, work: Callable[[], Awaitable[Any]], *, at_once: bool = False) -> None:
        if not at_once:
            await self._clock.sleep(seconds)
        while True:
            try:
                await work()
            except LedgerError as error:
                _log.warning("%s failed: %s", getattr(work, "__name__", work), error)
            except Exception:  # noqa: BLE001 - supervised boundary: the next round may go better, and sessions need it
                _log.exception("%s failed", getattr(work, "__name__", work))
            await self._clock.sleep(seconds)

    @property
    def now(self) -> datetime:
        """The present instant as limits are measured by: the ledger's when this was opened, and steady since then."""
        return self._roster.now

    # ---- sessions

    async def spawn(self, request: ComputeRequest | None = None, /, **fields: Unpack[SessionOptions]) -> Session:
        """Rent a machine as a session. Takes what :meth:`exatlas.Atlas.spawn_compute` takes, and:

        ``user`` and ``tenant``, for whom it is; ``idle_ttl``, how long it lives without a :meth:`touch`;
        ``max_runtime``, how long it lives at all; ``max_cost_usd``, what it may cost; ``keep_on_exit``.
        Costs, raises and may be cancelled as `spawn_compute` does.

        Raises:
            BudgetError: a budget of the tenant or the user has too little left; it says which, and how much is left.
                Nothing was rented, but for a machine whose price turned out higher than its catalogue says: it was
                terminated.
            UnsupportedError: a cost limit was given, or there is a budget, and the cloud tells no price. The machine
                was terminated, or none was rented.
            LedgerError: the ledger is away; nothing was rented, or it was terminated.
            ConfigError: the orchestrator is not open, or was left meanwhile; then the machine was terminated.
        """
        own = {name: fields.pop(name, None) for name in ("user", "tenant", "max_runtime", "max_cost_usd")}  # type: ignore[misc]
        keep = fields.pop("keep_on_exit", False)
        arguments.check(
            "spawn",
            user=checks.optional(checks.text)(own["user"]),
            tenant=checks.optional(checks.text)(own["tenant"]),
            keep_on_exit=checks.flag(keep),
        )
        options = {name: value for name, value in fields.items() if name in CallOptions.__annotations__}
        wanted = arguments.compute_request("spawn", request, fields)
        limits = Limits(idle_ttl=wanted.idle_ttl, max_runtime=own["max_runtime"], max_cost_usd=own["max_cost_usd"])
        if not self._open:
            raise ConfigError("the orchestrator is not open; use it with async with", operation="spawn")
        wish = Wish(
            request=evolve(wanted, idle_ttl=None),
            limits=limits,
            keep_on_exit=keep,
            user=own["user"],
            tenant=own["tenant"],
            options=options,
        )
        return await self._spawning.spawn(wish)

    async def info(self, session: str | Session, /) -> Session:
        """A session as last seen, by whichever worker looks after it. A read of the ledger for those of others.

        Raises:
            NotFoundError: there is none, or it has ended.
        """
        session_id = _id(session)
        tracked = self._roster.find(session_id)
        if tracked is not None:
            return tracked.session
        launch = await self._ledger.get(session_id)
        found = None if launch is None or launch.owner != self._atlas.owner else await self._elsewhere([launch])
        if not found:
            raise NotFoundError(f"there is no session {session_id!r}, or it has ended")
        return found[0]

    async def list(self, *, tenant: str | None = None, user: str | None = None) -> Sequence[Session]:
        """All sessions of all workers, or a tenant's, or a user's, oldest first. Costs a read of the ledger."""
        alive = frozenset(LaunchState) - {LaunchState.INTENDED, LaunchState.GONE}
        launches = await self._ledger.find(owner=self._atlas.owner, states=alive, tenant=tenant, user=user)
        others = await self._elsewhere([launch for launch in launches if launch.launch_id not in self._roster])
        own = [
            tracked.session
            for tracked in self._roster
            if tenant in (None, tracked.session.tenant) and user in (None, tracked.session.user)
        ]
        return sorted([*own, *others], key=lambda session: session.started_at)

    async def touch(self, session: str | Session, /) -> None:
        """Say that a session is used: its idle time begins anew. Cheap enough for every request.

        A read of the ledger now and then for sessions of this worker, and a write every five seconds at most for each
        one of another's (every time where its idle time is below twenty).

        Raises:
            NotFoundError: there is none, or it has ended.
            LedgerError: the ledger is away, and somebody else may look after it.
        """
        session_id = _id(session)
        tracked = self._roster.find(session_id)
        if tracked is None or not self._lease.held:  # another one's, or perhaps so by now
            await self._touches.foreign(session_id)
            return
        tracked.session = touched = evolve(tracked.session, touched_at=self._roster.now)
        self._touches.own(session_id)
        # The timer is left as it is: when it comes, it looks at the touch and waits on.
        if self._roster.is_news(touched):
            await self._tell_touched(tracked)

    async def stop(self, session: str | Session, /) -> Session:
        """Pause its machine, keeping the volume. The idle time stands still; runtime and cost go on.

        Raises:
            NotFoundError: there is none, or it has ended.
            ConflictError: another worker is ending it.
        """
        tracked = await self._here(session)
        await self._atlas.stop(tracked.session.compute.id, **tracked.options)
        return await self._look_again(tracked, Phase.STOPPED)

    async def start(self, session: str | Session, /) -> Session:
        """Resume its machine; counts as a touch. Raises what `stop` does, and NoCapacityError when its host is full."""
        tracked = await self._here(session)
        await self._atlas.start(tracked.session.compute.id, **tracked.options)
        tracked.session = evolve(tracked.session, touched_at=self._roster.now)
        return await self._look_again(tracked, Phase.ACTIVE)

    async def terminate(self, session: str | Session, /) -> None:
        """End a session. Goes on when the caller is cancelled, and is tried again until a read says it is gone.

        Safe to repeat: one that has ended is not an error. Where another worker is ending it, this waits for that.

        Raises:
            AtlasError: the first minute of trying did not do.
        """
        session_id = _id(session)
        try:
            tracked = await self._here(session_id)
        except NotFoundError:
            return
        except ConflictError:
            await self._ended_elsewhere(session_id)
            return
        ending = self._endings.end(tracked, "it was asked to go")
        await asyncio.wait([ending])
        failure = LeaseLostError("another worker has taken it over") if ending.cancelled() else ending.result()
        if isinstance(failure, LeaseLostError):
            await self._ended_elsewhere(session_id)
        elif failure is not None:
            raise failure

    async def budgets(self, *, tenant: str | None = None, user: str | None = None) -> Sequence[BudgetState]:
        """What the budgets of a tenant, or of a user (of a tenant), have left now. A read of the ledger."""
        return await self._funding.left(tenant, user, self._roster.now)

    def events(
        self, *, session: str | Session | None = None, tenant: str | None = None, after: int | None = None
    ) -> AsyncGenerator[Event, None]:
        """Yield what happens at all workers, from now on or after a sequence number, until the orchestrator is left.

        A reader that is too slow, or asks for what is no longer kept, gets a ``Missed`` and goes on from there; it
        never holds anybody up. Leaving the loop early does not close a generator: use ``contextlib.aclosing``.
        """
        return self._outbox.read(after, Whose(None if session is None else _id(session), tenant))

    async def reap(self, *, dry_run: bool = False) -> Reaped:
        """Settle what no session explains, as the eldest worker does by itself every ``reap_every``.

        Sessions that nobody looks after come to this worker, with their limits. Launches of this owner that stand
        still are settled as :meth:`exatlas.Atlas.recover` with `adopt` does.
        Marked machines that the ledger does not know are told of as ``Orphaned``, and terminated after their grace if
        ``all_marked`` was given. Costs a list call for each account with open launches, and one for each with sessions.

        Raises:
            LedgerError: the ledger cannot be read; nothing was done.
        """
        return await self._reaper.reap(dry_run)

    # ---- what time does

    def _on_time(self, session_id: str) -> None:
        tracked = self._roster.find(session_id)
        if tracked is None:
            return
        if not self._lease.held:
            self._roster.timers.set(session_id, self._lease.seconds / RENEWALS)
            return
        if tracked.session.phase is Phase.ENDING:
            self._endings.end(tracked, "it is still there")
            return
        reached = policy.breach(tracked.session, self._roster.now)
        if reached is not None:
            self._endings.end(tracked, f"its limit was reached: {reached.value}", reached)
        elif tracked.funded_until is not None and self._roster.now >= tracked.funded_until:
            self._allowances.ask(tracked)
        else:
            self._roster.schedule(tracked)

    async def _renew(self) -> None:
        """Say that this worker lives, and take what nobody looks after."""
        try:
            for session_id in await self._lease.renew():
                self._roster.forget(session_id)
            if self._open:
                await self._takeover.claim()
        except LeaseLostError:
            _log.warning("worker %s was taken for dead, and its sessions are looked after by others", self._lease.name)
            self._let_go()
            await self._lease.take()
        except Exception:
            if not self._lease.held:
                self._endings.stop()
            raise

    def _let_go(self) -> None:
        """Hands off everything, at once."""
        self._lease.give_up()
        self._allowances.stop()
        self._endings.stop()
        self._roster.unclear.clear()
        for tracked in self._roster:
            self._roster.forget(tracked.session.id)

    async def _poll(self) -> None:
        if self._lease.held:
            await self._watch.look(self._roster)
            if self._roster.unclear:
                await self._reaper.settle()
            await self._funding.settle_ended(self._roster.now)

    async def _reap(self) -> None:
        if self._lease.held and self._lease.eldest:
            await self._reaper.reap(dry_run=False)

    # ---- small things

    async def _here(self, session: str | Session) -> Tracked:
        """A session that this worker looks after, if need be from now on."""
        session_id = _id(session)
        return self._roster.find(session_id) or await self._takeover.seize(session_id)

    async def _tell_touched(self, tracked: Tracked) -> None:
        """Tell of a touch, unless the session has been taken by others without this worker having heard of it yet."""
        session = tracked.session
        with suppress(LedgerError):
            launch = await self._ledger.get(session.id)
            if launch is None or launch.state.is_final or launch.worker != self._lease.name:
                self._roster.forget(session.id)
                await self._touches.foreign(session.id)
                return
        if self._roster.holds(tracked):
            self._roster.about(session, events.Touched)

    async def _look_again(self, tracked: Tracked, phase: Phase) -> Session:
        """Read the machine after a call of ours has changed it."""
        tracked.changed = self._clock.monotonic()
        if tracked.session.phase is not Phase.ENDING:
            tracked.session = evolve(tracked.session, phase=phase)
            self._roster.schedule(tracked)
        compute = await self._atlas.get_compute(tracked.session.compute.id, **tracked.options)
        await self._sightings.seen(tracked, compute)
        return tracked.session

    async def _elsewhere(self, launches: Sequence[Launch]) -> Sequence[Session]:
        """The sessions of other workers, as the ledger has them."""
        now = self._roster.now
        idle = await self._ledger.touched([launch.launch_id for launch in launches])
        found = []
        for launch in launches:
            try:
                session = session_of(launch, now, idle.get(launch.launch_id))
            except ValidationError:
                _log.exception("the session of launch %s cannot be read", launch.launch_id)
                continue
            if session is not None:
                found.append(session)
        return found

    async def _ended_elsewhere(self, session_id: str) -> None:
        """Wait until another worker has ended a session."""
        for wait_s in ELSEWHERE_S:
            with suppress(LedgerError):
                launch = await self._ledger.get(session_id)
                if launch is None or launch.state.is_final:
                    return
            await self._clock.sleep(wait_s)
        raise AtlasError(f"another worker is ending session {session_id}, and has not done so yet", retryable=True)


def _id(session: str | Session) -> str:
    return session.id if isinstance(session, Session) else session
