"""A ledger in the process: gone with it."""

import asyncio
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from decimal import Decimal
from typing import Any

from attrs import define, evolve, field

from exatlas.clock import SystemClock
from exatlas.errors import ConflictError, LeaseLostError, NotFoundError
from exatlas.protocols import Clock
from exatlas.records.budget import Hold, Shortfall
from exatlas.records.launch import Launch, LaunchState
from exatlas.records.lease import Standing
from exatlas.records.outbox import Entry


@define
class _Worker:
    owner: str
    lease_s: float
    renewed: float
    """By the monotonic clock."""
    seized: set[str] = field(factory=set)


@define
class _Outbox:
    last: int = 0
    entries: deque[Entry] = field(factory=deque)
    news: asyncio.Event = field(factory=asyncio.Event)


@define
class _Purse:
    holds: dict[str, Decimal] = field(factory=dict)

    @property
    def total(self) -> Decimal:
        return sum(self.holds.values(), Decimal(0))


class MemoryLedger:
    """Keeps everything in dicts. For tests, and for programs that outlive their machines.

    Args:
        clock: By which leases run out.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._launches: dict[str, Launch] = {}
        self._workers: dict[str, _Worker] = {}
        self._used_names: set[str] = set()
        self._touched: dict[str, float] = {}
        self._outboxes: dict[str, _Outbox] = {}
        self._purses: dict[str, _Purse] = {}
        self._unsettled: dict[str, bool] = {}

    async def intend(self, launch: Launch, /) -> None:
        """See :class:`exatlas.Ledger`."""
        if launch.worker in self._used_names and launch.worker not in self._workers:
            raise lost(launch.worker or "")
        if launch.launch_id in self._launches:
            raise ConflictError(f"launch {launch.launch_id} is in the ledger already")
        self._launches[launch.launch_id] = launch

    async def advance(
        self,
        launch_id: str,
        to: LaunchState,
        at: datetime,
        /,
        *,
        expect: LaunchState | None = None,
        worker: str | None = None,
        **facts: Any,
    ) -> Launch:
        """See :class:`exatlas.Ledger`."""
        launch = self._launches.get(launch_id)
        if launch is None:
            raise missing(launch_id)
        self._launches[launch_id] = launch = launch.advanced(to, at, expect=expect, worker=worker, **facts)
        if launch.state.is_final:
            self._touched.pop(launch_id, None)
        return launch

    async def get(self, launch_id: str, /) -> Launch | None:
        """See :class:`exatlas.Ledger`."""
        return self._launches.get(launch_id)

    async def find(
        self,
        *,
        owner: str | None = None,
        states: Collection[LaunchState] = (),
        provider: str | None = None,
        account: str | None = None,
        compute_id: str | None = None,
        tenant: str | None = None,
        user: str | None = None,
    ) -> list[Launch]:
        """See :class:`exatlas.Ledger`."""
        wanted = {"owner": owner, "provider": provider, "account": account, "compute_id": compute_id}
        wanted |= {"tenant": tenant, "user": user}
        asked = {name: value for name, value in wanted.items() if value is not None}
        found = [
            launch
            for launch in self._launches.values()
            if (not states or launch.state in states)
            and all(getattr(launch, name) == value for name, value in asked.items())
        ]
        return sorted(found, key=_age)

    # ---- workers

    async def enlist(self, worker: str, owner: str, lease_s: float, /) -> Standing:
        """See :class:`exatlas.Ledger`."""
        if worker in self._used_names:
            raise ConflictError(f"worker {worker} is in the ledger already")
        self._used_names.add(worker)
        self._workers[worker] = _Worker(owner, lease_s, self._clock.monotonic())
        return self._standing(self._workers[worker])

    async def renew(self, worker: str, /) -> Standing:
        """See :class:`exatlas.Ledger`."""
        own = self._alive(worker)
        own.renewed = self._clock.monotonic()
        return self._standing(own)

    async def bury(self, owner: str, /) -> frozenset[str]:
        """See :class:`exatlas.Ledger`."""
        now = self._clock.monotonic()
        dead = frozenset(
            name
            for name, worker in self._workers.items()
            if worker.owner == owner and now - worker.renewed >= worker.lease_s
        )
        for name in dead:
            await self.leave(name)
        return dead

    async def claim(self, worker: str, most: int, /) -> list[Launch]:
        """See :class:`exatlas.Ledger`."""
        owner = self._alive(worker).owner
        free = [
            launch
            for launch in self._launches.values()
            if launch.owner == owner and launch.worker is None and launch.session and not launch.state.is_final
        ]
        return [self._given(launch, worker) for launch in sorted(free, key=_age)[:most]]

    async def seize(self, launch_id: str, worker: str, /) -> Launch:
        """See :class:`exatlas.Ledger`."""
        self._alive(worker)
        launch = self._launches.get(launch_id)
        if launch is None or launch.state.is_final:
            raise missing(launch_id)
        if launch.worker not in (None, worker):
            if launch.state is LaunchState.TERMINATING:
                raise ConflictError(f"launch {launch_id} is being terminated")
            former = self._workers.get(launch.worker or "")
            if former is not None:
                former.seized.add(launch_id)
        return self._given(launch, worker)

    async def leave(self, worker: str, /) -> None:
        """See :class:`exatlas.Ledger`."""
        self._workers.pop(worker, None)
        for launch in list(self._launches.values()):
            if launch.worker == worker and not launch.state.is_final:
                self._given(launch, None)

    async def touch(self, idle_s: Mapping[str, float], /) -> frozenset[str]:
        """See :class:`exatlas.Ledger`."""
        now = self._clock.monotonic()
        present = frozenset(
            name for name in idle_s if name in self._launches and not self._launches[name].state.is_final
        )
        for name in present:
            self._touched[name] = max(now - idle_s[name], self._touched.get(name, now - idle_s[name]))
        return present

    async def touched(self, launch_ids: Collection[str], /) -> Mapping[str, float]:
        """See :class:`exatlas.Ledger`."""
        now = self._clock.monotonic()
        return {name: now - self._touched[name] for name in launch_ids if name in self._touched}

    # ---- outbox

    async def publish(self, owner: str, entries: Sequence[Entry], keep: int, /) -> int:
        """See :class:`exatlas.Ledger`."""
        outbox = self._outbox(owner)
        for entry in entries:
            outbox.last += 1
            outbox.entries.append(evolve(entry, seq=outbox.last))
        while len(outbox.entries) > keep:
            outbox.entries.popleft()
        outbox.news.set()
        outbox.news = asyncio.Event()
        return outbox.last

    async def entries(self, owner: str, after: int, most: int, /) -> list[Entry]:
        """See :class:`exatlas.Ledger`."""
        outbox = self._outbox(owner)
        oldest = outbox.last - len(outbox.entries)
        first = max(after - oldest, 0)
        return [outbox.entries[index] for index in range(first, min(first + most, len(outbox.entries)))]

    async def last_entry(self, owner: str, /) -> int:
        """See :class:`exatlas.Ledger`."""
        return self._outbox(owner).last

    async def await_entries(self, owner: str, after: int, within_s: float, /) -> None:
        """See :class:`exatlas.Ledger`."""
        outbox = self._outbox(owner)
        if outbox.last <= after:
            with suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    await outbox.news.wait()

    # ---- purses

    async def hold(self, launch_id: str, holds: Sequence[Hold], /, *, settled: bool = False) -> Shortfall | None:
        """See :class:`exatlas.Ledger`."""
        if not settled:
            for hold in holds:
                purse = self._purses.get(hold.purse) or _Purse()
                own = purse.holds.get(launch_id, Decimal(0))
                left = hold.most_usd - purse.total
                if hold.usd > own and hold.usd - own > left:
                    return Shortfall(purse=hold.purse, left_usd=max(left, Decimal(0)))
        for hold in holds:
            self._purses.setdefault(hold.purse, _Purse()).holds[launch_id] = hold.usd
        self._unsettled[launch_id] = not settled and bool(await self.holds_of(launch_id))
        return None

    async def held(self, purses: Collection[str], /) -> Mapping[str, Decimal]:
        """See :class:`exatlas.Ledger`."""
        return {name: (self._purses.get(name) or _Purse()).total for name in purses}

    async def holds_of(self, launch_id: str, /) -> Mapping[str, Decimal]:
        """See :class:`exatlas.Ledger`."""
        return {name: purse.holds[launch_id] for name, purse in self._purses.items() if launch_id in purse.holds}

    async def unsettled(self, owner: str, /) -> list[Launch]:
        """See :class:`exatlas.Ledger`."""
        launches = [
            self._launches[name] for name, is_open in self._unsettled.items() if is_open and name in self._launches
        ]
        return sorted((one for one in launches if one.owner == owner and one.state.is_final), key=_age)

    async def aclose(self) -> None:
        """See :class:`exatlas.Ledger`."""

    def _alive(self, worker: str) -> _Worker:
        if worker not in self._workers:
            raise lost(worker)
        return self._workers[worker]

    def _standing(self, own: _Worker) -> Standing:
        eldest = next(other for other in self._workers.values() if other.owner == own.owner)
        seized, own.seized = tuple(sorted(own.seized)), set()
        return Standing(now=self._clock.now(), eldest=eldest is own, seized=seized)

    def _given(self, launch: Launch, worker: str | None) -> Launch:
        if worker is not None:
            self._workers[worker].seized.discard(launch.launch_id)
        self._launches[launch.launch_id] = given = evolve(launch, worker=worker)
        return given

    def _outbox(self, owner: str) -> _Outbox:
        return self._outboxes.setdefault(owner, _Outbox())


def _age(launch: Launch) -> tuple[datetime, str]:
    return launch.intended_at, launch.launch_id


def missing(launch_id: str) -> NotFoundError:
    """The error for a launch that nobody wrote down."""
    return NotFoundError(f"launch {launch_id} is not in the ledger")


def lost(worker: str) -> LeaseLostError:
    """The error for a worker that others have taken for dead."""
    return LeaseLostError(f"worker {worker} was taken for dead, and holds nothing any more")
