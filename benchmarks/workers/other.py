"""A worker that takes over what it finds, and goes on until it is killed. Arguments: URL, lease, number of sessions."""

import asyncio
import sys

from benchmarks.workers import ReadyCloud, adopted, working
from exatlas.ledger import SqlLedger


async def work(url: str, lease_s: float, sessions: int) -> None:
    """Print how many seconds it took until it held the last session."""
    async with working(ReadyCloud(), SqlLedger(url), lease=lease_s) as worker:
        began = worker.now
        last = await adopted(worker, sessions)
        print((last - began).total_seconds(), flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], float(sys.argv[2]), int(sys.argv[3])))
