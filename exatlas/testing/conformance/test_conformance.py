"""The suite as pytest sees it: `pytest --pyargs exatlas.testing.conformance --exatlas-case module:case`."""

import asyncio
from collections.abc import Callable

import pytest

from exatlas.fakes.case import OpenCase
from exatlas.testing.conformance.report import Result
from exatlas.testing.conformance.runner import CHECKS, attempt, result_of
from exatlas.testing.conformance.world import Check


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_contract(check: Check, exatlas_case: OpenCase, exatlas_result: Callable[[Result], None]) -> None:
    """One rule of the contract."""
    try:
        skipped = asyncio.run(attempt(exatlas_case, check))
    except Exception as error:
        exatlas_result(result_of(check, error))
        raise
    exatlas_result(result_of(check, skipped))
    if skipped:
        pytest.skip(skipped)
