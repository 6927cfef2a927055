"""Many callers' work in one transaction: a commit costs the disk's time once, however many wait for it.

All work runs in one thread of its own, batch by batch. Whoever comes while a batch is being committed goes into the
next one, so under load batches grow by themselves, and a lone caller never waits for company.

A transaction of PostgreSQL keeps the row locks it took until it ends. Two processes whose batches touch the same rows
in different orders would wait for each other, so each batch is run in an order that all writers agree on. Work that
locks rows in no such order is done in a transaction of its own.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from operator import attrgetter
from typing import Any, TypeVar

from attrs import frozen
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from exatlas.errors import AtlasError, LedgerError

A = TypeVar("A")
T = TypeVar("T")

LARGEST_BATCH = 500
"""Pieces of work in one transaction: it must not hold its locks for long."""


@frozen
class _Piece:
    together: Callable[[Connection, list[Any]], Sequence[Any]]
    item: Any
    order: tuple[str, ...]
    apart: bool
    done: "asyncio.Future[Any]"


class GroupWriter:
    """Runs work against one engine. Belongs to the event loop that first uses it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="exatlas ledger")
        self._waiting: list[_Piece] = []
        self._flushing: asyncio.Task[None] | None = None
        self._closed = False
        self.transactions = 0
        """How many were committed."""

    async def do(self, work: Callable[[Connection], T], order: tuple[str, ...] = (), *, apart: bool = False) -> T:
        """Do the work inside a transaction, and return when that is durable.

        Args:
            work: Runs in the writer's thread. It locks rows of one `order` only.
            order: Names what the work locks, as in ``("launch", launch_id)``; () for work that locks nothing. Within a
                transaction work is done by rising order, and first come first served where that is equal.
            apart: Whether it gets a transaction to itself.

        Cancelling gives up the wait, not the work: it may still be committed. Work that raises an error of ours must
        have changed nothing; it may run a second time, where others in its transaction failed.

        Raises:
            LedgerError: the database cannot be reached or written. Nothing of the work is kept, unless the connection
                broke in mid-commit, when nobody knows.
        """
        end: T = await self.join(_each, work, order, apart=apart)
        return end

    async def join(
        self,
        together: Callable[[Connection, list[A]], Sequence[Any]],
        item: A,
        order: tuple[str, ...],
        *,
        apart: bool = False,
    ) -> Any:
        """Do the same as others in one go, and return what came of this item; all else is as in :meth:`do`.

        Args:
            together: Gets the items of everybody who wants the same in this transaction, by rising order, and gives
                one end for each: what its caller gets, or an error of ours, for which nothing was changed.
            apart: Whether those who want the same get a transaction to themselves.
        """
        if self._closed:
            raise LedgerError("the ledger is closed")
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Piece(together, item, order, apart, done))
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._flush(), name="exatlas ledger")
        return await done

    async def aclose(self) -> None:
        """Finish what was asked for, and let the database go. Safe to repeat."""
        self._closed = True
        if self._flushing is not None:
            await asyncio.wait([self._flushing])
        self._thread.shutdown(wait=False)
        self._engine.dispose()

    async def _flush(self) -> None:
        loop = asyncio.get_running_loop()
        batch: list[_Piece] = []
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:LARGEST_BATCH], self._waiting[LARGEST_BATCH:]
                for part in _parts(batch):
                    ends = await loop.run_in_executor(self._thread, self._run, part)
                    for piece, end in zip(part, ends, strict=True):
                        _settle(piece.done, end)
        finally:
            self._flushing = None
            for piece in (*batch, *self._waiting):
                piece.done.cancel()

    def _run(self, batch: list[_Piece]) -> list[Any]:
        """Do a batch in one transaction; where that fails, each piece in its own, so that one cannot spoil all."""
        try:
            return self._transaction(batch)
        except Exception as error:  # noqa: BLE001 - supervised boundary: it belongs to one caller, and others wait too
            if len(batch) == 1:
                return [_ours(error) if isinstance(error, SQLAlchemyError) else error]
        return [self._run([piece])[0] for piece in batch]

    def _transaction(self, batch: list[_Piece]) -> list[Any]:
        ends: list[Any] = []
        with self._engine.connect() as connection, connection.begin() as transaction:
            for together, pieces in groupby(batch, key=attrgetter("together")):
                ends += together(connection, [piece.item for piece in pieces])
            try:
                transaction.commit()
            except SQLAlchemyError as error:
                # Perhaps it was committed, and the reply was lost: nothing may be done a second time.
                return [_ours(error) for _ in batch]
        self.transactions += 1
        return ends


def _parts(batch: list[_Piece]) -> Iterator[list[_Piece]]:
    """What goes into one transaction each, in the order in which it is done there."""
    batch = sorted(batch, key=attrgetter("apart", "order"))
    for apart, pieces in groupby(batch, key=attrgetter("apart")):
        if not apart:
            yield list(pieces)
            continue
        for together, alike in groupby(pieces, key=attrgetter("together")):
            if together is _each:
                yield from ([piece] for piece in alike)
            else:
                yield list(alike)


def _each(connection: Connection, works: list[Callable[[Connection], Any]]) -> list[Any]:
    """One work after the other."""
    return [_end_of(work, connection) for work in works]


def _end_of(work: Callable[[Connection], Any], connection: Connection) -> Any:
    """What the work gave, or the error of ours that it raised."""
    try:
        return work(connection)
    except AtlasError as error:
        return error


def _settle(done: "asyncio.Future[Any]", end: Any) -> None:
    if done.done():  # its caller was cancelled
        return
    if isinstance(end, Exception):
        done.set_exception(end)
    else:
        done.set_result(end)


def _ours(error: SQLAlchemyError) -> LedgerError:
    """The database's complaint without its parameters, which hold what was to be written."""
    origin = getattr(error, "orig", None)
    said = str(origin or type(error).__name__).strip().partition("\n")[0]
    return LedgerError(f"the ledger's database failed ({type(error).__name__}): {said}")
