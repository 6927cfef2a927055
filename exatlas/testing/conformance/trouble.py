"""Lost replies, refusals, cancellation: nothing is lost, and nothing is rented twice."""

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from exatlas.errors import (
    AtlasError,
    ErrorKind,
    NoCapacityError,
    OutcomeUnknownError,
    RateLimitedError,
    UnauthorizedError,
)
from exatlas.fakes.case import NotApplicableError
from exatlas.fakes.faults import Fault
from exatlas.launch import LOOKS_S
from exatlas.records.compute import Compute
from exatlas.testing.conformance.world import (
    MOST_STEPS,
    Check,
    NonconformityError,
    World,
    check,
    cut,
    cuts,
    expect,
    others,
    raises,
)

LOST = (
    Fault.DROP_AFTER,
    Fault.STALL_AFTER,
    Fault.ERROR_AFTER,
    Fault.GARBAGE_AFTER,
    Fault.TRUNCATED_AFTER,
    Fault.WRONG_TYPES_AFTER,
)
NOTHING_DONE = (Fault.DROP_BEFORE, Fault.ERROR_BEFORE, Fault.STALL_BEFORE)
LOOKS = len(LOOKS_S)


@check()
async def no_capacity_is_told_as_such(world: World) -> None:
    """A spawn that finds nothing free is a NoCapacityError, and nothing is rented."""
    if world.case.exhaust is None:
        raise NotApplicableError("the case cannot take everything off the market")
    world.case.exhaust()
    error = await raises(NoCapacityError, world.spawn(), "a spawn with nothing free")
    expect(error.kind is ErrorKind.NO_CAPACITY, f"its kind is {error.kind.value}")
    expect(error.provider == world.name, f"the error comes from {error.provider!r}")
    expect(not world.rented(), "something is rented all the same")


@check()
async def a_wrong_key_is_told_as_such(world: World) -> None:
    """A refused key is an UnauthorizedError that does not show the key."""
    key = world.case.wrong_key
    if key is None:
        raise NotApplicableError("the case has no wrong key")
    for call in (world.atlas.list_compute, world.spawn):
        error = await raises(UnauthorizedError, call(api_key=key), "a call with a wrong key")
        expect(key not in f"{error!s} {error!r} {error.raw!r}", "the error shows the key")
    expect(not world.rented(), "something is rented all the same")


@check()
async def a_clear_refusal_is_tried_again(world: World) -> None:
    """A create that was refused for the rate is sent again, and rents one machine."""
    world.trouble(Fault.LIMITED, "spawn_compute")
    compute = await world.spawn()
    expect(world.rented() == {compute.id}, f"one machine was wanted, and {len(world.rented())} are rented")


@check()
async def lasting_refusals_are_told(world: World) -> None:
    """A read that stays refused for the rate is a RateLimitedError in the end, not an endless wait."""
    world.trouble(Fault.LIMITED, "list_compute", 50)
    error = await raises(RateLimitedError, world.atlas.list_compute(), "a read that stays refused")
    expect(error.retryable, "a rate limit that is not retryable")


@check()
async def reads_survive_passing_trouble(world: World) -> None:
    """Reads are repeated after a lost reply and after a 5xx."""
    compute = await world.spawn()
    for fault in (Fault.DROP_BEFORE, Fault.DROP_AFTER, Fault.ERROR_BEFORE):
        world.trouble(fault, "get_compute")
        expect((await world.atlas.get_compute(compute)).id == compute.id, f"a read did not survive {fault.value}")
        world.trouble(fault, "list_compute")
        listed = [one.id for one in await world.atlas.list_compute()]
        expect(listed == [compute.id], f"a list did not survive {fault.value}")


@check()
async def terminate_survives_passing_trouble(world: World) -> None:
    """terminate is repeated after a lost reply and after a 5xx, whether or not the first one had acted."""
    for fault in (*NOTHING_DONE, Fault.DROP_AFTER, Fault.ERROR_AFTER):
        compute = await world.spawn()
        world.trouble(fault, "terminate")
        await world.atlas.terminate(compute)
        expect(compute.id not in world.rented(), f"a terminate did not survive {fault.value}")


def _lost_create(fault: Fault) -> Check:
    async def run(world: World) -> None:
        world.trouble(fault, "spawn_compute")
        await _one_or_in_doubt(world, world.spawn, f"a create that ends in {fault.value}")

    rule = f"After a create that ends in {fault.value} the machine is adopted, or OutcomeUnknownError names its mark."
    return Check(f"a_create_that_ends_in_{fault.value}_is_settled", rule, run, None)


def _nothing_done(fault: Fault) -> Check:
    async def run(world: World) -> None:
        world.trouble(fault, "spawn_compute")
        try:
            compute = await world.spawn()
        except AtlasError:
            expect(not world.rented(), f"a create that ended in {fault.value} rented a machine nobody knows of")
        else:
            expect(world.rented() == {compute.id}, f"after {fault.value} there are {len(world.rented())} machines")

    rule = f"A create that ends in {fault.value} rents nothing, or the one machine that is given."
    return Check(f"a_create_that_ends_in_{fault.value}_leaves_nothing", rule, run, None)


