"""What a check gets, and how it says no."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from attrs import define, field, frozen

from exatlas.capabilities import Capability
from exatlas.client.atlas import Atlas
from exatlas.errors import AtlasError
from exatlas.fakes.case import Case, JobKit, NotApplicableError, OpenCase
from exatlas.fakes.faults import Fault
from exatlas.messages import RequestRecord
from exatlas.records.compute import Compute

T = TypeVar("T")
E = TypeVar("E", bound=BaseException)

MOST_STEPS = 200_000
"""Steps after which an operation that is to be cut everywhere is taken for endless."""
SETTLING_ROUNDS = 50
SERVER_TASK = "RequestHandler.start"
"""The coroutine in which aiohttp's server keeps a connection."""


class NonconformityError(AssertionError):
    """The provider breaks the contract; the message says how."""


def expect(holds: object, otherwise: str) -> None:
    """Fail the check with a sentence unless the condition holds."""
    if not holds:
        raise NonconformityError(otherwise)


async def raises(kind: type[E], work: Awaitable[Any], what: str) -> E:
    """Await work that must end in an error of this kind, and give the error."""
    try:
        given = await work
    except kind as error:
        return error
    except Exception as error:
        got = f"{type(error).__name__} ({error})"
        raise NonconformityError(f"{what} raised {got} instead of {kind.__name__}") from error
    raise NonconformityError(f"{what} gave {type(given).__name__} instead of raising {kind.__name__}")


@define
class World:
    """A fresh case, and a client for its provider."""

    case: Case
    atlas: Atlas
    records: list[RequestRecord] = field(factory=list)
    """What the request hook has heard."""

    async def spawn(self, **changes: Any) -> Compute:
        """Rent one machine of the case's kind."""
        return await self.atlas.spawn_compute(**{**self.case.request, **changes})

    @property
    def name(self) -> str:
        """The provider's name."""
        return self.case.provider.name

    @property
    def jobs(self) -> JobKit:
        """The jobs to run."""
        if self.case.jobs is None:
            raise NotApplicableError("the case brings no jobs")
        return self.case.jobs

    def rented(self) -> set[str]:
        """The truth about what is rented."""
        return set(self.case.rented())

    def trouble(self, fault: Fault, operation: str, times: int = 1) -> None:
        """Let the next requests of an operation go wrong."""
        if self.case.trouble is None:
            raise NotApplicableError("the case cannot arrange trouble")
        self.case.trouble(fault, operation, times)

    async def settle(self) -> None:
        """Let whatever is ready run."""
        for _ in range(SETTLING_ROUNDS):
            await asyncio.sleep(0)


CheckFunction = Callable[[World], Coroutine[Any, Any, None]]


@frozen
class Check:
    """One rule of the contract."""

    name: str
    rule: str
    """The rule, in a sentence."""
    run: CheckFunction
    needs: Capability | None
    """The capability without which there is nothing to check."""
    on_cloud: bool = True
    """Whether it calls the provider, so that there has to be a cloud."""


def check(needs: Capability | None = None, *, on_cloud: bool = True) -> Callable[[CheckFunction], Check]:
    """Make a check of a coroutine function; its name and docstring become the check's."""

    def made(function: CheckFunction) -> Check:
        rule = " ".join((function.__doc__ or "").split())
        return Check(function.__name__, rule, function, needs, on_cloud)

    return made


@asynccontextmanager
async def open_world(open_case: OpenCase) -> AsyncGenerator[World, None]:
    """A fresh world; what is left running when it closes is the caller's to find."""
    records: list[RequestRecord] = []
    async with (
        open_case() as case,
        Atlas(case.provider, **{"env": {}, "hooks": [records.append], **case.options}) as atlas,
    ):
        yield World(case, atlas, records)


def others() -> set[asyncio.Task[Any]]:
    """Every task but the one that asks, and but those of a fake that is served in the same event loop."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    return {task for task in tasks if getattr(task.get_coro(), "__qualname__", "") != SERVER_TASK}


def cuts(every_step: int) -> Iterator[int]:
    """After how many steps to cut, one trial each: every one at first, and then with strides that grow."""
    steps = 0
    while steps < MOST_STEPS:
        yield steps
        steps += 1 + max(steps - every_step, 0) // 3


async def cut(work: Coroutine[Any, Any, T], steps: int) -> tuple[bool, T | None]:
    """Cancel work after so many steps of the event loop; gives whether it had ended by itself, and what it gave."""
    task = asyncio.ensure_future(work)
    for _ in range(steps):
        await asyncio.sleep(0)
    late = task.done()
    task.cancel()
    try:
        return late, await task
    except (asyncio.CancelledError, AtlasError):
        return late, None
