"""Records to plain JSON values and back, without secrets unless they are asked for by name."""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from functools import cache
from typing import Any, Literal, TypeVar, get_args, get_origin

import attrs
import cattrs
import cattrs.v
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from exatlas.errors import ValidationError
from exatlas.records import checks
from exatlas.records.compute import PortSpec, as_port

R = TypeVar("R", bound=attrs.AttrsInstance)

SECRETS = frozenset({"env", "token", "webhook"})
"""Fields that serialise only when they are asked for."""


def unstructure(record: attrs.AttrsInstance, *, reveal: Iterable[str] = ()) -> dict[str, Any]:
    """Turn a record into values that any JSON encoder takes.

    Decimals become strings, instants ISO 8601 strings, durations seconds, and enum members their words.

    Args:
        reveal: Names of secret fields to include (``env``, ``token``, ``webhook``). The others are left out.

    Raises:
        ValidationError: ``reveal`` names something that is not a secret field.
    """
    shown = frozenset(checks.as_strings(reveal))
    if not shown <= SECRETS:
        raise ValidationError("the call", [f"reveal: expected names among {', '.join(sorted(SECRETS))}"])
    plain: dict[str, Any] = _converter(shown).unstructure(record)
    return plain


def structure(data: Any, cls: type[R]) -> R:
    """Rebuild a record of ``cls`` from what :func:`unstructure` gave. Unknown keys are ignored.

    Raises:
        ValidationError: values are missing or of the wrong type; ``faults`` holds their paths.
    """
    if not attrs.has(cls):
        raise ValidationError("structure", [f"cls: expected a record class, {checks.given(cls)}"])
    try:
        return _converter(frozenset()).structure(data, cls)
    except cattrs.BaseValidationError as error:
        raise ValidationError(cls.__name__, cattrs.transform_error(error, format_exception=_say)) from error
    except (TypeError, ValueError) as error:
        raise ValidationError(cls.__name__, [f"{_say(error, None)} @ $"]) from error


def _say(error: BaseException, cls: type | None) -> str:
    """One fault in words. The hooks below say what they expected; a record's own rules are quoted as they are."""
    if isinstance(error, ValidationError):
        return "; ".join(error.faults)
    if isinstance(error, TypeError | ValueError):
        return str(error)
    return cattrs.v.format_exception(error, cls)


@cache
def _converter(reveal: frozenset[str]) -> cattrs.Converter:
    converter = cattrs.Converter()
    converter.register_unstructure_hook(StrEnum, lambda member: member.value)
    converter.register_unstructure_hook(Decimal, str)
    converter.register_unstructure_hook(datetime, lambda instant: instant.astimezone(UTC).isoformat())
    converter.register_unstructure_hook(timedelta, lambda span: span.total_seconds())
    for leaf, hook in _LEAVES.items():
        converter.register_structure_hook(leaf, hook)
    converter.register_structure_hook_func(_is(Literal), lambda value, cls: _one_of(value, get_args(cls)))
    converter.register_structure_hook_factory(attrs.has, lambda cls: _record(cls, converter))
    converter.register_structure_hook_factory(_is(tuple), lambda cls: _tuple(get_args(cls)[0], converter))
    converter.register_structure_hook_factory(_is(Mapping), lambda cls: _mapping(get_args(cls)[1], converter))
    converter.register_unstructure_hook_factory(attrs.has, lambda cls: _without_secrets(cls, converter, reveal))
    return converter


def _without_secrets(cls: Any, converter: cattrs.Converter, reveal: frozenset[str]) -> Any:
    hidden: dict[str, Any] = {
        field.name: override(omit=True)
        for field in attrs.fields(cls)
        if field.metadata.get("secret") and field.name not in reveal
    }
    return make_dict_unstructure_fn(cls, converter, **hidden)


def _record(cls: Any, converter: cattrs.Converter) -> Any:
    from_mapping = make_dict_structure_fn(cls, converter)

    def hook(value: Any, _: Any) -> Any:
        if cls is PortSpec and not isinstance(value, Mapping):
            return _expected(PortSpec, as_port(value), "a port such as '8000/http'")
        return from_mapping(_expected(Mapping, value, "a mapping"), cls)

    return hook


def _tuple(item: Any, converter: cattrs.Converter) -> Any:
    items = converter.get_structure_hook(list[item])

    def hook(value: Any, _: Any) -> Any:
        return tuple(items(_expected(list | tuple, value, "a list"), list[item]))

    return hook


def _mapping(item: Any, converter: cattrs.Converter) -> Any:
    entries = converter.get_structure_hook(dict[str, item])

    def hook(value: Any, _: Any) -> Any:
        return entries(_expected(Mapping, value, "a mapping"), dict[str, item])

    return hook


def _is(generic: Any) -> Callable[[Any], bool]:
    return lambda cls: get_origin(cls) is generic


def _one_of(value: Any, choices: Iterable[str]) -> str:
    fault = checks.member(*choices)(value)
    if fault:
        raise ValueError(fault)
    return str(value)


def _expected(cls: Any, value: Any, expected: str) -> Any:
    """The value, if it is what it has to be. Values are not shown: anything may hold a secret here."""
    if not isinstance(value, cls) or isinstance(value, bool) is not (cls is bool):
        raise TypeError(f"expected {expected}, got {'null' if value is None else type(value).__name__}")
    return value


def _decimal(value: Any, _: Any) -> Decimal:
    try:
        return Decimal(_expected(str, value, "a decimal as a string"))
    except InvalidOperation:
        raise ValueError("expected a decimal as a string, got another string") from None


def _span(value: Any, _: Any) -> timedelta:
    span = checks.as_span(_expected(int | float, value, "a number of seconds"))
    if not isinstance(span, timedelta):
        raise TypeError(f"expected a number of seconds, {checks.given(value)}")
    return span


def _instant(value: Any, _: Any) -> datetime:
    instant = datetime.fromisoformat(_expected(str, value, "an ISO 8601 instant"))
    if instant.tzinfo is None:
        raise ValueError("expected an instant with a time zone")
    return instant


_LEAVES: dict[Any, Any] = {
    # Before str, whose hook would otherwise catch every StrEnum too and give plain strings.
    StrEnum: lambda value, cls: cls(_one_of(value, tuple(cls))),
    str: lambda value, _: _expected(str, value, "a string"),
    bool: lambda value, _: _expected(bool, value, "true or false"),
    int: lambda value, _: _expected(int, value, "a whole number"),
    float: lambda value, _: float(_expected(int | float, value, "a number")),
    timedelta: _span,
    Decimal: _decimal,
    datetime: _instant,
}
