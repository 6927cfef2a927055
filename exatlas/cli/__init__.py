"""The `exatlas` command."""

import sys

MISSING_EXTRA = "exatlas: the command line needs an extra: pip install 'exatlas[cli]'"


def main() -> None:
    """Run the command line; without its extra, say which one is missing and exit with 2."""
    try:
        from exatlas.cli.app import run  # noqa: PLC0415 - the one place that loads the extra
    except ModuleNotFoundError as error:
        if error.name not in {"cyclopts", "rich"}:
            raise
        sys.stderr.write(f"{MISSING_EXTRA}\n")
        raise SystemExit(2) from error
    raise SystemExit(run(sys.argv[1:]))
