"""The suite as pytest sees it: `pytest --pyargs exatlas.testing.conformance --exatlas-case module:case`."""

import asyncio

import pytest

from exatlas.fakes.case import OpenCase
from exatlas.testing.conformance.runner import CHECKS, attempt
from exatlas.testing.conformance.world import Check


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_contract(check: Check, exatlas_case: OpenCase) -> None:
    """One rule of the contract."""
    skipped = asyncio.run(attempt(exatlas_case, check))
    if skipped:
        pytest.skip(skipped)
