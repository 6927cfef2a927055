"""Every way Fly says no that we know of, and the error it becomes."""

from datetime import UTC, datetime

import pytest
from attrs import evolve

import exatlas.errors
from exatlas.messages import HttpReply
from exatlas.providers.fly.refusals import refusal

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def test_a_refusal_becomes_its_error(refusal_sample, a_call):
    error = refusal(refusal_sample.reply, a_call, NOW)
    expect = refusal_sample.expect
    assert type(error) is getattr(exatlas.errors, expect["error"])
    assert (error.provider, error.operation, error.status) == ("fly", "get_compute", refusal_sample.reply.status)
    assert expect.get("in_message", "") in error.message
    for name in set(expect) - {"error", "in_message"}:
        assert getattr(error, name) == expect[name], name


def test_no_refusal_shows_a_secret(refusal_sample, a_call):
    error = refusal(refusal_sample.reply, a_call, NOW)
    for secret in a_call.secrets:
        assert secret not in f"{error} {error!r} {error.args} {error.raw}"


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("FlyV1 fm2_AAAA,fm2_AAAAA", "part 2 of the token is not valid base64"),
        ("FlyV1 fm2_AAAA", "wrong, revoked or expired"),
        ("Bearer fo1_abc", "fly tokens create org"),
        ("", "fly tokens create org"),
    ],
)
def test_a_refused_token_is_looked_at(a_call, header, said):
    call = evolve(a_call, headers={"authorization": header} if header else {})
    error = refusal(HttpReply(status=401, body=b'{"error":"Authenticate: token validation error"}'), call, NOW)
    assert said in error.message
    assert "AAAA" not in str(error)


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_a_success_is_no_refusal(status, a_call):
    assert refusal(HttpReply(status=status), a_call, NOW) is None


@pytest.mark.parametrize("status", [*range(300, 309), *range(400, 432), 451, *range(500, 512), *range(520, 531)])
@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b'"text"', b"7", b'{"error":7,"status":[],"message":null}', b"\xff\xfe"]
)
def test_every_status_with_any_body_is_some_provider_error(status, body, a_call):
    error = refusal(HttpReply(status=status, body=body), a_call, NOW)
    assert isinstance(error, exatlas.errors.ProviderError)
    assert str(error)


def test_a_long_text_is_cut(a_call):
    error = refusal(HttpReply(status=500, body=b"x" * 5000), a_call, NOW)
    assert len(error.message) == 200
