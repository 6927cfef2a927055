import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from exatlas.local.child import LONGEST_LINE, Child

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")

FAMILY = """
import os, sys, time
child = os.fork()
if child == 0:
    time.sleep(3600)
print(os.getpid(), child, flush=True)
"""
"""Prints the ids of a process and of one it started, which outlives it."""


class Ear:
    """Hears a child's lines."""

    def __init__(self):
        self.lines = []
        self._heard = asyncio.Event()

    def __call__(self, line):
        self.lines.append(line)
        self._heard.set()

    async def line(self):
        while not self.lines:
            self._heard.clear()
            await self._heard.wait()
        return self.lines.pop(0)


@pytest.fixture
def ear():
    return Ear()


async def start(program: str, ear: Ear) -> Child:
    return await Child.start([sys.executable, "-c", program], dict(os.environ), ear)


def is_alive(pid: int) -> bool:
    """Whether it runs: a zombie that nobody has reaped yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def gone(*pids: int) -> None:
    """Wait until they do not run any more."""
    async with asyncio.timeout(10):
        while any(is_alive(pid) for pid in pids):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("program", "status"),
    [
        ("pass", 0),
        ("raise SystemExit(7)", 7),
        ("import os; os._exit(3)", 3),
        ("import os; os.kill(os.getpid(), 9)", -signal.SIGKILL),
    ],
)
async def test_the_end_is_told_with_its_status(ear, program, status):
    child = await start(program, ear)
    assert await child.wait() == status
    assert await child.wait() == status
    assert await child.stop(1) == status


async def test_what_it_prints_comes_line_by_line(ear):
    program = (
        "import sys; print('out\\n', flush=True); sys.stderr.write('é\\r\\n'); sys.stderr.buffer.write(b'\\xff end')"
    )
    child = await start(program, ear)
    await child.wait()
    assert ear.lines == ["out", "", "é", "\ufffd end"]


async def test_a_line_without_end_is_cut(ear):
    size = 64 * LONGEST_LINE
    child = await start(f"print('x' * {size}, end='')", ear)
    await child.wait()
    assert len(ear.lines) > 1
    assert "".join(ear.lines) == "x" * size


async def test_a_polite_stop_lets_it_tidy_up(ear):
    program = (
        "import signal, sys, time\n"
        "def tidy(*_): print('tidied', flush=True); sys.exit(5)\n"
        "signal.signal(signal.SIGTERM, tidy)\n"
        "print('ready', flush=True)\n"
        "time.sleep(3600)"
    )
    child = await start(program, ear)
    assert await ear.line() == "ready"
    assert await child.stop(30) == 5
    assert ear.lines == ["tidied"]


async def test_a_deaf_process_is_killed_after_the_grace(ear):
    program = "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); time.sleep(3600)"
    child = await start(program, ear)
    await ear.line()
    assert await child.stop(0.05) is None


async def test_what_it_started_does_not_outlive_it(ear):
    child = await start(FAMILY, ear)
    _, grandchild = map(int, (await ear.line()).split())
    await child.wait()
    await gone(grandchild)


async def test_a_stop_ends_what_it_started(ear):
    child = await start(FAMILY + "time.sleep(3600)", ear)
    parent, grandchild = map(int, (await ear.line()).split())
    await child.stop(30)
    await gone(parent, grandchild)


async def test_a_cancelled_stop_kills_at_once(ear):
    program = "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); time.sleep(3600)"
    child = await start(program, ear)
    await ear.line()
    stopping = asyncio.create_task(child.stop(3600))
    await asyncio.sleep(0)
    stopping.cancel()
    await asyncio.wait([stopping])
    assert stopping.cancelled()
    assert await child.wait() is None


async def test_cancelling_a_wait_ends_nothing(ear):
    child = await start("import time; time.sleep(3600)", ear)
    waiting = asyncio.create_task(child.wait())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert is_alive(child._process.pid)
    assert await child.stop(30) == -signal.SIGTERM


@pytest.mark.parametrize("turns", range(8))
async def test_a_second_cancellation_of_a_stop_does_not_leave_it_half_done(ear, turns):
    child = await start("import time; time.sleep(3600)", ear)
    stopping = asyncio.create_task(child.stop(3600))
    await asyncio.sleep(0)
    stopping.cancel()
    for _ in range(turns):
        await asyncio.sleep(0)
    stopping.cancel()
    await asyncio.wait([stopping])
    assert stopping.cancelled()
    assert child._line.fileno() == -1
    assert child._process.returncode is not None


@pytest.mark.parametrize("turns", range(4))
def test_a_loop_that_ends_leaves_nothing_open(ear, turns):
    """It cancels every task there is, also one that has not begun."""
    kept = []

    async def own() -> None:
        child = await start("import time; time.sleep(3600)", ear)
        kept.append(child)
        try:
            await child.wait()
        finally:
            await child.stop(30)

    async def main() -> None:
        owner = asyncio.create_task(own())
        while not kept:
            await asyncio.sleep(0)
        for _ in range(turns):
            await asyncio.sleep(0)
        assert not owner.done()

    asyncio.run(main())
    (child,) = kept
    assert child._line.fileno() == -1
    assert child._process.returncode is not None


async def test_nothing_is_left_when_the_loop_cancels_what_listens_before_it_begins(ear):
    child = await start("import time; time.sleep(3600)", ear)
    child._status.cancel()
    assert await child.wait() is None
    assert child._line.fileno() == -1
    assert child._process.returncode is not None


async def test_a_process_that_escapes_with_the_pipe_does_not_hold_up_the_end(ear):
    program = (
        "import os, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    print(os.getpid(), flush=True)\n"
        "    time.sleep(3600)\n"
        "time.sleep(0.2)"
    )
    child = await start(program, ear)
    escaped = int(await ear.line())
    try:
        assert await child.wait() == 0
    finally:
        os.kill(escaped, signal.SIGKILL)


async def test_a_killed_guardian_takes_the_others_with_it(ear):
    child = await start(FAMILY + "time.sleep(3600)", ear)
    parent, grandchild = map(int, (await ear.line()).split())
    os.kill(child._process.pid, signal.SIGKILL)
    assert await child.wait() is None
    await gone(parent, grandchild)


async def test_a_command_that_does_not_exist_ends_at_once(ear):
    child = await Child.start(["/no/such/command"], dict(os.environ), ear)
    assert await child.wait() is None
    assert any("No such file" in line for line in ear.lines)


async def test_cancelling_the_start_leaves_no_process(ear):
    before = _children()
    for turns in range(12):
        starting = asyncio.create_task(start("import time; time.sleep(3600)", ear))
        for _ in range(turns):
            await asyncio.sleep(0)
        starting.cancel()
        await asyncio.wait([starting])
        if not starting.cancelled():
            await starting.result().stop(0)
    async with asyncio.timeout(10):
        while _children() - before:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("turns", range(8))
async def test_cancelling_a_start_that_the_loop_was_slow_to_finish_leaves_no_process(tmp_path, turns):
    """The guardian has all the time it wants before the loop hears that it exists."""
    mark = tmp_path / "started"
    program = f"import pathlib, time; pathlib.Path({str(mark)!r}).touch(); time.sleep(30)"
    starting = asyncio.create_task(start(program, Ear()))
    for _ in range(turns):
        await asyncio.sleep(0)
    time.sleep(0.1)  # noqa: ASYNC251
    starting.cancel()
    await asyncio.wait([starting])
    if not starting.cancelled():
        await starting.result().stop(0)
    else:
        assert not mark.exists()


def _children() -> set[int]:
    """Processes that this one started and that still run."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and is_alive(int(entry.name)):
            stat = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(stat[1]) == os.getpid():
                found.add(int(entry.name))
    return found


PARENT = """
import asyncio, os, sys
from exatlas.local.child import Child

async def main():
    command = [sys.executable, "-c", sys.argv[1]]
    child = await Child.start(command, dict(os.environ), lambda line: print(line, flush=True))
    await child.wait()

asyncio.run(main())
"""


async def test_nothing_outlives_a_parent_that_is_killed(ear):
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PARENT, FAMILY + "time.sleep(3600)"), stdout=asyncio.subprocess.PIPE
    )
    child, grandchild = map(int, (await parent.stdout.readline()).split())
    assert is_alive(child)
    parent.kill()
    await parent.wait()
    await gone(child, grandchild)
