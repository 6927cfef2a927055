"""The whole contract in this process, as a client calls it."""

import asyncio
from contextlib import aclosing
from datetime import timedelta
from decimal import Decimal

import pytest

from exatlas.capabilities import OPERATION_NEEDS, Capability
from exatlas.clock import ManualClock
from exatlas.errors import (
    ConflictError,
    JobCancelledError,
    JobFailedError,
    NoCapacityError,
    NotFoundError,
    OutcomeUnknownError,
    ProviderBrokenError,
    RateLimitedError,
    TransportError,
    ValidationError,
)
from exatlas.launch import LOOKS_S
from exatlas.providers import find
from exatlas.providers.memory import MemoryProvider
from exatlas.records.compute import ComputeFilter, ComputeStatus
from exatlas.records.gpu import Stock
from exatlas.records.job import JobStatus

ALL = ComputeFilter()


@pytest.fixture
async def provider():
    async with MemoryProvider() as provider:
        yield provider


async def settle(rounds=30):
    for _ in range(rounds):
        await asyncio.sleep(0)


async def read(items):
    return [item async for item in items]


# --- who it is ---


def test_it_goes_by_two_names():
    assert find("memory") is find("mock") is MemoryProvider


def test_it_declares_what_it_has():
    assert frozenset(Capability) - MemoryProvider.capabilities == {
        Capability.GLOBAL_NETWORKING,
        Capability.ENDPOINT_EVENTS,
    }
    for operation, need in OPERATION_NEEDS.items():
        assert hasattr(MemoryProvider, operation) is (need in MemoryProvider.capabilities), operation


def test_it_needs_no_key():
    assert MemoryProvider.settings.needs_key is False


# --- machines ---


async def test_a_machine_is_rented_read_listed_and_terminated(provider, ctx, machine):
    made = await provider.spawn_compute(machine(name="web", env={"A": "b"}), ctx)
    assert (made.status, made.name) == (ComputeStatus.RUNNING, f"web-{ctx.launch_id}")
    assert await provider.get_compute(made.id, ctx) == made
    assert await provider.list_compute(ALL, ctx) == [made]
    assert provider.rented == [made.id]
    assert provider.request_of(made.id).env == {"A": "b"}
    await provider.terminate(made.id, ctx)
    assert (provider.rented, await provider.list_compute(ALL, ctx)) == ([], [])
    with pytest.raises(NotFoundError) as caught:
        await provider.get_compute(made.id, ctx)
    assert (caught.value.provider, caught.value.operation) == ("memory", "get_compute")


async def test_terminating_twice_or_what_was_never_there_is_silence(provider, ctx, machine):
    made = await provider.spawn_compute(machine(), ctx)
    for compute_id in (made.id, made.id, "mem-999999"):
        await provider.terminate(compute_id, ctx)


async def test_the_same_calls_give_the_same_answers(context, machine):
    async def story():
        async with MemoryProvider(capacity={"l4": 2}) as provider:
            ctx = context(launch_id="0123456789ab")
            made = [await provider.spawn_compute(machine(), ctx) for _ in range(2)]
            await provider.stop(made[0].id, ctx)
            return await provider.list_compute(ALL, ctx), provider.invoice()

    assert await story() == await story()


async def test_booting_takes_as_long_as_it_is_told_by_the_clock(ctx, clock, machine):
    async with MemoryProvider(boot_s=10) as provider:
        made = await provider.spawn_compute(machine(), ctx)
        assert made.status is ComputeStatus.PROVISIONING
        clock.advance(9.5)
        assert (await provider.get_compute(made.id, ctx)).status is ComputeStatus.PROVISIONING
        clock.advance(0.5)
        assert (await provider.get_compute(made.id, ctx)).status is ComputeStatus.RUNNING


async def test_calls_take_their_time_there_and_back(ctx, clock, machine):
    async with MemoryProvider(latency_s=4) as provider:
        spawning = asyncio.create_task(provider.spawn_compute(machine(), ctx))
        await settle()
        assert provider.rented == []
        clock.advance(2)
        await settle()
        assert len(provider.rented) == 1
        assert not spawning.done()
        clock.advance(2)
        await spawning


