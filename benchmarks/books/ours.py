"""The ledger."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from benchmarks.books import created, intent
from exatlas.ledger import SqlLedger
from exatlas.ledger.pages import Intent, Step


class _Ours:
    def __init__(self, ledger: SqlLedger) -> None:
        self._ledger = ledger

    def life(self, launch_id: str) -> tuple[Intent, Step]:
        return intent(launch_id), created(launch_id)

    async def alone(self, write: Intent | Step) -> None:
        if isinstance(write, Intent):
            await self._ledger.intend(write.launch)
        else:
            await self._ledger.advance(write.launch_id, write.to, write.at, **write.facts)

    among_others = alone

    def commits_per_s(self, _: int) -> None:
        return None


@asynccontextmanager
async def open_book(url: str) -> AsyncGenerator[_Ours, None]:
    """See :func:`benchmarks.books.open_book`."""
    ledger = SqlLedger(url)
    yield _Ours(ledger)
    await ledger.aclose()
