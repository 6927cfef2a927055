"""Settle what a dead process has left behind: the ledger's open launches against what each account really rents.

::

    intended, its mark on no machine          -> gone
    intended, its mark on a machine           -> created (adopt) or terminated
    created or ready, its machine listed      -> kept (adopt) or terminated
    created or ready, not listed, a read says it is gone -> lost, gone
    terminating                               -> terminated again; gone once a read says so
    a second machine with the same mark       -> terminated: its create was delivered twice
    gone, its mark on a machine all the same  -> terminated: nobody was ever given it
    held by a living worker                   -> left to it

Every step that was decided by a state asks the ledger to be still in it, so processes that run this at once do not
undo each other's work, and a spawn that is still at work is told when it comes too late.
"""

import logging
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from itertools import groupby
from typing import Any

from attrs import frozen

from exatlas.client.bookkeeping import Books, first_rate, is_gone
from exatlas.client.spawning import terminate_surely
from exatlas.errors import AtlasError, ConflictError, NotFoundError
from exatlas.fanout import fan_out
from exatlas.protocols import Clock, Context, Ledger, Provider
from exatlas.records.compute import Compute, ComputeFilter
from exatlas.records.launch import Launch, LaunchState
from exatlas.records.recovery import Policy, Recovered, Recovery, RecoveryAction

GRACE_S = 300.0
"""How long a launch may stand still before its process is taken for dead."""
CLOCKS_APART = timedelta(minutes=5)
"""By how much the clocks of two hosts may differ."""
AT_ONCE = 8
"""Launches of one account that are settled at the same time."""

OPEN = frozenset(LaunchState) - {LaunchState.GONE}


@frozen
class Account:
    """Where the launches of one group live."""

    provider: Provider
    ctx: Context


@frozen
class Work:
    """What one recovery is to do."""

    books: Books
    clock: Clock
    policy: Policy
    grace: timedelta
    dry_run: bool
    worker: str | None = None
    """On whose behalf: what it holds is its own to settle, and what other living workers hold is not."""
    leave: frozenset[str] = frozenset()
    """Launches that need no settling."""
    due: frozenset[str] = frozenset()
    """Launches that have stood still for long enough, whatever the clock of whoever wrote them last."""

    def is_due(self, launch: Launch) -> bool:
        """Whether a launch has stood still for long enough. An instant far ahead is of a clock that is wrong."""
        age = self.clock.now() - launch.updated_at
        is_old = not self.grace or age >= self.grace
        return is_old or launch.launch_id in self.due or age < -max(self.grace, CLOCKS_APART)


_log = logging.getLogger("exatlas.client")

AccountOf = Callable[[str], Awaitable[Account]]
"""The account that the client has at a provider, by the provider's name. Raises ConfigError where it has none."""


async def recover(work: Work, account_of: AccountOf, *, only: str | None, home: str | None) -> Recovery:
    """Settle everything of the owner, account by account. ``home`` is looked at even where nothing is open."""
    if not work.dry_run:
        await _ledger(work).bury(work.books.owner)
    everything = await _ledger(work).find(owner=work.books.owner, states=OPEN, provider=only)
    open_ones = [launch for launch in everything if launch.launch_id not in work.leave]
    found = [launch for launch in open_ones if launch.worker in (None, work.worker)]
    by_account = sorted(found, key=_account)  # stable: oldest first within each account
    groups = [(*where, list(launches)) for where, launches in groupby(by_account, key=_account)]
    done = [_held(launch) for launch in open_ones if launch.worker not in (None, work.worker)]
    for provider, account, launches in groups:
        done += await _settle_account(work, account_of, provider, account, launches)
    if home is not None and home not in {provider for provider, _, _ in groups}:
        done += await _look_at_home(work, account_of, home)
    return Recovery(launches=tuple(done), dry_run=work.dry_run)


def _account(launch: Launch) -> tuple[str, str]:
    return launch.provider, launch.account


async def _settle_account(
    work: Work, account_of: AccountOf, provider: str, account: str, launches: list[Launch]
) -> list[Recovered]:
    young = [launch for launch in launches if not work.is_due(launch)]
    due = [launch for launch in launches if work.is_due(launch)]
    patience = f"it changed less than {work.grace.total_seconds():g} s ago"
    done = [Recovered(launch=launch, action=RecoveryAction.RECENT, reason=patience) for launch in young]
    if not due:
        return done
    try:
        where = await account_of(provider)
        settling = _Settling(work, where, await _machines(where))
    except Exception as error:  # noqa: BLE001 - supervised boundary: the other accounts must be settled all the same
        said = error if isinstance(error, AtlasError) else type(error).__name__
        return done + [_skipped(launch, f"its machines cannot be listed: {said}") for launch in due]
    strange = [] if where.ctx.account == account else [launch for launch in due if not settling.shows(launch)]
    done += [_skipped(launch, "it belongs to another account, or to a former key of one") for launch in strange]
    known = {launch.launch_id for launch in launches} | work.leave
    return done + await settling.all(launch for launch in due if launch not in strange) + await settling.strays(known)


