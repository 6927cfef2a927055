"""Transactions that stand still in the middle, so that others meet them there."""

import asyncio
import threading

from sqlalchemy import text


class Halt:
    """Work that stands still in mid-transaction until it may go on."""

    def __init__(self, work):
        self.reached = threading.Event()
        self.go_on = threading.Event()
        self._work = work

    def __call__(self, connection):
        end = self._work(connection)
        self.reached.set()
        assert self.go_on.wait(30)
        return end


async def halted(ledger, work):
    """Begin work in a ledger, and come back while it stands still."""
    halt = Halt(work)
    task = asyncio.create_task(ledger._apart(halt))
    assert await asyncio.to_thread(halt.reached.wait, 30)
    return halt, task


async def waits_for_a_lock(ledger):
    """Come back when somebody does."""
    query = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    async with asyncio.timeout(30):
        while not await ledger._do(lambda connection: connection.execute(query).scalar()):
            await asyncio.sleep(0.01)