async def test_a_clock_of_its_own_wins_over_the_callers(context, machine):
    mine, theirs = ManualClock(), ManualClock()
    mine.advance(3600)
    async with MemoryProvider(clock=mine) as provider:
        made = await provider.spawn_compute(machine(), context(clock=theirs))
        assert made.created_at == mine.now()


async def test_without_one_it_lives_by_the_clock_of_who_calls_first(provider, context, machine):
    first, second = ManualClock(), ManualClock()
    first.advance(3600)
    await provider.list_compute(ALL, context(clock=first))
    made = await provider.spawn_compute(machine(), context(clock=second))
    assert made.created_at == first.now()


async def test_stopping_and_starting_may_be_repeated(provider, ctx, clock, machine):
    made = await provider.spawn_compute(machine(), ctx)
    for _ in range(2):
        await provider.stop(made.id, ctx)
        assert (await provider.get_compute(made.id, ctx)).status is ComputeStatus.STOPPED
    for _ in range(2):
        await provider.start(made.id, ctx)
        assert (await provider.get_compute(made.id, ctx)).status is ComputeStatus.RUNNING


@pytest.mark.parametrize("operation", ["get_compute", "stop", "start"])
async def test_what_is_not_there_is_said_where_it_was_asked(provider, ctx, operation):
    with pytest.raises(NotFoundError, match="no compute 'mem-1'") as caught:
        await getattr(provider, operation)("mem-1", ctx)
    assert (caught.value.provider, caught.value.operation) == ("memory", operation)


async def test_capacity_can_be_counted_and_changed(ctx, machine):
    async with MemoryProvider(capacity={"l4": 1}) as provider:
        made = await provider.spawn_compute(machine(), ctx)
        with pytest.raises(NoCapacityError) as caught:
            await provider.spawn_compute(machine(), ctx)
        assert (caught.value.operation, caught.value.retryable) == ("spawn_compute", True)
        provider.set_capacity("l4", 2)
        await provider.spawn_compute(machine(), ctx)
        provider.set_capacity("l4", 0)
        assert len(provider.rented) == 2
        await provider.stop(made.id, ctx)
        with pytest.raises(NoCapacityError):
            await provider.start(made.id, ctx)
        provider.set_capacity("cpu", 0)
        with pytest.raises(NoCapacityError):
            await provider.spawn_compute(machine(gpu=None), ctx)


async def test_stock_is_what_capacity_leaves(ctx, machine):
    async with MemoryProvider(capacity={"l4": 1}) as provider:
        await provider.spawn_compute(machine(), ctx)
        stock = {kind.canonical: kind.stock for kind in await provider.list_gpu_types(ctx)}
    assert (stock["l4"], stock["h100"]) == (Stock.UNAVAILABLE, Stock.HIGH)


async def test_spot_costs_less_and_may_be_taken_back(provider, ctx, machine):
    spot = await provider.spawn_compute(machine(spot=True), ctx)
    fixed = await provider.spawn_compute(machine(), ctx)
    assert spot.cost_usd_per_hour < fixed.cost_usd_per_hour
    provider.lose(spot.id)
    assert [found.id for found in await provider.list_compute(ALL, ctx)] == [fixed.id]
    with pytest.raises(NotFoundError):
        await provider.get_compute(spot.id, ctx)


async def test_a_machine_that_breaks_down_bills_until_it_is_terminated(provider, ctx, clock, machine):
    made = await provider.spawn_compute(machine(), ctx)
    provider.break_down(made.id)
    assert (await provider.get_compute(made.id, ctx)).status is ComputeStatus.FAILED
    await provider.stop(made.id, ctx)
    with pytest.raises(ConflictError):
        await provider.start(made.id, ctx)
    await provider.terminate(made.id, ctx)
    assert not provider.invoice()[0].open


