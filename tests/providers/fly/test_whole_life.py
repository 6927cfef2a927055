"""The whole way: a client, the provider, the fake, in process with cancellation at every step, and over sockets."""

import asyncio
import re

import pytest

import exatlas
from exatlas.clock import SystemClock
from exatlas.fakes.faults import Fault, FaultPlan
from exatlas.providers.fly import FlyProvider
from exatlas.providers.fly.fake import FakeFly
from exatlas.testing.clouds import serve
from exatlas.transport.inprocess import InProcessTransport

TOKEN = "fm2_cafeBABEcafeBABEcafeBABE+/=="
FULL = {"image": "img", "ports": ["8000/http", "22/tcp"], "volume_gb": 2, "region_hints": ["fra", "ams"]}
WRONG = tuple(fault for fault in Fault if fault not in (Fault.EDGE, Fault.TWICE))
"""An edge that blocks at random is nothing to be sat out, and a volume asked for twice is two."""


class Hurried(exatlas.ManualClock):
    """A clock whose short waits take one step of the event loop, so that every step can be a place to cut."""

    async def sleep(self, seconds, /):
        if seconds > 30:
            return await super().sleep(seconds)
        self.advance(seconds)
        return await asyncio.sleep(0)


def on_wires(fake):
    """The fake as a transport that takes a step before and after each call, as a socket does."""

    async def handle(call):
        await asyncio.sleep(0)
        reply = await fake.handle(call)
        await asyncio.sleep(0)
        return reply

    return InProcessTransport(handle)


def client(fake, **options):
    return exatlas.Atlas(
        "fly",
        credentials={"fly": fake.api_key},
        transport=on_wires(fake),
        clock=fake.clock,
        env={},
        **options,
    )


@pytest.mark.parametrize("fault", [None, Fault.DROP_AFTER, Fault.GARBAGE_AFTER])
async def test_cancelling_a_spawn_anywhere_leaves_nothing_rented(cancel_everywhere, fault):
    async def trial(cut):
        fake = FakeFly(Hurried(auto=True), boot_s=3, destroy_s=2)
        if fault:
            fake.fail(fault, "POST", "/machines")
        else:
            fake.room["fra"] = 0
        async with client(fake) as atlas:
            compute = await cut(atlas.spawn_compute(**FULL))
            if compute is not cut.CANCELLED:
                await atlas.terminate(compute)
        fake.clock.advance(10)
        assert fake.left_over() == []

    assert await cancel_everywhere(trial, most=2000) >= 20


async def test_cancelling_a_rental_anywhere_leaves_nothing_rented(cancel_everywhere):
    async def hold(atlas):
        async with atlas.rent(**FULL, provider_opts={"app": "workers"}) as compute:
            await atlas.get_compute(compute)

    async def trial(cut):
        fake = FakeFly(Hurried(auto=True))
        async with client(fake) as atlas:
            await cut(hold(atlas))
        assert fake.left_over() in ([], ["workers"])

    await cancel_everywhere(trial, most=2000)


@pytest.mark.parametrize("operation", ["get_compute", "list_compute", "stop", "start", "terminate", "list_gpu_types"])
async def test_cancelling_any_operation_anywhere_leaves_no_task_and_a_machine_that_can_be_ended(
    cancel_everywhere, operation
):
    async def trial(cut):
        fake = FakeFly(Hurried(auto=True), destroy_s=1, stop_s=2)
        async with client(fake) as atlas:
            compute = await atlas.spawn_compute(image="img", volume_gb=1)
            fake.clock.advance(5)
            call = getattr(atlas, operation)
            await cut(call() if operation.startswith("list") else call(compute))
            await atlas.terminate(compute)
        fake.clock.advance(5)
        assert fake.left_over() == []

    await cancel_everywhere(trial, most=2000)


async def test_a_secret_is_in_the_machine_and_nowhere_else(clock, caplog):
    fake = FakeFly(clock, api_key=f"FlyV1 {TOKEN},fo1_alsosecret")
    heard = []
    async with client(fake, hooks=[heard.append]) as atlas:
        compute = await atlas.spawn_compute(image="img", env={"PASSWORD": "hunter2hunter2"}, auth="bearer")
        with pytest.raises(exatlas.AtlasError) as caught:
            await atlas.spawn_compute(
                image="img",
                env={"PASSWORD": "hunter2hunter2"},
                provider_opts={"config": {"guest": {"cpu_kind": "hunter2hunter2"}}},
            )
        listed = await atlas.list_compute()
    secrets = ("hunter2hunter2", TOKEN, "fo1_alsosecret", compute.auth.token)
    config = fake.machine(compute.id).config
    assert config["env"]["EXATLAS_PRESHARED_KEY"] == compute.auth.token
    error = caught.value
    shown = f"{compute!r} {compute.raw} {listed} {listed[0].raw} {error} {error.raw} {heard} {caplog.text}"
    assert "[redacted]" in str(error)
    assert not [secret for secret in secrets if secret in shown]


