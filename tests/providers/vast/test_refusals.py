"""Every way Vast says no that we know of, and the error it becomes."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from attrs import evolve

import exatlas.errors
from exatlas.messages import HttpReply
from exatlas.providers.vast import refusals
from exatlas.providers.vast.refusals import advised, refusal

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def told(sample, a_call):
    method, template = sample.expect["route"]
    call = evolve(a_call, method=method, template=template)
    return refusal(advised(sample.reply, call, NOON), call, NOON)


def test_a_refusal_becomes_its_error(refusal_sample, a_call):
    error = told(refusal_sample, a_call)
    expect = refusal_sample.expect
    assert type(error) is getattr(exatlas.errors, expect["error"])
    assert (error.provider, error.operation, error.status) == ("vast", "get_compute", refusal_sample.reply.status)
    for name in set(expect) - {"error", "route"}:
        assert getattr(error, name) == expect[name], name


def test_no_refusal_shows_a_secret(refusal_sample, a_call):
    error = told(refusal_sample, a_call)
    for secret in (*a_call.secrets, "topsecretkey", "othersecret"):
        assert secret not in f"{error} {error!r} {error.args} {error.raw}"


UNUSED = ["no_ssh_key", "missing_input", "empty_input", "insufficient_credit", "invalid_instance_id"]
"""Codes of calls we do not make."""


def test_every_code_has_a_row():
    rows = "".join(path.read_text() for path in (Path(__file__).parent / "samples" / "refusal").glob("*.json"))
    assert [code for code in refusals.CODES if f'"{code}"' not in rows] == UNUSED


@pytest.mark.parametrize("code", UNUSED)
def test_codes_of_calls_we_do_not_make_are_known_too(a_call, code):
    reply = HttpReply(status=400, body=f'{{"success": false, "error": "{code}"}}'.encode())
    assert type(refusal(reply, a_call, NOON)) is refusals.CODES[code]


@pytest.mark.parametrize("status", [200, 201, 204])
@pytest.mark.parametrize("body", [b"", b"{}", b'{"success": true}', b'{"a": {"success": false}}', b'["success"]', b"x"])
def test_a_success_is_no_refusal(status, body, a_call):
    assert refusal(HttpReply(status=status, body=body), a_call, NOON) is None


@pytest.mark.parametrize("status", [*range(300, 309), *range(400, 432), 451, 483, *range(500, 512), *range(520, 531)])
@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b'"text"', b"7", b'{"detail":7,"error":[],"msg":null}', b"\xff\xfe"]
)
def test_every_status_with_any_body_is_some_provider_error(status, body, a_call):
    error = refusal(HttpReply(status=status, body=body), a_call, NOON)
    assert isinstance(error, exatlas.errors.ProviderError)
    assert str(error)


def test_a_long_text_is_cut(a_call):
    error = refusal(HttpReply(status=500, body=b"x" * 5000), a_call, NOON)
    assert len(error.message) == 200


@pytest.mark.parametrize("reply", [HttpReply(status=200), HttpReply(status=503, body=b"threshold=9")])
def test_only_a_refusal_for_the_rate_is_advised(reply, a_call):
    assert advised(reply, a_call, NOON) is reply