@pytest.mark.parametrize(
    "turn",
    [
        lambda provider: provider.lose("x"),
        lambda provider: provider.break_down("x"),
        lambda provider: provider.log("x", "line"),
        lambda provider: provider.request_of("x"),
    ],
)
def test_a_machine_that_never_was_cannot_be_turned(turn):
    with pytest.raises(NotFoundError, match="no compute 'x' was ever rented here"):
        turn(MemoryProvider())


async def test_a_filter_decides_what_is_listed(provider, ctx, machine):
    small = await provider.spawn_compute(machine(name="small"), ctx)
    big = await provider.spawn_compute(machine(gpu="h100", region_hints="mem-us-1"), ctx)
    await provider.stop(small.id, ctx)
    for fields, found in [
        ({"status": "stopped"}, [small.id]),
        ({"gpu": "h100"}, [big.id]),
        ({"region": "mem-us-1"}, [big.id]),
        ({"name": "small"}, [small.id]),
        ({}, [small.id, big.id]),
    ]:
        assert [one.id for one in await provider.list_compute(ComputeFilter(**fields), ctx)] == found


async def test_the_invoice_has_every_machine_of_everybody(provider, context, clock, machine):
    mine, theirs = context("key-a"), context("key-b")
    first = await provider.spawn_compute(machine(), mine)
    second = await provider.spawn_compute(machine(gpu="h100"), theirs)
    clock.advance(1800)
    await provider.terminate(first.id, mine)
    clock.advance(1800)
    charges = provider.invoice()
    assert [(charge.compute_id, charge.usd, charge.open, charge.billed) for charge in charges] == [
        (first.id, Decimal("0.22"), False, timedelta(minutes=30)),
        (second.id, Decimal("3"), True, timedelta(hours=1)),
    ]
    assert charges[0].launch_id == mine.launch_id


async def test_accounts_do_not_see_each_other(provider, context, machine, work, ref):
    mine, theirs = context("key-a"), context("key-b")
    made = await provider.spawn_compute(machine(), mine)
    job = await provider.run_job(work(), mine)
    assert await provider.list_compute(ALL, theirs) == []
    await provider.terminate(made.id, theirs)
    assert provider.rented == [made.id]
    for call in (
        provider.get_compute(made.id, theirs),
        provider.stop(made.id, theirs),
        provider.start(made.id, theirs),
        provider.get_job(ref(job), theirs),
        provider.cancel_job(ref(job), theirs),
        anext(provider.stream_job(ref(job), theirs)),
        anext(provider.stream_logs(made.id, theirs, tail=None, follow=False)),
    ):
        with pytest.raises(NotFoundError):
            await call


# --- trouble on order ---


CALLS = {
    "get_compute": lambda provider, made, job, ctx: provider.get_compute(made, ctx),
    "list_compute": lambda provider, made, job, ctx: provider.list_compute(ALL, ctx),
    "terminate": lambda provider, made, job, ctx: provider.terminate(made, ctx),
    "stop": lambda provider, made, job, ctx: provider.stop(made, ctx),
    "start": lambda provider, made, job, ctx: provider.start(made, ctx),
    "list_gpu_types": lambda provider, made, job, ctx: provider.list_gpu_types(ctx),
    "get_job": lambda provider, made, job, ctx: provider.get_job(job, ctx),
    "cancel_job": lambda provider, made, job, ctx: provider.cancel_job(job, ctx),
    "stream_job": lambda provider, made, job, ctx: read(provider.stream_job(job, ctx)),
    "stream_logs": lambda provider, made, job, ctx: read(provider.stream_logs(made, ctx, tail=None, follow=False)),
}


@pytest.mark.parametrize("after_acting", [False, True])
@pytest.mark.parametrize("operation", CALLS)
async def test_any_call_fails_on_order_and_then_goes_well(provider, ctx, machine, work, ref, operation, after_acting):
    made = (await provider.spawn_compute(machine(), ctx)).id
    job = ref(await provider.run_job(work(), ctx))
    await settle()
    provider.fail_next(operation, RateLimitedError("slow down"), after_acting=after_acting, times=2)
    for _ in range(2):
        with pytest.raises(RateLimitedError):
            await CALLS[operation](provider, made, job, ctx)
    await CALLS[operation](provider, made, job, ctx)


