"""The demo: a local endpoint, a real worker process, and its output as it comes."""

import asyncio
import itertools
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, AsyncExitStack, contextmanager
from importlib.resources import files
from statistics import mean
from typing import Any, Protocol

from attrs import define, field
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.table import Table

from exatlas import local
from exatlas.cli.options import JsonOption
from exatlas.cli.shell import Shell, ShellHere
from exatlas.client.atlas import Atlas
from exatlas.errors import JobCancelledError

TEXTS = (
    "the first job streams its output word by word",
    "the second one runs beside it in the same worker process",
    "the third job is going to be cancelled before it can say all this",
)
CANCELLED_AFTER = 4
"""The last job is cancelled when so many words of it have come."""

MARKS = {"": "…", "completed": "✓", "cancelled": "✗"}
"""What stands before a job in its place on the terminal."""


@define
class Run:
    """One job of the demo, and when its chunks came."""

    number: int
    text: str
    is_cancelled: bool
    end: str = "in the queue"
    started: float = field(factory=time.monotonic)
    arrivals: list[float] = field(factory=list)
    lags: list[float] = field(factory=list)
    """Seconds from the making of each chunk in the worker to its arrival here."""

    @property
    def length(self) -> int:
        """How many chunks it would give."""
        return len(self.text.split())

    def arrive(self, made_at: float) -> None:
        """A chunk is here."""
        self.end = "streaming"
        self.arrivals.append(time.monotonic() - self.started)
        self.lags.append(time.time() - made_at)

    def timings(self) -> dict[str, Any]:
        """The figures, in seconds."""
        gaps = [later - earlier for earlier, later in itertools.pairwise(self.arrivals)]
        return {
            "job": self.number,
            "end": self.end,
            "chunks": len(self.arrivals),
            "first_s": self.arrivals[0] if self.arrivals else 0.0,
            "mean_gap_s": mean(gaps) if gaps else 0.0,
            "mean_lag_s": mean(self.lags) if self.lags else 0.0,
        }


class Stage(Protocol):
    """Where the demo is watched."""

    def change(self, run: Run, word: str) -> None:
        """Something happened to a job; ``word`` is its newest chunk, or empty at its end."""
        ...


async def demo(*, as_json: JsonOption = False, shell: ShellHere) -> None:
    """Stream three jobs from a local endpoint, and cancel one of them."""
    script = str(files("exatlas.local").joinpath("sample_handler.py"))
    watched = shell.err if as_json else shell.out
    started = time.monotonic()
    with shell.when_interrupted("ending the worker"):
        async with AsyncExitStack() as stack:
            with shell.progress("starting a worker process"):
                runtime = await stack.enter_async_context(local.serve(script))
            runs = await _play(runtime, watched, time.monotonic() - started)
    _tell(runs, shell, as_json=as_json)


async def _play(runtime: local.Runtime, watched: Console, start_s: float) -> list[Run]:
    watched.print(f"a worker process is up after {start_s:.1f} s, behind {runtime.base_url}/{runtime.endpoint}")
    runs = [Run(number, text, is_cancelled=number == len(TEXTS)) for number, text in enumerate(TEXTS, 1)]
    async with Atlas(
        default_provider=runtime.provider,
        base_urls={runtime.provider: runtime.base_url},
        credentials={runtime.provider: runtime.api_key},
    ) as atlas:
        with _stage(watched, runs) as stage:
            async with asyncio.TaskGroup() as group:
                for run in runs:
                    group.create_task(_read(atlas, runtime.endpoint, run, stage))
    return runs


async def _read(atlas: Atlas, endpoint: str, run: Run, stage: Stage) -> None:
    run.started = time.monotonic()
    job = await atlas.run_job(endpoint=endpoint, input={"text": run.text})
    try:
        async for chunk in atlas.stream_job(job):
            run.arrive(chunk.output["made_at"])
            stage.change(run, chunk.output["word"])
            if run.is_cancelled and len(run.arrivals) == CANCELLED_AFTER:
                await atlas.cancel_job(job)
        run.end = "completed"
    except JobCancelledError:
        run.end = "cancelled"
    stage.change(run, "")


def _stage(console: Console, runs: list[Run]) -> AbstractContextManager[Stage]:
    return _bars(console, runs) if console.is_terminal else _lines(console)


class _Lines:
    def __init__(self, console: Console) -> None:
        self._console = console

    def change(self, run: Run, word: str) -> None:
        at = time.monotonic() - run.started
        self._console.print(f"{at:6.2f} s  job {run.number}  {word or run.end}", markup=False)


@contextmanager
def _lines(console: Console) -> Iterator[Stage]:
    yield _Lines(console)


class _Bars:
    def __init__(self, bars: Progress, runs: list[Run]) -> None:
        self._bars = bars
        self._rows: dict[int, TaskID] = {
            run.number: bars.add_task(f"job {run.number}", total=run.length, said="", end=run.end, mark=MARKS[""])
            for run in runs
        }

    def change(self, run: Run, word: str) -> None:
        row = self._rows[run.number]
        said = " ".join(run.text.split()[: len(run.arrivals)])
        mark = MARKS["" if word else run.end]
        self._bars.update(row, completed=len(run.arrivals), said=said, end=run.end, mark=mark)


@contextmanager
def _bars(console: Console, runs: list[Run]) -> Iterator[Stage]:
    columns = (
        TextColumn("{task.fields[mark]}"),
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[end]:<12}", style="yellow"),
        TextColumn("{task.fields[said]}", style="cyan"),
    )
    with Progress(*columns, console=console, refresh_per_second=20) as bars:
        yield _Bars(bars, runs)


def _tell(runs: list[Run], shell: Shell, *, as_json: bool) -> None:
    if as_json:
        shell.json([run.timings() for run in runs])
        return
    table = Table("job", "end", "chunks", "first after", "between", "behind the worker", box=None, pad_edge=False)
    for run in runs:
        told = run.timings()
        times = (f"{told[name] * 1000:.0f} ms" for name in ("first_s", "mean_gap_s", "mean_lag_s"))
        table.add_row(str(run.number), run.end, f"{told['chunks']} of {run.length}", *times)
    shell.show(table)
