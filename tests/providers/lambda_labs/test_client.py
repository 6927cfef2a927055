"""Lambda through the client, as users have it: names, keys, gating, secrets, and cancellation at every step."""

import logging

import pytest

import exatlas
from exatlas.providers import find, lambda_labs
from exatlas.providers.lambda_labs.fake import FakeLambda, Fault
from exatlas.records.serial import unstructure
from exatlas.transport.inprocess import InProcessTransport

EAST, WEST = "us-east-1", "us-west-1"
TERMINATE = ("POST", "/instance-operations/terminate")


def quick() -> exatlas.ManualClock:
    """A clock that turns itself after a moment, although a trial always has something to run."""
    return exatlas.ManualClock(auto=True, patience=8)


def client(fake: FakeLambda, **settings) -> exatlas.Atlas:
    return exatlas.Atlas(
        "lambda_labs",
        transport=InProcessTransport(fake.handle),
        clock=fake.clock,
        **{"credentials": {"lambda_labs": fake.api_key}, "env": {}, **settings},
    )


WANTED = {"gpu": "a10", "image": "org/app:1", "region_hints": [EAST, WEST], "ports": ["8000/tcp"]}


def test_the_provider_has_two_names():
    assert find("lambda") is find("lambda_labs") is lambda_labs.PROVIDER


@pytest.mark.parametrize(
    ("env", "key"),
    [
        ({"LAMBDA_API_KEY": "first", "LAMBDA_LABS_API_KEY": "second"}, "first"),
        ({"LAMBDA_LABS_API_KEY": "second"}, "second"),
    ],
)
async def test_where_key_and_address_come_from(env, key):
    async with exatlas.Atlas("lambda", env=env) as atlas:
        ctx = await atlas.context()
    assert (ctx.api_key, ctx.base_url) == (key, "https://cloud.lambda.ai/api/v1")
    async with exatlas.Atlas("lambda", env={**env, "LAMBDA_CLOUD_BASE_URL": "https://proxy.example/api/v1/"}) as atlas:
        ctx = await atlas.context()
    assert ctx.base_url == "https://proxy.example/api/v1"


@pytest.mark.parametrize(
    ("fields", "capability"),
    [({"spot": True}, "spot"), ({"ports": ["8000/http"]}, "http_proxy")],
)
async def test_what_lambda_lacks_is_refused_before_anything_is_sent(fake, fields, capability):
    async with client(fake) as atlas:
        with pytest.raises(exatlas.UnsupportedError) as caught:
            await atlas.spawn_compute(**{**WANTED, **fields})
        for call in (atlas.stop, atlas.start):
            with pytest.raises(exatlas.UnsupportedError):
                await call("x")
    assert caught.value.capability == capability
    assert fake.calls == []


async def test_a_whole_life_with_a_secret(fake, caplog):
    caplog.set_level(logging.DEBUG)
    fake.terminating_s = 10
    async with (
        client(fake) as atlas,
        atlas.rent(**WANTED, name="web", auth="bearer", env={"T": "s3cr3t-env"}) as compute,
    ):
        token = compute.auth.token
        (each,) = fake.rented()
        assert token not in str(each.body), "it is there in base64 only"
        seen = await atlas.get_compute(compute)
        assert seen.status is exatlas.ComputeStatus.RUNNING
        assert seen.ports[0].url == "tcp://198.51.100.7:8000"
        assert [machine.id for machine in await atlas.list_compute(name="web")] == [compute.id]
        records = f"{compute} {seen} {seen.raw} {unstructure(compute)} {unstructure(seen)} {caplog.text}"
        for secret in (token, "s3cr3t-env", fake.api_key, "03b7d30d9d3e4d8fa41657bc0d478c1b", "#cloud-config"):
            assert secret not in records
    assert fake.rented() == []
    assert fake.rulesets.items == {}


async def test_fakes_refuse_a_wrong_key(fake):
    async with client(fake, credentials={"lambda_labs": "wrong"}) as atlas:
        with pytest.raises(exatlas.UnauthorizedError):
            await atlas.list_gpu_types()


# --- cancellation ---


