"""Renting, reading, ending."""

from datetime import timedelta
from decimal import Decimal

import orjson

from exatlas.capabilities import Capability
from exatlas.errors import NotFoundError
from exatlas.records.compute import Compute, ComputeFilter, ComputeStatus
from exatlas.records.gpu import GPU_FAMILIES, GPU_MODELS, GpuType
from exatlas.records.serial import structure, unstructure
from exatlas.testing.conformance.world import World, check, expect, raises

ALIVE = {ComputeStatus.PROVISIONING, ComputeStatus.RUNNING}
PATIENCE_S = 1800.0
LOOK_EVERY_S = 15.0


@check()
async def spawns_one_machine(world: World) -> None:
    """A spawn rents exactly one machine, and gives its id, its provider and its launch id."""
    compute = await world.spawn()
    expect(isinstance(compute, Compute), f"spawn_compute gave {type(compute).__name__} instead of a Compute")
    expect(world.rented() == {compute.id}, f"the machine is {compute.id!r}, and the cloud has rented {world.rented()}")
    expect(compute.provider == world.name, f"the machine's provider is {compute.provider!r}")
    expect(compute.launch_id, "the machine carries no launch id")
    expect(compute.status in ALIVE, f"a fresh machine is {compute.status.value}")


@check()
async def spawns_another_machine_each_time(world: World) -> None:
    """Two spawns are two machines, with two launch ids."""
    first, second = await world.spawn(), await world.spawn()
    expect(first.id != second.id, "two spawns gave the same id")
    expect(first.launch_id != second.launch_id, "two spawns carry the same launch id")
    expect(world.rented() == {first.id, second.id}, "two spawns did not rent two machines")


@check()
async def gives_well_formed_records(world: World) -> None:
    """Money is Decimal, instants are aware UTC, statuses are ours, and the record survives serialisation."""
    compute = await world.atlas.get_compute(await world.spawn())
    expect(isinstance(compute.status, ComputeStatus), "the status is not a ComputeStatus")
    cost = compute.cost_usd_per_hour
    expect(_is_money(cost), f"cost_usd_per_hour is {cost!r}")
    created = compute.created_at
    expect(created is None or created.utcoffset() == timedelta(0), f"created_at is {created!r}, which is not aware UTC")
    again = structure(orjson.loads(orjson.dumps(unstructure(compute))), Compute)
    expect(again == compute, "the record does not survive unstructure, JSON and structure")


@check()
async def reads_the_machine_back(world: World) -> None:
    """get_compute gives the same machine, with the same launch id."""
    spawned = await world.spawn()
    found = await world.atlas.get_compute(spawned)
    expect(found.id == spawned.id, f"asked for {spawned.id!r}, got {found.id!r}")
    expect(found.launch_id == spawned.launch_id, "the launch id is lost when the machine is read")
    expect(found.provider == world.name, f"the machine's provider is {found.provider!r}")


@check()
async def becomes_running(world: World) -> None:
    """A machine is running in the end, and reads as such."""
    spawned = await world.spawn()
    expect(await _reached(world, spawned, ComputeStatus.RUNNING), "the machine never read as running")


@check()
async def lists_what_is_rented(world: World) -> None:
    """list_compute gives every machine once."""
    ids = [(await world.spawn()).id for _ in range(2)]
    listed = [compute.id for compute in await world.atlas.list_compute()]
    expect(sorted(listed) == sorted(ids), f"rented {sorted(ids)}, listed {sorted(listed)}")


@check()
async def lists_over_all_pages(world: World) -> None:
    """list_compute follows every page."""
    ids = {(await world.spawn()).id for _ in range(world.case.many)}
    listed = {compute.id for compute in await world.atlas.list_compute()}
    expect(listed == ids, f"{len(ids)} machines are rented, {len(listed)} are listed")


@check()
async def filters_by_name(world: World) -> None:
    """The name filter admits the name given at spawn, and no other."""
    one, _ = await world.spawn(name="alpha"), await world.spawn(name="beta")
    found = [compute.id for compute in await world.atlas.list_compute(name="alpha")]
    expect(found == [one.id], f"one machine is named so, and {len(found)} are listed")


@check()
async def filters_by_status_region_and_gpu(world: World) -> None:
    """Every filter excludes what does not match, and admits what does."""
    compute = await world.atlas.get_compute(await world.spawn())
    wrong = ComputeStatus.FAILED if compute.status is not ComputeStatus.FAILED else ComputeStatus.RUNNING
    for field, value in {"status": wrong, "region": "nowhere-9", "gpu": "abacus"}.items():
        found = await world.atlas.list_compute(ComputeFilter(**{field: value}))
        expect(not found, f"no machine has {field} {value!r}, and {len(found)} are listed")
    for field, own in {"status": compute.status, "region": compute.region, "gpu": compute.gpu_type}.items():
        if own is not None:
            found = await world.atlas.list_compute(ComputeFilter(**{field: own}))
            expect([one.id for one in found] == [compute.id], f"the machine's own {field} {own!r} does not admit it")


@check()
async def terminates(world: World) -> None:
    """terminate ends exactly the machine that was named."""
    one, other = await world.spawn(), await world.spawn()
    await world.atlas.terminate(one)
    expect(one.id not in world.rented(), "the machine is still rented")
    expect(other.id in world.rented(), "another machine was ended")


