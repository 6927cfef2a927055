"""What happens, written into the ledger and read back from it: all workers of an owner see one numbered row of events.

Telling costs nothing: events wait until the next write takes them all. When the ledger is away they wait longer, and
when there are too many the oldest are given up, which their readers are told.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator

from attrs import frozen

from exatlas.orchestrator.events import Event, Missed, from_entry, to_entry
from exatlas.orchestrator.feed import PAGE, Feed, Whose
from exatlas.protocols import Clock, Ledger
from exatlas.records.outbox import Entry

RETRY_S = 5.0
"""How long after the ledger failed it is tried again."""
LOOK_S = 60.0
"""How long to wait for news of other workers before looking all the same, in real seconds."""
BATCH = 1000
"""Events in one write."""
LAST_WORDS_S = 5.0
"""How long to try to write what is left when an orchestrator closes, in real seconds."""

_log = logging.getLogger("exatlas.orchestrator")


@frozen
class _Mark:
    """Somebody who wants to know the number of the event that was told as the so-manieth."""

    told: int
    number: "asyncio.Future[int]"


class Outbox:
    """Events of one owner. Belongs to one event loop.

    Args:
        kept: How many events can be read again, and how many wait for a ledger that is away.
    """

    def __init__(self, ledger: Ledger, owner: str, clock: Clock, kept: int) -> None:
        self.feed = Feed(self._older, kept)
        self._ledger = ledger
        self._owner = owner
        self._clock = clock
        self._kept = kept
        self._waiting: deque[Entry] = deque()
        self._told = 0
        self._written = 0
        """So many of those that were told are in the ledger, or were given up."""
        self._given_up = 0
        """So many were, of which the readers are not told yet."""
        self._number = 0
        """That of the latest one that this worker has written."""
        self._marks: list[_Mark] = []
        self._work = asyncio.Event()
        self._writing = asyncio.Lock()
        """Whoever gives up a write does not know whether it was made, and must not be the one who repeats it."""

    async def open(self) -> None:
        """Begin with what comes next."""
        self.feed.last = await self._ledger.last_entry(self._owner)

    def tell(self, event: Event) -> None:
        """Say that something has happened."""
        self._waiting.append(to_entry(event))
        self._told += 1
        if len(self._waiting) > self._kept:
            self._waiting.popleft()
            self._written += 1
            self._given_up += 1
            _log.warning("the ledger is away, and an event was given up")
        self._work.set()

    def read(self, after: int | None, whose: Whose) -> AsyncGenerator[Event, None]:
        """Yield events after a number, or what happens from now on."""
        if after is not None:
            return self.feed.read(after, whose)
        mark = _Mark(self._told, asyncio.get_running_loop().create_future())
        if self._written == self._told:
            mark.number.set_result(max(self._number, self.feed.last))
        else:
            self._marks.append(mark)
        return self._read_from(mark, whose)

    async def send(self) -> None:
        """Write what is told, until cancelled."""
        while True:
            await self._work.wait()
            self._work.clear()
            try:
                await self._write_all()
            except Exception:  # noqa: BLE001 - supervised boundary: a ledger is the user's, and may come back
                _log.warning("events cannot be written", exc_info=True)
                await self._clock.sleep(RETRY_S)
                self._work.set()

    async def follow(self) -> None:
        """Read what anybody has told, until cancelled."""
        while True:
            try:
                await self._ledger.await_entries(self._owner, self.feed.last, LOOK_S)
                await self._catch_up()
            except Exception:  # noqa: BLE001 - supervised boundary: a ledger is the user's, and may come back
                _log.warning("events cannot be read", exc_info=True)
                await self._clock.sleep(RETRY_S)

    async def close(self) -> None:
        """Write and read what is left, as far as that goes at once, and let the readers end.

        While :meth:`send` still runs: a write of its own is waited for. Nobody may :meth:`follow` any more.
        """
        try:
            async with asyncio.timeout(LAST_WORDS_S):
                await self._write_all()
                await self._catch_up()
        except Exception:  # noqa: BLE001 - supervised boundary: whoever leaves must not be held up by a ledger
            _log.warning("the last events may be lost", exc_info=True)
        for mark in self._marks:
            _number(mark, max(self._number, self.feed.last))
        self.feed.close()

    async def _write_all(self) -> None:
        async with self._writing:
            while self._waiting:
                await self._write_some()

    async def _write_some(self) -> None:
        batch = [self._waiting[index] for index in range(min(BATCH, len(self._waiting)))]
        before, given_up = self._written, self._given_up
        gap = [to_entry(Missed(at=batch[0].at, count=given_up))] if given_up else []
        entries = [*gap, *batch]
        self._number = last = await self._ledger.publish(self._owner, entries, max(self._kept, len(entries)))
        self._given_up -= given_up
        # Some of them may have been given up while they were written after all.
        for _ in range(len(batch) - (self._written - before)):
            self._waiting.popleft()
            self._written += 1
        for mark in self._marks:
            if mark.told <= self._written:
                _number(mark, last - (self._written - mark.told))
        self._marks = [mark for mark in self._marks if not mark.number.done()]

    async def _catch_up(self) -> None:
        while page := await self._older(self.feed.last, PAGE):
            self.feed.take(page)

    async def _older(self, after: int, most: int) -> list[Event]:
        return [from_entry(entry) for entry in await self._ledger.entries(self._owner, after, most)]

    async def _read_from(self, mark: _Mark, whose: Whose) -> AsyncGenerator[Event, None]:
        reader = self.feed.read(await mark.number, whose)
        try:
            async for event in reader:
                yield event
        finally:
            await reader.aclose()


def _number(mark: _Mark, number: int) -> None:
    if not mark.number.done():
        mark.number.set_result(number)
