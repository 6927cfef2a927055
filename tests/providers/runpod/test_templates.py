"""Templates: create, list, get, delete."""

import pytest

from exatlas.errors import InvalidRequestError, NotFoundError, ValidationError
from exatlas.providers import runpod
from exatlas.providers.runpod import templates
from exatlas.records.serial import unstructure
from exatlas.transport.shape import body_of


def test_a_template_reads_as_expected_and_keeps_no_values(template_sample):
    found = templates._read(body_of(template_sample.reply))
    plain = unstructure(found)
    assert {key: plain[key] for key in template_sample.expect} == template_sample.expect
    assert "s3cr3t-value" not in str(plain)


async def test_a_templates_life(ctx):
    made = await runpod.templates.create(
        ctx,
        name="t",
        image="img",
        command=["python", "serve me.py"],
        container_disk_gb=30,
        volume_gb=20,
        ports=[(8000, "http"), "22/tcp"],
        env={"TOKEN": "s3cr3t"},
        category="CPU",
        provider_opts={"allowedCudaVersions": ["12.8"]},
    )
    assert (made.args, made.ports, made.env_names) == ("python 'serve me.py'", ("8000/http", "22/tcp"), ("TOKEN",))
    assert (made.container_disk_gb, made.category, made.serverless, made.public) == (30, "CPU", False, False)
    assert made.raw["env"] == {"TOKEN": "[redacted]"}
    assert made.raw["mounts"] == {"persistent": {"size": 20, "path": "/workspace"}}
    assert made.raw["allowedCudaVersions"] == ["12.8"]
    assert await runpod.templates.list(ctx) == (made,)
    assert await runpod.templates.get(ctx, made.id) == made
    await runpod.templates.delete(ctx, made.id)
    await runpod.templates.delete(ctx, made.id)
    with pytest.raises(NotFoundError):
        await runpod.templates.get(ctx, made.id)


async def test_an_unknown_field_is_told_without_the_values_of_variables(ctx):
    with pytest.raises(InvalidRequestError, match="unjudged") as caught:
        await templates.create(ctx, name="t", image="i", env={"A": "s3cr3t"}, provider_opts={"unjudged": 1})
    assert "s3cr3t" not in str(caught.value)


async def test_every_wrong_argument_is_told_at_once(fake, ctx):
    with pytest.raises(ValidationError) as caught:
        await templates.create(
            ctx,
            name="",
            image=None,
            command=[""],
            container_disk_gb=0,
            volume_gb=5,
            ports=["x"],
            env={"A": 1},
            category="TPU",
        )
    fields = [fault.partition(":")[0] for fault in caught.value.faults]
    assert fields == ["name", "image", "command", "container_disk_gb", "volume_gb", "ports", "env", "category"]
    assert fake.calls == []
