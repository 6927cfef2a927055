"""Keeps one worker process alive: starts it, hears its end, starts the next one, and ends it for good."""

import asyncio
import logging
import signal
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from attrs import frozen

from exatlas.errors import ConfigError
from exatlas.local.child import Child
from exatlas.local.desk import Desk
from exatlas.providers.runpod.queue import Queue, Topic

log = logging.getLogger("exatlas.local")

RESTART_PAUSES_S = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Before the first, second, … restart in a row of crashes; the last one goes on."""
STEADY_S = 30.0
"""A process that lived so long before it crashed starts a new row."""
TAIL_LINES = 40


@frozen(kw_only=True)
class Recipe:
    """How to start a worker process."""

    name: str
    """What to call it in messages: the handler file."""
    command: Sequence[str]
    environment: Callable[[str], Mapping[str, str]]
    """The whole environment, from the worker's id."""
    on_line: Callable[[str], None]
    """Hears each line the process prints."""
    stop_grace_s: float
    """How long a process may take to end when asked politely."""


@frozen(kw_only=True)
class _Life:
    """How one process went."""

    status: int | None
    asked: bool
    """Whether it ever asked for work."""
    was_stuck: bool
    seconds: float

    @property
    def is_crash(self) -> bool:
        return not self.asked or (self.status != 0 and not self.was_stuck)

    def __str__(self) -> str:
        if self.was_stuck:
            return "did not let go of a job it was told to stop"
        if self.status is None:
            return "was killed"
        if self.status < 0:
            return f"was killed by {signal.Signals(-self.status).name}"
        return f"ended with status {self.status}"


def crashes_in_a_row(before: int, is_crash: bool, seconds: float) -> int:
    """How many crashes in a row there are after a process that lived so long has ended."""
    if not is_crash:
        return 0
    return 1 if seconds >= STEADY_S else before + 1


def restart_pause_s(crashes: int) -> float:
    """How long to wait before the next start, after so many crashes in a row."""
    return RESTART_PAUSES_S[min(crashes, len(RESTART_PAUSES_S)) - 1] if crashes else 0.0


class Supervisor:
    """One slot for a worker. Each process in it has an id of its own, so that a dead one's words are not mistaken."""

    def __init__(self, slot: str, recipe: Recipe, desk: Desk) -> None:
        self._slot = slot
        self._recipe = recipe
        self._desk = desk
        self._births = 0
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self.is_ready = asyncio.Event()
        """Set once a process of this slot has asked for work."""

    @property
    def tail(self) -> str:
        """The last lines that processes of this slot have printed."""
        return "\n".join(self._tail)

    async def run(self) -> None:
        """Keep a process alive until cancelled, which ends it politely; cancelled again, it is killed.

        Raises:
            ConfigError: the first process ended without ever asking for work. Its last lines are in `raw`.
        """
        crashes = 0
        while True:
            life = await self._live()
            if not self.is_ready.is_set():
                raise self._stillborn(life)
            crashes = crashes_in_a_row(crashes, life.is_crash, life.seconds)
            pause_s = restart_pause_s(crashes)
            log.warning("worker %s %s; the next one starts in %g s", self._slot, life, pause_s)
            await self._desk.clock.sleep(pause_s)

    async def _live(self) -> _Life:
        self._births += 1
        worker = f"{self._slot}-{self._births}"
        self._desk.ask(Queue.worker_joined, worker)
        try:
            child = await Child.start(self._recipe.command, self._recipe.environment(worker), self._hear)
            try:
                return await self._watch(child, worker)
            finally:
                await child.stop(self._recipe.stop_grace_s)
        finally:
            self._desk.ask(Queue.worker_lost, worker)

    async def _watch(self, child: Child, worker: str) -> _Life:
        started = asyncio.get_running_loop().time()
        asked = asyncio.ensure_future(self._desk.change(Topic("worker", worker)))
        stuck = asyncio.ensure_future(self._desk.change(Topic("stuck", worker)))
        ended = asyncio.ensure_future(child.wait())
        try:
            await asyncio.wait([asked, ended], return_when=asyncio.FIRST_COMPLETED)
            if asked.done():
                self.is_ready.set()
            await asyncio.wait([stuck, ended], return_when=asyncio.FIRST_COMPLETED)
            was_stuck = not ended.done()
            status = await (child.stop(0.0) if was_stuck else ended)
        finally:
            for wait in (asked, stuck, ended):
                wait.cancel()
        return _Life(
            status=status,
            asked=asked.done() and not asked.cancelled(),
            was_stuck=was_stuck,
            seconds=asyncio.get_running_loop().time() - started,
        )

    def _hear(self, line: str) -> None:
        self._tail.append(line)
        self._recipe.on_line(line)

    def _stillborn(self, life: _Life) -> ConfigError:
        words = [line for line in self._tail if line.strip()]
        said = f"; its last line: {words[-1]}" if words else " without a word"
        error = ConfigError(f"{self._recipe.name} {life} before it asked for work{said}", raw=self.tail)
        if words:
            error.add_note(f"What it printed last:\n{self.tail}")
        return error
