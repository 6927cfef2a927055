"""The matrix of cuts, thinned out unless all of it is asked for, and how large it was."""

import pytest

from tests.matrix.counting import CASES, table


@pytest.fixture(scope="session")
def every_case(request) -> bool:
    """Whether nothing is left out."""
    return request.config.getoption("--matrix") == "full"


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter):
    if CASES:
        terminalreporter.section("cut points")
        for line in table():
            terminalreporter.write_line(line)
