"""Which types and regions are tried, in which order, and what is said when there is nothing to try."""

from decimal import Decimal

import pytest

from exatlas.errors import NoCapacityError, UnsupportedError, ValidationError
from exatlas.providers.lambda_labs import choice
from exatlas.providers.lambda_labs.choice import InstanceType
from exatlas.records.compute import ComputeRequest

EAST, WEST, SOUTH, EUROPE = "us-east-1", "us-west-1", "us-south-1", "europe-central-1"


def kind(name, gpu, count, usd, regions, **more):
    return InstanceType(
        **{
            "name": name,
            "gpu": gpu,
            "gpu_native": f"native {gpu}" if count else None,
            "gpu_count": count,
            "gpu_memory_gb": 80,
            "cpus": 26 * max(count, 1),
            "memory_gib": 200 * max(count, 1),
            "storage_gib": 1000,
            "usd_per_hour": Decimal(usd),
            "arm": False,
            "regions": regions,
            **more,
        }
    )


TYPES = [
    kind("cpu_4x_general", None, 0, "0.20", (EAST,), cpus=4, memory_gib=16),
    kind("gpu_1x_a10", "a10", 1, "1.29", (WEST, EAST, SOUTH)),
    kind("gpu_1x_h100_pcie", "h100_pcie", 1, "3.29", (EUROPE, WEST)),
    kind("gpu_1x_h100_sxm5", "h100_sxm", 1, "4.29", (WEST, EAST)),
    kind("gpu_8x_h100_sxm5", "h100_sxm", 8, "31.92", (EAST,)),
    kind("gpu_8x_h100_sxm5gdr", "h100_sxm", 8, "35.92", (WEST,)),
    kind("gpu_8x_a100_80gb_sxm4", "a100_80g_sxm", 8, "22.32", ()),
    kind("gpu_1x_mystery", None, 1, "9", (SOUTH,), gpu_native="Mystery (1 GB)"),
]


@pytest.fixture
def ctx(launch):
    return launch


def tried(ctx, *, only_region=None, **fields):
    request = ComputeRequest(**{"image": "img", "gpu": "a10", **fields})
    return [str(each) for each in choice.candidates(request, TYPES, ctx, only_region=only_region)]


@pytest.mark.parametrize(
    ("fields", "order"),
    [
        ({}, ["gpu_1x_a10 in us-west-1", "gpu_1x_a10 in us-east-1", "gpu_1x_a10 in us-south-1"]),
        ({"region_hints": [EAST]}, ["gpu_1x_a10 in us-east-1"]),
        ({"region_hints": [EAST, WEST]}, ["gpu_1x_a10 in us-east-1", "gpu_1x_a10 in us-west-1"]),
        ({"region_hints": ["US-East", "us-west"]}, ["gpu_1x_a10 in us-east-1", "gpu_1x_a10 in us-west-1"]),
        (
            {"region_hints": ["us-west-1", "us"]},
            ["gpu_1x_a10 in us-west-1", "gpu_1x_a10 in us-east-1", "gpu_1x_a10 in us-south-1"],
        ),
        ({"ports": ["80/tcp"]}, ["gpu_1x_a10 in us-west-1", "gpu_1x_a10 in us-east-1"]),
        (
            {"gpu": "h100", "region_hints": ["eu", WEST]},
            ["gpu_1x_h100_sxm5 in us-west-1", "gpu_1x_h100_pcie in europe-central-1", "gpu_1x_h100_pcie in us-west-1"],
        ),
        (
            {"gpu": ["h100_pcie", "a10"], "region_hints": [WEST]},
            ["gpu_1x_h100_pcie in us-west-1", "gpu_1x_a10 in us-west-1"],
        ),
        ({"gpu": "h100", "gpu_count": 8}, ["gpu_8x_h100_sxm5 in us-east-1", "gpu_8x_h100_sxm5gdr in us-west-1"]),
        ({"gpu": ["a100", "h100"], "gpu_count": 8, "region_hints": [EAST]}, ["gpu_8x_h100_sxm5 in us-east-1"]),
        ({"gpu": "gpu_8x_h100_sxm5gdr"}, ["gpu_8x_h100_sxm5gdr in us-west-1"]),
        ({"gpu": "gpu_8x_h100_sxm5gdr", "gpu_count": 8}, ["gpu_8x_h100_sxm5gdr in us-west-1"]),
        ({"gpu": "native h100_sxm", "gpu_count": 8, "region_hints": [EAST]}, ["gpu_8x_h100_sxm5 in us-east-1"]),
        ({"gpu": ["Mystery (1 GB)", "nothing"]}, ["gpu_1x_mystery in us-south-1"]),
        ({"gpu": None}, ["cpu_4x_general in us-east-1"]),
        ({"gpu": None, "cpus": 4, "memory_gb": 17}, ["cpu_4x_general in us-east-1"]),
        (
            {"cpus": 26, "memory_gb": 200, "volume_gb": 500, "container_disk_gb": 500, "region_hints": [EAST]},
            ["gpu_1x_a10 in us-east-1"],
        ),
        ({"gpu": ["h100_sxm", "h100"], "region_hints": [EAST]}, ["gpu_1x_h100_sxm5 in us-east-1"]),
    ],
)
def test_the_order_of_candidates(ctx, fields, order):
    assert tried(ctx, **fields) == order