async def _look_at_home(work: Work, account_of: AccountOf, home: str) -> list[Recovered]:
    try:
        where = await account_of(home)
        settling = _Settling(work, where, await _machines(where))
    except Exception:  # noqa: BLE001 - supervised boundary: nothing of ours is known to be there
        _log.warning("%s has no open launch, and its machines cannot be listed", home, exc_info=True)
        return []
    return await settling.strays(set())


async def _machines(where: Account) -> list[Compute]:
    found = await where.provider.list_compute(ComputeFilter(), where.ctx)
    return [machine for machine in found if not machine.status.is_terminal]


class _Settling:
    """The launches of one account, against one listing of its machines."""

    def __init__(self, work: Work, where: Account, machines: list[Compute]) -> None:
        self._work = work
        self._where = where
        self._machines = machines
        self._by_id = {machine.id: machine for machine in machines}
        self._by_mark: dict[str | None, list[Compute]] = {}
        for machine in machines:
            self._by_mark.setdefault(machine.launch_id, []).append(machine)
        self._ledger = _ledger(work)

    def shows(self, launch: Launch) -> bool:
        """Whether a machine with the launch's mark is in this account, whatever key it was rented with."""
        return launch.launch_id in self._by_mark

    async def all(self, launches: Iterable[Launch]) -> list[Recovered]:
        """Settle each, whatever becomes of the others."""
        kept, open_ones = list[Recovered](), list[Launch]()
        for launch in launches:
            if self._is_as_written(launch):
                kept.append(_kept(launch, self._by_id[launch.compute_id or ""]))
            else:
                open_ones.append(launch)
        outcomes = await fan_out(self._settle, open_ones, limit=AT_ONCE, clock=self._work.clock)
        settled = [
            recovered
            for outcome in outcomes
            for recovered in (outcome.value or [_unsettled(outcome.input, str(outcome.error))])
        ]
        return sorted(kept + settled, key=lambda one: (one.launch.intended_at, one.launch.launch_id))

    async def strays(self, known: set[str]) -> list[Recovered]:
        """Terminate machines of ours whose launch the ledger has closed. Marks that it does not know are not ours."""
        done = []
        for machine in self._machines:
            if machine.launch_id is None or machine.launch_id in known:
                continue
            launch = await self._ledger.get(machine.launch_id)
            if launch is not None and launch.owner == self._work.books.owner and launch.state is LaunchState.GONE:
                done.append(
                    await self._end_extra(launch, machine, "its launch has ended, and it was there all the same")
                )
        return done

    def _is_as_written(self, launch: Launch) -> bool:
        """Whether there is nothing to do about a launch, which costs nothing to find out."""
        own = self._by_id.get(launch.compute_id or "")
        alive = launch.state in (LaunchState.CREATED, LaunchState.READY)
        alone = all(machine is own for machine in self._by_mark.get(launch.launch_id, []))
        return self._work.policy == "adopt" and alive and own is not None and alone

    async def _settle(self, launch: Launch) -> list[Recovered]:
        marked = self._by_mark.get(launch.launch_id, [])
        own = [self._by_id[launch.compute_id]] if launch.compute_id in self._by_id else []
        try:
            if launch.compute_id is None and launch.state is LaunchState.INTENDED:
                own, done = marked[:1], await self._settle_intended(launch, marked)
            elif launch.state is LaunchState.TERMINATING:
                own, done = marked, await self._end(launch, [*own, *marked], "it was asked to go")
            else:
                done = await self._settle_created(launch, own)
        except ConflictError:
            return [_skipped(await self._again(launch), "somebody else has settled it meanwhile")]
        extra = [machine for machine in marked if machine.id != launch.compute_id and machine not in own]
        return [done, *[await self._end_extra(done.launch, one, "its create was delivered twice") for one in extra]]

    async def _settle_intended(self, launch: Launch, marked: list[Compute]) -> Recovered:
        if not marked:
            gone = await self._advance(launch, LaunchState.GONE, reason="no machine has its mark")
            return Recovered(launch=gone, action=RecoveryAction.GONE, reason="no machine has its mark")
        if self._work.policy == "terminate":
            return await self._end(launch, marked[:1], "its process was gone before it had the machine")
        return await self._adopt(launch, marked[0], "its mark is on the machine")

    async def _settle_created(self, launch: Launch, own: list[Compute]) -> Recovered:
        compute_id = launch.compute_id or ""
        if not own and await is_gone(self._where.provider, compute_id, self._where.ctx):
            return await self._lost(launch)
        if self._work.policy == "terminate":
            return await self._end(launch, own, "no process needs it")
        if not own:
            return _unsettled(launch, "the list does not show its machine, and no read says that it is gone")
        if launch.state is LaunchState.LOST:
            return await self._adopt(launch, own[0], "the cloud knows its machine again")
        return _kept(launch, own[0])

    async def _adopt(self, launch: Launch, machine: Compute, reason: str) -> Recovered:
        facts: dict[str, Any] = {"compute_id": machine.id, "reason": f"adopted: {reason}"}
        begin = launch.created_at or machine.created_at or launch.intended_at
        facts["created_at"] = begin
        if not launch.rates:
            facts["rates"] = first_rate(machine, begin)
        adopted = await self._advance(launch, LaunchState.CREATED, **facts)
        return Recovered(launch=adopted, action=RecoveryAction.ADOPTED, reason=reason, compute=machine)

    async def _lost(self, launch: Launch) -> Recovered:
        reason = "its cloud does not know it any more, and nobody ended it"
        lost = await self._advance(launch, LaunchState.LOST, reason=reason)
        gone = await self._advance(lost, LaunchState.GONE, reason=reason)
        return Recovered(launch=gone, action=RecoveryAction.GONE, reason=reason)

    async def _end(self, launch: Launch, machines: list[Compute], reason: str) -> Recovered:
        """Terminate what a launch has, listed or not, and confirm it."""
        ids = dict.fromkeys([machine.id for machine in machines])
        if launch.compute_id is not None:
            ids[launch.compute_id] = None
        facts = {} if launch.compute_id or not ids else {"compute_id": next(iter(ids))}
        ending = await self._advance(launch, LaunchState.TERMINATING, reason=reason, **facts)
        for compute_id in ids:
            trouble = await self._terminate(compute_id)
            if trouble is not None:
                return _unsettled(ending, trouble)
        gone = await self._advance(ending, LaunchState.GONE, reason=reason)
        action = RecoveryAction.TERMINATED if ids else RecoveryAction.GONE
        return Recovered(launch=gone, action=action, reason=reason)

    async def _end_extra(self, launch: Launch, machine: Compute, reason: str) -> Recovered:
        trouble = await self._terminate(machine.id)
        if trouble is not None:
            return _unsettled(launch, trouble)
        return Recovered(launch=launch, action=RecoveryAction.TERMINATED, reason=f"{machine.id}: {reason}")

    async def _terminate(self, compute_id: str) -> str | None:
        """Terminate and confirm. Gives what stands in the way."""
        if self._work.dry_run:
            return None
        provider, ctx = self._where.provider, self._where.ctx
        failure = await terminate_surely(lambda found: provider.terminate(found, ctx), compute_id, ctx.clock)
        if failure is not None:
            return f"{compute_id} could not be terminated: {failure}"
        return None if await is_gone(provider, compute_id, ctx) else f"no read says that {compute_id} is gone"

    async def _advance(self, launch: Launch, to: LaunchState, **facts: Any) -> Launch:
        now = self._work.clock.now()
        if self._work.dry_run:
            return launch.advanced(to, now, **facts)
        return await self._ledger.advance(launch.launch_id, to, now, expect=launch.state, **facts)

    async def _again(self, launch: Launch) -> Launch:
        return await self._ledger.get(launch.launch_id) or launch


def _ledger(work: Work) -> Ledger:
    if work.books.ledger is None:
        raise NotFoundError("there is no ledger")
    return work.books.ledger


def _kept(launch: Launch, machine: Compute) -> Recovered:
    return Recovered(launch=launch, action=RecoveryAction.KEPT, reason="its machine is there", compute=machine)


def _held(launch: Launch) -> Recovered:
    reason = f"worker {launch.worker} looks after it"
    return Recovered(launch=launch, action=RecoveryAction.HELD, reason=reason)


def _skipped(launch: Launch, reason: str) -> Recovered:
    return Recovered(launch=launch, action=RecoveryAction.SKIPPED, reason=reason)


def _unsettled(launch: Launch, reason: str) -> Recovered:
    return Recovered(launch=launch, action=RecoveryAction.UNSETTLED, reason=reason)
