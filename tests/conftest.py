"""What every test may use: a world without keys, a clock to turn, a cloud in memory, and a knife for cancellation."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from typing import Any

import pytest

import exatlas
from benchmarks.postgres import postgres, programs
from exatlas.providers.memory import MemoryProvider

VARIABLES = (
    "EXATLAS_PROVIDER",
    "RUNPOD_API_KEY",
    "RUNPOD_REST_V2_URL",
    "RUNPOD_ENDPOINT_BASE_URL",
    "VAST_API_KEY",
    "LAMBDA_API_KEY",
    "FLY_API_TOKEN",
)


def pytest_addoption(parser):
    parser.addoption(
        "--matrix", choices=["thin", "full"], default="thin", help="how many cut points tests/matrix tries: full is all"
    )
    parser.addoption("--kill-every", type=int, help="and at every which step processes are killed there")


@pytest.fixture(autouse=True)
def _no_keys_of_the_developer(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def clock():
    """A clock that turns itself: waiting takes no time."""
    return exatlas.ManualClock(auto=True)


@pytest.fixture
async def cloud(clock) -> AsyncIterator[MemoryProvider]:
    async with MemoryProvider(clock=clock) as provider:
        yield provider


@pytest.fixture
async def atlas(cloud, clock) -> AsyncIterator[exatlas.Atlas]:
    """A client whose default provider is the cloud in memory. No task of its own may outlive the test."""
    async with exatlas.Atlas(cloud, clock=clock, env={}) as client:
        yield client
    await settle()
    assert others() == set()


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A PostgreSQL of our own."""
    home = programs()
    if home is None:
        pytest.skip("PostgreSQL's server is not installed")
    with postgres(home) as url:
        yield url


@pytest.fixture
def sql_url(request, tmp_path) -> str:
    """The address of an empty SQL ledger, of the kind that the test is parametrised with."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    return emptied(request.getfixturevalue("postgres_url"))


def emptied(url: str) -> str:
    """A database with nothing in it."""
    import psycopg  # noqa: PLC0415 - only where there is a server

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    return url


def others() -> set[asyncio.Task[Any]]:
    """Every task but the one that asks."""
    return asyncio.all_tasks() - {asyncio.current_task()}


async def settle(rounds: int = 20) -> None:
    """Let whatever is ready run."""
    for _ in range(rounds):
        await asyncio.sleep(0)


class Cut:
    """Runs a coroutine for so many steps of the event loop and cancels it then."""

    CANCELLED = object()

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.late = False
        """Whether the coroutine had ended before it could be cancelled."""

    async def __call__(self, work: Coroutine[Any, Any, Any]) -> Any:
        """What the coroutine gave, or CANCELLED."""
        task = asyncio.ensure_future(work)
        for _ in range(self.steps):
            await asyncio.sleep(0)
        self.late = task.done()
        task.cancel()
        try:
            return await task
        except asyncio.CancelledError:
            return self.CANCELLED


async def _cancel_everywhere(trial: Callable[[Cut], Awaitable[None]], most: int = 500) -> int:
    for steps in range(most):
        cut = Cut(steps)
        before = others()
        await trial(cut)
        await settle()
        assert others() == before, f"cancelling after {steps} steps leaves tasks behind"
        if cut.late:
            return steps
    raise AssertionError(f"the work did not end within {most} steps")


@pytest.fixture
def cancel_everywhere():
    """Run a trial over and over, cutting its work one step later each time, until the work ends before it is cut.

    ``await cancel_everywhere(trial)`` calls ``trial(cut)`` each time; a trial builds its world, does
    ``await cut(coroutine)``, and checks what is left. Gives the number of steps it took.
    """
    return _cancel_everywhere
