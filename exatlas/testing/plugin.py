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
        "--exatlas-case", metavar="MODULE:CASE", help="the case to try: a provider's name, or module:attribute"
    )


@pytest.fixture
def exatlas_case(pytestconfig: pytest.Config) -> "OpenCase":
    """The case that the command line names."""
    target = pytestconfig.getoption("--exatlas-case")
    if not target:
        pytest.skip("no case was named with --exatlas-case")
    opened: OpenCase = _late("exatlas.testing.cases").open_case(target)
    return opened


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
