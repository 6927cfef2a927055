"""Every way RunPod says no that we know of, and the error it becomes."""

from datetime import UTC, datetime

import pytest

import exatlas.errors
from exatlas.messages import HttpReply
from exatlas.providers.runpod.refusals import refusal

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def test_a_refusal_becomes_its_error(refusal_sample, a_call):
    error = refusal(refusal_sample.reply, a_call, NOW)
    expect = refusal_sample.expect
    assert type(error) is getattr(exatlas.errors, expect["error"])
    assert (error.provider, error.operation, error.status) == ("runpod", "get_compute", refusal_sample.reply.status)
    assert expect.get("in_message", "") in error.message
    for name in set(expect) - {"error", "in_message"}:
        assert getattr(error, name) == expect[name], name


def test_no_refusal_shows_a_secret(refusal_sample, a_call):
    error = refusal(refusal_sample.reply, a_call, NOW)
    for secret in a_call.secrets:
        assert secret not in f"{error} {error!r} {error.args} {error.raw}"


@pytest.mark.parametrize("status", [200, 201, 204])
def test_a_success_is_no_refusal(status, a_call):
    assert refusal(HttpReply(status=status), a_call, NOW) is None


@pytest.mark.parametrize("status", [*range(300, 309), *range(400, 432), 451, *range(500, 512), *range(520, 531)])
@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b'"text"', b"7", b'{"detail":7,"error":[],"message":null}', b"\xff\xfe"]
)
def test_every_status_with_any_body_is_some_provider_error(status, body, a_call):
    error = refusal(HttpReply(status=status, body=body), a_call, NOW)
    assert isinstance(error, exatlas.errors.ProviderError)
    assert str(error)


def test_a_capacity_text_counts_only_with_its_status(a_call):
    body = b'{"detail":"There are no longer any instances available with the requested specifications."}'
    kinds = {
        status: type(refusal(HttpReply(status=status, body=body), a_call, NOW)).__name__ for status in (400, 422, 500)
    }
    assert kinds == {400: "NoCapacityError", 422: "InvalidRequestError", 500: "ProviderBrokenError"}


def test_a_long_text_is_cut(a_call):
    error = refusal(HttpReply(status=500, body=b"x" * 5000), a_call, NOW)
    assert len(error.message) == 200
