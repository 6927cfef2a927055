"""Options that several commands share, and how their values are read."""

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import orjson
from cyclopts import Parameter, Token

from exatlas.cli.exits import UsageError

ProviderOption = Annotated[
    str | None, Parameter(name="--provider", help="Whom to ask; without it, EXATLAS_PROVIDER says.")
]
ProvidersOption = Annotated[
    list[str] | None,
    Parameter(name="--provider", help="Whom to ask; may be repeated. Without it, EXATLAS_PROVIDER says."),
]
TimeoutOption = Annotated[float | None, Parameter(name="--timeout", help="Seconds for each request to the cloud.")]
JsonOption = Annotated[bool, Parameter(name="--json", help="JSON instead of text for people.")]
YesOption = Annotated[bool, Parameter(name=["--yes", "-y"], help="Do not ask.")]
EndpointOption = Annotated[str, Parameter(name=["--endpoint", "-e"], help="The endpoint that the job belongs to.")]


def json_object(_: type, tokens: Sequence[Token]) -> dict[str, Any]:
    """Read a JSON object as typed, from a file (``@path``), or from the standard input (``-``)."""
    text = tokens[0].value
    if text == "-":
        text = sys.stdin.read()
    elif text.startswith("@"):
        text = file_text(text[1:])
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"expected a JSON object, @file or -: {error}") from error
    if not isinstance(value, dict):
        raise TypeError(f'expected a JSON object such as {{"prompt": "a sunset"}}, got {type(value).__name__}')
    return value


JsonObject = Annotated[
    dict[str, Any],
    Parameter(converter=json_object, allow_leading_hyphen=True, accepts_keys=False, metavar="JSON"),
]


def environment(pairs: Iterable[str], files: Iterable[Path], own: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Variables from files, then from ``NAME=VALUE`` or ``NAME`` alone, which takes the value from ``own``.

    Values are never shown, not even in the fault of the line they stand in.

    Raises:
        UsageError: something is none of these.
    """
    found: dict[str, str] = {}
    for file in files:
        found |= _env_file(file)
    for number, pair in enumerate(pairs, 1):
        name, equals, value = pair.partition("=")
        if not equals and name in own:
            value = own[name]
        elif not equals and name.isidentifier():
            raise UsageError(f"--env {name}: there is no such variable here; say {name}=VALUE")
        elif not equals or not name:
            raise UsageError(f"--env number {number}: expected NAME=VALUE, or NAME of a variable that is set here")
        found[name] = value
    return found


def _env_file(path: Path) -> dict[str, str]:
    try:
        lines = file_text(str(path)).splitlines()
    except ValueError as error:
        raise UsageError(f"--env-file: {error}") from error
    found = {}
    for number, line in enumerate(lines, 1):
        name, equals, value = line.strip().removeprefix("export ").partition("=")
        if not name or name.startswith("#"):
            continue
        if not equals:
            raise UsageError(f"--env-file: {path}, line {number}: expected NAME=VALUE")
        found[name.strip()] = value
    return found


def file_text(path: str) -> str:
    """What a file holds. Raises ValueError where it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read {path}: {getattr(error, 'strerror', None) or 'not UTF-8 text'}") from error
