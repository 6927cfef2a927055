"""What came of a suite: verdicts as records, in the order people read them, and as JSON for machines."""

import platform
from collections.abc import Iterable, Sequence
from enum import StrEnum
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

import orjson
from attrs import asdict, field, frozen

LIBRARIES = ("exatlas", "aiohttp", "anyio", "attrs", "cattrs")
EVERYBODY = "every provider"
"""Stands where a capability would, for checks that need none."""


class Verdict(StrEnum):
    """What came of a check."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@frozen(kw_only=True)
class Result:
    """One check, tried."""

    check: str
    rule: str
    needs: str | None
    """The capability without which there is nothing to check, or None."""
    verdict: Verdict = field(converter=Verdict)
    reason: str = ""
    """Why it failed, or why there was nothing to check."""


@frozen(kw_only=True)
class Report:
    """A whole suite, tried."""

    provider: str
    capabilities: tuple[str, ...]
    results: tuple[Result, ...]
    versions: dict[str, str] = field(factory=dict)

    @property
    def failed(self) -> tuple[Result, ...]:
        """The checks that failed."""
        return tuple(result for result in self.results if result.verdict is Verdict.FAILED)

    @property
    def counts(self) -> dict[str, int]:
        """How many checks came to each verdict."""
        return {str(verdict): sum(result.verdict is verdict for result in self.results) for verdict in Verdict}

    def plain(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {"provider": self.provider, "counts": self.counts, **asdict(self)}

    def write(self, path: Path) -> None:
        """Write the report as JSON. Raises OSError where that cannot be."""
        path.write_bytes(orjson.dumps(self.plain(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def grouped(results: Iterable[Result]) -> dict[str, list[Result]]:
    """The results by the capability that they need; first those that every provider has to pass."""
    groups: dict[str, list[Result]] = {EVERYBODY: []}
    for result in results:
        groups.setdefault(result.needs or EVERYBODY, []).append(result)
    return {name: group for name, group in groups.items() if group}


def report_of(provider: object, results: Sequence[Result]) -> Report:
    """The report on a provider, however wrong it is: a class or an instance."""
    cls: Any = provider if isinstance(provider, type) else type(provider)
    declared = getattr(cls, "capabilities", ())
    return Report(
        provider=str(getattr(cls, "name", None) or cls.__name__),
        capabilities=tuple(sorted(map(str, declared))) if isinstance(declared, Iterable) else (),
        results=tuple(results),
        versions=versions(cls),
    )


def versions(cls: type | None = None) -> dict[str, str]:
    """What the suite was run with, and the distributions that the provider's class comes in."""
    found = {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}
    package = "" if cls is None else cls.__module__.partition(".")[0]
    return found | {name: version(name) for name in packages_distributions().get(package, ())}