def test_a_filesystem_fixes_the_region(ctx):
    assert tried(ctx, only_region=EAST) == ["gpu_1x_a10 in us-east-1"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"gpu": "a100", "gpu_count": 8}, "gpu_8x_a100_80gb_sxm4: sold out in every region"),
        (
            {"region_hints": ["asia"]},
            "free only: gpu_1x_a10 in us-west-1, us-east-1, us-south-1; but region_hints ask for asia",
        ),
        (
            {"region_hints": [SOUTH], "ports": ["80/tcp"]},
            "but region_hints ask for us-south-1 and firewall rules, which ports need, do not apply in us-south-1",
        ),
        ({"only_region": EUROPE}, "but the filesystem is in europe-central-1"),
    ],
)
def test_a_shortage_says_where_there_is_some(ctx, fields, said):
    with pytest.raises(NoCapacityError) as caught:
        tried(ctx, **fields)
    assert said in caught.value.message
    assert (caught.value.provider, caught.value.operation) == ("lambda_labs", "spawn_compute")


@pytest.mark.parametrize(
    ("fields", "error", "said"),
    [
        ({"gpu": "h100", "gpu_count": 3}, ValidationError, "expected one of 1, 8, in which Lambda sells it, got 3"),
        ({"gpu": "gpu_8x_h100_sxm5", "gpu_count": 4}, None, None),
        ({"cpus": 27}, ValidationError, "gpu_1x_a10 has 26 cpus, 214.7 GB of memory and 1000 GiB of disk"),
        ({"memory_gb": 215}, ValidationError, "no type is large enough"),
        ({"volume_gb": 600, "container_disk_gb": 600}, ValidationError, "no type is large enough"),
        ({"gpu": "l40s"}, UnsupportedError, "Lambda sells no 'l40s'; it has "),
        ({"gpu": "h1000"}, UnsupportedError, "did you mean 'h100'"),
    ],
)
def test_what_lambda_does_not_sell(ctx, fields, error, said):
    if error is None:
        assert tried(ctx, **fields) == ["gpu_8x_h100_sxm5 in us-east-1"]
        return
    with pytest.raises(error) as caught:
        tried(ctx, **fields)
    assert said in caught.value.message


def test_no_cpu_machines_at_all(ctx):
    with pytest.raises(UnsupportedError, match="without a GPU"):
        choice.candidates(ComputeRequest(image="i"), TYPES[1:], ctx)
