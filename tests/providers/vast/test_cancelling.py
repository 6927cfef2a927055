"""Cancelled at every step of every operation, through the whole client: nothing stays rented, no task stays behind."""

import logging

import pytest

import exatlas
from exatlas.clock import ManualClock
from exatlas.providers.vast.fake import FakeVast, Fault
from exatlas.transport.inprocess import InProcessTransport

KEY = "vastFAKEKEY0123456789"
REQUEST = {"image": "img", "gpu": "rtx_4090", "cloud_type": "secure"}
DE, FR = 4242, 4250


PATIENCE = 25
"""A knife that counts rounds of the event loop keeps it from ever being idle, so the clock must not wait for that."""
MOST = 4000
"""Rounds of the event loop that the longest of these works may take, most of them waiting for the clock."""


def a_fake(**settings) -> FakeVast:
    return FakeVast(ManualClock(auto=True, patience=PATIENCE), api_key=KEY, **settings)


def over(fake: FakeVast) -> exatlas.Atlas:
    transport = InProcessTransport(fake.handle)
    return exatlas.Atlas("vast", credentials={"vast": KEY}, transport=transport, clock=fake.clock, env={})


def calm(_fake: FakeVast) -> None:
    """Nothing happens."""


def snatched(fake: FakeVast) -> None:
    fake.snatched = 1


def outbid(fake: FakeVast) -> None:
    fake.rival(DE, 5.0)
    fake.rival(FR, 5.0)


def failing(fault: Fault):
    return lambda fake: fake.fail(fault, "PUT")


@pytest.mark.parametrize(
    ("prepare", "more"),
    [
        (calm, {}),
        (snatched, {}),
        (outbid, {"spot": True}),
        *((failing(fault), {}) for fault in (Fault.DROP_AFTER, Fault.ERROR_AFTER, Fault.GARBAGE_AFTER, Fault.TWICE)),
        (failing(Fault.LIMITED), {}),
    ],
    ids=["calm", "snatched", "outbid", "drop_after", "error_after", "garbage_after", "twice", "limited"],
)
@pytest.mark.parametrize("lag_s", [0, 3])
async def test_a_cancelled_spawn_leaves_nothing_rented(cancel_everywhere, caplog, prepare, more, lag_s):
    caplog.set_level(logging.ERROR)

    async def trial(cut):
        fake = a_fake(listing_lag_s=lag_s)
        prepare(fake)
        async with over(fake) as atlas:
            try:
                got = await cut(atlas.spawn_compute(**REQUEST, **more))
            except exatlas.NoCapacityError:
                got = None
            kept = [got.id] if isinstance(got, exatlas.Compute) else []
            assert [instance.id for instance in fake.rented()] == kept

    assert await cancel_everywhere(trial, MOST) > 3
    assert caplog.records == []


async def test_a_cancelled_rent_leaves_nothing_rented(cancel_everywhere):
    async def trial(cut):
        fake = a_fake()

        async def work():
            async with atlas.rent(**REQUEST) as compute:
                await atlas.get_compute(compute)

        async with over(fake) as atlas:
            await cut(work())
            assert fake.rented() == []

    await cancel_everywhere(trial, MOST)


async def test_a_cancelled_terminate_may_be_repeated(cancel_everywhere):
    async def trial(cut):
        fake = a_fake(listing_lag_s=3)
        async with over(fake) as atlas:
            compute = await atlas.spawn_compute(**REQUEST)
            await cut(atlas.terminate(compute))
            await atlas.terminate(compute)
            assert fake.rented() == []

    await cancel_everywhere(trial, MOST)


@pytest.mark.parametrize("full", [False, True])
async def test_a_cancelled_stop_or_start_may_be_repeated(cancel_everywhere, full):
    async def trial(cut):
        fake = a_fake()
        async with over(fake) as atlas:
            compute = await atlas.spawn_compute(**REQUEST)
            await cut(atlas.stop(compute))
            late = cut.late
            await atlas.stop(compute)
            assert not fake.instance(compute.id).has_gpu
            if full:
                fake.occupy(DE)
            try:
                await cut(atlas.start(compute))
            except exatlas.NoCapacityError:
                assert full
            cut.late = cut.late and late
            await atlas.stop(compute)
            assert not fake.instance(compute.id).has_gpu

    await cancel_everywhere(trial, MOST)


@pytest.mark.parametrize(
    "read",
    [
        lambda atlas, compute: atlas.get_compute(compute),
        lambda atlas, _: atlas.list_compute(),
        lambda atlas, _: atlas.list_gpu_types(),
    ],
    ids=["get", "list", "gpu_types"],
)
async def test_a_cancelled_read_changes_nothing(cancel_everywhere, read):
    async def trial(cut):
        fake = a_fake()
        async with over(fake) as atlas:
            compute = await atlas.spawn_compute(**REQUEST)
            await cut(read(atlas, compute))
            assert [instance.id for instance in fake.rented()] == [compute.id]

    await cancel_everywhere(trial, MOST)


@pytest.mark.parametrize("follow", [False, True])
async def test_a_cancelled_reader_of_logs_leaves_nothing_behind(cancel_everywhere, follow):
    async def trial(cut):
        fake = a_fake(upload_s=1)
        async with over(fake) as atlas:
            compute = await atlas.spawn_compute(**REQUEST)
            fake.log(compute.id, "a", "b")

            async def consume():
                async for line in atlas.stream_logs(compute, follow=follow):
                    if line.line == "b":
                        await atlas.terminate(compute)

            await cut(consume())

    await cancel_everywhere(trial, MOST)
