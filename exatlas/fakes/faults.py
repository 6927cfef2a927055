"""Ways a cloud, or the network before it, can misbehave: ordered call by call, or drawn from a seed."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from enum import StrEnum
from random import Random
from typing import Protocol
from urllib.parse import urlsplit

from attrs import define, field, frozen

from exatlas.errors import TransportError, TransportTimeoutError
from exatlas.fakes.replies import Reply
from exatlas.messages import HttpCall, HttpReply, encode
from exatlas.protocols import Clock
from exatlas.transport.inprocess import StreamingReply


class Fault(StrEnum):
    """What goes wrong. "After" means that the cloud acted first, which is what makes lost replies dangerous."""

    DROP_BEFORE = "drop_before"
    """The connection breaks before anything is done."""
    DROP_AFTER = "drop_after"
    """It is done, and the connection breaks before the reply."""
    STALL_BEFORE = "stall_before"
    """Nothing is done, and no reply comes until the caller's deadline."""
    STALL_AFTER = "stall_after"
    """It is done, and no reply comes until the caller's deadline."""
    ERROR_BEFORE = "error_before"
    """500, and nothing is done."""
    ERROR_AFTER = "error_after"
    """500, and it is done all the same."""
    GARBAGE_AFTER = "garbage_after"
    """It is done, and the reply has the right status and a body that is no JSON."""
    TRUNCATED_AFTER = "truncated_after"
    """It is done, and the reply's body ends half way."""
    WRONG_TYPES_AFTER = "wrong_types_after"
    """It is done, and the reply is JSON of another shape."""
    DRIP = "drip"
    """It is done, and the reply comes in crumbs, over seconds."""
    TWICE = "twice"
    """The call is delivered twice; the second reply is the one that comes back."""
    STALE = "stale"
    """A read gives what the same read gave the time before: a replica that lags."""
    EDGE = "edge"
    """The edge in front of the cloud blocks the call."""
    LIMITED = "limited"
    """429 in the cloud's own form, and nothing is done."""


BEFORE = frozenset({Fault.DROP_BEFORE, Fault.STALL_BEFORE, Fault.ERROR_BEFORE, Fault.EDGE, Fault.LIMITED})
CRUMBS = 8
CRUMB_S = 0.5
WRONG = encode({"id": 7, "status": ["?"], "state": 3, "pods": {}, "gpus": 1, "data": 5, "instances": {}, "offers": 1})
GARBAGE = b"upstream connect error or disconnect/reset before headers"

Answer = Callable[[HttpCall], Awaitable[Reply]]


class Forms(Protocol):
    """How one cloud words the replies that faults need."""

    def error_reply(self, status: int) -> HttpReply:
        """The cloud's own 500 or 429, or its edge's 403."""
        ...


@define
class _Order:
    """A fault waiting for its calls."""

    fault: Fault
    method: str
    path: str
    times: int

    def takes(self, call: HttpCall, path: str) -> bool:
        """Whether this is one of its calls, using up one of its times."""
        if self.times <= 0 or self.method not in ("*", call.method) or not path.endswith(self.path):
            return False
        self.times -= 1
        return True


@frozen
class Hit:
    """A fault that happened."""

    number: int
    """Which call it was, from 1."""
    method: str
    path: str
    fault: Fault


