"""What is remembered of callbacks: whose nonce is whose, what was seen before, the last results, and who waits."""

import asyncio
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum, auto
from typing import Any

from attrs import define, frozen

from exatlas.records.job import Job

MOST_SUBMISSIONS = 10_000
"""How many nonces, and how many endings, are remembered. An older ending that comes again counts as new."""
MOST_KEPT_BYTES = 64 * 1024 * 1024
"""How much of the last results is kept for those who ask later. An older one has to be asked of the cloud."""


@frozen
class JobKey:
    """What names a job among all clouds."""

    provider: str
    endpoint: str
    id: str


class Seen(Enum):
    """What became of an ending that came before."""

    TAKING = auto()
    TAKEN = auto()


@define
class _Binding:
    job: JobKey
    sure: bool
    """Whether the submit said so, and not only a callback."""


class Arrivals:
    """Bounded in everything but the number of those who wait."""

    def __init__(self, most: int = MOST_SUBMISSIONS, most_bytes: int = MOST_KEPT_BYTES) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._bindings: OrderedDict[str, _Binding] = OrderedDict()
        self._nonces: dict[JobKey, str] = {}
        self._endings: OrderedDict[tuple[JobKey, str], Seen] = OrderedDict()
        self._kept: OrderedDict[JobKey, tuple[Job, int]] = OrderedDict()
        self._kept_bytes = 0
        self._waiting: dict[JobKey, list[asyncio.Future[Job]]] = {}

    def bind(self, nonce: str, job: JobKey) -> JobKey | None:
        """Tie a nonce to the job that the submit named. Gives the job that a callback had claimed falsely, if any."""
        known = self._bindings.get(nonce)
        lie = known.job if known is not None and known.job != job else None
        if lie is not None:
            self._unbind(nonce)
            self._forget(lie)
        usurper = self._nonces.get(job)
        if usurper is not None and usurper != nonce:
            self._unbind(usurper)
            self._forget(job)
        self._bind(nonce, _Binding(job, sure=True))
        return lie

    def admits(self, nonce: str, job: JobKey) -> bool:
        """Whether a nonce may speak for a job; the first callback ties the two together."""
        known = self._bindings.get(nonce)
        if known is not None:
            return known.job == job
        if job in self._nonces:
            return False
        self._bind(nonce, _Binding(job, sure=False))
        return True

    def is_bound(self, job: JobKey) -> bool:
        """Whether the job was submitted here, so that its callback would be known here."""
        nonce = self._nonces.get(job)
        return nonce is not None and self._bindings[nonce].sure

    def seen(self, job: JobKey, status: str) -> Seen | None:
        """What became of this ending of the job before, or None for a new one."""
        return self._endings.get((job, status))

    def mark(self, job: JobKey, status: str, seen: Seen | None) -> None:
        """Remember an ending, or with None forget it, so that it may come again."""
        if seen is None:
            self._endings.pop((job, status), None)
            return
        self._endings[job, status] = seen
        self._endings.move_to_end((job, status))
        _trim(self._endings, self._most)

    def arrived(self, job: JobKey, record: Job, size: int) -> None:
        """Keep a result of so many bytes, and hand it to everybody who waits for it."""
        for waiter in self._waiting.get(job, ()):
            if not waiter.done():
                waiter.set_result(record)
        self._drop(job)
        self._kept[job] = record, size
        self._kept_bytes += size
        while self._kept_bytes > self._most_bytes or len(self._kept) > self._most:
            self._drop(next(iter(self._kept)))

    def result(self, job: JobKey) -> Job | None:
        """The result that came for a job, if it is still kept."""
        record, _ = self._kept.get(job, (None, 0))
        return record

    @contextmanager
    def waiting(self, job: JobKey) -> Iterator[asyncio.Future[Job]]:
        """A future for the job's next result, for as long as the block lasts."""
        arrival: asyncio.Future[Job] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(job, []).append(arrival)
        try:
            yield arrival
        finally:
            self._waiting[job].remove(arrival)
            if not self._waiting[job]:
                del self._waiting[job]

    def _bind(self, nonce: str, binding: _Binding) -> None:
        self._bindings[nonce] = binding
        self._bindings.move_to_end(nonce)
        self._nonces[binding.job] = nonce
        while len(self._bindings) > self._most:
            self._unbind(next(iter(self._bindings)))

    def _unbind(self, nonce: str) -> None:
        binding = self._bindings.pop(nonce)
        if self._nonces.get(binding.job) == nonce:
            del self._nonces[binding.job]

    def _forget(self, job: JobKey) -> None:
        """Believe nothing that was said about a job."""
        self._drop(job)
        for ending in [ending for ending in self._endings if ending[0] == job]:
            del self._endings[ending]

    def _drop(self, job: JobKey) -> None:
        _, size = self._kept.pop(job, (None, 0))
        self._kept_bytes -= size


def _trim(memory: OrderedDict[Any, Any], most: int) -> None:
    while len(memory) > most:
        memory.popitem(last=False)