async def test_before_acting_nothing_is_done_and_afterwards_everything(provider, ctx, machine):
    made = await provider.spawn_compute(machine(), ctx)
    provider.fail_next("terminate", TransportError("cut"))
    with pytest.raises(TransportError):
        await provider.terminate(made.id, ctx)
    assert provider.rented == [made.id]
    provider.fail_next("terminate", TransportError("cut"), after_acting=True)
    with pytest.raises(TransportError):
        await provider.terminate(made.id, ctx)
    assert provider.rented == []


async def test_the_lost_answer_of_a_submit_leaves_a_job(provider, ctx, work):
    provider.fail_next("run_job", TransportError("cut"), after_acting=True)
    with pytest.raises(TransportError):
        await provider.run_job(work(webhook="https://hook.example"), ctx)
    await settle()
    assert len(provider.deliveries) == 1


@pytest.mark.parametrize("error", [TransportError("cut"), ProviderBrokenError("oops")])
async def test_a_lost_answer_of_a_spawn_is_made_good(provider, context, machine, error):
    ctx = context(clock=ManualClock(auto=True))
    provider.fail_next("spawn_compute", error, after_acting=True)
    made = await provider.spawn_compute(machine(), ctx)
    assert provider.rented == [made.id]
    assert made.launch_id == ctx.launch_id


async def test_a_spawn_whose_machine_does_not_show_is_unknown(provider, context, machine):
    ctx = context(clock=ManualClock(auto=True))
    provider.fail_next("spawn_compute", TransportError("cut"))
    with pytest.raises(OutcomeUnknownError) as caught:
        await provider.spawn_compute(machine(), ctx)
    assert caught.value.launch_id == ctx.launch_id
    assert ctx.clock.monotonic() == sum(LOOKS_S)


async def test_a_held_call_waits_before_or_after_it_acts(provider, ctx, machine):
    before = provider.hold_next("spawn_compute")
    after = provider.hold_next("spawn_compute", after_acting=True)
    first = asyncio.create_task(provider.spawn_compute(machine(), ctx))
    await before.reached()
    assert provider.rented == []
    second = asyncio.create_task(provider.spawn_compute(machine(), ctx))
    await after.reached()
    assert len(provider.rented) == 1
    before.release()
    after.release()
    assert len({(await first).id, (await second).id}) == 2


async def test_a_held_call_can_be_cancelled(provider, ctx, machine):
    hold = provider.hold_next("list_compute")
    listing = asyncio.create_task(provider.list_compute(ALL, ctx))
    await hold.reached()
    listing.cancel()
    await asyncio.wait([listing])
    assert listing.cancelled()
    assert await provider.list_compute(ALL, ctx) == []


def test_an_order_for_something_else_is_refused():
    with pytest.raises(ValidationError, match="operation: expected one of"):
        MemoryProvider().fail_next("spwan_compute", TransportError("cut"))
    with pytest.raises(ValidationError, match="operation: expected one of"):
        MemoryProvider().hold_next("aclose")


# --- jobs ---


def plain(job):
    return job["input"]["text"].split()


async def coroutine(job):
    await asyncio.sleep(0)
    return plain(job)


def generator(job):
    yield from plain(job)


async def async_generator(job):
    for word in plain(job):
        await asyncio.sleep(0)
        yield word


@pytest.mark.parametrize(
    ("handler", "chunks"),
    [(plain, []), (coroutine, []), (generator, ["one", "two"]), (async_generator, ["one", "two"])],
)
async def test_a_handler_of_any_kind_is_streamed_and_kept(ctx, work, ref, handler, chunks):
    async with MemoryProvider(handlers={"e": handler}) as provider:
        job = await provider.run_job(work("e"), ctx)
        assert job.status is JobStatus.IN_QUEUE
        found = await read(provider.stream_job(ref(job), ctx))
        assert [chunk.output for chunk in found] == chunks
        assert [chunk.index for chunk in found] == list(range(len(chunks)))
        done = await provider.get_job(ref(job), ctx)
        assert (done.status, done.output) == (JobStatus.COMPLETED, ["one", "two"])


