"""The ledger."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from benchmarks.books import AT, facts, wanted
from exatlas.ledger import SqlLedger
from exatlas.records.launch import Launch, LaunchState


class _Ours:
    def __init__(self, ledger: SqlLedger) -> None:
        self._ledger = ledger

    def life(self, launch_id: str) -> tuple[Launch, tuple[str, dict[str, Any]]]:
        return wanted(launch_id), (launch_id, facts(launch_id))

    async def alone(self, write: Launch | tuple[str, dict[str, Any]]) -> None:
        if isinstance(write, Launch):
            await self._ledger.intend(write)
        else:
            launch_id, known = write
            await self._ledger.advance(launch_id, LaunchState.CREATED, AT, **known)

    among_others = alone

    def commits_per_s(self, _: int) -> None:
        return None


@asynccontextmanager
async def open_book(url: str) -> AsyncGenerator[_Ours, None]:
    """See :func:`benchmarks.books.open_book`."""
    ledger = SqlLedger(url)
    yield _Ours(ledger)
    await ledger.aclose()
