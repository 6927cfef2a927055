import asyncio
import os
import sys
from itertools import count

import pytest

from exatlas.clock import ManualClock
from exatlas.errors import ConfigError
from exatlas.local.desk import Desk
from exatlas.local.supervisor import STEADY_S, Recipe, Supervisor, crashes_in_a_row, restart_pause_s
from exatlas.providers.runpod.queue import Queue
from exatlas.providers.runpod.submission import Rules

pytestmark = pytest.mark.skipif(os.name != "posix", reason="supervised processes need POSIX")


def test_pauses_grow_with_crashes_in_a_row_and_end_growing():
    pauses = [restart_pause_s(crashes) for crashes in range(9)]
    assert pauses[:2] == [0, 0]
    assert pauses == sorted(pauses)
    assert pauses[-1] == pauses[-2] == 10


@pytest.mark.parametrize(
    ("before", "is_crash", "seconds", "after"),
    [(3, False, 0.0, 0), (3, True, STEADY_S - 1, 4), (3, True, STEADY_S, 1), (0, True, 0.0, 1)],
)
def test_a_good_end_or_a_long_life_starts_a_new_row(before, is_crash, seconds, after):
    assert crashes_in_a_row(before, is_crash, seconds) == after


class Bench:
    """A supervisor whose processes print a line and live until told; the test asks for work in their name."""

    def __init__(self, program: str):
        numbers = count(1)
        self.clock = ManualClock(auto=True)
        self.desk = Desk(Queue(new_id=lambda: str(next(numbers)), rules=Rules(stop_grace_s=5)), self.clock)
        self.births = asyncio.Queue()
        recipe = Recipe(
            name="handler.py",
            command=[sys.executable, "-c", program],
            environment=lambda worker: {**os.environ, "WORKER": worker},
            on_line=self.births.put_nowait,
            stop_grace_s=30,
        )
        self.supervisor = Supervisor("s", recipe, self.desk)
        self.running = asyncio.create_task(self.supervisor.run())

    def take(self, worker):
        return [job["id"] for job in self.desk.ask(Queue.take, worker)]

    def submit(self):
        return self.desk.ask(Queue.submit, {"input": {}})["id"]

    def status(self, job):
        return self.desk.ask(Queue.status, job)["status"]


@pytest.fixture
async def bench():
    made = []

    def make(program):
        made.append(Bench(program))
        return made[-1]

    yield make
    for one in made:
        one.running.cancel()
        await asyncio.wait([one.running])


LIVE = "import os, time; print(os.environ['WORKER'], os.getpid(), flush=True); time.sleep(3600)"


async def born(bench) -> tuple[str, int]:
    worker, pid = (await bench.births.get()).split()
    return worker, int(pid)


async def test_a_crash_brings_a_new_process_with_a_new_name_and_the_job_again(bench):
    one = bench(LIVE)
    worker, pid = await born(one)
    job = one.submit()
    assert (worker, one.take(worker)) == ("s-1", [job])
    await one.supervisor.is_ready.wait()
    os.kill(pid, 11)
    worker, pid = await born(one)
    assert (worker, one.status(job)) == ("s-2", "IN_QUEUE")
    assert one.take(worker) == [job]


async def test_a_job_that_kills_two_processes_fails(bench):
    one = bench(LIVE)
    job = one.submit()
    for _ in range(2):
        worker, pid = await born(one)
        assert one.take(worker) == [job]
        await one.supervisor.is_ready.wait()
        os.kill(pid, 9)
    await born(one)
    assert one.status(job) == "FAILED"


async def test_a_process_that_never_asks_for_work_is_an_error_with_its_last_words(bench):
    one = bench("print('loading'); import no_such_module")
    with pytest.raises(ConfigError) as error:
        await one.running
    assert str(error.value) == (
        "handler.py ended with status 1 before it asked for work; "
        "its last line: ModuleNotFoundError: No module named 'no_such_module'"
    )
    assert error.value.raw.startswith("loading\nTraceback")
    assert "loading\n" in error.value.__notes__[0]


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("pass", "ended with status 0 before it asked for work without a word"),
        ("import os; os.kill(os.getpid(), 9)", "was killed by SIGKILL before it asked for work without a word"),
    ],
)
async def test_a_silent_end_is_told_as_such(bench, program, words):
    with pytest.raises(ConfigError, match=words):
        await bench(program).running


async def test_a_process_that_holds_on_to_a_stopped_job_is_replaced(bench):
    one = bench(LIVE)
    worker, _ = await born(one)
    job = one.submit()
    one.take(worker)
    await one.supervisor.is_ready.wait()
    one.desk.ask(Queue.cancel, job)
    one.clock.advance(5)
    one.desk.ask(Queue.ping, worker, job_ids=[job])
    assert (await born(one))[0] == "s-2"


async def test_cancelling_ends_the_process_politely(bench):
    polite = "import signal, sys; signal.signal(15, lambda *_: (print('bye x', flush=True), sys.exit())); "
    one = bench(polite + LIVE)
    await born(one)
    one.running.cancel()
    await asyncio.wait([one.running])
    assert one.running.cancelled()
    assert (await one.births.get()) == "bye x"
    assert one.supervisor.tail.endswith("bye x")
    assert one.desk.ask(Queue.health)["workers"]["initializing"] == 0


async def test_cancelling_twice_does_not_wait_for_a_deaf_process(bench):
    one = bench("import signal; signal.signal(15, signal.SIG_IGN); " + LIVE)
    await born(one)
    one.running.cancel()
    for _ in range(5):
        await asyncio.sleep(0)
    one.running.cancel()
    await asyncio.wait([one.running])
    assert one.running.cancelled()
