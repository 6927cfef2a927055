import pytest

from exatlas.clock import ManualClock
from exatlas.errors import ValidationError
from exatlas.protocols import Context
from exatlas.transport import calls
from exatlas.transport.inprocess import InProcessTransport


async def nobody(_call):
    raise AssertionError


def context(**fields):
    return Context(provider="p", transport=InProcessTransport(nobody), clock=ManualClock(), **fields)


@pytest.mark.parametrize(
    ("value", "quoted"),
    [("a1", "a1"), ("a/b", "a%2Fb"), ("a b?c#d", "a%20b%3Fc%23d"), ("...", "..."), ("\u00e9", "%C3%A9")],
)
def test_a_value_becomes_one_path_segment(value, quoted):
    assert calls.segment(value, "compute id") == quoted


@pytest.mark.parametrize("value", ["", "  ", ".", "..", None, 7, b"a"])
def test_what_would_name_another_path_is_refused(value):
    with pytest.raises(ValidationError, match="compute id: expected a non-empty id"):
        calls.segment(value, "compute id")


@pytest.mark.parametrize(
    ("query", "text"), [(None, ""), ({}, ""), ({"a": "b c", "d": "e/f"}, "?a=b%20c&d=e%2Ff"), ({"t": "+"}, "?t=%2B")]
)
def test_a_query_is_percent_encoded(query, text):
    assert calls.query_of(query) == text


def test_a_body_that_json_cannot_hold_is_the_callers_fault():
    with pytest.raises(ValidationError, match=r"p run_job.*values that JSON can hold"):
        calls.as_json({"a": object()}, "run_job", context())


def test_headers_carry_the_key_only_where_there_is_one():
    assert calls.headers_for(context(), None) == {"accept": "application/json"}
    assert calls.headers_for(context(api_key="k"), b"{}", {"accept": "x"}) == {
        "accept": "x",
        "authorization": "Bearer k",
        "content-type": "application/json",
    }


def test_secrets_are_the_key_and_what_is_added_once_each():
    assert calls.secrets_of(context(api_key="k"), ["v", "", "k", "v"]) == ("k", "v")
    assert calls.secrets_of(context()) == ()


def test_values_of_variables_are_secrets():
    assert calls.env_values({"env": {"A": "x", "B": 2}}) == ("x", "2")
    assert calls.env_values({"env": ["x"]}) == ()


def test_merging_goes_into_mappings_and_replaces_the_rest():
    mine = {"a": {"b": 1, "c": [1, 2]}, "d": 1, "e": {"f": 1}}
    theirs = {"a": {"c": [3], "g": {"h": 1}}, "d": {"i": 1}, "e": 5}
    assert calls.merge(mine, theirs) == {"a": {"b": 1, "c": [3], "g": {"h": 1}}, "d": {"i": 1}, "e": 5}
    assert mine == {"a": {"b": 1, "c": [1, 2]}, "d": 1, "e": {"f": 1}}
