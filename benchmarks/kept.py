"""Results as JSON: every value of every round, with the machine and the versions they were taken on."""

import json
import os
import platform
import sqlite3
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from attrs import frozen

from benchmarks.plan import Step
from benchmarks.postgres import programs
from benchmarks.rows import Values

FULL = Path(__file__).parent / "results" / "full.json"
PACKAGES = (
    *("exatlas", "aiohttp", "attrs", "orjson", "runpod", "httpx-sse"),
    *("sqlalchemy", "psycopg", "aiosqlite", "asyncpg"),
)


@frozen(kw_only=True)
class Result:
    """What one step gave."""

    group: str
    name: str
    what: str
    settings: dict[str, Any]
    values: Values

    @property
    def base(self) -> str:
        """Whom exatlas is held against: under limits, the floor that keeps to them."""
        return "floor, one budget" if self.what == "limited" else "floor"


@frozen(kw_only=True)
class Kept:
    """One whole run."""

    taken: str
    """The day, UTC."""
    machine: str
    versions: dict[str, str]
    results: list[Result]


def of_step(step: Step, values: Values) -> Result:
    """The result of a step that was just measured."""
    return Result(group=step.group, name=step.name, what=step.what, settings=step.settings, values=values)


def collect(results: Iterable[Result]) -> Kept:
    """A run that was just taken here."""
    return Kept(
        taken=datetime.now(UTC).date().isoformat(), machine=_machine(), versions=_versions(), results=list(results)
    )


def merged(whole: Kept, part: Kept) -> Kept:
    """A whole run with some groups taken again, in the place where they were, or at the end.

    Raises:
        ValueError: the two were not taken on the same machine with the same versions, and cannot stand side by side.
    """
    both = whole.versions.keys() & part.versions.keys()
    if whole.machine != part.machine or any(whole.versions[name] != part.versions[name] for name in both):
        raise ValueError("the kept numbers are of another machine or of other versions: take all of them again")
    groups = dict.fromkeys(result.group for result in (*whole.results, *part.results))
    taken_again = {result.group for result in part.results}
    results = [
        result
        for group in groups
        for result in (part.results if group in taken_again else whole.results)
        if result.group == group
    ]
    first, _, _ = whole.taken.partition(" to ")
    taken = part.taken if first == part.taken else f"{first} to {part.taken}"
    return Kept(taken=taken, machine=part.machine, versions=whole.versions | part.versions, results=results)


def save(kept: Kept, path: Path) -> None:
    """Write it down."""
    path.parent.mkdir(parents=True, exist_ok=True)
    results = [
        {
            "group": result.group,
            "name": result.name,
            "what": result.what,
            "settings": result.settings,
            "values": {
                contender: {name: [float(f"{value:.6g}") for value in values] for name, values in numbers.items()}
                for contender, numbers in result.values.items()
            },
        }
        for result in kept.results
    ]
    whole = {"taken": kept.taken, "machine": kept.machine, "versions": kept.versions, "results": results}
    path.write_text(json.dumps(whole, indent=1) + "\n")


def load(path: Path) -> Kept:
    """Read it back."""
    whole = json.loads(path.read_text())
    results = [Result(**result) for result in whole.pop("results")]
    return Kept(**whole, results=results)


def _machine() -> str:
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{_processor()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}, {python}"


def _processor() -> str:
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text().splitlines() if facts.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown processor"


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue  # optional: it takes no part then
    found["SQLite"] = sqlite3.sqlite_version
    if home := programs():
        said = subprocess.run([home / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
        found["PostgreSQL"] = said.split()[2]
    return found
