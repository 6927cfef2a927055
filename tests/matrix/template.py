"""A process that is killed at a step of the event loop, again and again.

Starting an interpreter takes longer than a whole case, so one that has loaded everything, and has no thread yet, forks
for each: a line of JSON says what to do, and the answer is how the child ended. Run as a program.
"""

import asyncio
import json
import os
import signal
import sys
from contextlib import suppress
from importlib import import_module
from typing import Any

from exatlas import Atlas, Orchestrator
from exatlas.errors import AtlasError
from exatlas.ledger import SqlLedger
from exatlas.testing.clocks import FastClock
from exatlas.transport.aiohttp import AiohttpTransport

SPEED = 200.0


class Loop(asyncio.SelectorEventLoop):
    """An event loop that ends its process in so many steps."""

    left: int | None = None

    def _run_once(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
        super()._run_once()  # type: ignore[misc]


async def live(order: dict[str, Any]) -> None:
    """What the child does. From the moment when everything is there, steps are counted."""
    case = import_module(f"exatlas.providers.{order['provider']}.case")
    provider = import_module(f"exatlas.providers.{order['provider']}").PROVIDER
    request = case.case_of(case.fake(FastClock(SPEED))).request
    ledger = SqlLedger(order["ledger"])
    clock = FastClock(SPEED)
    options = {"credentials": {order["provider"]: order["key"]}, "base_urls": {order["provider"]: order["urls"]}}
    async with Atlas(
        provider(), ledger=ledger, owner=order["owner"], env={}, clock=clock, transport=AiohttpTransport(), **options
    ) as atlas:
        await ledger.find(owner="nobody")
        asyncio.get_running_loop().left = order["steps"]  # type: ignore[attr-defined]
        with suppress(AtlasError):
            await OPERATIONS[order["operation"]](atlas, request)
        asyncio.get_running_loop().left = None  # type: ignore[attr-defined]
    await ledger.aclose()


async def life(atlas: Atlas, request: Any) -> None:
    """A machine from its beginning to its end."""
    compute = await atlas.spawn_compute(**request)
    await atlas.terminate(compute)


async def rent(atlas: Atlas, request: Any) -> None:
    """One for a block."""
    async with atlas.rent(**request):
        await atlas.clock.sleep(0)


async def session(atlas: Atlas, request: Any) -> None:
    """A session from its beginning to its end."""
    async with Orchestrator(atlas, lease=6000) as orch:
        found = await orch.spawn(**request)
        await orch.terminate(found)


OPERATIONS = {"life": life, "rent": rent, "session": session}


def child(order: dict[str, Any]) -> int:
    """Fork, and give how it ended: a signal's number below zero, or an exit code."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    loop = Loop()
    asyncio.set_event_loop(loop)
    code = 1
    try:
        loop.run_until_complete(live(order))
        code = 0
    finally:
        os._exit(code)


def main() -> None:
    """Take orders until there are no more."""
    for line in sys.stdin:
        print(child(json.loads(line)), flush=True)  # noqa: T201 - what the parent reads


if __name__ == "__main__":
    main()