@pytest.mark.parametrize(
    "prepare",
    [
        pytest.param(lambda fake: None, id="plain"),
        pytest.param(lambda fake: fake.capacity.phantom.add(("gpu_1x_a10", EAST)), id="second region"),
        pytest.param(lambda fake: fake.fail(Fault.DROP_AFTER, "POST", "/launch"), id="lost launch"),
        pytest.param(lambda fake: fake.fail(Fault.DROP_BEFORE, "POST", "/launch"), id="no launch"),
        pytest.param(lambda fake: fake.fail(Fault.DROP_AFTER, "POST", "/firewall-rulesets"), id="lost ruleset"),
        pytest.param(lambda fake: fake.fail(Fault.LIMITED, "POST", "/launch"), id="too many"),
    ],
)
async def test_cancelling_a_spawn_anywhere_leaves_nothing_rented_and_no_ruleset(cancel_everywhere, prepare):
    async def trial(cut):
        fake = FakeLambda(quick(), terminating_s=5)
        prepare(fake)
        async with client(fake) as atlas:
            try:
                got = await cut(atlas.spawn_compute(**WANTED))
            except exatlas.OutcomeUnknownError:
                got = cut.CANCELLED
            if got is cut.CANCELLED:
                assert fake.rented() == []
                assert fake.rulesets.items == {}
            else:
                assert [each.id for each in fake.rented()] == [got.id]

    assert await cancel_everywhere(trial) > 20


async def test_cancelling_a_rental_anywhere_leaves_nothing_rented_and_no_ruleset(cancel_everywhere):
    async def trial(cut):
        fake = FakeLambda(quick(), terminating_s=5)
        async with client(fake) as atlas:

            async def work():
                async with atlas.rent(**WANTED) as compute:
                    await atlas.get_compute(compute)

            await cut(work())
        assert fake.rented() == []
        assert fake.rulesets.items == {}

    assert await cancel_everywhere(trial) > 20


@pytest.mark.parametrize("many", [False, True])
async def test_cancelling_a_termination_anywhere_leaves_a_machine_or_nothing(cancel_everywhere, many):
    async def trial(cut):
        fake = FakeLambda(quick(), terminating_s=5)
        async with client(fake) as atlas:
            compute = await atlas.spawn_compute(**WANTED)
            ctx = await atlas.context()
            await cut(lambda_labs.terminate_all([compute], ctx) if many else atlas.terminate(compute))
            assert fake.rented() or fake.rulesets.items == {}, "once it is ended, its ruleset goes too"
            await atlas.terminate(compute)
        assert fake.rented() == []
        assert fake.rulesets.items == {}

    assert await cancel_everywhere(trial) > 5


@pytest.mark.parametrize(
    "read",
    [
        lambda atlas, compute, ctx: atlas.get_compute(compute),
        lambda atlas, compute, ctx: atlas.list_compute(),
        lambda atlas, compute, ctx: atlas.list_gpu_types(),
        lambda atlas, compute, ctx: lambda_labs.restart(compute, ctx),
        lambda atlas, compute, ctx: lambda_labs.sweep_rulesets(ctx),
        lambda atlas, compute, ctx: lambda_labs.filesystems.list(ctx),
        lambda atlas, compute, ctx: lambda_labs.filesystems.create(ctx, name="models", region=EAST),
        lambda atlas, compute, ctx: lambda_labs.filesystems.delete(ctx, "x"),
    ],
)
async def test_cancelling_anything_else_leaves_the_machine_alone_and_no_task(cancel_everywhere, read):
    async def trial(cut):
        fake = FakeLambda(quick())
        async with client(fake) as atlas:
            compute = await atlas.spawn_compute(**WANTED)
            await cut(read(atlas, compute, await atlas.context()))
            assert [each.id for each in fake.rented()] == [compute.id]
            assert len(fake.rulesets.items) == 1

    await cancel_everywhere(trial)


async def test_a_cancelled_caller_in_the_launch_queue_rents_nothing(cancel_everywhere):
    """Two spawns at once: the second waits 12 s for its turn, and is cancelled there as anywhere."""

    async def trial(cut):
        fake = FakeLambda(quick(), terminating_s=5)
        async with client(fake) as atlas:
            first = await atlas.spawn_compute(**WANTED)
            got = await cut(atlas.spawn_compute(**WANTED))
            kept = {first.id} if got is cut.CANCELLED else {first.id, got.id}
            assert {each.id for each in fake.rented()} == kept
            assert len(fake.rulesets.items) == len(kept)

    assert await cancel_everywhere(trial) > 20
