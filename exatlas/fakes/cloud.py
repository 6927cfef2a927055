"""The base of every fake cloud: who called, what goes wrong on purpose, and what is true all the same."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Protocol
from urllib.parse import urlsplit

from exatlas.clock import SystemClock
from exatlas.fakes.billing import InvoiceLine
from exatlas.fakes.faults import Fault, FaultPlan
from exatlas.fakes.replies import Reply
from exatlas.messages import HttpCall, HttpReply
from exatlas.protocols import Clock


class Rented(Protocol):
    """A machine of a fake cloud."""

    @property
    def id(self) -> str:
        """As the cloud names it."""
        ...


class FakeCloud(ABC):
    """A cloud in a process: hand :meth:`handle` to a transport, or serve it on loopback.

    What a test wants to be so is set as attributes, at any time. Time is the clock's, so an hour of it may pass in no
    time at all.
    """

    provider: ClassVar[str]
    """The provider that speaks to it."""

    def __init__(self, clock: Clock | None = None, *, api_key: str, faults: FaultPlan | None = None) -> None:
        self.clock: Clock = clock or SystemClock()
        self.api_key = api_key
        self.faults = faults or FaultPlan()
        """What goes wrong, and what has."""
        self.calls: list[tuple[str, str]] = []
        """Method and path of every call that came in, refused ones included."""

    def fail(self, fault: Fault, method: str = "*", path: str = "", *, times: int = 1) -> None:
        """Let the next calls with this method (`*` for any) whose path ends like this go wrong."""
        self.faults.order(fault, method, path, times=times)

    def path_of(self, call: HttpCall) -> str:
        """What `calls` keeps of a URL."""
        return urlsplit(call.url).path

    async def handle(self, call: HttpCall) -> Reply:
        """Answer one call as the cloud would, or as planned."""
        self.calls.append((call.method, self.path_of(call)))
        return await self.faults.carry(call, self.answer, self, self.clock)

    @abstractmethod
    async def answer(self, call: HttpCall) -> Reply:
        """Answer one call as the cloud would when nothing goes wrong."""

    @abstractmethod
    def error_reply(self, status: int) -> HttpReply:
        """The cloud's own 500 or 429, or its edge's 403."""

    @abstractmethod
    def base_urls(self, origin: str = "http://127.0.0.1") -> dict[str, str]:
        """The provider's base URLs that lead here."""

    @abstractmethod
    def rented(self) -> Sequence[Rented]:
        """The machines that exist and bill, seen by reads or not."""

    @abstractmethod
    def invoice(self) -> list[InvoiceLine]:
        """What everything has cost so far, ended machines included, oldest first."""
