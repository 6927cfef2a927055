"""What a provider cannot do is refused before a key is asked for or anything is sent."""

import pytest

from exatlas.capabilities import OPERATION_NEEDS, Capability
from exatlas.client import gating
from exatlas.client.atlas import Atlas
from exatlas.errors import ErrorKind, UnsupportedError
from exatlas.protocols import ProviderSettings
from exatlas.providers.memory import MemoryProvider
from exatlas.records.compute import ComputeRequest
from exatlas.records.job import JobRequest


class Bare(MemoryProvider):
    """A cloud that has every method and declares none of them, and that wants a key."""

    name = "bare"
    capabilities = frozenset()
    settings = ProviderSettings(needs_key=True)


def having(*capabilities):
    return type("Some", (Bare,), {"capabilities": frozenset(capabilities)})()


@pytest.mark.parametrize(("operation", "need"), OPERATION_NEEDS.items())
def test_an_operation_needs_its_capability(operation, need):
    with pytest.raises(
        UnsupportedError, match=f"it needs the capability '{need.value}', which bare does not"
    ) as caught:
        gating.check_operation(Bare(), operation)
    error = caught.value
    assert (error.provider, error.operation, error.capability) == ("bare", operation, need.value)
    assert error.kind is ErrorKind.UNSUPPORTED
    gating.check_operation(having(need), operation)


@pytest.mark.parametrize("operation", ["spawn_compute", "get_compute", "list_compute", "terminate"])
def test_everybody_has_the_rest(operation):
    gating.check_operation(Bare(), operation)


def test_who_can_is_named():
    with pytest.raises(UnsupportedError, match=r"; .*memory, .*runpod.* can"):
        gating.check_operation(Bare(), "run_job")


FIELDS = [
    ({"spot": True}, Capability.SPOT, "spot=True"),
    ({"gpu": None}, Capability.CPU_ONLY, "gpu=None"),
    ({"network_volume_id": "v"}, Capability.NETWORK_VOLUMES, "network_volume_id"),
    ({"ports": ["80/http"]}, Capability.HTTP_PROXY, "an http port"),
    ({"ports": ["22/tcp"]}, Capability.RAW_TCP, "a tcp port"),
]


@pytest.mark.parametrize(("fields", "need", "what"), FIELDS)
def test_a_field_needs_its_capability(fields, need, what):
    request = ComputeRequest(**{"image": "img", "gpu": "l4", **fields})
    with pytest.raises(UnsupportedError, match=f"^bare spawn_compute: {what} needs") as caught:
        gating.check_compute(Bare(), request)
    assert caught.value.capability == need.value
    gating.check_compute(having(need), request)


def test_an_idle_ttl_needs_more_than_any_provider_has():
    with pytest.raises(UnsupportedError, match="idle_ttl needs a tracked session") as caught:
        gating.check_compute(MemoryProvider(), ComputeRequest(image="img", idle_ttl=60))
    assert caught.value.capability is None


def test_a_webhook_needs_its_capability():
    request = JobRequest(endpoint="e", input={"a": 1}, webhook="https://hook.example/s3cr3t")
    with pytest.raises(UnsupportedError, match="webhook needs the capability 'webhooks'") as caught:
        gating.check_job(Bare(), request)
    assert "s3cr3t" not in str(caught.value)
    gating.check_job(having(Capability.WEBHOOKS), request)
    gating.check_job(Bare(), JobRequest(endpoint="e", input={"a": 1}))


class Untouchable:
    """A transport and a vault that must not be reached."""

    async def send(self, call):
        raise AssertionError("something was sent")

    open = send

    async def aclose(self):
        pass

    async def key(self):
        raise AssertionError("a key was asked for")


CALLS = {
    "stop": lambda atlas: atlas.stop("m"),
    "start": lambda atlas: atlas.start("m"),
    "list_gpu_types": lambda atlas: atlas.list_gpu_types(),
    "run_job": lambda atlas: atlas.run_job(endpoint="e", input={"a": 1}),
    "get_job": lambda atlas: atlas.get_job("j", endpoint="e"),
    "cancel_job": lambda atlas: atlas.cancel_job("j", endpoint="e"),
}
STREAMS = {
    "stream_job": lambda atlas: atlas.stream_job("j", endpoint="e"),
    "stream_job by open_job_stream": lambda atlas: atlas.open_job_stream("j", endpoint="e"),
    "stream_events": lambda atlas: atlas.stream_events("e", "v1/x", {}),
    "stream_logs": lambda atlas: atlas.stream_logs("m"),
}


@pytest.fixture
async def untouched():
    nobody = Untouchable()
    async with Atlas(Bare, credentials={"bare": nobody.key}, transport=nobody, env={}) as atlas:
        yield atlas


def test_every_gated_operation_is_tried():
    assert {name.partition(" ")[0] for name in (*CALLS, *STREAMS)} == set(OPERATION_NEEDS)


@pytest.mark.parametrize("operation", CALLS)
async def test_no_key_is_asked_for_and_nothing_is_sent(untouched, operation):
    with pytest.raises(UnsupportedError):
        await CALLS[operation](untouched)


@pytest.mark.parametrize("operation", STREAMS)
async def test_a_stream_is_refused_before_it_is_read(untouched, operation):
    with pytest.raises(UnsupportedError):
        STREAMS[operation](untouched)


@pytest.mark.parametrize("fields", [fields for fields, _, _ in FIELDS] + [{"idle_ttl": 5}])
async def test_a_machine_is_refused_before_a_key_is_asked_for(untouched, fields):
    with pytest.raises(UnsupportedError):
        await untouched.spawn_compute(**{"image": "img", "gpu": "l4", **fields})
    with pytest.raises(UnsupportedError):
        async with untouched.rent(**{"image": "img", "gpu": "l4", **fields}):
            pass
