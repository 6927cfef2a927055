"""The provider as users meet it: through the client, over the fake."""

import logging

import pytest

import exatlas
from exatlas.capabilities import Capability
from exatlas.errors import ConfigError, UnsupportedError
from exatlas.providers import find
from exatlas.providers.vast import VastProvider
from exatlas.providers.vast.fake import Fault
from exatlas.providers.vast.fake.instances import KEY as INSTANCE_KEY

KEY = "vastFAKEKEY0123456789"
REQUEST = {"image": "img", "gpu": "rtx_4090"}


@pytest.mark.parametrize("name", ["vast", "vast.ai", "vastai"])
def test_it_is_found_by_its_names(name):
    assert find(name) is VastProvider


def test_it_declares_what_it_has_and_no_more():
    assert VastProvider.capabilities == {
        Capability.SPOT,
        Capability.NETWORK_VOLUMES,
        Capability.RAW_TCP,
        Capability.SYMMETRIC_PORTS,
        Capability.STOP_START,
        Capability.GPU_CATALOG,
        Capability.LOGS,
        Capability.ENDPOINT_EVENTS,
    }
    assert not hasattr(VastProvider, "run_job")


async def test_key_and_address_come_from_the_environment(fake):
    seen = []

    class Watched:
        async def send(self, call):
            seen.append(call)
            return await fake.handle(call)

        open = aclose = send

    env = {"VAST_API_KEY": KEY, "VAST_URL": "https://vast.example/"}
    async with exatlas.Atlas("vast", transport=Watched(), clock=fake.clock, env=env) as atlas:
        await atlas.list_compute()
    assert seen[0].url.startswith("https://vast.example/api/v1/instances/?")
    async with exatlas.Atlas("vast", transport=Watched(), clock=fake.clock, env={}) as atlas:
        with pytest.raises(ConfigError, match="VAST_API_KEY"):
            await atlas.list_compute()


async def test_a_whole_life(client, fake, clock):
    async with client.rent(**REQUEST, name="web", ports=["8000/tcp"], auth="bearer") as compute:
        assert compute.auth.header
        assert compute.auth.token in fake.rented()[0].body["env"].values()
        seen = await client.get_compute(compute)
        assert seen.ports[0].url
        assert compute.auth.token not in f"{seen.raw} {seen!r}"
        assert [item.id for item in await client.list_compute(name="web")] == [compute.id]
        fake.log(compute.id, "hello")
        assert [line.line async for line in client.stream_logs(compute, follow=False)] == ["hello"]
        clock.advance(3600)
    assert fake.rented() == []
    assert not fake.invoice()[0].open


@pytest.mark.parametrize(
    ("fields", "capability"),
    [
        ({"gpu": None}, "cpu_only"),
        ({"ports": ["8000/http"]}, "http_proxy"),
    ],
)
async def test_what_it_lacks_is_refused_before_anything_is_sent(client, fake, fields, capability):
    with pytest.raises(UnsupportedError) as caught:
        await client.spawn_compute(**{**REQUEST, **fields})
    assert caught.value.capability == capability
    assert fake.calls == []


async def test_jobs_are_not_declared(client):
    with pytest.raises(UnsupportedError, match="serverless"):
        await client.run_job(endpoint="llm", input={"a": 1})


async def test_no_secret_reaches_a_log_an_error_or_a_record(client, fake, caplog):
    caplog.set_level(logging.DEBUG)
    shown = []
    for fault in Fault:
        fake.fail(fault, "PUT")
        fake.rival(4242, 5.0)
        try:
            got = await client.spawn_compute(**REQUEST, env={"TOKEN": "s3cr3t-value"}, spot=True)
        except exatlas.AtlasError as error:
            shown += [repr(error), str(error), str(error.raw), str(error.__cause__), str(error.__context__)]
            continue
        shown += [repr(got), str(got.raw), str((await client.get_compute(got)).raw)]
        await client.terminate(got)
    assert len(shown) > len(Fault)
    for secret in (KEY, "s3cr3t-value", INSTANCE_KEY, "a7" * 32):
        assert secret not in f"{shown} {caplog.text}"


async def test_a_thousand_steps_of_random_trouble_lose_nothing(fake, client):
    """Whatever is ours and still rented at the end is known: returned, or named in an error."""
    fake.faults.rate, fake.faults.only = 0.15, lambda call: "/api/" in call.url
    kept, unknown = set(), set()
    for number in range(60):
        fake.snatched = number % 3 == 0
        try:
            got = await client.spawn_compute(image="img", gpu=["rtx_4090", "h100", "a40", "l40s"], spot=number % 2 == 0)
        except exatlas.OutcomeUnknownError as error:
            unknown.add(error.launch_id)
            continue
        except exatlas.AtlasError:
            continue
        kept.add(got.id)
        try:
            await client.terminate(got)
        except exatlas.AtlasError:
            continue
        kept.discard(got.id)
        for machine in fake.hosts:
            fake.vacate(machine)
    left = {machine.id: machine.label[-12:] for machine in fake.rented()}
    assert {label for name, label in left.items() if name not in kept} <= unknown
