"""What the endings of a command mean to a shell."""

from exatlas.errors import AtlasError, ErrorKind

NOT_WHOLLY = 1
"""Some of several providers or machines failed, or the answer to a question was no."""
USAGE = 2
"""The command line cannot be right. Nothing was sent."""
EXIT_CODES = {kind: 10 + number for number, kind in enumerate(ErrorKind)}
"""Exit code by kind of error, in the order of :class:`exatlas.ErrorKind`; stable, because that order is."""
BROKEN_PIPE = 141
"""Whoever read the output went away."""


class UsageError(Exception):
    """A command line that cannot be right, found by a command itself."""


def code_of(error: BaseException | None) -> int:
    """The exit code that stands for an error."""
    return EXIT_CODES[error.kind if isinstance(error, AtlasError) else ErrorKind.UNKNOWN]


def epilogue() -> str:
    """The table of exit codes, for the help text."""
    kinds = ", ".join(f"{code} {kind}" for kind, code in EXIT_CODES.items())
    return (
        f"Exit codes: 0 done, 1 partly done or declined, 2 wrong usage, {kinds}, 129 hang-up, 130 Ctrl-C, 143 SIGTERM."
    )
