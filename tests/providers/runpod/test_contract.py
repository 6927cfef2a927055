"""RunPod's published API document judges our samples, and the fake that stands in for RunPod."""

import pytest

from exatlas.messages import HttpCall
from exatlas.providers.runpod.fake import FakeRunPod, bodies
from exatlas.testing.documents import Invalid

SHAPES = {
    "CreatePodRequest": bodies.POD,
    "CreateNetworkVolumeRequest": bodies.VOLUME,
    "CreateTemplateRequest": bodies.TEMPLATE,
    "CreateEndpointRequest": bodies.ENDPOINT,
    "PodActionRequest": bodies.ACTION,
}


def test_every_sample_that_claims_an_operation_is_one_of_its_replies(judge, judged_sample):
    method, path = judged_sample.spec.split()
    call = HttpCall(
        provider="runpod",
        operation="sample",
        method=method,
        url=f"https://api.runpod.io{path.replace('{id}', 'x')}",
        template=path,
        headers={"authorization": "Bearer k"},
        body={"POST /v2/pods": b'{"name":"n","image":"i"}', "POST /v2/pods/{id}/action": b'{"action":"stop"}'}.get(
            judged_sample.spec
        ),
    )
    judge.reply(judge.request(call), judged_sample.reply)


@pytest.mark.parametrize("schema", SHAPES)
def test_the_fake_takes_exactly_the_documented_fields(judge, schema):
    assert set(SHAPES[schema]) == judge.fields(schema)


def test_the_judge_knows_a_wrong_request_and_a_wrong_reply(judge):
    call = HttpCall(
        provider="runpod",
        operation="x",
        method="POST",
        url="https://api.runpod.io/v2/pods",
        template="/v2/pods",
        headers={"authorization": "Bearer k"},
        body=b'{"name":"n","imageName":"i"}',
    )
    with pytest.raises(Invalid):
        judge.request(call)


async def test_the_judge_has_seen_what_tests_in_process_send(judge, ctx, provider, fake: FakeRunPod):
    before = judge.checked
    await provider.list_gpu_types(ctx)
    assert judge.checked == before + 4, "two requests and two replies"
