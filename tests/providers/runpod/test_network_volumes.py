"""Network volumes: create, list, get, delete."""

import pytest

from exatlas.errors import NotFoundError, ValidationError
from exatlas.providers import runpod
from exatlas.providers.runpod import network_volumes
from exatlas.records.serial import unstructure
from exatlas.transport.shape import body_of


def test_a_volume_reads_as_expected(network_volume_sample):
    found = unstructure(network_volumes._read(body_of(network_volume_sample.reply)))
    assert {key: found[key] for key in network_volume_sample.expect} == network_volume_sample.expect


async def test_a_volumes_life(ctx):
    made = await runpod.network_volumes.create(ctx, name="models", size_gb=100, region="EU-RO-1")
    fast = await runpod.network_volumes.create(ctx, name="fast", size_gb=10, region="EU-RO-1", tier="HIGH_PERFORMANCE")
    assert (made.name, made.size_gb, made.region, made.tier) == ("models", 100, "EU-RO-1", "STANDARD")
    assert fast.tier == "HIGH_PERFORMANCE"
    assert await runpod.network_volumes.list(ctx) == (made, fast)
    assert await runpod.network_volumes.get(ctx, made.id) == made
    await runpod.network_volumes.delete(ctx, made.id)
    await runpod.network_volumes.delete(ctx, made.id)
    with pytest.raises(NotFoundError):
        await runpod.network_volumes.get(ctx, made.id)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": " "}, "name"),
        ({"size_gb": 9}, "size_gb"),
        ({"size_gb": 4097}, "size_gb"),
        ({"size_gb": True}, "size_gb"),
        ({"size_gb": "50"}, "size_gb"),
        ({"region": ""}, "region"),
        ({"tier": "FAST"}, "tier"),
    ],
)
async def test_a_wrong_argument_is_refused_before_anything_is_sent(fake, ctx, change, field):
    with pytest.raises(ValidationError) as caught:
        await network_volumes.create(ctx, **{"name": "n", "size_gb": 50, "region": "EU-RO-1", **change})
    assert [fault.partition(":")[0] for fault in caught.value.faults] == [field]
    assert fake.calls == []