async def test_echo_is_always_there(provider, ctx, work, ref):
    job = await provider.run_job(work(mode="sync", input={"a": "x y", "b": 1}), ctx)
    assert (job.status, job.output) == (JobStatus.COMPLETED, ["x", "y", 1])


async def test_a_handler_can_be_served_later_and_replaced(provider, ctx, work):
    with pytest.raises(NotFoundError, match="no endpoint 'e'; there are echo") as caught:
        await provider.run_job(work("e"), ctx)
    assert caught.value.operation == "run_job"
    provider.serve("e", lambda job: 1)
    assert (await provider.run_job(work("e", mode="sync"), ctx)).output == 1
    provider.serve("e", lambda job: 2)
    assert (await provider.run_job(work("e", mode="sync"), ctx)).output == 2


async def test_a_sync_call_waits_no_longer_than_it_was_told(provider, ctx, clock, work, ref):
    async def slow(job):
        await clock.sleep(10)
        return "done"

    provider.serve("e", slow)
    running = asyncio.create_task(provider.run_job(work("e", mode="sync", timeout=5), ctx))
    await settle()
    clock.advance(5)
    job = await running
    assert job.status is JobStatus.IN_PROGRESS
    clock.advance(5)
    await settle()
    assert (await provider.get_job(ref(job), ctx)).output == "done"


async def test_a_sync_call_that_is_cancelled_leaves_its_job_running(provider, ctx, work):
    go = asyncio.Event()

    async def slow(job):
        await go.wait()

    provider.serve("e", slow)
    running = asyncio.create_task(provider.run_job(work("e", mode="sync", webhook="https://hook.example"), ctx))
    await settle()
    running.cancel()
    await asyncio.wait([running])
    go.set()
    await settle()
    assert [delivery.job.status for delivery in provider.deliveries] == [JobStatus.COMPLETED]


class Typewriter:
    """A handler that yields what it is given, when it is given it."""

    def __init__(self):
        self.keys = asyncio.Queue()

    async def __call__(self, job):
        return self.type()

    async def type(self):
        while (key := await self.keys.get()) is not None:
            yield key


async def test_chunks_come_as_they_are_made(provider, ctx, clock, work, ref):
    typewriter = Typewriter()
    provider.serve("e", typewriter)
    job = await provider.run_job(work("e"), ctx)
    async with aclosing(provider.stream_job(ref(job), ctx)) as stream:
        for key in "ab":
            coming = asyncio.ensure_future(anext(stream))
            await settle()
            assert not coming.done()
            clock.advance(1)
            typewriter.keys.put_nowait(key)
            chunk = await coming
            assert (chunk.output, chunk.received_at, chunk.gap) == (key, clock.now(), False)
        typewriter.keys.put_nowait(None)
        with pytest.raises(StopAsyncIteration):
            await anext(stream)


async def test_every_reader_sees_every_chunk_however_late(provider, ctx, work, ref):
    typewriter = Typewriter()
    provider.serve("e", typewriter)
    job = ref(await provider.run_job(work("e"), ctx))
    early = asyncio.create_task(read(provider.stream_job(job, ctx)))
    gone = provider.stream_job(job, ctx)
    typewriter.keys.put_nowait("a")
    assert (await anext(gone)).output == "a"
    await gone.aclose()
    late = asyncio.create_task(read(provider.stream_job(job, ctx)))
    for key in ("b", None):
        typewriter.keys.put_nowait(key)
    after = [await early, await late, await read(provider.stream_job(job, ctx))]
    assert [[chunk.output for chunk in chunks] for chunks in after] == [["a", "b"]] * 3


async def test_a_failed_job_delivers_its_chunks_and_then_raises(provider, ctx, work, ref):
    def failing(job):
        yield 1
        raise ValueError("bad")

    provider.serve("e", failing)
    job = ref(await provider.run_job(work("e"), ctx))
    seen = []
    with pytest.raises(JobFailedError, match="bad") as caught:
        async for chunk in provider.stream_job(job, ctx):
            seen.append(chunk.output)
    assert (seen, caught.value.job.error.type) == ([1], "ValueError")


