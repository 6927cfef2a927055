"""What people who test their own apps get from the plugin that comes with exatlas."""

import json

import pytest

from exatlas.testing.conformance import CHECKS

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


@pytest.mark.parametrize("case", ["stranger:case", "stranger:Stranger"])
def test_a_report_is_written_in_the_order_of_the_checks(pytester, case):
    pytester.makepyfile(stranger=STRANGER)
    pytester.syspathinsert()
    pytester.runpytest("--pyargs", "exatlas.testing.conformance", "--exatlas-case", case, "--exatlas-report", "r.json")
    report = json.loads((pytester.path / "r.json").read_text())
    assert report["provider"] == "stranger"
    assert [result["check"] for result in report["results"]] == [check.name for check in CHECKS]
    by_name = {result["check"]: result for result in report["results"]}
    assert by_name["terminates"]["verdict"] == "failed"
    assert "the machine is still rented" in by_name["terminates"]["reason"]
    assert by_name["reads_logs"]["needs"] == "logs"
    assert report["counts"]["failed"] == sum(result["verdict"] == "failed" for result in report["results"])
    assert {"python", "exatlas"} <= set(report["versions"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--exatlas-report", "r.json"], "*--exatlas-report needs --exatlas-case*"),
        (["--exatlas-report", "no/such/r.json", "--exatlas-case", "memory"], "*there is no folder for*"),
    ],
)
def test_a_report_that_cannot_be_written_is_told_before_anything_runs(pytester, options, words):
    result = pytester.runpytest("--pyargs", "exatlas.testing.conformance", *options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([words])


def test_no_report_is_written_when_nothing_was_tried(pytester):
    pytester.makepyfile("def test_nothing(): pass")
    pytester.runpytest("--exatlas-case", "memory", "--exatlas-report", "r.json").assert_outcomes(passed=1)
    assert not (pytester.path / "r.json").exists()


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
