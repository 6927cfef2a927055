"""Whole lives while one call in five goes wrong, drawn from seeds: nothing is rented that nobody knows of."""

import logging

import pytest

import exatlas
from exatlas.fakes.faults import FaultPlan
from exatlas.providers import lambda_labs
from exatlas.providers.lambda_labs.fake import FakeLambda
from exatlas.transport.inprocess import InProcessTransport

EAST, WEST = "us-east-1", "us-west-1"
LOUD = (exatlas.OutcomeUnknownError, exatlas.CleanupError)
"""Errors that say that something may still be rented."""


@pytest.mark.parametrize("seed", range(60))
async def test_a_life_in_a_storm(clock, seed, caplog):
    caplog.set_level(logging.CRITICAL)
    fake = FakeLambda(clock, boot_s=120, terminating_s=8, listing_lag_s=2, faults=FaultPlan(seed=seed, rate=0.2))
    fake.capacity.left["gpu_1x_a10", EAST] = seed % 3
    keys = {"lambda_labs": fake.api_key}
    transport = InProcessTransport(fake.handle)
    async with exatlas.Atlas("lambda", transport=transport, clock=clock, credentials=keys, env={}) as atlas:
        ending: exatlas.AtlasError | None = None
        try:
            async with atlas.rent(gpu="a10", image="i", ports=["80/tcp"], region_hints=[EAST, WEST]) as compute:
                assert [each.id for each in fake.rented()] == [compute.id]
                await clock.sleep(200)
        except exatlas.AtlasError as error:
            ending = error
        assert not fake.rented() or isinstance(ending, LOUD), "somebody pays, and nobody was told"
        fake.faults.rate = 0
        for machine in await atlas.list_compute():
            await atlas.terminate(machine)
        assert fake.rented() == []
        await clock.sleep(3600)
        await lambda_labs.sweep_rulesets(await atlas.context())
        assert fake.rulesets.items == {}
