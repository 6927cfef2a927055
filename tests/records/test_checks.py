"""Rules: what each accepts, what it says about the rest, and that it never shows what may be secret."""

import math
from datetime import timedelta

import attrs
import orjson
import pytest
from hypothesis import given, strategies as st

from exatlas.errors import ValidationError
from exatlas.records import checks

DAY = timedelta(days=1)


class Word(str):
    __slots__ = ()


def nested(levels):
    value = 1
    for _ in range(levels):
        value = [value]
    return {"x": value}


RULES = {
    "text": (checks.text, ["a", " a ", Word("x")], ["", "  ", "\n", None, 1, b"a", ["a"]]),
    "whole": (checks.whole(1), [1, 2, 10**30], [0, -1, True, 1.0, "1", None, math.nan]),
    "flag": (checks.flag, [True, False], [0, 1, "true", None]),
    "optional": (checks.optional(checks.text), [None, "a"], ["", 1]),
    "member": (checks.member("a", "b"), ["a", "b"], ["c", "A", "", None, 1, ["a"]]),
    "texts": (checks.texts, [(), ("a", "b")], [["a"], "a", ("a", ""), ("a", 1), None]),
    "string_map": (
        checks.string_map,
        [{}, {"A": ""}, {"A": "x=y"}],
        [None, [], "A=b", {"": "x"}, {"A=B": "x"}, {1: "x"}, {"A": 1}, {"A": None}, {"A": "a\0b"}, {"A\0": "x"}],
    ),
    "mapping": (checks.mapping, [{}, {"a": object()}], [None, [], "a", {1: 2}]),
    "json_object": (
        checks.json_object,
        [{}, {"a": [1, 2.5, None, True, "x", {"b": ()}]}, {"n": 2**64 - 1, "m": -(2**63)}, nested(checks.DEEPEST - 1)],
        [
            None,
            [],
            {1: 2},
            {"a": {1: 2}},
            {"a": {1}},
            {"a": math.nan},
            {"a": math.inf},
            {"n": 2**64},
            {"n": -(2**63) - 1},
            {"a": b"x"},
            {"a": DAY},
            nested(checks.DEEPEST + 1),
        ],
    ),
    "web_url": (
        checks.web_url,
        ["http://a", "https://a/b?c=d", "HTTPS://A"],
        [None, 1, "", "a", "ftp://a", "//a", "https://", "https:///", "https://a b", "https://a\n", "https://a\x00"],
    ),
    "positive_span": (
        checks.positive_span,
        [timedelta(microseconds=1), DAY],
        [timedelta(0), -DAY, 1, 1.5, None, "1", True, math.nan, timedelta(seconds=checks.LONGEST_SPAN_S + 1)],
    ),
}


@pytest.mark.parametrize("name", RULES)
def test_a_rule_takes_what_it_should(name):
    rule, good, _ = RULES[name]
    assert [(value, rule(value)) for value in good] == [(value, None) for value in good]


@pytest.mark.parametrize("name", RULES)
def test_a_rule_refuses_the_rest_in_one_sentence(name):
    rule, _, bad = RULES[name]
    for value in bad:
        fault = rule(value)
        assert isinstance(fault, str), value
        assert fault.startswith(("expected ", "nested ")), fault
        assert "\n" not in fault


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"a": {"b": [0, {"c": b"s3cr3t"}]}}, "got bytes at a.b[1].c"),
        ({"a": [math.inf]}, "got inf at a[0]"),
        ({"a": {2: 1}}, "string keys at a"),
    ],
)
def test_a_json_fault_says_where(value, path):
    assert path in checks.json_object(value)
    assert "s3cr3t" not in checks.json_object(value)


SECRET = "s3cr3t"


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        (checks.string_map, {"KEY": [SECRET]}),
        (checks.string_map, {"KEY": f"{SECRET}\0"}),
        (checks.json_object, {"a": {SECRET}}),
        (checks.mapping, [SECRET]),
        (checks.web_url, f"ftp://x/{SECRET}"),
        (checks.texts, [SECRET]),
    ],
)
def test_what_may_be_secret_is_not_shown(rule, value):
    assert SECRET not in rule(value)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "got None"),
        (True, "got True"),
        (1.5, "got 1.5"),
        (timedelta(seconds=1.5), "got 1.5 s"),
        ("x", "got 'x'"),
        ("x" * 61, "got a string of 61 characters"),
        ({"a": SECRET}, "got dict"),
    ],
)
def test_given_says_scalars_and_names_types(value, said):
    assert checks.given(value) == said


@pytest.mark.parametrize(
    ("convert", "value", "result"),
    [
        (checks.as_tuple, ["a"], ("a",)),
        (checks.as_tuple, "a", "a"),
        (checks.as_tuple, 5, 5),
        (checks.as_strings, None, ()),
        (checks.as_strings, "a", ("a",)),
        (checks.as_strings, ["a", "b"], ("a", "b")),
        (checks.as_strings, {"a"}, ("a",)),
        (checks.as_strings, 5, 5),
        (checks.as_span, 1.5, timedelta(seconds=1.5)),
        (checks.as_span, 0, timedelta(0)),
        (checks.as_span, DAY, DAY),
        (checks.as_span, True, True),
        (checks.as_span, "5", "5"),
        (checks.as_span, None, None),
        (checks.as_span, checks.LONGEST_SPAN_S, timedelta(seconds=checks.LONGEST_SPAN_S)),
        (checks.as_span, checks.LONGEST_SPAN_S + 1, checks.LONGEST_SPAN_S + 1),
        (checks.as_span, math.inf, math.inf),
        (checks.as_dict, None, {}),
        (checks.as_dict, {"a": 1}, {"a": 1}),
        (checks.as_dict, [("a", 1)], [("a", 1)]),
    ],
)
def test_converters_turn_what_they_can_and_leave_the_rest(convert, value, result):
    assert convert(value) == result
    assert type(convert(value)) is type(result)


def test_a_converted_mapping_is_the_records_own():
    given_ = {"a": 1}
    assert checks.as_dict(given_) is not given_


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
        max_leaves=20,
    )
)
def test_what_passes_as_a_json_object_survives_an_encoder(value):
    if checks.json_object({"x": value}) is None:
        assert orjson.loads(orjson.dumps({"x": value})) == {"x": value}


@attrs.frozen(kw_only=True)
class Thing:
    a: object = attrs.field(default="x", metadata=checks.rule(checks.text))
    b: object = attrs.field(default=1, metadata=checks.rule(checks.whole(1)))
    c: object = None


def test_every_fault_of_a_record_is_in_one_error():
    checks.validate(Thing())
    with pytest.raises(ValidationError) as caught:
        checks.validate(Thing(a="", b=0), "c: does not go with d")
    assert caught.value.faults == (
        "a: expected a non-empty string, got ''",
        "b: expected a whole number of at least 1, got 0",
        "c: does not go with d",
    )
    assert str(caught.value).startswith("Thing is not valid: a: ")


def test_a_fault_between_fields_is_enough():
    with pytest.raises(ValidationError) as caught:
        checks.validate(Thing(), "x: y")
    assert caught.value.faults == ("x: y",)