async def test_a_cancelled_job_wakes_its_readers(provider, ctx, work, ref):
    provider.serve("e", Typewriter())
    job = ref(await provider.run_job(work("e"), ctx))
    reading = asyncio.create_task(read(provider.stream_job(job, ctx)))
    await settle()
    await provider.cancel_job(job, ctx)
    await provider.cancel_job(job, ctx)
    with pytest.raises(JobCancelledError):
        await reading


async def test_a_job_that_expires_wakes_its_readers(provider, ctx, clock, work, ref):
    provider.serve("e", Typewriter())
    job = ref(await provider.run_job(work("e", policy={"ttl": 5}), ctx))
    reading = asyncio.create_task(read(provider.stream_job(job, ctx)))
    await settle()
    clock.advance(5)
    with pytest.raises(NotFoundError, match="time to live") as caught:
        await reading
    assert caught.value.operation == "stream_job"


async def test_an_order_for_a_stream_strikes_after_its_first_item(provider, ctx, work, ref):
    job = ref(await provider.run_job(work(), ctx))
    provider.fail_next("stream_job", TransportError("cut"), after_acting=True)
    seen = []
    with pytest.raises(TransportError):
        async for chunk in provider.stream_job(job, ctx):
            seen.append(chunk.output)
    assert seen == ["one"]


# --- logs ---


async def test_logs_begin_with_the_past_and_go_on_until_the_machine_is_gone(provider, ctx, machine):
    made = (await provider.spawn_compute(machine(), ctx)).id
    provider.log(made, "one")
    following = asyncio.create_task(read(provider.stream_logs(made, ctx, tail=None, follow=True)))
    await settle()
    provider.log(made, "two", source="stderr")
    await settle()
    assert not following.done()
    await provider.terminate(made, ctx)
    lines = await following
    assert [(line.line, line.source) for line in lines] == [
        ("pulled img", "system"), ("one", "container"), ("two", "stderr"),
    ]  # fmt: skip


@pytest.mark.parametrize("end", ["terminate", "lose"])
async def test_a_follower_hears_of_the_end_however_it_comes(provider, ctx, machine, end):
    made = (await provider.spawn_compute(machine(), ctx)).id
    following = asyncio.create_task(read(provider.stream_logs(made, ctx, tail=0, follow=True)))
    await settle()
    if end == "lose":
        provider.lose(made)
    else:
        await provider.terminate(made, ctx)
    assert await following == []


@pytest.mark.parametrize(("tail", "seen"), [(None, 4), (0, 0), (2, 2), (99, 4)])
async def test_the_tail_says_how_much_of_the_past(provider, ctx, machine, tail, seen):
    made = (await provider.spawn_compute(machine(), ctx)).id
    for number in range(3):
        provider.log(made, str(number))
    lines = await read(provider.stream_logs(made, ctx, tail=tail, follow=False))
    assert len(lines) == seen
    assert [line.line for line in lines] == ["pulled img", "0", "1", "2"][4 - seen :]


# --- its end ---


async def test_closing_leaves_no_task_and_every_machine(ctx, machine, work):
    provider = MemoryProvider(workers=1)
    provider.serve("e", Typewriter())
    made = await provider.spawn_compute(machine(), ctx)
    for _ in range(3):
        await provider.run_job(work("e", policy={"execution_timeout": 5, "ttl": 9}), ctx)
    await settle()
    await provider.aclose()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert provider.rented == [made.id]
    await provider.aclose()


async def test_readers_of_what_closing_ends_are_told(ctx, work, ref):
    async with MemoryProvider() as provider:
        provider.serve("e", Typewriter())
        job = ref(await provider.run_job(work("e"), ctx))
        reading = asyncio.create_task(read(provider.stream_job(job, ctx)))
        await settle()
    with pytest.raises(JobCancelledError):
        await reading
