"""Runs the checks over a case, and makes a report of what came of them."""

import platform
from collections.abc import AsyncIterator, Sequence
from enum import StrEnum
from importlib.metadata import version
from typing import Any

from attrs import asdict, field, frozen

from exatlas.capabilities import Capability
from exatlas.fakes.case import NotApplicableError, OpenCase
from exatlas.testing.conformance import jobs, machines, secrecy, shape, trouble
from exatlas.testing.conformance.world import (
    Check,
    NonconformityError,
    open_world,
)

CHECKS: tuple[Check, ...] = (*shape.CHECKS, *machines.CHECKS, *trouble.CHECKS, *secrecy.CHECKS, *jobs.CHECKS)
"""Every rule of the contract, in the order in which a provider is likely to meet them."""


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
    verdict: Verdict
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

    def plain(self) -> dict[str, Any]:
        """The report as JSON values."""
        return asdict(self)


async def run(open_case: OpenCase, checks: Sequence[Check] = CHECKS) -> Report:
    """Try every check against a fresh case each, and give the report. Never raises for a check that fails."""
    async with open_world(open_case) as world:
        provider = world.case.provider
    results = tuple([result async for result in _results(open_case, checks)])
    return Report(
        provider=provider.name,
        capabilities=tuple(sorted(provider.capabilities)),
        results=results,
        versions=versions(),
    )


async def _results(open_case: OpenCase, checks: Sequence[Check]) -> AsyncIterator[Result]:
    for check in checks:
        yield await judge(open_case, check)


async def judge(open_case: OpenCase, check: Check) -> Result:
    """Try one check."""
    verdict, reason = Verdict.PASSED, ""
    try:
        skipped = await attempt(open_case, check)
        if skipped:
            verdict, reason = Verdict.SKIPPED, skipped
    except NonconformityError as error:
        verdict, reason = Verdict.FAILED, str(error)
    except Exception as error:  # noqa: BLE001 - supervised boundary: whatever a stranger's provider raises is its verdict
        verdict, reason = Verdict.FAILED, f"{type(error).__name__}: {error}"
    return Result(check=check.name, rule=check.rule, needs=check.needs, verdict=verdict, reason=reason)


async def attempt(open_case: OpenCase, check: Check) -> str:
    """Run one check; gives why there was nothing to check, or nothing. What the check raises comes out."""
    async with open_world(open_case) as world:
        capabilities: frozenset[Capability] = world.case.provider.capabilities
        if check.needs is not None and check.needs not in capabilities:
            return f"{world.name} does not declare {check.needs.value!r}"
        try:
            await check.run(world)
        except NotApplicableError as reason:
            return str(reason)
    return ""


def versions() -> dict[str, str]:
    """What the report was made with."""
    found = {name: version(name) for name in ("exatlas", "aiohttp", "anyio", "attrs", "cattrs")}
    return {"python": platform.python_version(), **found}