@pytest.fixture
async def served():
    """The fake behind a real socket, and a client with the real transport."""
    fake = FakeFly(SystemClock(), boot_s=0.05, stop_s=0.05)
    async with (
        serve(fake.handle) as origin,
        exatlas.Atlas("fly", credentials={"fly": fake.api_key}, base_urls={"fly": origin}, env={}) as atlas,
    ):
        yield fake, atlas


async def test_a_whole_life_over_sockets(served):
    fake, atlas = served
    async with atlas.rent(image="img", ports=[(8000, "http")], volume_gb=3, auth="bearer") as compute:
        assert compute.ports[0].url == f"https://exatlas-{compute.launch_id}.fly.dev"
        await atlas.start(compute)
        await atlas.stop(compute)
        assert (await atlas.get_compute(compute)).status == "stopped"
        await atlas.start(compute)
        assert [one.id for one in await atlas.list_compute(status="running")] == [compute.id]
    assert fake.left_over() == []


async def test_logs_over_sockets(served):
    fake, atlas = served
    compute = await atlas.spawn_compute(image="img")
    fake.log(compute.id, "hello")
    lines = [line.line async for line in atlas.stream_logs(compute, follow=False)]
    assert lines == ["hello"]
    await atlas.terminate(compute)
    with pytest.raises(exatlas.NotFoundError):
        [line async for line in atlas.stream_logs(compute, follow=False)]


async def test_a_lost_answer_over_sockets(served):
    fake, atlas = served
    fake.fail(Fault.DROP_AFTER, "POST", "/machines")
    compute = await atlas.spawn_compute(image="img")
    assert [machine.id for machine in fake.rented()] == [compute.id]
    await atlas.terminate(compute)
    await atlas.terminate(compute.id, provider="fly")
    assert fake.left_over() == []


async def test_an_instance_carries_what_it_was_made_with(clock):
    fake = FakeFly(clock)
    provider = FlyProvider(app="workers", owner="svc-a")
    async with exatlas.Atlas(
        provider,
        credentials={"fly": fake.api_key},
        transport=InProcessTransport(fake.handle),
        clock=clock,
        env={},
    ) as atlas:
        compute = await atlas.spawn_compute(image="img")
        assert compute.id.startswith("workers/")
        assert fake.machine(compute.id).config["metadata"]["exatlas_owner"] == "svc-a"
        assert await atlas.list_gpu_types() == []


async def test_urls_come_from_the_variables_flyctl_reads():
    asked = []

    async def hear(call):
        asked.append(call.url)
        raise exatlas.TransportError("enough", retryable=False)

    env = {
        "FLY_API_TOKEN": TOKEN,
        "FLY_FLAPS_BASE_URL": "https://flaps.example/",
        "FLY_API_BASE_URL": "https://api.example",
    }
    async with exatlas.Atlas("fly", transport=InProcessTransport(hear), env=env) as atlas:
        with pytest.raises(exatlas.TransportError):
            await atlas.get_compute("app/m1")
        with pytest.raises(exatlas.TransportError):
            [line async for line in atlas.stream_logs("app/m1", follow=False)]
    assert asked == [
        "https://flaps.example/v1/apps/app/machines/m1",
        "https://api.example/api/v1/apps/app/logs?next_token=&instance=m1",
    ]


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_goes_wrong_nothing_is_left_that_nobody_was_told_of(seed, clock):
    fake = FakeFly(clock, boot_s=3, destroy_s=2, listing_lag_s=1, faults=FaultPlan(seed=seed, rate=0.15, kinds=WRONG))
    known, told = [], set()
    async with client(fake) as atlas:
        for number in range(6):
            opts = {"app": "workers"} if number % 3 == 2 else {}
            try:
                known.append(await atlas.spawn_compute(**{**FULL, "provider_opts": opts}))
            except exatlas.AtlasError as error:
                told.update(re.findall(r"clearing up launch (\w+) failed", str(getattr(error, "__notes__", ""))))
        fake.faults.rate = 0.0
        for compute in known:
            await atlas.terminate(compute)
    clock.advance(60)
    assert len({compute.id for compute in known}) == len(known)
    assert not [name for name in fake.left_over() if name != "workers" and name[-12:] not in told]
