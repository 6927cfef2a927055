"""The same few operations in each contender: what a child process measures.

Only the module of the contender that is measured is loaded, so that memory and CPU time are its own.
"""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from importlib import import_module
from typing import Any, Protocol

KEY = "benchmark-key"


class Client(Protocol):
    """A contender, opened."""

    def stream(self, endpoint: str, job_id: str) -> AsyncGenerator[Any, None]:
        """The job's chunks as this contender hands them out."""
        ...

    def output(self, chunk: Any) -> Any:
        """What the worker yielded."""
        ...

    async def get_compute(self, compute_id: str) -> Any:
        """One machine, as this contender gives it."""
        ...


_HOMES = {
    "exatlas": "benchmarks.clients.ours",
    "floor": "benchmarks.clients.floor",
    "floor, one budget": "benchmarks.clients.floor",
    "runpod": "benchmarks.clients.vendor",
}

CONTENDERS = tuple(_HOMES)


def open_client(contender: str, port: int) -> AbstractAsyncContextManager[Client]:
    """The contender against the server on this port, for the length of an ``async with`` block."""
    opened: AbstractAsyncContextManager[Client] = import_module(_HOMES[contender]).open_client(contender, port)
    return opened
