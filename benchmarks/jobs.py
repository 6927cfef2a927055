"""Jobs of the benchmark's cloud: chunks posted at their times, handed out once, by held poll or as events."""

import asyncio
from collections import deque
from collections.abc import Iterator
from functools import partial
from random import Random

from benchmarks.wire import Connection

PAGE_BYTES = 1_000_000
"""RunPod splits replies at about this size."""
EVENTS_BYTES = 64 * 1024
LATEST_END_S = 0.05
"""A worker reports the end of a job in a request of its own, a little after the last chunk."""
WINDOW_S = 10.0
WINDOW_REQUESTS = 2000
MOST_AT_ONCE = 400


class Endpoint:
    """One endpoint: what it counts, and the limits it may have."""

    def __init__(self, *, limited: bool = False, events: bool = False) -> None:
        self.limited = limited
        self.events = events
        self.requests = 0
        self.refused = 0
        self.in_flight = 0
        self.peak_in_flight = 0
        self._admitted: deque[float] = deque()

    def admit(self, now: float) -> bool:
        """Count a request; False when it is over RunPod's limits."""
        self.requests += 1
        if self.limited and not self._within_limits(now):
            self.refused += 1
            return False
        self.in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)
        return True

    def leave(self) -> None:
        """A request was answered."""
        self.in_flight -= 1

    def _within_limits(self, now: float) -> bool:
        admitted = self._admitted
        while admitted and admitted[0] <= now - WINDOW_S:
            admitted.popleft()
        if len(admitted) >= WINDOW_REQUESTS or self.in_flight >= MOST_AT_ONCE:
            return False
        admitted.append(now)
        return True


class Job:
    """One job whose chunks carry the instant they were posted, in the monotonic seconds all processes share."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.ended_at: float | None = None
        self._buffer: deque[bytes] = deque()
        self._polls: deque[tuple[Connection, asyncio.TimerHandle]] = deque()
        self._listener: Connection | None = None

    def schedule(self, count: int, every_s: float, start: float, size: int, random: Random) -> None:
        """Post chunks from `start` on, at a random phase and with random pauses of `every_s` on average."""
        loop = asyncio.get_running_loop()
        text = "x" * max(size - 45, 0)
        first = start + random.random() * every_s
        times = self._times(count, every_s, first, random)

        def post(index: int, _: float) -> None:
            self.post(b'{"output":{"i":%d,"t":%.6f,"text":"%b"}}' % (index, loop.time(), text.encode()))
            go_on(index + 1)

        def go_on(index: int) -> None:
            due = next(times, None)
            if due is None:
                loop.call_later(random.uniform(0.1, 1) * LATEST_END_S, self.end)
            else:
                loop.call_at(due, post, index, due)

        go_on(0)

    @staticmethod
    def _times(count: int, every_s: float, first: float, random: Random) -> Iterator[float]:
        due = first
        for _ in range(count):
            yield due
            due += every_s * random.uniform(0.5, 1.5)

    def fill(self, count: int, size: int) -> None:
        """Have everything there from the start, and the job completed."""
        item = b'{"output":"%b"}' % (b"x" * size)
        self._buffer.extend([item] * count)
        self.end()

    def post(self, item: bytes) -> None:
        """Take one chunk from the worker; whoever waits gets it now."""
        self._buffer.append(item)
        if self._listener:
            self._push()
        elif self._polls:
            self._answer(*self._polls.popleft())

    def end(self) -> None:
        """The worker is done."""
        self.ended_at = asyncio.get_running_loop().time()
        if self._listener:
            self._push()
        while self._polls:
            self._answer(*self._polls.popleft())

    def poll(self, connection: Connection, hold_s: float) -> None:
        """Hand out what there is, or hold the request until there is something."""
        if self._buffer or self.ended_at is not None:
            connection.reply(self._page())
            self.endpoint.leave()
            return
        timer = asyncio.get_running_loop().call_later(hold_s, partial(self._give_up, connection))
        self._polls.append((connection, timer))
        connection.on_lost = partial(self._forget, connection)

    def listen(self, connection: Connection) -> None:
        """Push chunks as events from now on."""
        connection.begin_events()
        self._listener = connection
        connection.on_lost = self._stop_listening
        self.endpoint.leave()
        if self._buffer or self.ended_at is not None:
            self._push()

    def _answer(self, connection: Connection, timer: asyncio.TimerHandle) -> None:
        timer.cancel()
        connection.on_lost = None
        connection.reply(self._page())
        self.endpoint.leave()

    def _give_up(self, connection: Connection) -> None:
        if found := self._without(connection):
            self._answer(*found)

    def _forget(self, connection: Connection) -> None:
        if found := self._without(connection):
            found[1].cancel()
            self.endpoint.leave()

    def _without(self, connection: Connection) -> tuple[Connection, asyncio.TimerHandle] | None:
        found = next((poll for poll in self._polls if poll[0] is connection), None)
        if found:
            self._polls.remove(found)
        return found

    def _stop_listening(self) -> None:
        self._listener = None

    def _page(self) -> bytes:
        status = b"IN_PROGRESS" if self.ended_at is None else b"COMPLETED"
        return b'{"status":"%b","stream":[%b]}' % (status, b",".join(self._take(PAGE_BYTES)))

    def _take(self, most_bytes: int) -> list[bytes]:
        taken, size = [], 0
        while self._buffer and size < most_bytes:
            taken.append(self._buffer.popleft())
            size += len(taken[-1])
        return taken

    def _push(self) -> None:
        listener = self._listener
        assert listener
        while items := self._take(EVENTS_BYTES):
            listener.send_events(b"".join(b'data: {"status":"IN_PROGRESS","stream":[%b]}\n\n' % item for item in items))
        if self.ended_at is not None:
            listener.send_events(b'data: {"status":"COMPLETED","stream":[]}\n\n')
            listener.on_lost = self._listener = None
            listener.end_events()
