"""Trouble on order: the next call of an operation fails, or waits until it is let go."""

import asyncio
from collections import defaultdict, deque

from attrs import define, field, frozen

from exatlas.errors import ValidationError

OPERATIONS = (
    "spawn_compute",
    "get_compute",
    "list_compute",
    "terminate",
    "stop",
    "start",
    "list_gpu_types",
    "run_job",
    "get_job",
    "cancel_job",
    "stream_job",
    "stream_logs",
)


@define
class Hold:
    """One call that waits. Await :meth:`reached` to know it is there, then :meth:`release` it, or cancel its caller."""

    _arrived: asyncio.Event = field(factory=asyncio.Event, init=False)
    _gate: asyncio.Event = field(factory=asyncio.Event, init=False)

    async def reached(self) -> None:
        """Wait until a call waits here."""
        await self._arrived.wait()

    def release(self) -> None:
        """Let the call go on."""
        self._gate.set()

    async def wait(self) -> None:
        """Called by the held call."""
        self._arrived.set()
        await self._gate.wait()


@frozen
class Fault:
    """What befalls one call."""

    after_acting: bool
    """True: the cloud does what it was asked, and the answer is lost. False: nothing is done."""
    error: Exception | None = None
    hold: Hold | None = None

    async def strike(self) -> None:
        """Wait, then raise, as ordered."""
        if self.hold is not None:
            await self.hold.wait()
        if self.error is not None:
            raise self.error


class Faults:
    """Orders by operation, first come first served."""

    def __init__(self) -> None:
        self._orders: dict[str, deque[Fault]] = defaultdict(deque)

    def order(self, operation: str, fault: Fault) -> None:
        """Put a fault in the queue of an operation."""
        if operation not in OPERATIONS:
            raise ValidationError("fault", [f"operation: expected one of {', '.join(OPERATIONS)}, got {operation!r}"])
        self._orders[operation].append(fault)

    def take(self, operation: str) -> Fault | None:
        """The fault for a call that starts now."""
        orders = self._orders[operation]
        return orders.popleft() if orders else None
