"""Every built-in provider by every rule of the contract, in the process and over real sockets."""

import asyncio
from importlib import import_module
from pathlib import Path

import pytest

from exatlas import providers
from exatlas.testing.cases import open_case, over_loopback
from exatlas.testing.conformance import CHECKS
from exatlas.testing.conformance.runner import attempt

NAMES = sorted(path.parent.name for path in Path(providers.__file__).parent.glob("*/case.py"))
SERVED = [name for name in NAMES if hasattr(import_module(f"exatlas.providers.{name}.case"), "fake")]


def tried(opened, check):
    skipped = asyncio.run(attempt(opened, check))
    if skipped:
        pytest.skip(skipped)


def test_every_provider_brings_a_case():
    assert sorted(cls.__module__.split(".")[2] for cls in providers.builtins()) == NAMES


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
@pytest.mark.parametrize("name", NAMES)
def test_in_process(name, check):
    tried(open_case(name), check)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
@pytest.mark.parametrize("name", SERVED)
def test_over_loopback(name, check):
    tried(over_loopback(name), check)