@check()
async def looking_survives_passing_trouble(world: World) -> None:
    """Where looking for a machine whose create was lost fails at first, it is looked for again."""
    world.trouble(Fault.DROP_AFTER, "spawn_compute")
    world.trouble(Fault.ERROR_BEFORE, "list_compute", 2)
    await _one_or_in_doubt(world, world.spawn, "a lost create with two failed looks")


@check()
async def an_unsettled_create_names_its_mark(world: World) -> None:
    """A lost create whose machine cannot be looked for is an OutcomeUnknownError with the launch id."""
    world.trouble(Fault.DROP_AFTER, "spawn_compute")
    world.trouble(Fault.ERROR_BEFORE, "list_compute", 1000)
    error = await raises(OutcomeUnknownError, world.spawn(), "a lost create that cannot be settled")
    expect(error.launch_id, "the error carries no launch id")
    expect(error.kind is ErrorKind.OUTCOME_UNKNOWN, f"its kind is {error.kind.value}")


@check()
async def a_cancelled_spawn_leaves_nothing(world: World) -> None:
    """A spawn that is cancelled at any of its awaits leaves no machine and no task."""
    await _cut_everywhere(world, world.spawn, "spawn_compute")


@check()
async def a_cancelled_spawn_with_a_lost_reply_leaves_nothing(world: World) -> None:
    """The same when the create's reply is lost on top."""

    def spawn() -> Coroutine[Any, Any, Compute]:
        world.trouble(Fault.DROP_AFTER, "spawn_compute")
        return world.spawn()

    await _cut_everywhere(world, spawn, "spawn_compute")


@check()
async def a_cancelled_rent_leaves_nothing(world: World) -> None:
    """A rent block that is cancelled at any point leaves no machine."""

    async def rent() -> None:
        async with world.atlas.rent(**world.case.request) as compute:
            await world.atlas.get_compute(compute)

    await _cut_everywhere(world, rent, "rent")


@check()
async def cancelled_reads_leave_no_task(world: World) -> None:
    """get_compute, list_compute and terminate can be cancelled at any of their awaits, and work afterwards."""
    compute = await world.spawn()
    reads: dict[str, Callable[[], Coroutine[Any, Any, Any]]] = {
        "get_compute": lambda: world.atlas.get_compute(compute),
        "list_compute": world.atlas.list_compute,
        "terminate": lambda: world.atlas.terminate(compute),
    }
    for operation, read in reads.items():
        before = others()
        for steps in cuts(world.case.every_step):
            late, _ = await cut(read(), steps)
            await world.settle()
            expect(others() <= before, f"cancelling {operation} after {steps} steps leaves a task behind")
            if late:
                break
    await world.atlas.terminate(compute)
    expect(not world.rented(), "the machine is still rented")


async def _one_or_in_doubt(world: World, spawn: Callable[[], Awaitable[Compute]], what: str) -> None:
    try:
        compute = await spawn()
    except OutcomeUnknownError as error:
        expect(error.launch_id, f"{what} is in doubt, and the error carries no launch id")
        expect(len(world.rented()) <= 1, f"{what} rented {len(world.rented())} machines")
        listed = [one for one in await world.atlas.list_compute() if one.launch_id == error.launch_id]
        expect(len(listed) == len(world.rented()), f"{what} left a machine that does not carry the launch id")
    else:
        expect(world.rented() == {compute.id}, f"{what} gave {compute.id!r} and rented {sorted(world.rented())}")


async def _cut_everywhere(world: World, work: Callable[[], Coroutine[Any, Any, Any]], what: str) -> None:
    before = others()
    for steps in cuts(world.case.every_step):
        late, given = await cut(work(), steps)
        await world.settle()
        if isinstance(given, Compute):
            await world.atlas.terminate(given)
        left = len(world.rented())
        expect(not left, f"cancelling {what} after {steps} steps leaves {left} machines rented")
        expect(others() <= before, f"cancelling {what} after {steps} steps leaves a task behind")
        if late:
            return
    raise NonconformityError(f"{what} did not end within {MOST_STEPS} steps of the event loop")


CHECKS = (
    no_capacity_is_told_as_such,
    a_wrong_key_is_told_as_such,
    a_clear_refusal_is_tried_again,
    lasting_refusals_are_told,
    reads_survive_passing_trouble,
    terminate_survives_passing_trouble,
    *(_lost_create(fault) for fault in LOST),
    *(_nothing_done(fault) for fault in NOTHING_DONE),
    looking_survives_passing_trouble,
    an_unsettled_create_names_its_mark,
    a_cancelled_spawn_leaves_nothing,
    a_cancelled_spawn_with_a_lost_reply_leaves_nothing,
    a_cancelled_rent_leaves_nothing,
    cancelled_reads_leave_no_task,
)
