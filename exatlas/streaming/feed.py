"""One job's chunks, fetched once for all its readers in this process.

A cloud that hands each chunk out once (RunPod does) must be polled by one party only. That party is the feed, not the
reader: a reader that is cancelled in the middle of a poll leaves the poll to finish, its chunks are kept, and whoever
opens the stream again goes on from there. Several readers each see every chunk from where they joined.

A feed fetches only while a reader waits for a chunk that is not there yet. When the last reader leaves, a poll that is
already at the server is allowed to come home (its hold is seconds); closing the client cuts it at once.
"""

import asyncio
import copy
import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from weakref import WeakKeyDictionary

from attrs import frozen

from exatlas.errors import JobError
from exatlas.protocols import Clock, Context
from exatlas.streaming.fetching import Fetcher
from exatlas.streaming.pages import PollItem, PollSource

log = logging.getLogger("exatlas.streaming")

IDLE_FEED_S = 1800.0
"""How long a feed nobody reads is kept with the chunks nobody saw; clouds keep results about as long."""

LONGEST_BACKLOG = 1000
"""How many chunks a pushing server may be ahead of the reader before its connection is left unread."""


@frozen
class Arrival:
    """The chunks of one reply. They become records only when a reader takes them."""

    first: int
    """Index of its first chunk."""
    items: Sequence[PollItem]
    received_at: datetime
    gap: bool
    """Whether chunks before the first may be lost."""

    @property
    def end(self) -> int:
        """Index of the chunk after its last."""
        return self.first + len(self.items)


class Reader:
    """One consumer's place in a feed."""

    def __init__(self, source: PollSource, ctx: Context, cursor: int) -> None:
        self.source = source
        self.ctx = ctx
        self.cursor = cursor
        """Index of the first chunk this reader has not handed on."""


class JobFeed:
    """The chunks of one job, in order, from the first one that some reader still needs."""

    def __init__(self, forget: Callable[[], None]) -> None:
        self._forget = forget
        self._readers: list[Reader] = []
        self._arrivals: list[Arrival] = []
        self._first = 0
        self.count = 0
        """How many chunks this feed has received in all."""
        self._waiters: list[asyncio.Future[None]] = []
        self._room: asyncio.Future[None] | None = None
        self._fetching: asyncio.Task[None] | None = None
        self._fetcher = Fetcher(self)
        self._ended = False
        self._ended_with: JobError | None = None
        self.tail_gap = False
        """Whether chunks at the very end may have been lost, where no later chunk can say so."""
        self._expiry: asyncio.TimerHandle | None = None

    def join(self, source: PollSource, ctx: Context) -> Reader:
        """Add a reader: at the first chunk nobody has seen, or beside the reader that is furthest on."""
        cursor = max((reader.cursor for reader in self._readers), default=self._first)
        reader = Reader(source, ctx, cursor)
        self._readers.append(reader)
        if self._expiry:
            self._expiry.cancel()
            self._expiry = None
        return reader

    def leave(self, reader: Reader) -> None:
        """Remove a reader. What the last one did not hand on waits for the next."""
        self._readers.remove(reader)
        if self._readers:
            return
        self._drop_before(reader.cursor)
        if self._fetching and not self._fetcher.must_come_home:
            self._fetching.cancel()
        if self._ended and self._first == self.count:
            self._forget()
        else:
            self._expiry = asyncio.get_running_loop().call_later(IDLE_FEED_S, self._forget)

    async def more(self, reader: Reader) -> Arrival | None:
        """The arrival with the chunk at the reader's cursor; waits until there is one. None is the end of the job.

        Safe to cancel: nothing is lost, the next call gives the same chunks.

        Raises:
            JobError: the job ended without completing, and the reader has seen every chunk.
            AtlasError: fetching failed for good; calling again tries again.
        """
        while True:
            self._drop_before(min(other.cursor for other in self._readers))
            for arrival in self._arrivals:
                if reader.cursor < arrival.end:
                    return arrival
            if self._ended_with:
                raise copy.copy(self._ended_with)
            if self._ended:
                return None
            await self._arrival()

    async def _arrival(self) -> None:
        loop = asyncio.get_running_loop()
        arrival: asyncio.Future[None] = loop.create_future()
        self._waiters.append(arrival)
        if self._room and not self._room.done():
            self._room.set_result(None)
        if self._fetching is None:
            self._fetching = loop.create_task(self._fetch())
        try:
            await arrival
        finally:
            if arrival in self._waiters:
                self._waiters.remove(arrival)

    async def _fetch(self) -> None:
        try:
            await self._fetcher.run()
        except Exception as error:  # noqa: BLE001 - whatever it is, the readers must hear of it or they wait for ever
            self._fail(error)
        finally:
            self._fetching = None
            self._wake()

    def _fail(self, error: Exception) -> None:
        if not self._waiters:
            log.warning("fetching a job's chunks failed after its readers had left: %s", error)
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_exception(error)

    # What the fetcher sees of the feed.

    @property
    def wanted(self) -> bool:
        """Whether a reader waits for a chunk that is not there yet."""
        return bool(self._waiters)

    @property
    def present(self) -> Reader | None:
        """A reader whose client can be used to fetch, or None when everybody left."""
        return self._readers[-1] if self._readers else None

    def append(self, items: Sequence[PollItem], clock: Clock, *, gap: bool) -> None:
        """Take chunks in, the first of them marked when chunks before it may be lost, and wake the readers."""
        arrival = Arrival(self.count, items, clock.now(), gap)
        self._arrivals.append(arrival)
        self.count = arrival.end
        self._wake()

    def end(self, error: JobError | None, *, gap: bool) -> None:
        """Nothing more will come: the job completed, or ended with `error`."""
        self._ended, self._ended_with, self.tail_gap = True, error, gap
        if gap:
            log.warning("the last chunks of a job may have been lost with a reply that never came")
        if not self._readers and self._first == self.count:
            self._forget()
        self._wake()

    async def room(self) -> None:
        """Wait until some reader has seen all there is, once the backlog is long: back-pressure on pushing servers."""
        if self.count - self._first < LONGEST_BACKLOG or self._waiters:
            return
        self._room = asyncio.get_running_loop().create_future()
        await self._room

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _drop_before(self, index: int) -> None:
        self._first = max(self._first, index)
        while self._arrivals and self._arrivals[0].end <= self._first:
            del self._arrivals[0]


_feeds: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, JobFeed]] = WeakKeyDictionary()
"""Feeds by event loop: two clients of one account in a process must not drain one job against each other."""


def feed_for(source: PollSource, ctx: Context) -> JobFeed:
    """The feed of a job, shared by everybody in this event loop who uses the same account."""
    feeds = _feeds.setdefault(asyncio.get_running_loop(), {})
    key = f"{ctx.account} {source.poll_call(0.0, None).url}"
    feed = feeds.get(key)
    if feed is None:
        feed = feeds[key] = JobFeed(lambda: _remove(feeds, key, feed))
    return feed


def _remove(feeds: dict[str, JobFeed], key: str, feed: JobFeed | None) -> None:
    if feeds.get(key) is feed:
        del feeds[key]
