"""The `exatlas` command."""

import sys

MISSING_EXTRA = "exatlas: the command line needs an extra: pip install 'exatlas[cli]'"
INTERRUPTED = 130


def main() -> None:
    """Run the command line; without its extra, say which one is missing and exit with 2."""
    try:
        from exatlas.cli.app import run  # noqa: PLC0415 - the one place that loads the extra

        code = run(sys.argv[1:])
    except ModuleNotFoundError as error:
        if error.name not in {"cyclopts", "rich"}:
            raise
        sys.stderr.write(f"{MISSING_EXTRA}\n")
        raise SystemExit(2) from error
    except KeyboardInterrupt:  # before the event loop took over, while modules load
        code = INTERRUPTED
    raise SystemExit(code)
