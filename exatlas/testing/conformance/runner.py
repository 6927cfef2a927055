"""Runs the checks over a case, and makes a report of what came of them."""

from collections.abc import Callable, Sequence

from exatlas.fakes.case import NotApplicableError, OpenCase
from exatlas.protocols import Provider
from exatlas.testing.conformance import jobs, machines, secrecy, shape, trouble
from exatlas.testing.conformance.report import Report, Result, Verdict, report_of
from exatlas.testing.conformance.world import Check, NonconformityError, open_world

CHECKS: tuple[Check, ...] = (*shape.CHECKS, *machines.CHECKS, *trouble.CHECKS, *secrecy.CHECKS, *jobs.CHECKS)
"""Every rule of the contract, in the order in which a provider is likely to meet them."""


async def run(
    open_case: OpenCase, checks: Sequence[Check] = CHECKS, *, before: Callable[[Check], object] = lambda _: None
) -> Report:
    """Try every check against a fresh case each, and give the report. Never raises for a check that fails.

    ``before`` hears of each check that is about to be tried.
    """
    provider = await provider_of(open_case)
    results = []
    for check in checks:
        before(check)
        results.append(await judge(open_case, check))
    return report_of(provider, results)


async def provider_of(open_case: OpenCase) -> Provider:
    """The provider that a case tries."""
    async with open_case() as case:
        return case.provider


async def judge(open_case: OpenCase, check: Check) -> Result:
    """Try one check."""
    try:
        return result_of(check, await attempt(open_case, check))
    except Exception as error:  # noqa: BLE001 - supervised boundary: whatever a stranger's provider raises is its verdict
        return result_of(check, error)


def result_of(check: Check, end: str | Exception) -> Result:
    """What came of a check that raised, or gave why there was nothing to check, or gave an empty string."""
    if isinstance(end, str):
        verdict, reason = Verdict.SKIPPED if end else Verdict.PASSED, end
    else:
        said = str(end) if isinstance(end, NonconformityError) else f"{type(end).__name__}: {end}"
        verdict, reason = Verdict.FAILED, said
    return Result(check=check.name, rule=check.rule, needs=check.needs, verdict=verdict, reason=reason)


async def attempt(open_case: OpenCase, check: Check) -> str:
    """Run one check; gives why there was nothing to check, or nothing. What the check raises comes out."""
    async with open_world(open_case) as world:
        if check.needs is not None and check.needs not in world.case.provider.capabilities:
            return f"{world.name} does not declare {check.needs.value!r}"
        if check.on_cloud and world.case.no_cloud:
            return world.case.no_cloud
        try:
            await check.run(world)
        except NotApplicableError as reason:
            return str(reason)
    return ""
