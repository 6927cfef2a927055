"""Where a command runs: its two outputs, its input, and the client it talks through."""

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Protocol, TextIO

import orjson
from attrs import field, frozen
from cyclopts import Parameter
from rich.console import Console, RenderableType
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

import exatlas

if TYPE_CHECKING:
    from exatlas.client.atlas import Atlas


class MakeAtlas(Protocol):
    """Makes a client whose requests take so many seconds at most, with further arguments of a client."""

    def __call__(self, timeout: float | None, **options: Any) -> "Atlas": ...


WIDE = 1_000
"""Columns of an output that is not a terminal: whoever reads it wants whole lines."""


def _default_atlas(timeout: float | None, **options: Any) -> "Atlas":
    return exatlas.Atlas(timeout=timeout, **options)


@frozen(kw_only=True)
class Shell:
    """Results go to `out`, everything else to `err`; a pipe behind `out` sees nothing but results."""

    out: Console
    err: Console
    stdin: TextIO | None
    make_atlas: MakeAtlas = _default_atlas
    """Makes the client of a command, which closes it."""
    _notices: list[str] = field(factory=list, init=False)
    _drawn_on: list[Console] = field(factory=list, init=False)
    """The terminal with a progress display on it, if there is one."""
    _deaf: list[bool] = field(factory=list, init=False)

    @classmethod
    def standard(cls, make_atlas: MakeAtlas = _default_atlas) -> "Shell":
        """The process's own streams."""
        return cls(out=_console(sys.stdout), err=_console(sys.stderr), stdin=sys.stdin, make_atlas=make_atlas)

    @property
    def watched(self) -> Console | None:
        """The terminal that somebody watches while results come, or None."""
        return next((console for console in (self.out, self.err) if console.is_terminal), None)

    def note(self, text: str) -> None:
        """Say something that is not a result, in one line."""
        # A progress display makes room for what is printed on its own console only.
        console = self._drawn_on[-1] if self._drawn_on and self.err.is_terminal else self.err
        console.print(Text(f"exatlas: {text}"), soft_wrap=True)

    def line(self, text: str) -> None:
        """One line of a result, as it is and at once."""
        if self.out.is_terminal:  # a progress display may have to make room
            self.out.print(Text.from_ansi(text), soft_wrap=True)
            return
        self.out.file.write(f"{text}\n")
        self.out.file.flush()

    def show(self, result: RenderableType) -> None:
        """A result for people; in a pipe, without the blanks that fill a table's last column."""
        with self.out.capture() as drawn:
            self.out.print(result)
        text = drawn.get()
        if not self.out.is_terminal:
            text = "".join(f"{line.rstrip()}\n" for line in text.splitlines())
        self.out.file.write(text)
        self.out.file.flush()

    def json(self, value: Any) -> None:
        """One line of JSON."""
        self.line(orjson.dumps(value).decode())

    @contextmanager
    def when_interrupted(self, notice: str) -> Iterator[None]:
        """Say ``notice`` as soon as a signal ends the command inside this block."""
        self._notices.append(notice)
        try:
            yield
        finally:
            self._notices.remove(notice)

    def interrupted(self) -> None:
        """A signal has come."""
        self.note(self._notices[-1] if self._notices else "interrupted")

    @contextmanager
    def without_log(self) -> Iterator[None]:
        """Inside this block, the library's log lines are not told as notes."""
        self._deaf.append(True)
        try:
            yield
        finally:
            self._deaf.pop()

    @property
    def tells_log(self) -> bool:
        """Whether the library's log lines are told as notes."""
        return not self._deaf

    @contextmanager
    def progress(self, text: str) -> Iterator[Callable[[str], None]]:
        """Show what is going on, with the time it takes, where somebody watches; gives a function that changes it."""
        if self.watched is None:
            yield lambda _: None
            return
        columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
        with Progress(*columns, console=self.watched, transient=True) as bar:
            task = bar.add_task(text, total=None)
            self._drawn_on.append(self.watched)
            try:
                yield lambda changed: bar.update(task, description=changed)
            finally:
                self._drawn_on.pop()

    @property
    def can_ask(self) -> bool:
        """Whether somebody is there to answer."""
        return self.stdin is not None and self.stdin.isatty()

    async def agrees(self, question: str) -> bool:
        """Ask at the terminal; anything but yes is no. Safe to cancel, unlike a read in a thread."""
        if self.stdin is None:
            return False
        self.err.print(Text(f"{question} [y/N] "), end="")
        loop = asyncio.get_running_loop()
        answered = asyncio.Event()
        loop.add_reader(self.stdin, answered.set)
        try:
            await answered.wait()
        finally:
            loop.remove_reader(self.stdin)
        return self.stdin.readline().strip().lower() in ("y", "yes")


def _console(stream: TextIO) -> Console:
    return Console(file=stream, highlight=False, width=None if stream.isatty() else WIDE)


ShellHere = Annotated[Shell, Parameter(parse=False)]
"""How a command asks for its shell."""
