"""``python -m benchmarks``: measure, print the tables, keep the numbers."""

import argparse
import sys
import time
from pathlib import Path

from benchmarks.kept import FULL, Kept, collect, load, merged, save
from benchmarks.plan import Step, steps
from benchmarks.postgres import programs
from benchmarks.report import README, in_readme, table, verdicts
from benchmarks.runner import run, serving

GROUPS = tuple(dict.fromkeys(step.group for step in steps(quick=True)))


def main() -> None:
    """Parse the command line and do what it says."""
    wanted = _arguments()
    if wanted.readme:
        _write_readme(load(FULL))
        return
    chosen = [step for step in steps(quick=wanted.quick) if not wanted.groups or step.group in wanted.groups]
    kept = _measure(chosen)
    if wanted.json:
        save(kept, wanted.json)
    elif wanted.merge or not (wanted.quick or wanted.groups):
        save(merged(load(FULL), kept) if wanted.merge else kept, FULL)
        _write_readme(load(FULL))
    missed = [(result, row, verdict) for result, row, verdict in verdicts(kept.results) if not verdict.met]
    for result, row, verdict in missed:
        print(f"missed: {result.name}, {row.label}: {verdict.value:.2f}")
    sys.exit(bool(missed))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Hold exatlas against a bare aiohttp loop (the floor) and the runpod package, on one loopback "
        "server. A full run takes under ten minutes, and renews the kept numbers and the README's tables. "
        "Ends with 1 when a target is missed.",
    )
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"only these: {', '.join(GROUPS)}")
    parser.add_argument("--quick", action="store_true", help="one round with small numbers, in about a minute")
    parser.add_argument("--json", type=Path, metavar="PATH", help="keep the numbers here instead")
    parser.add_argument(
        "--merge", action="store_true", help="renew these groups in the kept numbers and the README's tables"
    )
    parser.add_argument("--readme", action="store_true", help="only write the README's tables from the kept numbers")
    wanted = parser.parse_args()
    if unknown := set(wanted.groups) - set(GROUPS):
        parser.error(f"no group {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}")
    if wanted.merge and (wanted.quick or wanted.json):
        parser.error("--merge renews the kept numbers, which are of a full run")
    return wanted


def _measure(chosen: list[Step]) -> Kept:
    results = []
    with serving() as port:
        for step in chosen:
            if step.needs_postgres and not programs():
                print(f"{step.name}: left out, PostgreSQL's server is not installed\n")
                continue
            started = time.monotonic()
            results.append(run(step, port))
            print(f"{table(results[-1:])}\n{time.monotonic() - started:.0f} s\n", flush=True)
    return collect(results)


def _write_readme(kept: Kept) -> None:
    README.write_text(in_readme(README.read_text(), kept))


if __name__ == "__main__":
    main()
