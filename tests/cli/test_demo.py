"""`exatlas demo` as a process, piped and on a terminal."""

import importlib.util
import json
import os
import pty
import signal
import subprocess
import sys

import pytest

pytestmark = [
    pytest.mark.worker,
    pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc"),
    pytest.mark.skipif(importlib.util.find_spec("runpod") is None, reason="needs the runpod package"),
]


COMMAND = (sys.executable, "-c", "from exatlas.cli import main; main()", "demo")


@pytest.fixture(scope="module")
def shows():
    """Three demos at the same time: piped, with --json, and on a terminal. Gives what each printed, and its code."""
    ours, theirs = pty.openpty()
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    env = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120"}
    piped = subprocess.Popen(COMMAND, **pipes)
    told = subprocess.Popen([*COMMAND, "--json"], **pipes)
    watched = subprocess.Popen(COMMAND, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env=env)
    os.close(theirs)
    try:
        on_terminal = read_all(ours)
        return {
            "piped": (*piped.communicate(timeout=60), piped.wait()),
            "json": (*told.communicate(timeout=60), told.wait()),
            "terminal": (on_terminal, "", watched.wait(60)),
        }
    finally:
        for process in (piped, told, watched):
            process.kill()
            process.communicate()


def read_all(fd: int) -> str:
    """Everything until the other side closes."""
    pieces = []
    with os.fdopen(fd, "rb", 0) as terminal:
        while True:
            try:
                piece = terminal.read(65536)
            except OSError:  # how Linux says that nobody is at the other side of a terminal
                piece = b""
            if not piece:
                return b"".join(pieces).decode()
            pieces.append(piece)


def test_piped_it_prints_a_line_for_each_chunk_and_the_timings(shows):
    out, err, code = shows["piped"]
    assert (code, err) == (0, "")
    assert "\x1b" not in out
    lines = out.splitlines()
    assert lines[0].startswith("a worker process is up after ")
    assert sum("  job 1  " in line for line in lines) == 9 + 1
    assert sum(line.endswith("job 3  cancelled") for line in lines) == 1
    ends = next(number for number, line in enumerate(lines) if line.endswith("job 1  completed"))
    assert any("  job 2  " in line for line in lines[:ends]), "they run side by side"
    heading, first, _, third = lines[-4:]
    assert heading.split() == ["job", "end", "chunks", "first", "after", "between", "behind", "the", "worker"]
    assert first.split()[:5] == ["1", "completed", "9", "of", "9"]
    assert third.split()[1] == "cancelled"


def test_json_is_all_that_the_standard_output_gets(shows):
    out, err, code = shows["json"]
    assert code == 0
    first, second, third = json.loads(out)
    assert (first["end"], first["chunks"], second["end"], third["end"]) == ("completed", 9, "completed", "cancelled")
    assert third["chunks"] < 14
    for job in (first, second):
        assert 0 < job["first_s"] < 20
        assert 0 < job["mean_gap_s"] < 5
    assert "job 1  the" in err


def test_on_a_terminal_the_words_grow_in_place(shows):
    shown, _, code = shows["terminal"]
    assert code == 0
    assert "\x1b[2K" in shown, "lines are drawn again"
    assert "✓ job 1" in shown
    assert "✗ job 3" in shown
    assert "the first job streams its output word by word" in shown
    assert "first after" in shown


async def test_ctrl_c_in_the_middle_leaves_no_process_behind(start, family_of, all_gone):
    process = await start("demo")
    await process.line()
    await process.line()
    family = family_of(process.pid)
    assert len(family) >= 3, "the command, the guardian, the worker"
    process.send(signal.SIGINT)
    ended = await process.end()
    assert ended.code == 130
    assert "Traceback" not in ended.err
    assert ended.err.splitlines()[0] == "exatlas: ending the worker"
    await all_gone(family)
