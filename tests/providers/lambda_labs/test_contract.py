"""Lambda's published API document judges our samples, and the fake that stands in for Lambda."""

import orjson
import pytest

from exatlas.messages import HttpCall
from exatlas.providers.lambda_labs.fake import FakeLambda, bodies
from exatlas.testing.documents import Invalid

BODIES = {
    ("/api/v1/instance-operations/launch", "post"): bodies.LAUNCH,
    ("/api/v1/firewall-rulesets", "post"): bodies.RULESET,
    ("/api/v1/ssh-keys", "post"): bodies.SSH_KEY,
    ("/api/v1/filesystems", "post"): bodies.FILESYSTEM,
    ("/api/v1/instance-operations/terminate", "post"): bodies.ACTION,
    ("/api/v1/instance-operations/restart", "post"): bodies.ACTION,
}
EXAMPLES = {
    "/api/v1/instance-operations/launch": {
        "region_name": "r",
        "instance_type_name": "t",
        "ssh_key_names": ["k"],
    },
    "/api/v1/filesystems": {"name": "n", "region": "r"},
    "/api/v1/firewall-rulesets": {"name": "n", "region": "r", "rules": []},
}


def a_call(method: str, path: str) -> HttpCall:
    body = EXAMPLES.get(path, {"instance_ids": ["x"]}) if method == "POST" else None
    return HttpCall(
        provider="lambda_labs",
        operation="sample",
        method=method,
        url=f"https://cloud.lambda.ai{path.replace('{id}', 'x')}",
        template=path,
        headers={"authorization": "Bearer k"},
        body=None if body is None else orjson.dumps(body),
    )


def test_every_sample_that_claims_an_operation_is_one_of_its_replies(judge, judged_sample):
    request = judge.request(a_call(*judged_sample.spec.split()))
    judge.reply(request, judged_sample.reply)


@pytest.mark.parametrize(("path", "method"), BODIES)
def test_the_fake_takes_exactly_the_documented_fields(judge, path, method):
    content = judge.content["paths"][path][method]["requestBody"]["content"]["application/json"]
    assert BODIES[path, method] == set(content["schema"]["properties"])


def test_the_judge_knows_a_wrong_request(judge):
    call = a_call("POST", "/api/v1/instance-operations/launch")
    body = orjson.loads(call.body or b"") | {"tags": [{"key": "UPPER", "value": "x"}]}
    with pytest.raises(Invalid):
        judge.request(HttpCall(**{**_fields(call), "body": orjson.dumps(body)}))


def _fields(call: HttpCall) -> dict[str, object]:
    return {name: getattr(call, name) for name in ("provider", "operation", "method", "url", "template", "headers")}


async def test_the_judge_has_seen_what_tests_in_process_send(judge, ctx, provider, fake: FakeLambda):
    before = judge.checked
    await provider.list_gpu_types(ctx)
    assert judge.checked == before + 2, "a request and its reply"
