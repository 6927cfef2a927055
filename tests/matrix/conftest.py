"""The matrix of cuts, thinned out unless all of it is asked for, and how large it was."""

import pytest

from tests.matrix.counting import CASES, table

KILL_EVERY = 100
"""Where nothing else is asked for."""


@pytest.fixture(scope="session")
def every_case(request) -> bool:
    """Whether nothing is left out."""
    return request.config.getoption("--matrix") == "full"


@pytest.fixture(scope="session")
def kill_every(request, every_case) -> int:
    """Between two steps at which processes are killed."""
    return request.config.getoption("--kill-every") or (1 if every_case else KILL_EVERY)


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter):
    if CASES:
        terminalreporter.section("cut points")
        for line in table():
            terminalreporter.write_line(line)
