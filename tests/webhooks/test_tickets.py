"""Tokens for callback URLs."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, strategies as st

from exatlas.webhooks import tickets
from exatlas.webhooks.tickets import Ticket

EXPIRES = datetime(2026, 1, 2, tzinfo=UTC)
OLD, NEW = b"o" * 32, b"n" * 32


@given(provider=st.text(min_size=1), endpoint=st.text(min_size=1), key=st.binary(min_size=16))
def test_a_token_proves_its_ticket(provider, endpoint, key):
    try:
        f"{provider}{endpoint}".encode()
    except UnicodeEncodeError:
        return
    ticket = Ticket.new(provider, endpoint, EXPIRES)
    assert tickets.read([key], provider, endpoint, ticket.token(key)) == ticket
    assert tickets.read([key], provider, endpoint + "x", ticket.token(key)) is None
    assert tickets.split(ticket.path(key)) == (provider, endpoint, ticket.token(key))


def test_every_character_counts():
    ticket = Ticket.new("runpod", "abc", EXPIRES)
    token = ticket.token(NEW)
    for place in range(len(token)):
        for other in "A0_.":
            forged = token[:place] + other + token[place + 1 :]
            assert forged == token or tickets.read([NEW], "runpod", "abc", forged) is None, forged
    assert tickets.read([NEW], "runpod", "abc", f"0{token}") is None


@pytest.mark.parametrize("keys", [[NEW, OLD], [OLD, NEW], [OLD]])
def test_any_of_the_accepted_secrets_will_do(keys):
    token = Ticket.new("runpod", "abc", EXPIRES).token(OLD)
    assert tickets.read(keys, "runpod", "abc", token) is not None
    assert tickets.read([NEW], "runpod", "abc", token) is None


def test_what_is_signed_cannot_be_cut_elsewhere():
    token = Ticket.new("ab", "c", EXPIRES).token(NEW)
    assert tickets.read([NEW], "a", "bc", token) is None


def test_two_submissions_have_different_tokens():
    assert Ticket.new("a", "b", EXPIRES).token(NEW) != Ticket.new("a", "b", EXPIRES).token(NEW)


@given(token=st.text())
def test_any_text_can_be_a_token(token):
    assert tickets.read([NEW], "a", "b", token) is None


@pytest.mark.parametrize("path", ["", "/", "/a/b", "a/b/c", "/a/b/c/d"])
def test_what_is_no_path_of_ours(path):
    assert tickets.split(path) is None
