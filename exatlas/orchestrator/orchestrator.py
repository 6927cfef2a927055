"""Sessions: machines with limits, watched by one process until they are surely gone."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self, Unpack

from attrs import evolve, frozen

from exatlas.cancellation import outlive
from exatlas.client import arguments
from exatlas.client.arguments import AccountOptions, CallOptions, SpawnOptions
from exatlas.client.atlas import Atlas
from exatlas.client.bookkeeping import Tags, first_rate
from exatlas.client.spawning import terminate_surely
from exatlas.errors import AtlasError, ConfigError, NotFoundError, UnsupportedError, ValidationError
from exatlas.launch import new_launch_id
from exatlas.ledger import MemoryLedger
from exatlas.orchestrator import events, policy
from exatlas.orchestrator.events import Event
from exatlas.orchestrator.feed import KEPT, Feed
from exatlas.orchestrator.orphans import Orphans
from exatlas.orchestrator.policy import Breach
from exatlas.orchestrator.session import Limits, Phase, Session, from_json, to_json
from exatlas.orchestrator.timers import Timers
from exatlas.orchestrator.watch import Tracked, Watch
from exatlas.protocols import Ledger
from exatlas.records import checks
from exatlas.records.compute import Compute, ComputeRequest, ComputeStatus
from exatlas.records.launch import LaunchState, RateSegment
from exatlas.records.recovery import Recovered, Recovery

RETRY_S = 60.0
"""How long after a failed termination it is tried again."""
TOUCH_NEWS = timedelta(seconds=10)
"""Touches of one session in this time are one event."""

_log = logging.getLogger("exatlas.orchestrator")


class SessionOptions(SpawnOptions, total=False):
    """What :meth:`Orchestrator.spawn` takes: what `spawn_compute` takes, and the session's limits."""

    user: str | None
    tenant: str | None
    max_runtime: float | timedelta | None
    max_cost_usd: Any
    keep_on_exit: bool


@frozen(kw_only=True)
class Reaped:
    """What one run of the reaper did."""

    recovery: Recovery
    orphans: tuple[Compute, ...] = ()
    """Machines with a mark that no launch explains, whose grace is over."""
    terminated: tuple[Compute, ...] = ()
    """Those of them that were terminated."""


