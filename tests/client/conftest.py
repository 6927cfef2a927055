"""Ledgers for clients under a clock that turns itself: an SQL ledger has to answer without a thread there."""

from concurrent.futures import Executor, Future

import pytest

from exatlas.ledger import MemoryLedger, SqlLedger


class Inline(Executor):
    """Runs everything at once: a thread's answer would come after an automatic clock has jumped past every deadline."""

    def submit(self, work, /, *args, **kwargs):
        done = Future()
        try:
            done.set_result(work(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - as an executor does
            done.set_exception(error)
        return done


def sqlite_in_memory() -> SqlLedger:
    made = SqlLedger("sqlite://")
    made._writer._thread = Inline()
    return made


@pytest.fixture(params=[MemoryLedger, sqlite_in_memory], ids=["memory", "sqlite"])
def make_ledger(request):
    """Makes empty ledgers of one kind."""
    return request.param
