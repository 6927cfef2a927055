"""The pytest plugin: clouds in a box as fixtures, and the conformance suite's options. Installed with exatlas.

=======================  ====================================================================================
`exatlas_clock`          a clock that turns itself: waiting takes no time
`exatlas_memory`         the in-memory cloud, on that clock
`exatlas_<provider>`     a fake of that provider's cloud with a client for it, on that clock: a :class:`Box`
=======================  ====================================================================================

None of them needs a plugin for asyncio. Clients close with the event loop that used them.
"""

from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

if TYPE_CHECKING:
    from exatlas import Atlas, ManualClock
    from exatlas.fakes import FakeCloud, OpenCase
    from exatlas.providers.memory import MemoryProvider
    from exatlas.testing.conformance import Result

RESULT = "exatlas_result"
"""The property of a test's report that holds the check's result: so it comes home from other processes, too."""


class Box(NamedTuple):
    """A cloud in a box."""

    cloud: "FakeCloud"
    """The fake: what it has rented, what it costs, and what goes wrong."""
    atlas: "Atlas"
    """A client whose default provider talks to it."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the conformance suite's options."""
    group = parser.getgroup("exatlas", "conformance of exatlas providers")
    group.addoption(
        "--exatlas-case",
        metavar="MODULE:CASE",
        help="what to try: a provider's name, module:case, or module:Provider",
    )
    group.addoption("--exatlas-report", metavar="FILE", help="write what came of the checks to FILE, as JSON")


def pytest_configure(config: pytest.Config) -> None:
    """Prepare the report that was asked for; refuse one that could not be written."""
    path, target = config.getoption("--exatlas-report"), config.getoption("--exatlas-case")
    if not path or hasattr(config, "workerinput"):  # a worker's results come home with its tests' reports
        return
    if not target:
        raise pytest.UsageError("--exatlas-report needs --exatlas-case")
    if not Path(path).absolute().parent.is_dir():
        raise pytest.UsageError(f"--exatlas-report: there is no folder for {path}")
    config.pluginmanager.register(_Reporter(target, Path(path)))


class _Reporter:
    """Collects the results of checks, and writes them down at the end unless there are none."""

    def __init__(self, target: str, path: Path) -> None:
        self._target = target
        self._path = path
        self._results: list[dict[str, Any]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            self._results += [dict(value) for name, value in report.user_properties if name == RESULT]  # type: ignore[call-overload]  # what is kept under our name is ours

    def pytest_sessionfinish(self) -> None:
        if not self._results:
            return
        cases, runner = _late("exatlas.testing.cases"), _late("exatlas.testing.conformance.runner")
        reports = _late("exatlas.testing.conformance.report")
        provider = _late("asyncio").run(runner.provider_of(cases.open_case(self._target)))
        order = {check.name: number for number, check in enumerate(runner.CHECKS)}
        results = sorted((reports.Result(**one) for one in self._results), key=lambda one: order[one.check])
        reports.report_of(provider, results).write(self._path)


@pytest.fixture
def exatlas_case(pytestconfig: pytest.Config) -> "OpenCase":
    """The case that the command line names."""
    target = pytestconfig.getoption("--exatlas-case")
    if not target:
        pytest.skip("no case was named with --exatlas-case")
    opened: OpenCase = _late("exatlas.testing.cases").open_case(target)
    return opened


@pytest.fixture
def exatlas_result(request: pytest.FixtureRequest) -> "Callable[[Result], None]":
    """Takes the result of a check for the report."""

    def take(result: "Result") -> None:
        request.node.user_properties.append((RESULT, _late("attrs").asdict(result)))

    return take


@pytest.fixture
def exatlas_clock() -> "ManualClock":
    """A clock that turns itself."""
    clock: ManualClock = _late("exatlas.clock").ManualClock(auto=True)
    return clock


@pytest.fixture
def exatlas_memory(exatlas_clock: "ManualClock") -> "MemoryProvider":
    """The in-memory cloud."""
    cloud: MemoryProvider = _late("exatlas.providers.memory").MemoryProvider(clock=exatlas_clock)
    return cloud


def _late(module: str) -> Any:
    """A module of exatlas. The plugin loads into every pytest run, and most of them use none of this."""
    return import_module(module)


def _fakes() -> Iterator[str]:
    """The providers that bring a fake, found without importing any."""
    folders = Path(__file__).parents[1] / "providers"
    return (path.parent.name for path in sorted(folders.glob("*/case.py")) if path.parent.name != "memory")


def _box(name: str) -> Callable[..., Box]:
    @pytest.fixture(name=f"exatlas_{name}")
    def box(exatlas_clock: "ManualClock") -> Box:
        module = _late(f"exatlas.providers.{name}.case")
        fake: FakeCloud = module.fake(exatlas_clock)
        transport = _late("exatlas.transport.inprocess").InProcessTransport(fake.handle)
        atlas: Atlas = _late("exatlas").Atlas(
            fake.provider, credentials={fake.provider: fake.api_key}, transport=transport, clock=exatlas_clock, env={}
        )
        return Box(fake, atlas)

    box.__doc__ = f"A fake of {name}'s cloud, and a client for it."
    return box


globals().update({f"exatlas_{name}": _box(name) for name in _fakes()})
