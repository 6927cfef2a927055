"""One measurement in a process of its own: takes an order on standard input, prints the numbers as JSON."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from benchmarks.clients import open_client
from benchmarks.limits import allow_many_files
from benchmarks.measures import Numbers
from benchmarks.measures.calls import get_compute
from benchmarks.measures.decoding import decode
from benchmarks.measures.fakes import fan, spawns
from benchmarks.measures.floods import flood
from benchmarks.measures.ledgers import booked, written
from benchmarks.measures.opening import first
from benchmarks.measures.sessions import foreign, held, lived
from benchmarks.measures.starting import start
from benchmarks.measures.streams import free, limited
from benchmarks.measures.takeovers import taken, woken
from benchmarks.scene import Stage

WITH_CLIENT: Mapping[str, Callable[..., Awaitable[Numbers]]] = {
    "first": first,
    "streams": free,
    "limited": limited,
    "flood": flood,
    "calls": get_compute,
}
WITHOUT_CLIENT: Mapping[str, Callable[..., Numbers]] = {
    "booked": booked,
    "decode": decode,
    "fan": fan,
    "foreign": foreign,
    "held": held,
    "lived": lived,
    "spawns": spawns,
    "start": start,
    "taken": taken,
    "woken": woken,
    "written": written,
}


def obey(*, contender: str, port: int, what: str, settings: Mapping[str, Any]) -> Numbers:
    """Do one measurement."""
    if what in WITHOUT_CLIENT:
        return WITHOUT_CLIENT[what](contender, **settings)
    return asyncio.run(_with_client(contender, port, what, settings))


async def _with_client(contender: str, port: int, what: str, settings: Mapping[str, Any]) -> Numbers:
    """Open the contender, let it warm up on one small job, and measure."""
    stage = Stage(port)
    async with open_client(contender, port) as client:
        scene = stage.set(1, 2, every_s=0)
        async for _ in client.stream(scene.endpoint, scene.ids[0]):
            pass
        return await WITH_CLIENT[what](client, stage, **settings)


if __name__ == "__main__":
    allow_many_files()
    print(json.dumps(obey(**json.load(sys.stdin))))
