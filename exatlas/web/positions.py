"""What a browser that comes back has missed.

Chunks are numbered by the process that receives them, and most clouds hand each out once: a number means something only
together with the counting it belongs to. So an event id names a counting by an epoch, and in it the first chunk that
the browser does not have: ``1f0c9a3e-12``, or ``1f0c9a3e-12-end`` once it has heard how the stream ended.

The epoch of a job is made up when the application first relays it, and again when its numbers begin anew: after a
restart of the process, after the job was forgotten here, after the cloud ran it again. An id of another epoch proves
nothing, and the browser is told so.
"""

import re
import secrets
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from datetime import datetime
from typing import Self

from attrs import define, field, frozen

from exatlas.records.job import JobChunk
from exatlas.web import frames
from exatlas.web.frames import Missing

MOST_JOBS = 10_000
"""How many jobs' countings are remembered."""
MOST_BEHIND = 1000
"""How many chunks the others on a job may get ahead of a browser: so many are kept in memory for it."""

_ID = re.compile(r"([0-9a-f]{8})-([0-9]{1,15})(-end)?", re.ASCII)


@frozen
class EventId:
    """Where a browser is in a stream."""

    epoch: str
    next: int
    """The first chunk it does not have."""
    over: bool = False
    """Whether it has heard how the stream ended, and so needs nothing more."""

    def __str__(self) -> str:
        return f"{self.epoch}-{self.next}{'-end' if self.over else ''}"

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read a `Last-Event-ID` header; None for what this module never wrote."""
        found = _ID.fullmatch(text)
        return cls(found[1], int(found[2]), found[3] is not None) if found else None


def _stay() -> None:
    """Before the browser's stream runs, there is nothing to cut."""


def new_epoch() -> str:
    """A name for a counting."""
    return secrets.token_hex(4)


@define(eq=False)
class Counting:
    """One job's chunks, as the readers of this application have seen them."""

    epoch: str = field(factory=new_epoch)
    next: int = 0
    """One more than the highest number that was seen."""
    readers: "list[JobPosition]" = field(factory=list)
    """Those who read it now."""
    _latest: datetime | None = None

    def note(self, chunk: JobChunk) -> None:
        """See a chunk. An old number on a chunk that is newer than all others means that the numbers began anew."""
        if chunk.index < self.next and self._latest is not None and chunk.received_at > self._latest:
            self.epoch, self.next = new_epoch(), 0
        if chunk.index >= self.next:
            self.next, self._latest = chunk.index + 1, chunk.received_at
            for reader in self.readers:
                if reader.behind > MOST_BEHIND:
                    reader.fall_behind()


class Countings:
    """The countings of the jobs relayed last. Jobs that somebody reads are never forgotten."""

    def __init__(self, most: int = MOST_JOBS) -> None:
        self._most = most
        self._of: OrderedDict[Hashable, Counting] = OrderedDict()

    def of(self, job: Hashable) -> Counting:
        """The counting of a job, begun if there is none."""
        counting = self._of.setdefault(job, Counting())
        self._of.move_to_end(job)
        for old in list(self._of)[: len(self._of) - self._most]:
            if not self._of[old].readers and old != job:
                del self._of[old]
        return counting


class JobPosition:
    """One browser's place in one job's stream, and the events it is sent."""

    def __init__(self, counting: Counting, last_event_id: str | None) -> None:
        self._counting = counting
        known = None if last_event_id is None else EventId.parse(last_event_id)
        self._epoch = known.epoch if known else None
        self._strange = last_event_id is not None and (known is None or known.epoch != counting.epoch)
        self._begun = False
        self._behind_at_first = 0
        self.next = 0 if known is None or self._strange else known.next
        """The first chunk that the browser does not have."""
        self.fall_behind: Callable[[], None] = _stay
        """Called when the others get too far ahead."""

    @property
    def behind(self) -> int:
        """How many chunks the others have got ahead since this browser began."""
        return self._counting.next - self.next - self._behind_at_first if self._begun else 0

    def opening(self) -> Iterator[bytes]:
        """What can be said before the first chunk."""
        if self._strange:
            yield frames.gap(Missing.UNKNOWN)

    def take(self, chunk: JobChunk) -> Iterator[bytes]:
        """The events for a chunk: none if the browser has it, and a gap first where some are missing."""
        counting = self._counting
        counting.note(chunk)
        if not self._begun:
            yield from self._begin(chunk)
        if chunk.index < self.next:
            return
        if chunk.index > self.next:
            yield frames.gap(Missing.GONE, self.next, chunk.index - 1)
        if chunk.gap:
            yield frames.gap(Missing.LOST)
        self.next = chunk.index + 1
        yield frames.chunk(chunk, f"{counting.epoch}-{self.next}")

    def _begin(self, chunk: JobChunk) -> Iterator[bytes]:
        self._begun = True
        if self._strange:
            self.next = chunk.index
        elif self._epoch is not None and self._epoch != self._counting.epoch:
            # Only the first chunk showed that the numbers had begun anew.
            self.next = chunk.index
            yield frames.gap(Missing.UNKNOWN)
        self._behind_at_first = self._counting.next - max(self.next, chunk.index) - 1

    def done(self) -> Iterator[bytes]:
        """The events that end a stream that ended well."""
        yield from self._missed_to_the_end()
        yield frames.done(self._final_id(), chunks=self.next)

    def failure(self, error: Exception, *, final: bool) -> Iterator[bytes]:
        """The events that end a stream that failed. With `final`, coming back would change nothing."""
        if final:
            yield from self._missed_to_the_end()
        yield frames.failure(error, self._final_id() if final else None)

    def _missed_to_the_end(self) -> Iterator[bytes]:
        """What others were given and this browser was not, it will not get any more."""
        if self.next < self._counting.next:
            if self._begun or not self._strange:
                yield frames.gap(Missing.GONE, self.next, self._counting.next - 1)
            self.next = self._counting.next

    def _final_id(self) -> str:
        return str(EventId(self._counting.epoch, self.next, over=True))