@define
class FaultPlan:
    """What goes wrong, and what has. The same seed and the same calls give the same run.

    Orders come first; what they leave is drawn: each call fails with the chance `rate`, in one of the ways of `kinds`.
    """

    seed: int = 0
    rate: float = 0.0
    kinds: tuple[Fault, ...] = field(default=tuple(Fault), converter=tuple)
    only: Callable[[HttpCall], bool] = field(default=lambda _: True)
    """Which calls may be drawn."""
    hits: list[Hit] = field(factory=list, init=False)
    _orders: list[_Order] = field(factory=list, init=False)
    _seen: dict[str, HttpReply] = field(factory=dict, init=False)
    _calls: int = field(default=0, init=False)
    _random: Random = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._random = Random(self.seed)  # noqa: S311 - a repeatable run is the point

    def order(self, fault: Fault, method: str = "*", path: str = "", *, times: int = 1) -> None:
        """Let the next calls with this method (`*` for any) whose path ends like this go wrong."""
        self._orders.append(_Order(fault, method, path, times))

    def clear(self) -> None:
        """Forget the orders that no call has used up."""
        self._orders.clear()

    async def carry(self, call: HttpCall, answer: Answer, forms: Forms, clock: Clock) -> Reply:
        """Hand the call to ``answer``, or to whatever is planned for it."""
        fault = self._next(call)
        if fault in BEFORE:
            return await _before(fault, call, forms, clock)
        reply = await answer(call)
        if fault is Fault.TWICE:
            reply = await answer(call)
        if not isinstance(reply, HttpReply):
            return reply
        reply, stale = self._remembered(call, reply)
        return stale if fault is Fault.STALE else await _after(fault, call, reply, forms, clock)

    def _next(self, call: HttpCall) -> Fault | None:
        self._calls += 1
        path = urlsplit(call.url).path
        fault = next((order.fault for order in self._orders if order.takes(call, path)), None)
        if fault is None and self.rate and self.only(call) and self._random.random() < self.rate:
            fault = self._random.choice(self.kinds)
        if fault is not None:
            self.hits.append(Hit(self._calls, call.method, path, fault))
        return fault

    def _remembered(self, call: HttpCall, reply: HttpReply) -> tuple[HttpReply, HttpReply]:
        """The reply, and what the same read gave before."""
        if call.method != "GET":
            return reply, reply
        before = self._seen.get(call.url, reply)
        self._seen[call.url] = reply
        return reply, before


async def _before(fault: Fault | None, call: HttpCall, forms: Forms, clock: Clock) -> HttpReply:
    if fault is Fault.DROP_BEFORE:
        raise lost(call)
    if fault is Fault.STALL_BEFORE:
        raise await _stalled(call, clock)
    return forms.error_reply({Fault.EDGE: 403, Fault.LIMITED: 429}.get(fault or Fault.ERROR_BEFORE, 500))


async def _after(fault: Fault | None, call: HttpCall, reply: HttpReply, forms: Forms, clock: Clock) -> Reply:
    if fault is Fault.DROP_AFTER:
        raise lost(call)
    if fault is Fault.STALL_AFTER:
        raise await _stalled(call, clock)
    if fault is Fault.ERROR_AFTER:
        return forms.error_reply(500)
    if fault is Fault.DRIP:
        return StreamingReply(status=reply.status, headers=reply.headers, body=_crumbs(call, reply.body, clock))
    bodies = {
        Fault.GARBAGE_AFTER: GARBAGE,
        Fault.TRUNCATED_AFTER: reply.body[: len(reply.body) // 2],
        Fault.WRONG_TYPES_AFTER: WRONG,
    }
    body = bodies.get(fault) if fault else None
    return reply if body is None else HttpReply(status=reply.status, headers=reply.headers, body=body)


async def _crumbs(call: HttpCall, body: bytes, clock: Clock) -> AsyncGenerator[bytes, None]:
    started = clock.monotonic()
    size = max(-(-len(body) // CRUMBS), 1)
    for start in range(0, len(body), size):
        await clock.sleep(CRUMB_S)
        if clock.monotonic() - started >= call.timeout_s:
            raise _late(call)
        yield body[start : start + size]


async def _stalled(call: HttpCall, clock: Clock) -> TransportTimeoutError:
    await clock.sleep(call.timeout_s)
    return _late(call)


def _late(call: HttpCall) -> TransportTimeoutError:
    return TransportTimeoutError("no reply in time", provider=call.provider, operation=call.operation)


def lost(call: HttpCall) -> TransportError:
    """The connection broke while a reply was awaited."""
    return TransportError("the connection broke", provider=call.provider, operation=call.operation)


def dangerous(faults: Iterable[Fault] = tuple(Fault)) -> tuple[Fault, ...]:
    """The faults after which the cloud has acted and the caller cannot know it."""
    return tuple(fault for fault in faults if fault not in BEFORE and fault not in (Fault.DRIP, Fault.STALE))
