"""From a parsed command to an exit code: signals, log lines and errors on the way."""

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from exatlas.cli import exits
from exatlas.cli.shell import Shell
from exatlas.errors import AtlasError, JobError, ValidationError

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Command = Callable[[], Coroutine[Any, Any, int | None]]


def perform(command: Command, shell: Shell, usage: Callable[[str], int]) -> int:
    """Run a command to its end, whatever ends it. ``usage`` tells a fault of the command line.

    The first signal cancels the command, which ends what it has to end; each further one makes it less patient.
    """
    try:
        with _logs_told(shell):
            return asyncio.run(_run(command, shell))
    except (exits.UsageError, ValidationError) as error:
        return usage(str(error))
    except AtlasError as error:
        _tell(error, shell)
        return exits.code_of(error)
    except BrokenPipeError:
        # Python flushes the output once more at its exit, and must not trip over the pipe again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return exits.BROKEN_PIPE


async def _run(command: Command, shell: Shell) -> int:
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(command())
    received: list[signal.Signals] = []

    def interrupt(number: signal.Signals) -> None:
        received.append(number)
        shell.interrupted()
        task.cancel()

    heard = [number for number in SIGNALS if number != signal.SIGHUP or _hangs_up()]
    for number in heard:
        loop.add_signal_handler(number, interrupt, number)
    try:
        return await task or 0
    except asyncio.CancelledError:
        if not received:
            raise
        return 128 + received[0]
    finally:
        for number in heard:
            loop.remove_signal_handler(number)


def _hangs_up() -> bool:
    """Whether the end of the terminal ends the command: not under nohup."""
    return signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN


def _tell(error: AtlasError, shell: Shell) -> None:
    fault = error.job.error if isinstance(error, JobError) else None
    if fault is not None and fault.traceback:
        shell.err.print(fault.traceback.rstrip(), markup=False, soft_wrap=True)
    shell.note(str(error))


@contextmanager
def _logs_told(shell: Shell) -> Iterator[None]:
    """Show the library's log as notes: a cancelled spawn says there what became of its machine."""
    root, client = logging.getLogger("exatlas"), logging.getLogger("exatlas.client")
    handler = _Notes(shell)
    before = client.level
    client.setLevel(logging.INFO)
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        client.setLevel(before)


class _Notes(logging.Handler):
    def __init__(self, shell: Shell) -> None:
        super().__init__()
        self._shell = shell

    def emit(self, record: logging.LogRecord) -> None:
        if not self._shell.tells_log:
            return
        cause = record.exc_info[1] if record.exc_info else None
        self._shell.note(f"{record.getMessage()}: {cause}" if cause else record.getMessage())
