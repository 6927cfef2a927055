"""Try a provider by every rule of the contract, and say how it did."""

import sys
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from exatlas.cli.exits import UsageError
from exatlas.cli.shell import Shell, ShellHere
from exatlas.errors import ConfigError
from exatlas.testing.cases import open_case, over_loopback
from exatlas.testing.conformance import CHECKS, Check, Report, Verdict, run
from exatlas.testing.conformance.report import grouped

FAILED = 1
MARKS = {
    Verdict.PASSED: Text("✓", style="green"),
    Verdict.FAILED: Text("✗", style="red"),
    Verdict.SKIPPED: Text("–", style="dim"),  # noqa: RUF001 - a dash that is as wide as the other marks
}


async def conformance(
    target: Annotated[
        str, Parameter(name="TARGET", help="A provider's name, module:case, or module:Provider (class or instance).")
    ],
    /,
    *,
    loopback: Annotated[bool, Parameter(help="Serve its fake on loopback, and meet it over real sockets.")] = False,
    json: Annotated[Path | None, Parameter(name="--json", help="Write the report to this file.")] = None,
    check: Annotated[list[str] | None, Parameter(help="Only this check; may be repeated.")] = None,
    shell: ShellHere,
) -> int:
    """Try a provider: 0 when no check fails, 1 when one does."""
    checks = _chosen(check or ())
    if "" not in sys.path:
        sys.path.insert(0, "")  # whoever writes a provider stands beside it, and may not have installed it
    report = await _tried(target, checks, shell, loopback=loopback)
    shell.show(_shown(report))
    if json is not None:
        try:
            report.write(json)
        except OSError as error:
            raise UsageError(f"--json: cannot write {json}: {error.strerror}") from error
    return FAILED if report.failed else 0


async def _tried(target: str, checks: Sequence[Check], shell: Shell, *, loopback: bool) -> Report:
    try:
        opened = over_loopback(target) if loopback else open_case(target)
        # What goes wrong on purpose is not worth telling; the verdicts are.
        with shell.progress("trying") as tell, shell.without_log():
            return await run(opened, checks, before=lambda check: tell(check.name))
    except ConfigError as error:
        raise UsageError(str(error)) from error


def _chosen(names: Sequence[str]) -> Sequence[Check]:
    known = {check.name: check for check in CHECKS}
    for name in names:
        if name not in known:
            close = get_close_matches(name, known, n=3, cutoff=0.4)
            hint = f"did you mean {' or '.join(close)}?" if close else "a run without --check shows their names"
            raise UsageError(f"--check {name}: there is no such check; {hint}")
    return [known[name] for name in names] or CHECKS


def _shown(report: Report) -> RenderableType:
    table = Table("NEEDS", "", "CHECK", "", box=None, pad_edge=False, header_style="bold")
    for needs, results in grouped(report.results).items():
        for number, result in enumerate(results):
            skipped = result.reason if result.verdict is Verdict.SKIPPED else ""
            table.add_row(
                Text("" if number else needs), MARKS[result.verdict], Text(result.check), Text(skipped, style="dim")
            )
    failures = [
        Text.assemble(("✗ ", "red"), (result.check, "bold"), f"\n  {result.rule}\n  ", (result.reason, "red"))
        for result in report.failed
    ]
    counts = ", ".join(f"{number} {verdict}" for verdict, number in report.counts.items())
    return Group(table, *failures, Text(f"{report.provider}: {counts}"))
