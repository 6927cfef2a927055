"""What is cut: each operation with what has to be there before it."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from attrs import field, frozen

from exatlas import Orchestrator
from exatlas.errors import AtlasError
from exatlas.fakes.faults import Fault
from tests.matrix.worlds import PROVIDERS, STOPPING, World

Do = Callable[[World, Any], Awaitable[None]]


@frozen
class Operation:
    """One public operation."""

    name: str
    do: Do
    """Gets what `before` gave."""
    troubled: str = "spawn_compute"
    """Whose calls the fault plans are about."""
    before: Callable[[World], Awaitable[Any]] | None = None
    providers: tuple[str, ...] = PROVIDERS
    sessions: bool = False
    """Whether it belongs to an orchestrator, which is there before and is left afterwards."""
    nobody: bool = field(default=False)
    """Whether nobody was given a machine when it was cancelled, so that none may be left."""


async def one(world: World) -> Any:
    """A machine that somebody has."""
    compute = await world.atlas.spawn_compute(**world.request)
    world.wanted.add(compute.id)
    return compute


async def stopped(world: World) -> Any:
    """One that is stopped."""
    compute = await one(world)
    await world.atlas.stop(compute)
    return compute


async def left_behind(world: World) -> None:
    """What a process has left behind that died before it had the answer."""
    if world.trouble(Fault.DROP_AFTER, "spawn_compute"):
        for _ in range(12):
            world.trouble(Fault.DROP_BEFORE, "list_compute")
    with suppress(AtlasError):
        await world.atlas.spawn_compute(**world.request)
    world.peace()


async def session(world: World) -> Any:
    """A session that somebody has."""
    found = await world.orch.spawn(**world.request, keep_on_exit=True)
    world.wanted.add(found.compute.id)
    return found


async def _spawn(world: World, _: Any) -> None:
    world.wanted.add((await world.atlas.spawn_compute(**world.request)).id)


async def _rent(world: World, _: Any) -> None:
    async with world.atlas.rent(**world.request):
        await world.clock.sleep(1)


async def _rent_badly(world: World, _: Any) -> None:
    with suppress(ZeroDivisionError):
        async with world.atlas.rent(**world.request):
            raise ZeroDivisionError


async def _terminate(world: World, compute: Any) -> None:
    world.wanted.clear()
    await world.atlas.terminate(compute)


async def _stop(world: World, compute: Any) -> None:
    await world.atlas.stop(compute)


async def _start(world: World, compute: Any) -> None:
    await world.atlas.start(compute)


async def _read(world: World, compute: Any) -> None:
    await world.atlas.get_compute(compute.id)
    await world.atlas.list_compute()


async def _adopt(world: World, _: Any) -> None:
    await world.atlas.recover("adopt", older_than=0)


async def _clean_up(world: World, _: Any) -> None:
    await world.atlas.recover("terminate", older_than=0)


async def _session(world: World, _: Any) -> None:
    await session(world)


async def _end_session(world: World, found: Any) -> None:
    world.wanted.clear()
    await world.orch.terminate(found)


async def _stop_and_start_session(world: World, found: Any) -> None:
    await world.orch.stop(found)
    await world.orch.start(found)


async def _reap(world: World, _: Any) -> None:
    await world.orch.reap()


async def _block(world: World, _: Any) -> None:
    async with Orchestrator(world.atlas) as orch:
        await orch.spawn(**world.request, idle_ttl=30)
        await world.clock.sleep(5)


OPERATIONS = (
    Operation("spawn", _spawn, nobody=True),
    Operation("rent", _rent, nobody=True),
    Operation("rent, body fails", _rent_badly, nobody=True),
    Operation("terminate", _terminate, "terminate", one),
    Operation("stop", _stop, "stop", one, STOPPING),
    Operation("start", _start, "start", stopped, STOPPING),
    Operation("get and list", _read, "get_compute", one),
    Operation("recover, adopt", _adopt, "list_compute", left_behind),
    Operation("recover, terminate", _clean_up, "terminate", left_behind),
    Operation("session", _session, sessions=True, nobody=True),
    Operation("end session", _end_session, "terminate", session, sessions=True),
    Operation("stop and start session", _stop_and_start_session, "stop", session, STOPPING, sessions=True),
    Operation("reap", _reap, "list_compute", session, sessions=True),
    Operation("orchestrator", _block, nobody=True),
)
