"""Every way Lambda says no that we know of, and the error it becomes."""

from datetime import UTC, datetime

import orjson
import pytest
from attrs import evolve

import exatlas.errors
from exatlas.messages import HttpReply
from exatlas.providers.lambda_labs.refusals import CODES, refusal

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def test_a_refusal_becomes_its_error(refusal_sample, a_call):
    error = refusal(refusal_sample.reply, a_call, NOW)
    expect = refusal_sample.expect
    assert type(error) is getattr(exatlas.errors, expect["error"])
    assert (error.provider, error.operation, error.status) == (
        "lambda_labs",
        "get_compute",
        refusal_sample.reply.status,
    )
    assert expect.get("in_message", "") in error.message
    for name in set(expect) - {"error", "in_message"}:
        assert getattr(error, name) == expect[name], name


def test_no_refusal_shows_a_secret(refusal_sample, a_call):
    error = refusal(refusal_sample.reply, a_call, NOW)
    for secret in a_call.secrets:
        assert secret not in f"{error} {error!r} {error.args} {error.raw} {error.request_id}"


def test_the_table_holds_every_documented_code(judge):
    schemas = judge.content["components"]["schemas"]
    documented = {
        schema["properties"]["code"]["const"] for name, schema in schemas.items() if name.startswith("ApiError")
    }
    tickets = {code for code in documented if code.startswith("support-tickets/")}
    assert documented - tickets <= set(CODES)


@pytest.mark.parametrize("status", [400, 404])
def test_what_a_launch_names_and_does_not_exist_is_a_wrong_request(a_call, status):
    call = evolve(a_call, method="POST", template="/api/v1/instance-operations/launch", operation="spawn_compute")
    body = orjson.dumps({"error": {"code": "global/object-does-not-exist", "message": "No such key."}})
    assert type(refusal(HttpReply(status=status, body=body), call, NOW)) is exatlas.errors.InvalidRequestError


@pytest.mark.parametrize("status", [200, 204])
def test_a_success_is_no_refusal(status, a_call):
    assert refusal(HttpReply(status=status), a_call, NOW) is None


@pytest.mark.parametrize("status", [*range(300, 309), *range(400, 432), 451, *range(500, 512)])
@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b'"text"', b'{"error":null}', b'{"error":{"code":{},"message":[]}}', b"\xff\xfe"]
)
def test_every_status_with_any_body_is_some_provider_error(status, body, a_call):
    error = refusal(HttpReply(status=status, body=body), a_call, NOW)
    assert isinstance(error, exatlas.errors.ProviderError)
    assert str(error)


def test_a_message_has_what_happened_what_to_do_and_the_code(a_call):
    body = {"error": {"code": "global/quota-exceeded", "message": "Quota exceeded", "suggestion": "Contact Support."}}
    error = refusal(HttpReply(status=400, body=orjson.dumps(body)), a_call, NOW)
    assert error.message == (
        "Quota exceeded; Contact Support. new accounts may run few machines at once; support raises the limit; "
        "[global/quota-exceeded]"
    )