@check()
async def terminating_twice_is_silence(world: World) -> None:
    """Repeating terminate, or naming a machine that never was, is not an error."""
    compute = await world.spawn()
    await world.atlas.terminate(compute)
    await world.atlas.terminate(compute)
    await world.atlas.terminate(world.case.unknown_id)
    expect(not world.rented(), "the machine is still rented")


@check()
async def a_terminated_machine_is_gone(world: World) -> None:
    """After terminate the machine reads as terminated or not at all, and is not listed as alive."""
    compute = await world.spawn()
    await world.atlas.terminate(compute)
    try:
        status = (await world.atlas.get_compute(compute)).status
    except NotFoundError:
        status = ComputeStatus.TERMINATED
    gone = (ComputeStatus.TERMINATED, ComputeStatus.TERMINATING)
    expect(status in gone, f"a terminated machine reads as {status.value}")
    alive = [one.id for one in await world.atlas.list_compute() if one.status not in gone]
    expect(compute.id not in alive, "a terminated machine is listed as alive")


@check()
async def an_unknown_machine_is_not_found(world: World) -> None:
    """get_compute of an id the account does not have is a NotFoundError that names provider and operation."""
    error = await raises(NotFoundError, world.atlas.get_compute(world.case.unknown_id), "reading an unknown machine")
    expect((error.provider, error.operation) == (world.name, "get_compute"), f"the error comes from {error.provider!r}")


@check(Capability.STOP_START)
async def stops_and_starts(world: World) -> None:
    """stop leads to stopped and start back to running; repeating either is not an error."""
    compute = await world.spawn()
    await _reached(world, compute, ComputeStatus.RUNNING)
    for _ in range(2):
        await world.atlas.stop(compute)
        expect(await _reached(world, compute, ComputeStatus.STOPPED), "the machine never read as stopped")
    for _ in range(2):
        await world.atlas.start(compute)
        expect(await _reached(world, compute, ComputeStatus.RUNNING), "the machine never read as running again")
    await world.atlas.terminate(compute)
    expect(not world.rented(), "the machine is still rented")


@check(Capability.STOP_START)
async def a_stopped_machine_can_be_terminated(world: World) -> None:
    """terminate ends a stopped machine, disks and all."""
    compute = await world.spawn()
    await _reached(world, compute, ComputeStatus.RUNNING)
    await world.atlas.stop(compute)
    await world.atlas.terminate(compute)
    expect(not world.rented(), "something of the machine is still rented")
    alive = [one.id for one in await world.atlas.list_compute() if not one.status.is_terminal]
    expect(compute.id not in alive, "the machine is still listed")


@check(Capability.GPU_CATALOG)
async def shows_a_catalogue(world: World) -> None:
    """list_gpu_types gives GpuTypes with ids, our names or none, and prices in Decimal."""
    for gpu in await world.atlas.list_gpu_types():
        expect(type(gpu) is GpuType, f"the catalogue holds a {type(gpu).__name__}")
        expect(gpu.id, "the catalogue holds something without an id")
        expect(gpu.provider == world.name, f"{gpu.id} comes from {gpu.provider!r}")
        known = gpu.canonical is None or gpu.canonical in GPU_MODELS or gpu.canonical in GPU_FAMILIES
        expect(known, f"{gpu.id} is called {gpu.canonical!r}, which is none of exatlas's names")
        for price in (gpu.price_usd_per_hour, gpu.spot_price_usd_per_hour):
            expect(_is_money(price), f"{gpu.id} costs {price!r}")


@check(Capability.LOGS)
async def reads_logs(world: World) -> None:
    """stream_logs gives the last lines, oldest first, and ends when it does not follow."""
    if world.case.log is None:
        return
    compute = await world.spawn()
    await _reached(world, compute, ComputeStatus.RUNNING)
    for line in ("one", "two", "three"):
        world.case.log(compute.id, line)
    lines = [line.line async for line in world.atlas.stream_logs(compute, tail=2, follow=False)]
    expect(lines == ["two", "three"], f"the last two lines were asked for, and {lines} came")


def _is_money(value: object) -> bool:
    return value is None or (isinstance(value, Decimal) and value >= 0)


async def _reached(world: World, compute: Compute, status: ComputeStatus) -> bool:
    """Whether the machine reads as wanted in the end, by the client's clock."""
    clock = world.atlas.clock
    deadline = clock.monotonic() + PATIENCE_S
    while clock.monotonic() < deadline:
        if (await world.atlas.get_compute(compute)).status is status:
            return True
        await clock.sleep(LOOK_EVERY_S)
    return False


CHECKS = (
    spawns_one_machine,
    spawns_another_machine_each_time,
    gives_well_formed_records,
    reads_the_machine_back,
    becomes_running,
    lists_what_is_rented,
    lists_over_all_pages,
    filters_by_name,
    filters_by_status_region_and_gpu,
    terminates,
    terminating_twice_is_silence,
    a_terminated_machine_is_gone,
    an_unknown_machine_is_not_found,
    stops_and_starts,
    a_stopped_machine_can_be_terminated,
    shows_a_catalogue,
    reads_logs,
)
