"""Terminals and pipes: what goes where, and what is drawn."""

import asyncio
import io
import os
import pty

import pytest
from rich.console import Console

from exatlas.cli.shell import Shell


def shell(*, out_is_terminal: bool = False, err_is_terminal: bool = False, stdin=None) -> Shell:
    def console(is_terminal: bool) -> Console:
        return Console(file=io.StringIO(), force_terminal=is_terminal, width=60, color_system=None, highlight=False)

    return Shell(out=console(out_is_terminal), err=console(err_is_terminal), stdin=stdin or io.StringIO())


def printed(console: Console) -> str:
    return console.file.getvalue()


LONG = "x" * 200 + "\t[bold]markup[/bold] \x07 end"


def test_a_line_is_never_changed_on_its_way_into_a_pipe():
    here = shell()
    here.line(LONG)
    assert printed(here.out) == f"{LONG}\n"


def test_a_line_on_a_terminal_is_not_wrapped_and_not_markup():
    here = shell(out_is_terminal=True)
    here.line("x" * 200 + " [bold]markup[/bold]")
    assert printed(here.out) == "x" * 200 + " [bold]markup[/bold]\n"


def test_notes_go_to_the_error_output_in_one_line():
    here = shell()
    here.note("y" * 100 + " [red]no markup[/red]")
    assert printed(here.out) == ""
    assert printed(here.err) == f"exatlas: {'y' * 100} [red]no markup[/red]\n"


@pytest.mark.parametrize(
    ("out", "err", "where"), [(True, True, "out"), (False, True, "err"), (True, False, "out"), (False, False, None)]
)
def test_progress_is_drawn_where_somebody_watches(out, err, where):
    here = shell(out_is_terminal=out, err_is_terminal=err)
    with here.progress("renting") as tell:
        tell("still renting")
        here.line("a result")
    drawn = {name for name in ("out", "err") if "still renting" in printed(getattr(here, name))}
    assert drawn == ({where} if where else set())
    assert "a result\n" in printed(here.out).replace("\r", "")


def test_a_note_does_not_spoil_a_progress_display_on_the_same_terminal():
    here = shell(out_is_terminal=True, err_is_terminal=True)
    with here.progress("renting"):
        here.note("interrupted")
    here.note("over")
    assert "exatlas: interrupted\n" in printed(here.out)
    assert printed(here.err) == "exatlas: over\n"


def test_a_note_never_gets_into_a_pipe():
    here = shell(out_is_terminal=True, err_is_terminal=False)
    with here.progress("renting"):
        here.note("interrupted")
    assert printed(here.err) == "exatlas: interrupted\n"


def test_the_innermost_notice_is_told_and_goes_with_its_block():
    here = shell()
    with here.when_interrupted("outer"):
        with here.when_interrupted("inner"):
            here.interrupted()
        here.interrupted()
    here.interrupted()
    assert printed(here.err) == "exatlas: inner\nexatlas: outer\nexatlas: interrupted\n"


async def test_a_question_can_be_cancelled():
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "r") as stdin:
        here = shell(stdin=stdin)
        asking = asyncio.create_task(here.agrees("Go on?"))
        await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait([asking])
        assert asking.cancelled()
        os.write(ours, b"y\n")
        assert await here.agrees("Really?") is True, "the answer waits for the next question"
    os.close(ours)
    assert printed(here.err) == "Go on? [y/N] Really? [y/N] "