class Orchestrator:
    """Rents machines as sessions and ends them by their limits, for one process and its event loop.

    Use it with ``async with``. On the way out every session is ended but those with ``keep_on_exit``; they and whatever
    a killed process leaves behind become sessions again, with their limits, when an orchestrator of the same owner
    finds them. One process per owner: two would each take the other's sessions for left behind.

    Every ``poll_every`` it costs one list call for each account that has sessions. A cloud that cannot be reached ends
    nothing: a machine counts as gone only when a read of it says so.

    Args:
        atlas: The client to rent with; yours to close, after this.
        ledger: Where machines are written down: the client's own, unless it has none. Without either it is in memory.
        poll_every: Between two looks at the machines (seconds or timedelta).
        reap_every: Between two runs of :meth:`reap`.
        grace: How long a launch has to stand still, and an orphan to be seen, before the reaper acts.
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
        all_marked: bool = False,
        events_kept: int = KEPT,
    ) -> None:
        spans = {
            name: arguments.seconds("Orchestrator", span, name) or 0.0
            for name, span in (("poll_every", poll_every), ("reap_every", reap_every), ("grace", grace))
        }
        arguments.check("Orchestrator", all_marked=checks.flag(all_marked), events_kept=checks.whole(1)(events_kept))
        if ledger is not None or atlas.ledger is None:
            atlas.keep_books(ledger or MemoryLedger())
        self._atlas = atlas
        self._clock = atlas.clock
        self._poll_s, self._reap_s = spans["poll_every"], spans["reap_every"]
        self._grace_s = spans["grace"]
        self._all_marked = all_marked
        self._feed = Feed(events_kept)
        self._timers = Timers(self._clock, self._on_time)
        self._watch = Watch(atlas, self._seen, self._absent)
        self._orphans = Orphans(timedelta(seconds=self._grace_s))
        self._sessions: dict[str, Tracked] = {}
        self._spawning: set[str] = set()
        self._none_spawning = asyncio.Event()
        self._ending: dict[str, asyncio.Task[Exception | None]] = {}
        self._told_touched: dict[str, datetime] = {}
        self._group = asyncio.TaskGroup()
        self._loops: list[asyncio.Task[None]] = []
        self._began = self._clock.now(), self._clock.monotonic()
        self._open = False

    # ---- life

    async def __aenter__(self) -> Self:
        if self._loops:
            raise ConfigError("an orchestrator is good for one block; make a new one")
        await self._group.__aenter__()
        self._began = self._clock.now(), self._clock.monotonic()
        self._open = True
        loops = (self._timers.run(), self._every(self._poll_s, self._poll), self._every(self._reap_s, self._reap))
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
        for loop in self._loops:
            loop.cancel()
        if self._spawning:
            await self._none_spawning.wait()
        leaving = [one.session for one in self._sessions.values() if not one.session.keep_on_exit]
        for session in leaving:
            self._end(session.id, "its orchestrator was left")
        if self._ending:
            await asyncio.wait(list(self._ending.values()))
        for session in leaving:
            if session.id in self._sessions:
                _log.error("session %s could not be ended; a recovery has to: it may be billing", session.id)
        self._feed.close()

    async def _every(self, seconds: float, work: Callable[[], Awaitable[Any]]) -> None:
        while True:
            await self._clock.sleep(seconds)
            try:
                await work()
            except Exception:  # noqa: BLE001 - supervised boundary: the next round may go better, and sessions need it
                _log.exception("%s failed", getattr(work, "__name__", work))

    @property
    def now(self) -> datetime:
        """The present instant by a clock that never jumps, as limits are measured by."""
        wall, steady = self._began
        return wall + timedelta(seconds=self._clock.monotonic() - steady)

    # ---- sessions

    async def spawn(self, request: ComputeRequest | None = None, /, **fields: Unpack[SessionOptions]) -> Session:
        """Rent a machine as a session. Takes what :meth:`exatlas.Atlas.spawn_compute` takes, and:

        ``user`` and ``tenant``, for whom it is; ``idle_ttl``, how long it lives without a :meth:`touch`;
        ``max_runtime``, how long it lives at all; ``max_cost_usd``, what it may cost; ``keep_on_exit``.
        Costs, raises and may be cancelled as `spawn_compute` does.

        Raises:
            UnsupportedError: a cost limit was given, and the cloud tells no price. The machine was terminated.
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
        tags = Tags(
            launch_id=new_launch_id(),
            user=own["user"],
            tenant=own["tenant"],
            session=to_json(limits, keep_on_exit=keep),
        )
        self._spawning.add(tags.launch_id or "")
        try:
            return await self._spawn(evolve(wanted, idle_ttl=None), tags, limits, keep, options)
        finally:
            self._spawning.discard(tags.launch_id or "")
            if not self._spawning:
                self._none_spawning.set()
                self._none_spawning = asyncio.Event()

    async def _spawn(
        self, wanted: ComputeRequest, tags: Tags, limits: Limits, keep: bool, options: dict[str, Any]
    ) -> Session:
        whose = {"session": tags.launch_id, "tenant": tags.tenant, "user": tags.user}
        mark = tags.launch_id or ""
        self._tell(events.SpawnRequested, **whose)
        try:
            compute = await self._atlas.spawn_tagged(tags, wanted, **options)
        except BaseException as error:
            reason = type(error).__name__ if isinstance(error, Exception) else "cancelled"
            self._tell(events.SpawnFailed, **whose, reason=reason)
            raise
        session = Session(
            id=mark,
            tenant=tags.tenant,
            user=tags.user,
            limits=limits,
            keep_on_exit=keep,
            compute=compute,
            started_at=self.now,
            touched_at=self.now,
            rates=first_rate(compute, self.now),
        )
        self._track(session, options)
        self._tell(events.Created, **whose, compute_id=compute.id)
        if not self._open:
            await self._refuse(session, "the orchestrator was left while the machine was rented")
            raise ConfigError("the orchestrator was left while the machine was rented", operation="spawn")
        if limits.max_cost_usd is not None and not session.rates:
            await self._refuse(session, "it has a cost limit and no price")
            raise UnsupportedError(
                "max_cost_usd needs a price, and the cloud tells none for this machine; it was terminated",
                provider=compute.provider,
                operation="spawn",
            )
        tracked = self._sessions[mark]
        try:
            await self._seen(tracked, compute)
        except asyncio.CancelledError:
            await self._refuse(session, "its spawn was cancelled")
            raise
        return tracked.session

    async def _refuse(self, session: Session, reason: str) -> None:
        """End a session that nobody was given, although its caller may be cancelled."""
        ended = await outlive(lambda: self._ended(session.id, reason))
        if ended.interrupted:
            raise asyncio.CancelledError

    async def _ended(self, session_id: str, reason: str) -> None:
        await asyncio.wait([self._end(session_id, reason)])

    def info(self, session: str | Session, /) -> Session:
        """A session as last seen. No I/O. Raises NotFoundError for one that has ended."""
        return self._get(session).session

    def list(self, *, tenant: str | None = None, user: str | None = None) -> Sequence[Session]:
        """All sessions, or a tenant's, or a user's, oldest first. No I/O."""
        return [
            tracked.session
            for tracked in self._sessions.values()
            if tenant in (None, tracked.session.tenant) and user in (None, tracked.session.user)
        ]

    def touch(self, session: str | Session, /) -> None:
        """Say that a session is used: its idle time begins anew. No I/O, and cheap enough for every request.

        Raises:
            NotFoundError: it has ended.
        """
        tracked = self._get(session)
        now = self.now
        tracked.session = touched = evolve(tracked.session, touched_at=now)
        # The timer is left as it is: when it comes, it looks at the touch and waits on.
        told = self._told_touched.get(touched.id)
        if told is None or now - told >= TOUCH_NEWS:
            self._told_touched[touched.id] = now
            self._about(touched, events.Touched)

    async def stop(self, session: str | Session, /) -> Session:
        """Pause its machine, keeping the volume. The idle time stands still; runtime and cost go on."""
        tracked = self._get(session)
        await self._atlas.stop(tracked.session.compute.id, **tracked.options)
        return await self._look_again(tracked, Phase.STOPPED)

    async def start(self, session: str | Session, /) -> Session:
        """Resume its machine; counts as a touch. Raises NoCapacityError when its host is full."""
        tracked = self._get(session)
        await self._atlas.start(tracked.session.compute.id, **tracked.options)
        tracked.session = evolve(tracked.session, touched_at=self.now)
        return await self._look_again(tracked, Phase.ACTIVE)

    async def terminate(self, session: str | Session, /) -> None:
        """End a session. Goes on when the caller is cancelled, and is tried again until a read says it is gone.

        Safe to repeat: one that has ended is not an error.

        Raises:
            AtlasError: the first minute of trying did not do.
        """
        session_id = session.id if isinstance(session, Session) else session
        if session_id not in self._sessions:
            return
        failure = await asyncio.shield(self._end(session_id, "it was asked to go"))
        if failure is not None:
            raise failure

    def events(
        self, *, session: str | Session | None = None, tenant: str | None = None, after: int | None = None
    ) -> AsyncGenerator[Event, None]:
        """Yield what happens, from now on or after a sequence number, until the orchestrator is left.

        A reader that is too slow, or asks for what is no longer kept, gets a ``Missed`` and goes on from there; it
        never holds anybody up. Leaving the loop early does not close a generator: use ``contextlib.aclosing``.
        """
        only = session.id if isinstance(session, Session) else session
        return self._feed.read(self._feed.last if after is None else after, only, tenant)

    # ---- what time does

    def _on_time(self, session_id: str) -> None:
        tracked = self._sessions.get(session_id)
        if tracked is None:
            return
        if tracked.session.phase is Phase.ENDING:
            self._end(session_id, "it is still there")
            return
        reached = policy.breach(tracked.session, self.now)
        if reached is None:
            self._schedule(tracked.session)
            return
        kinds: dict[Breach, type[Event]] = {Breach.IDLE: events.IdleExpired, Breach.DEADLINE: events.DeadlineReached}
        if reached is Breach.BUDGET:
            self._about(tracked.session, events.BudgetExhausted, cost_usd=tracked.session.cost_usd(self.now))
        else:
            self._about(tracked.session, kinds[reached])
        self._end(session_id, f"its limit was reached: {reached.value}")

    def _schedule(self, session: Session) -> None:
        at = policy.next_breach(session, self.now)
        self._timers.set(session.id, None if at is None else (at - self.now).total_seconds())

    # ---- what the clouds say

    async def _poll(self) -> None:
        await self._watch.look(list(self._sessions.values()))

    async def _look_again(self, tracked: Tracked, phase: Phase) -> Session:
        """Read the machine after a call of ours has changed it."""
        tracked.changed = self._clock.monotonic()
        if tracked.session.phase is not Phase.ENDING:
            tracked.session = evolve(tracked.session, phase=phase)
            self._schedule(tracked.session)
        compute = await self._atlas.get_compute(tracked.session.compute.id, **tracked.options)
        await self._seen(tracked, compute)
        return tracked.session

    async def _seen(self, tracked: Tracked, machine: Compute) -> None:
        """Take over what a cloud shows of a machine."""
        before = tracked.session
        if self._sessions.get(before.id) is not tracked or tracked.last == machine:
            return
        tracked.last = machine
        rates = self._priced(before, machine)
        ready = before.is_ready or machine.status is ComputeStatus.RUNNING
        tracked.session = after = evolve(
            before,
            compute=evolve(machine, auth=before.compute.auth),
            phase=_phase(before.phase, machine.status),
            is_ready=ready,
            rates=rates,
        )
        if machine.status is not before.compute.status:
            self._about(after, events.StatusChanged, before=before.compute.status, after=machine.status)
        if ready and not before.is_ready:
            self._about(after, events.Ready)
        if after.phase is not Phase.ENDING:
            if rates != before.rates or after.phase is not before.phase:
                self._schedule(after)
            if rates != before.rates or ready is not before.is_ready:
                await self._note(after.id, LaunchState.READY if ready else LaunchState.CREATED, rates=rates)

    def _priced(self, session: Session, machine: Compute) -> tuple[RateSegment, ...]:
        price = machine.cost_usd_per_hour
        if price is None or (session.rates and session.rates[-1].usd_per_hour == price):
            return session.rates
        return (*session.rates, RateSegment(since=self.now, usd_per_hour=price))

    async def _absent(self, tracked: Tracked) -> None:
        session = tracked.session
        if self._sessions.get(session.id) is not tracked or session.id in self._ending:
            return
        self._drop(session)
        if session.phase is Phase.ENDING:
            self._about(session, events.Terminated, cost_usd=session.cost_usd(self.now))
        else:
            self._about(session, events.Lost)
            await self._note(session.id, LaunchState.LOST, reason="its cloud does not know it any more")
        await self._note(session.id, LaunchState.GONE)

    # ---- the end

    def _end(self, session_id: str, reason: str) -> "asyncio.Task[Exception | None]":
        """End a session in a task of its own; there is one at most for each."""
        task = self._ending.get(session_id)
        if task is None:
            task = asyncio.create_task(self._terminate(session_id, reason), name=f"exatlas session {session_id}")
            self._ending[session_id] = task
            task.add_done_callback(lambda _: self._ending.pop(session_id, None))
        return task

    async def _terminate(self, session_id: str, reason: str) -> Exception | None:
        tracked = self._sessions.get(session_id)
        if tracked is None:
            return None
        tracked.session = session = evolve(tracked.session, phase=Phase.ENDING)
        self._about(session, events.Terminating, reason=reason)

        async def terminate(_: str) -> None:
            await self._atlas.terminate(session.compute, **tracked.options)

        failure = await terminate_surely(terminate, session.compute.id, self._clock)
        if failure is None and not await self._is_gone(tracked):
            failure = AtlasError(f"no read says that {session.compute.id} is gone", provider=session.compute.provider)
        if failure is not None:
            self._about(session, events.TerminateFailed, reason=str(failure))
            self._timers.set(session_id, RETRY_S)
            return failure
        self._drop(session)
        self._about(session, events.Terminated, cost_usd=session.cost_usd(self.now))
        return None

    async def _is_gone(self, tracked: Tracked) -> bool:
        """Whether the client has had it confirmed and written; where it has not, a read says it here."""
        session = tracked.session
        try:
            launch = await self._ledger.get(session.id)
        except Exception:  # noqa: BLE001 - supervised boundary: a ledger is the user's, and the cloud knows better
            launch = None
        if launch is not None and launch.state.is_final:
            return True
        try:
            machine = await self._atlas.get_compute(session.compute.id, **tracked.options)
        except NotFoundError:
            await self._note(session.id, LaunchState.GONE)
            return True
        except Exception:  # noqa: BLE001 - supervised boundary: nothing is known, and it is asked again
            _log.debug("it cannot be told whether session %s is gone", session.id, exc_info=True)
            return False
        return machine.status.is_terminal

    # ---- what others have left behind

    async def reap(self, *, dry_run: bool = False) -> Reaped:
        """Settle what no session here explains, as it happens by itself every ``reap_every``.

        Launches of this owner that stand still are settled as :meth:`exatlas.Atlas.recover` with `adopt` does; those
        that were sessions become sessions here, with their limits, and their idle time begins anew.
        Marked machines that the ledger does not know are told of as ``Orphaned``, and terminated after their grace if
        ``all_marked`` was given. Costs a list call for each account with open launches, and one for each with sessions.

        Raises:
            LedgerError: the ledger cannot be read; nothing was done.
        """
        recovery = await self._atlas.recover("adopt", older_than=self._grace_s, dry_run=dry_run)
        if not dry_run:
            for one in recovery.launches:
                self._adopt(one)
        fresh, due = await self._orphans.among(await self._watched(), self._ledger, self.now)
        for machine in fresh:
            orphan = {"session": machine.launch_id, "compute_id": machine.id, "provider": machine.provider}
            self._tell(events.Orphaned, **orphan)
        ended = [machine for machine in due if self._all_marked and not dry_run and await self._end_orphan(machine)]
        return Reaped(recovery=recovery, orphans=tuple(due), terminated=tuple(ended))

    async def _reap(self) -> None:
        await self.reap()

    async def _watched(self) -> Sequence[Compute]:
        """The machines of every account that has sessions; of the client's own account where there are none."""
        if self._sessions:
            return await self._watch.look(list(self._sessions.values()))
        try:
            return await self._atlas.list_compute()
        except AtlasError:
            _log.debug("the machines of the client's own account cannot be listed", exc_info=True)
            return []

    async def _end_orphan(self, machine: Compute) -> bool:
        failure = await terminate_surely(lambda _: self._atlas.terminate(machine), machine.id, self._clock)
        if failure is not None:
            _log.error("orphan %s could not be terminated: %s", machine.id, failure)
        return failure is None

    def _adopt(self, one: Recovered) -> None:
        launch = one.launch
        known = launch.launch_id in self._sessions or launch.launch_id in self._spawning
        if one.compute is None or known or not launch.session:
            return
        try:
            limits = from_json(launch.session)
        except ValidationError:
            _log.exception("the limits of launch %s cannot be read; it has none now", launch.launch_id)
            limits = Limits()
        session = Session(
            id=launch.launch_id,
            tenant=launch.tenant,
            user=launch.user,
            limits=limits,
            keep_on_exit=bool(launch.session.get("keep_on_exit")),
            phase=_phase(Phase.ACTIVE, one.compute.status),
            compute=one.compute,
            is_ready=launch.state is LaunchState.READY,
            started_at=launch.created_at or launch.intended_at,
            touched_at=self.now,
            rates=launch.rates or first_rate(one.compute, self.now),
        )
        self._track(session, {"provider": launch.provider})
        self._about(session, events.Adopted, compute_id=one.compute.id)

    # ---- small things

    @property
    def _ledger(self) -> Ledger:
        ledger = self._atlas.ledger
        if ledger is None:
            raise ConfigError("the client has lost its ledger")
        return ledger

    def _get(self, session: str | Session) -> Tracked:
        session_id = session.id if isinstance(session, Session) else session
        tracked = self._sessions.get(session_id)
        if tracked is None:
            raise NotFoundError(f"there is no session {session_id!r} here, or it has ended")
        return tracked

    def _track(self, session: Session, options: dict[str, Any]) -> None:
        account = tuple(options.get(name) for name in AccountOptions.__annotations__)
        key = (session.compute.provider, *(str(part) for part in account[1:]))
        self._sessions[session.id] = Tracked(session, key, options, self._clock.monotonic())
        self._schedule(session)

    def _drop(self, session: Session) -> None:
        self._sessions.pop(session.id, None)
        self._told_touched.pop(session.id, None)
        self._timers.set(session.id, None)

    async def _note(self, session_id: str, to: LaunchState, **facts: Any) -> None:
        try:
            await self._ledger.advance(session_id, to, self._clock.now(), **facts)
        except Exception:  # noqa: BLE001 - supervised boundary: a ledger is the user's, and must not stop what goes on
            _log.warning("the ledger does not know that session %s is %s", session_id, to.value, exc_info=True)

    def _about(self, session: Session, kind: type[Event], **facts: Any) -> None:
        self._tell(kind, session=session.id, tenant=session.tenant, user=session.user, **facts)

    def _tell(self, kind: type[Event], **facts: Any) -> None:
        self._feed.tell(kind(at=self.now, **facts))


def _phase(before: Phase, status: ComputeStatus) -> Phase:
    """Where a session is, by what its machine is."""
    if before is Phase.ENDING:
        return before
    if status in (ComputeStatus.STOPPED, ComputeStatus.STOPPING):
        return Phase.STOPPED
    return Phase.ACTIVE if status in (ComputeStatus.RUNNING, ComputeStatus.PROVISIONING) else before
