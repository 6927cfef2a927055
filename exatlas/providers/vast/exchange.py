"""Send one call to Vast and read its reply by Vast's rules, within Vast's limits."""

from collections.abc import Callable
from typing import TypeVar

from attrs import evolve, frozen

from exatlas.messages import HttpCall, HttpReply
from exatlas.protocols import ByteStream, Clock, Context, Transport
from exatlas.providers.vast.limits import budget
from exatlas.providers.vast.refusals import advised, refusal
from exatlas.transport import asking

T = TypeVar("T")


@frozen
class Advised:
    """A transport whose refusals carry their advice in the header, where all that waits looks for it."""

    _inner: Transport
    _clock: Clock

    async def send(self, call: HttpCall, /) -> HttpReply:
        """See :class:`exatlas.Transport`."""
        return advised(await self._inner.send(call), call, self._clock.now())

    async def open(self, call: HttpCall, /) -> ByteStream:
        """See :class:`exatlas.Transport`."""
        return await self._inner.open(call)

    async def aclose(self) -> None:
        """Leave the transport behind it open: it belongs to the client."""


async def ask(ctx: Context, call: HttpCall, read: Callable[[HttpReply], T]) -> T:
    """Send the call and give what ``read`` makes of a success; a refusal is raised as the error it stands for.

    Each attempt waits for its turn on its route, which may take seconds.
    """
    patient = evolve(ctx, transport=Advised(ctx.transport, ctx.clock))
    return await asking.ask(patient, call, read, refusal, budget=budget(ctx, call))
