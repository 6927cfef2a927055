"""Two ways to run a command: in this process, and as a process of its own."""

import asyncio
import io
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from attrs import define, frozen

import exatlas
from exatlas.cli.app import run
from exatlas.cli.shell import Shell
from exatlas.providers.memory import MemoryProvider

PATIENCE_S = 30.0
"""How long a process may take, on a machine that others use too."""


@frozen
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def invoke(clock, monkeypatch, capsys) -> Callable[..., Ended]:
    """Run a command line in this process, with one cloud in memory for all commands of a test: `invoke.cloud`."""
    monkeypatch.setenv("COLUMNS", "200")

    class Invoke:
        cloud = MemoryProvider(clock=clock)
        others: tuple = ()
        """More providers that the client knows."""
        stdin = io.StringIO()

        def make_atlas(self, timeout: float | None, **options) -> exatlas.Atlas:
            atlas = exatlas.Atlas(self.cloud, clock=clock, env={}, timeout=timeout, **options)
            for other in (self.cloud, *self.others):
                atlas.provider(other)
            return atlas

        def __call__(self, *arguments: str) -> Ended:
            capsys.readouterr()
            standard = Shell.standard(self.make_atlas)
            shell = Shell(out=standard.out, err=standard.err, stdin=self.stdin, make_atlas=self.make_atlas)
            return Ended(run([str(argument) for argument in arguments], shell), *capsys.readouterr())

    return Invoke()


@define
class Process:
    """A command as a process of its own."""

    process: asyncio.subprocess.Process

    @property
    def pid(self) -> int:
        return self.process.pid

    async def line(self) -> str:
        """The next line of its standard output."""
        async with asyncio.timeout(PATIENCE_S):
            return (await self.process.stdout.readline()).decode().rstrip("\n")

    async def error_line(self) -> str:
        async with asyncio.timeout(PATIENCE_S):
            return (await self.process.stderr.readline()).decode().rstrip("\n")

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def end(self) -> Ended:
        """What it still printed, and its exit code."""
        async with asyncio.timeout(PATIENCE_S):
            out, err = await self.process.communicate()
        return Ended(self.process.returncode, (out or b"").decode(), err.decode())


@pytest.fixture
async def start() -> AsyncIterator[Callable[..., Process]]:
    """Start `exatlas` with arguments; what has not ended with the test is killed."""
    started = []
    # What a command prints comes out in time by its own doing.
    ours = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}

    async def start(
        *arguments: str,
        env: dict[str, str] | None = None,
        stdin: int = asyncio.subprocess.DEVNULL,
        stdout: int = asyncio.subprocess.PIPE,
    ) -> Process:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", "from exatlas.cli import main; main()", *map(str, arguments)),
            stdin=stdin,
            stdout=stdout,
            stderr=asyncio.subprocess.PIPE,
            env={**ours, "COLUMNS": "200", **(env or {})},
        )
        started.append(process)
        return Process(process)

    yield start
    for process in started:
        if process.returncode is None:
            process.kill()
            await process.communicate()


def family(pid: int) -> set[int]:
    """The process and all its descendants that run."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (parent := parent_of(entry)) is not None:
            parents[int(entry.name)] = parent
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def parent_of(entry: Path) -> int | None:
    """The parent of a process that runs; None for one that is gone or waits to be reaped."""
    try:
        state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state == "Z" else int(parent)


async def gone(pids: set[int]) -> None:
    """Wait until none of them runs."""
    async with asyncio.timeout(PATIENCE_S):
        while any(parent_of(Path(f"/proc/{pid}")) is not None for pid in pids):
            await asyncio.sleep(0.02)


@pytest.fixture
def family_of() -> Callable[[int], set[int]]:
    return family


@pytest.fixture
def all_gone() -> Callable[..., object]:
    return gone


@pytest.fixture
def url(tmp_path):
    """Where a ledger may be."""
    return f"sqlite:///{tmp_path / 'machines.db'}"
