"""Vast's published API document judges our samples, and the fake that stands in for Vast."""

import pytest

from exatlas.messages import HttpCall
from exatlas.providers.vast.fake.cloud import RUNTYPES
from exatlas.testing.documents import Invalid

BODIES = {
    "PUT /api/v0/asks/{id}/": b'{"image":"i"}',
    "POST /api/v0/bundles/": b"{}",
    "PUT /api/v0/instances/{id}/": b"{}",
    "PUT /api/v0/instances/request_logs/{id}/": b"{}",
}


def call_of(spec, body):
    method, path = spec.split()
    return HttpCall(
        provider="vast",
        operation="sample",
        method=method,
        url=f"https://console.vast.ai{path.replace('{id}', '7')}",
        template=path,
        headers={"authorization": "Bearer k"},
        body=body,
    )


def test_every_sample_that_claims_an_operation_is_one_of_its_replies(judge, judged_sample):
    call = call_of(judged_sample.spec, BODIES.get(judged_sample.spec))
    judge.reply(judge.request(call), judged_sample.reply)


@pytest.mark.parametrize(
    "body",
    [b'{"image":7}', b'{"image":"i","env":"-e A=b"}', b'{"image":"i","runtype":"magic"}', b'{"image":"i","price":500}'],
)
def test_the_judge_knows_a_wrong_request(judge, body):
    with pytest.raises(Invalid):
        judge.request(call_of("PUT /api/v0/asks/{id}/", body))


def test_the_judge_wants_the_slash_at_the_end(judge):
    with pytest.raises(Invalid):
        judge.request(call_of("POST /api/v0/bundles", b"{}"))


def test_the_fake_knows_the_documented_ways_to_launch(judge):
    create = judge.content["paths"]["/api/v0/asks/{id}/"]["put"]["requestBody"]["content"]["application/json"]
    assert set(create["schema"]["properties"]["runtype"]["enum"]) == RUNTYPES


async def test_the_judge_has_seen_what_tests_in_process_send(judge, ctx, provider):
    before = judge.checked
    await provider.list_gpu_types(ctx)
    assert judge.checked == before + 4, "two requests and two replies"
