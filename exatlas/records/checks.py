"""Collect every fault of a record before complaining about the first.

A field states its rule as ``metadata={"check": rule}``, where a rule takes the value and gives a sentence or None.
Converters turn what people type into the field's type and leave alone what they cannot turn, for the rule to name.
"""

import math
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import attrs

from exatlas.errors import ValidationError, faults_of

Rule = Callable[[Any], str | None]

LONGEST_SPAN_S = 100 * 365 * 86_400
"""A hundred years; anything above is a unit mistake, and NaN fails the comparison too."""

DEEPEST = 200
"""Levels of nesting that every JSON encoder takes."""


def rule(check: Rule) -> dict[str, Rule]:
    """The metadata that puts a rule on a field."""
    return {"check": check}


def validate(record: Any, *more: str) -> None:
    """Raise one ValidationError with every fault of the record and the cross-field faults in ``more``."""
    cls = type(record)
    faults = faults_of(
        {
            field.name: field.metadata["check"](getattr(record, field.name))
            for field in attrs.fields(cls)
            if "check" in field.metadata
        }
    )
    if faults or more:
        raise ValidationError(cls.__name__, [*faults, *more])


def given(value: object) -> str:
    """Say what was given, by type and (for plain scalars) by value; containers may hold secrets."""
    if value is None or isinstance(value, bool | int | float):
        return f"got {value!r}"
    if isinstance(value, timedelta):
        return f"got {value.total_seconds():g} s"
    if isinstance(value, str):
        return f"got {value[:60]!r}" if len(value) <= 60 else f"got a string of {len(value)} characters"
    return f"got {type(value).__name__}"


def text(value: object) -> str | None:
    """A non-empty string."""
    if isinstance(value, str) and value.strip():
        return None
    return f"expected a non-empty string, {given(value)}"


def whole(minimum: int) -> Rule:
    """A whole number of at least ``minimum``; True and False are not numbers here."""

    def check(value: object) -> str | None:
        if isinstance(value, int) and not isinstance(value, bool) and value >= minimum:
            return None
        return f"expected a whole number of at least {minimum}, {given(value)}"

    return check


def flag(value: object) -> str | None:
    """True or False, nothing that merely looks like it."""
    return None if isinstance(value, bool) else f"expected True or False, {given(value)}"


def optional(inner: Rule) -> Rule:
    """None, or what the inner rule accepts."""

    def check(value: object) -> str | None:
        return None if value is None else inner(value)

    return check


def member(*choices: str) -> Rule:
    """One of a few words."""

    def check(value: object) -> str | None:
        if isinstance(value, str) and value in choices:
            return None
        return f"expected one of {', '.join(choices)}, {given(value)}"

    return check


def texts(value: object) -> str | None:
    """A tuple of non-empty strings."""
    if not isinstance(value, tuple):
        return f"expected a list of strings, {given(value)}"
    for item in value:
        if text(item):
            return f"expected a list of non-empty strings, {given(item)} in it"
    return None


def string_map(value: object) -> str | None:
    """A mapping of non-empty string keys to string values. Values are never shown."""
    if not isinstance(value, Mapping):
        return f"expected a mapping of strings to strings, got {type(value).__name__}"
    for key, item in value.items():
        if text(key) or "=" in key or "\0" in key:
            return f"expected non-empty names without '=', {given(key)}"
        if not isinstance(item, str) or "\0" in item:
            return f"expected a string without null characters for {key!r}, got {type(item).__name__}"
    return None


def mapping(value: object) -> str | None:
    """Any mapping with string keys."""
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return None
    return f"expected a mapping with string keys, {given(value)}"


def json_object(value: object) -> str | None:
    """A mapping that can travel as a JSON object. Values are never shown."""
    fault = mapping(value)
    return fault or json_fault(value, "")


def json_fault(value: object, path: str, depth: int = 0) -> str | None:
    """Where and why a value cannot be JSON, or None."""
    if depth > DEEPEST:
        return f"nested more than {DEEPEST} levels deep at {path}"
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                return f"expected string keys at {path or 'its top'}, {given(key)}"
            fault = json_fault(item, f"{path}.{key}" if path else key, depth + 1)
            if fault:
                return fault
        return None
    if isinstance(value, list | tuple):
        faults = (json_fault(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(value))
        return next((fault for fault in faults if fault), None)
    return None if _is_json_scalar(value) else f"expected JSON values, got {_odd(value)} at {path}"


def _is_json_scalar(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, int):
        return -(2**63) <= value < 2**64
    return value is None or isinstance(value, str)


def _odd(value: object) -> str:
    return f"{value!r}"[:30] if isinstance(value, int | float) else type(value).__name__


def web_url(value: object) -> str | None:
    """An absolute http or https URL. It may hold a secret, so it is never shown."""
    if not isinstance(value, str):
        return f"expected an http or https URL, got {type(value).__name__}"
    scheme, _, rest = value.partition("://")
    printable = all(character.isprintable() and not character.isspace() for character in value)
    if scheme.lower() in ("http", "https") and rest.strip("/") and printable:
        return None
    return "expected an absolute http or https URL, got another string"


def positive_span(value: object) -> str | None:
    """A timedelta above zero and below a hundred years (converted from seconds where a number was given)."""
    if isinstance(value, timedelta) and timedelta(0) < value <= timedelta(seconds=LONGEST_SPAN_S):
        return None
    return f"expected a positive timedelta or number of seconds, {given(value)}"


def as_tuple(value: Any) -> Any:
    """Lists and tuples become tuples; a lone string stays, for the rule to refuse."""
    return tuple(value) if isinstance(value, list | tuple | set | frozenset) else value


def as_strings(value: Any) -> Any:
    """None is nothing, a lone string is a list of one."""
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else as_tuple(value)


def as_span(value: Any) -> Any:
    """A number of seconds becomes a timedelta."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return timedelta(seconds=value) if is_number and abs(value) <= LONGEST_SPAN_S else value


def as_dict(value: Any) -> Any:
    """A private copy, so that later changes by the caller do not reach the record."""
    if value is None:
        return {}
    return dict(value) if isinstance(value, Mapping) else value
