"""A worker's guardian: starts it, tells how it ended, and dies with everybody it started when its parent does.

Run by path, without the package: ``python -I -S launcher.py <fd> <command> …``, as the leader of a session of its own.
``fd`` is one end of a socket. What travels on it:

- here: ``G`` first, without which nothing is started: whoever gives up before has only this process to end;
- here: ``T`` asks for a polite end (SIGTERM to the worker alone); end of file means that the parent is gone, however
  it went, and then the whole process group is killed, this process included;
- there: the worker's exit status in digits. After that the guardian lives on, doing nothing, so that its process
  group keeps its number until the parent has killed what the worker left behind.
"""

import contextlib
import os
import select
import signal
import sys
from types import FrameType


def main(arguments: list[str]) -> None:
    """Start the command when told to, and guard it. Then it never returns; the parent ends this process."""
    parent = int(arguments[0])
    os.set_inheritable(parent, False)
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, _ignore)  # a handler and not SIG_IGN, which the worker would inherit

    if os.read(parent, 1) != b"G":
        return
    worker = os.posix_spawnp(arguments[1], arguments[1:], os.environ)
    worker_runs = True
    while True:
        readable, _, _ = select.select([parent, wake_read], [], [])
        if parent in readable:
            order = os.read(parent, 64)
            if not order:
                os.killpg(0, signal.SIGKILL)
            if b"T" in order and worker_runs:
                os.kill(worker, signal.SIGTERM)
        if wake_read in readable:
            os.read(wake_read, 64)
        if worker_runs:
            ended, status = os.waitpid(worker, os.WNOHANG)
            if ended:
                worker_runs = False
                _tell(parent, str(os.waitstatus_to_exitcode(status)).encode())


def _tell(parent: int, message: bytes) -> None:
    with contextlib.suppress(OSError):  # the parent is gone; the next read says so
        os.write(parent, message)


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Only the wake-up matters."""


if __name__ == "__main__":
    main(sys.argv[1:])
