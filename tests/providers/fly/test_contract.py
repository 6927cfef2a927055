"""Fly's published API document judges our samples, and the fake that stands in for Fly."""

import pytest

from exatlas.messages import HttpCall
from exatlas.providers.fly.fake import FakeFly
from exatlas.records.compute import ComputeFilter, ComputeRequest
from exatlas.testing.documents import Invalid

BODIES = {
    "POST /apps": b'{"name":"n","org_slug":"personal"}',
    "POST /apps/{app_name}/machines": b'{"config":{"image":"i"}}',
    "POST /apps/{app_name}/machines/{machine_id}": b'{"config":{"image":"i"}}',
    "POST /apps/{app_name}/machines/{machine_id}/lease": b'{"ttl":30}',
    "POST /apps/{app_name}/machines/{machine_id}/stop": b"{}",
    "POST /apps/{app_name}/volumes": b'{"name":"v","region":"iad"}',
}


def a_call(spec, **more):
    method, path = spec.split()
    for name in ("app_name", "machine_id", "volume_id"):
        path = path.replace(f"{{{name}}}", "x")
    return HttpCall(
        provider="fly",
        operation="sample",
        method=method,
        url=f"https://api.machines.dev/v1{path}",
        template=path,
        **{"body": BODIES.get(spec), **more},
    )


def test_every_sample_that_claims_an_operation_is_one_of_its_replies(judge, judged_sample):
    judge.reply(judge.request(a_call(judged_sample.spec)), judged_sample.reply)


@pytest.mark.parametrize(
    "body", [b'{"config":{"image":7}}', b'{"config":{"guest":{"cpus":"2"}}}', b'{"region":["iad"]}', b'{"name":1}']
)
def test_the_judge_knows_a_wrong_request(judge, body):
    with pytest.raises(Invalid):
        judge.request(a_call("POST /apps/{app_name}/machines", body=body))


def test_the_judge_knows_a_path_that_there_is_not(judge):
    with pytest.raises(Invalid):
        judge.request(a_call("GET /apps/{app_name}/logs"))


async def test_the_judge_has_seen_what_tests_in_process_send(judge, context, clock, provider):
    fake = FakeFly(clock)
    ctx = context(fake)
    before = judge.checked
    await provider.spawn_compute(ComputeRequest(image="img", region_hints=["iad"]), ctx)
    await provider.list_compute(ComputeFilter(), ctx)
    assert judge.checked >= before + 4, "every call with a fresh launch id is new to it"


FIELDS = {
    "CreateMachineRequest": {"name", "region", "config", "skip_launch"},
    "fly.MachineConfig": {"image", "env", "guest", "init", "services", "mounts", "metadata", "restart"},
    "CreateVolumeRequest": {"name", "region", "size_gb", "compute", "require_unique_zone"},
    "CreateAppRequest": {"name", "org_slug"},
    "assignIPRequest": {"type"},
    "UpdateMachineRequest": {"config", "current_version"},
}


@pytest.mark.parametrize("schema", FIELDS)
def test_what_we_send_is_in_the_document(judge, schema):
    """The document does not forbid unknown fields, so a misspelt one would pass the judge."""
    assert FIELDS[schema] <= judge.fields(schema)
