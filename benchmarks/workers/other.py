"""A worker that takes over what it finds, says so, and goes on until it is killed: URL, lease and number as arguments."""

import asyncio
import sys

from benchmarks.workers import ReadyCloud, adopted, working
from exatlas.ledger import SqlLedger


async def work(url: str, lease_s: float, sessions: int) -> None:
    """Print the second at which it was asked to begin, and that at which it held the last session."""
    async with working(ReadyCloud(), SqlLedger(url), lease=lease_s) as worker:
        began = worker.now
        last = await adopted(worker, sessions)
        print((last - began).total_seconds(), flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], float(sys.argv[2]), int(sys.argv[3])))
