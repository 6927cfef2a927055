"""What people who test their own apps get from the plugin that comes with exatlas."""

import pytest

pytest_plugins = ["pytester"]


@pytest.fixture(autouse=True)
def _quiet(pytester):
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")


OWN_TESTS = """
import asyncio
import exatlas
from exatlas.fakes import Fault

def test_memory(exatlas_memory, exatlas_clock):
    async def main():
        async with exatlas.Atlas(exatlas_memory, clock=exatlas_clock) as atlas:
            async with atlas.rent(gpu="l4", image="app:1"):
                await exatlas_clock.sleep(3600)
        (charge,) = exatlas_memory.invoice()
        assert (charge.billed.total_seconds(), charge.open) == (3600, False)
    asyncio.run(main())

def test_runpod(exatlas_runpod):
    cloud, atlas = exatlas_runpod
    async def main():
        cloud.fail(Fault.DROP_AFTER, "POST", "/pods")
        compute = await atlas.spawn_compute(gpu="l4", image="app:1")
        assert [pod.id for pod in cloud.rented()] == [compute.id]
        await atlas.terminate(compute)
        assert cloud.rented() == []
    asyncio.run(main())
"""


def test_clouds_in_a_box_are_fixtures(pytester):
    pytester.makepyfile(OWN_TESTS)
    pytester.runpytest("-p", "no:randomly", "-q").assert_outcomes(passed=2)


def test_the_suite_tries_the_case_that_is_named(pytester):
    result = pytester.runpytest("--pyargs", "exatlas.testing.conformance", "--exatlas-case", "memory", "-q")
    outcomes = result.parseoutcomes()
    assert outcomes["passed"] > 50
    assert set(outcomes) <= {"passed", "skipped"}


STRANGER = """
from contextlib import asynccontextmanager
from attrs import evolve
from exatlas.providers.memory.case import case as healthy
from exatlas.providers.memory import MemoryProvider

class Stranger(MemoryProvider):
    name = "stranger"
    async def terminate(self, compute_id, ctx, /):
        pass

@asynccontextmanager
async def case():
    async with healthy(Stranger) as given:
        yield given
"""


def test_a_strangers_provider_is_tried_by_the_same_rules(pytester, monkeypatch):
    pytester.makepyfile(stranger=STRANGER)
    pytester.syspathinsert()
    result = pytester.runpytest("--pyargs", "exatlas.testing.conformance", "--exatlas-case", "stranger:case", "-q")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*the machine is still rented*"])


def test_without_a_case_the_suite_is_skipped(pytester):
    outcomes = pytester.runpytest("--pyargs", "exatlas.testing.conformance", "-q").parseoutcomes()
    assert set(outcomes) == {"skipped"}


@pytest.mark.parametrize(
    "target", ["nothing-like-it", "no.such.module:case", "exatlas.errors:nothing", "exatlas:__doc__"]
)
def test_a_case_that_cannot_be_found_is_told(pytester, target):
    result = pytester.runpytest("--pyargs", "exatlas.testing.conformance", "--exatlas-case", target, "-q", "-x")
    assert result.ret != pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["*ConfigError*"])
