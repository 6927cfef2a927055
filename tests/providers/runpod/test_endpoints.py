"""Serverless endpoints: create, list, get, delete."""

from datetime import timedelta

import pytest

from exatlas.errors import NotFoundError, ValidationError
from exatlas.providers import runpod
from exatlas.providers.runpod import endpoints
from exatlas.records.serial import unstructure
from exatlas.transport.shape import body_of


def test_an_endpoint_reads_as_expected_and_keeps_no_values(endpoint_sample):
    plain = unstructure(endpoints._read(body_of(endpoint_sample.reply)))
    assert {key: plain[key] for key in endpoint_sample.expect} == endpoint_sample.expect
    assert "s3cr3t-value" not in str(plain)


async def test_an_endpoints_life(ctx):
    made = await runpod.endpoints.create(ctx, name="echo", image="me/echo:1", gpu="rtx_4090", env={"A": "s3cr3t"})
    assert (made.type, made.pools, made.gpu_count) == ("QUEUE", ("ADA_24",), 1)
    assert (made.workers_min, made.workers_max, made.execution_timeout) == (0, 3, timedelta(minutes=5))
    assert made.urls["run"] == f"https://api.runpod.ai/v2/{made.id}/run"
    assert made.raw["scaling"] == {"type": "QUEUE_DELAY", "queueDelay": 4}
    assert made.raw["env"] == {"A": "[redacted]"}
    assert await runpod.endpoints.list(ctx) == (made,)
    assert await runpod.endpoints.get(ctx, made.id) == made
    await runpod.endpoints.delete(ctx, made.id)
    await runpod.endpoints.delete(ctx, made.id)
    with pytest.raises(NotFoundError):
        await runpod.endpoints.get(ctx, made.id)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"gpu": ["AMPERE_80", "h100"]}, {"gpu": {"pools": ["AMPERE_80", "ADA_80_PRO"], "count": 1}}),
        ({"gpu": "ADA_24", "gpu_count": 2}, {"gpu": {"pools": ["ADA_24"], "count": 2}}),
        ({"gpu": None, "cpus": 4}, {"cpu": [{"id": "cpu5c", "vcpuCount": 4, "memory": 8}]}),
        ({"queue_delay": 0.5}, {"scaling": {"type": "QUEUE_DELAY", "queueDelay": 0.5}}),
        ({"request_count": 9}, {"scaling": {"type": "REQUEST_COUNT", "requestCount": 9}}),
        ({"type": "LOAD_BALANCER"}, {"scaling": {"type": "REQUEST_COUNT", "requestCount": 4}}),
        (
            {"type": "LOAD_BALANCER", "request_count": 2, "idle_timeout": 60},
            {
                "scaling": {"type": "REQUEST_COUNT", "requestCount": 2},
                "workers": {"min": 0, "max": 3, "idleTimeout": 60},
            },
        ),
        (
            {"workers_min": 1, "workers_max": 2, "idle_timeout": timedelta(minutes=1)},
            {"workers": {"min": 1, "max": 2, "idleTimeout": 60}},
        ),
        ({"execution_timeout": 600}, {"timeout": 600000}),
        ({"command": ["a b", "c"]}, {"args": "'a b' c"}),
        ({"container_disk_gb": 7}, {"disk": 7}),
        ({}, {"disk": 20, "flashboot": "OFF"}),
        ({"flashboot": "FLASHBOOT"}, {"flashboot": "FLASHBOOT"}),
        ({"region_hints": "EU-RO-1"}, {"dataCenterIds": ["EU-RO-1"]}),
        ({"network_volume_ids": ["v1", "v2"]}, {"networkVolumes": ["v1", "v2"]}),
        ({"image": None, "template_id": "t"}, {"image": ""}),
        ({"provider_opts": {"workers": {"max": 9}}}, {"workers": {"min": 0, "max": 9, "idleTimeout": 10}}),
    ],
)
async def test_what_is_asked_for_arrives(ctx, fields, expected):
    made = await endpoints.create(ctx, **{"name": "n", "image": "i", "gpu": "ADA_24", **fields})
    for key, value in expected.items():
        found = made.raw[key]
        subset = {name: found[name] for name in value} if isinstance(value, dict) else found
        assert subset == value


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": ""}, "name"),
        ({"image": None}, "image"),
        ({"type": "STREAM"}, "type"),
        ({"gpu": None}, "gpu"),
        ({"cpus": 4}, "gpu"),
        ({"gpu_count": 0}, "gpu_count"),
        ({"gpu": None, "cpus": 3}, "cpus"),
        ({"queue_delay": 0.4}, "queue_delay"),
        ({"queue_delay": 1, "request_count": 1}, "queue_delay"),
        ({"queue_delay": 1, "type": "LOAD_BALANCER"}, "queue_delay"),
        ({"request_count": 0}, "request_count"),
        ({"workers_min": -1}, "workers_min"),
        ({"workers_min": 4}, "workers_max"),
        ({"workers_max": "3"}, "workers_max"),
        ({"idle_timeout": 0.5}, "idle_timeout"),
        ({"idle_timeout": 3601}, "idle_timeout"),
        ({"idle_timeout": 5, "request_count": 1}, "idle_timeout"),
        ({"execution_timeout": 0}, "execution_timeout"),
        ({"execution_timeout": None}, "execution_timeout"),
        ({"command": [1]}, "command"),
        ({"env": {"A": None}}, "env"),
        ({"container_disk_gb": 0}, "container_disk_gb"),
        ({"region_hints": [1]}, "region_hints"),
        ({"network_volume_ids": [""]}, "network_volume_ids"),
        ({"flashboot": True}, "flashboot"),
    ],
)
async def test_a_wrong_argument_is_refused_before_anything_is_sent(fake, ctx, change, field):
    with pytest.raises(ValidationError) as caught:
        await endpoints.create(ctx, **{"name": "n", "image": "i", "gpu": "ADA_24", **change})
    assert [fault.partition(":")[0] for fault in caught.value.faults] == [field]
    assert fake.calls == []
