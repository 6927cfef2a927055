"""Tables: medians side by side, exatlas against its base, and whether the target is met."""

import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from benchmarks.kept import Kept, Result
from benchmarks.rows import ROWS, Row, Verdict, compare, middle

README = Path(__file__).parent.parent / "README.md"
_BLOCK = re.compile(r"(<!-- performance: begin -->\n).*?(<!-- performance: end -->)", re.DOTALL)

_TITLES = {
    "latency": "Streaming",
    "limits": "With RunPod's limits enforced (2,000 requests per 10 s and 400 at once, per endpoint)",
    "flood": "One long stream, as fast as it goes",
    "calls": "Management calls",
    "sse": "Decoding server-sent events",
    "imports": "Starting",
    "fakes": "Clouds in a box",
    "ledgers": "Writing every machine down (the floor writes rows that were made before, and rents without a ledger)",
    "sessions": "Looking after sessions",
}


def table(results: Sequence[Result]) -> str:
    """One Markdown table of results that have the same contenders, more or less."""
    contenders = list(dict.fromkeys(contender for result in results for contender in result.values))
    head = ["", "", *contenders, "exatlas against the floor", "target"]
    lines = [head, ["---"] * 2 + ["---:"] * (len(contenders) + 1) + ["---"]]
    for result in results:
        name = result.name
        for row in _rows(result):
            lines.append([name, *_cells(row, result, contenders)])
            name = ""
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join("| " + " | ".join(_padded(line, widths)) + " |" for line in lines)


def verdicts(results: Sequence[Result]) -> Iterator[tuple[Result, Row, Verdict]]:
    """Every target, and how exatlas fares."""
    for result in results:
        for row in _rows(result):
            verdict = compare(row, result.values, result.base)
            if verdict and verdict.met is not None:
                yield result, row, verdict


def whole(kept: Kept) -> str:
    """The tables of a run, with the machine and the versions below."""
    parts = []
    for group, results in groupby(kept.results, key=lambda result: result.group):
        parts.append(f"**{_TITLES[group]}**\n\n{table(list(results))}\n")
    versions = ", ".join(f"{package} {version}" for package, version in kept.versions.items())
    parts.append(f"Taken {kept.taken} on {kept.machine}, with {versions}.\n")
    return "\n".join(parts)


def in_readme(text: str, kept: Kept) -> str:
    """The README with its tables replaced."""
    if not _BLOCK.search(text):
        raise SystemExit("the README has no place for the tables")
    return _BLOCK.sub(lambda found: f"{found[1]}{whole(kept)}{found[2]}", text)


def _rows(result: Result) -> list[Row]:
    return [row for row in ROWS[result.what] if result.settings.get("streams", 0) >= row.from_streams]


def _cells(row: Row, result: Result, contenders: Sequence[str]) -> list[str]:
    found = (middle(row, result.values, contender) for contender in contenders)
    shown = ["n/a" if value is None else f"{value:,.{row.digits}f}" for value in found]
    verdict = compare(row, result.values, result.base)
    return [row.label, *shown, _compared(row, verdict), _target(row, verdict)]


def _compared(row: Row, verdict: Verdict | None) -> str:
    if verdict is None or row.by == "value":
        return ""
    return f"{verdict.value:+.{row.digits}f}" if row.by == "difference" else f"{verdict.value:.2f}x"


def _target(row: Row, verdict: Verdict | None) -> str:
    bound = f"≤ {row.most:g}" if row.most is not None else f"≥ {row.least:g}" if row.least is not None else ""
    if not bound or verdict is None:
        return bound
    return bound if verdict.met else f"{bound}, missed"


def _padded(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
