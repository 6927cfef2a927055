"""A spawn whose GPU nobody here knows goes to the cloud as typed, and its failure says what was meant."""

import pytest

from exatlas import Atlas, ComputeRequest
from exatlas.client.hints import hint_at_gpus
from exatlas.errors import (
    ForbiddenError,
    InvalidRequestError,
    NoCapacityError,
    NotFoundError,
    ProviderBrokenError,
    ValidationError,
)
from exatlas.providers.memory import MemoryProvider
from exatlas.providers.runpod.fake import FakeRunPod
from exatlas.transport.inprocess import InProcessTransport

HINT = "did you mean 'h100_sxm' by 'h100_smx'?"


def request(*gpu: str) -> ComputeRequest:
    return ComputeRequest(gpu=gpu or None, image="app:1")


@pytest.mark.parametrize(
    "error",
    [
        NoCapacityError("full."),
        InvalidRequestError("no such type"),
        NotFoundError("no such type"),
        ValidationError("the request", ["gpu: unknown", "image: ugly"]),
    ],
)
def test_the_nearest_name_is_added_once(error):
    before = error.message.rstrip(".")
    for _ in range(2):
        hint_at_gpus(error, request("h100_smx"))
    assert error.message == f"{before}; {HINT}"
    assert str(error).endswith(HINT)


def test_every_unknown_name_is_told_and_known_ones_are_not():
    error = NoCapacityError("full")
    hint_at_gpus(error, request("h100", "h100_smx", "q-q-q-q", "rtx-4909"))
    assert error.message == f"full; {HINT[:-1]} and 'rtx_4090' by 'rtx-4909'?"


@pytest.mark.parametrize(
    ("error", "names"),
    [
        (NoCapacityError("full"), ["h100_sxm", "H100", "a100"]),
        (NoCapacityError("full"), []),
        (NoCapacityError("full"), ["zzzz"]),
        (InvalidRequestError("no GPU is named 'h100_smx' (did you mean 'h100'?)"), ["h100_smx"]),
        (ValidationError("the request", ["image: no gpu image"]), ["h100_smx"]),
        (ForbiddenError("no"), ["h100_smx"]),
        (ProviderBrokenError("no"), ["h100_smx"]),
    ],
)
def test_nothing_is_added_where_it_would_not_help(error, names):
    before = error.message
    hint_at_gpus(error, request(*names))
    assert error.message == before


async def test_a_name_goes_to_the_cloud_as_it_was_typed(clock):
    cloud = FakeRunPod(clock)
    asked = []

    async def handle(call):
        if call.method == "POST":
            asked.append(call.body)
        return await cloud.handle(call)

    async with Atlas(
        "runpod",
        credentials={"runpod": cloud.api_key},
        transport=InProcessTransport(handle),
        clock=clock,
        env={},
    ) as atlas:
        with pytest.raises(InvalidRequestError) as caught:
            await atlas.spawn_compute(gpu="H100-SMX", image="app:1")
    assert b'"H100-SMX"' in asked[0]
    assert str(caught.value).count("did you mean 'h100_sxm' by 'H100-SMX'?") == 1


async def test_a_provider_of_ones_own_gets_hints_too(clock):
    class Own(MemoryProvider):
        name = "own"

        async def spawn_compute(self, request, ctx, /):
            raise NoCapacityError("nothing of that kind", provider=self.name)

    async with Atlas(Own(clock=clock), clock=clock, env={}) as atlas:
        with pytest.raises(NoCapacityError, match="did you mean 'l40s' by 'l40ss'"):
            await atlas.spawn_compute(gpu="l40ss", image="app:1")
