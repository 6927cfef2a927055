"""One supervised process and everything it starts: born in a session of its own, gone without a rest."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from exatlas.cancellation import outlive

LAUNCHER = Path(__file__).with_name("launcher.py")
LONGEST_LINE = 16 * 1024
LAST_WORDS_S = 1.0
"""How long to go on reading the output of a process that has ended."""


class Child:
    """A running command. Made by :meth:`start`; whoever started it awaits :meth:`wait` or :meth:`stop`.

    Its guardian (`launcher.py`) kills the whole process group when this process ends in any way, SIGKILL included.
    Only a process that leaves its group on purpose, as daemons do, can escape.
    """

    def __init__(self, process: asyncio.subprocess.Process, line: socket.socket, output: "_Output") -> None:
        self._process = process
        self._line = line
        self._output = output
        self._status = asyncio.ensure_future(self._hear_the_status())
        # A callback, because an event loop that shuts down may cancel the task before it has a `finally` to run.
        self._status.add_done_callback(self._let_go)

    @classmethod
    async def start(cls, command: Sequence[str], env: Mapping[str, str], on_line: Callable[[str], None]) -> "Child":
        """Start ``command``; each line it prints goes to ``on_line``. Cancelling leaves nothing behind."""
        ours, theirs = socket.socketpair()
        read_end, write_end = os.pipe()
        output = _Output(on_line)
        with contextlib.ExitStack() as undo, contextlib.ExitStack() as handed_over:
            undo.callback(ours.close)
            handed_over.callback(theirs.close)
            handed_over.callback(os.close, write_end)
            pipe = undo.enter_context(os.fdopen(read_end, "rb", 0))
            await asyncio.get_running_loop().connect_read_pipe(lambda: output, pipe)
            undo.callback(output.close)
            ours.setblocking(False)
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", str(LAUNCHER), str(theirs.fileno()), *command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=write_end,
                stderr=write_end,
                env=env,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
            with contextlib.suppress(OSError):  # the guardian has ended already
                ours.send(b"G")
            undo.pop_all()
            return cls(process, ours, output)

    async def wait(self) -> int | None:
        """The exit status, once the process has ended and all it started is killed; negative for a signal.

        None when its guardian was killed. Safe to cancel.
        """
        await self._bury()
        return None if self._status.cancelled() else self._status.result()

    async def stop(self, grace_s: float) -> int | None:
        """Ask politely, wait, and kill what is left. When cancelled, kills at once; it returns when all are gone."""
        try:
            self._ask_to_end()
            await asyncio.wait([self._status], timeout=grace_s)
        finally:
            self.kill()
            burial = await outlive(self._bury)
        if burial.interrupted:
            raise asyncio.CancelledError
        return await self.wait()

    def kill(self) -> None:
        """End the process and all it started, now. Safe to repeat."""
        if self._process.returncode is None:
            self._kill_group()

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _ask_to_end(self) -> None:
        with contextlib.suppress(OSError):  # it has ended already
            self._line.send(b"T")

    async def _hear_the_status(self) -> int | None:
        with contextlib.suppress(ConnectionError):
            heard = await asyncio.get_running_loop().sock_recv(self._line, 64)
            return int(heard) if heard else None
        return None

    def _let_go(self, _: asyncio.Future[int | None]) -> None:
        # Also where the guardian was killed and reaped before us: the others keep the group's number taken.
        self._kill_group()
        self._line.close()

    async def _bury(self) -> None:
        """Wait for the last of it. Several may."""
        await asyncio.wait([self._status])
        await self._process.wait()
        await self._output.rest(LAST_WORDS_S)


class _Output(asyncio.Protocol):
    """Cuts what a process prints into lines."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        self._begun = b""
        self._ended = asyncio.Event()
        self._transport: asyncio.ReadTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.ReadTransport):
            self._transport = transport

    def data_received(self, data: bytes) -> None:
        *lines, rest = (self._begun + data).split(b"\n")
        if len(rest) > LONGEST_LINE:
            lines, rest = [*lines, rest], b""
        for line in lines:
            self._on_line(line.decode("utf-8", "replace").rstrip("\r"))
        self._begun = rest

    def connection_lost(self, _: Exception | None) -> None:
        if self._begun:
            self._on_line(self._begun.decode("utf-8", "replace"))
            self._begun = b""
        self._ended.set()

    async def rest(self, seconds: float) -> None:
        """Read what is still in the pipe; a process that escaped may hold it open for ever, so not for long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ended.wait()
        self.close()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
