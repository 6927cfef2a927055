"""Send one call and read its reply; an unreadable reply is told with operation, status and redacted text."""

from collections.abc import Callable
from typing import TypeVar

from exatlas.errors import AtlasError, ProviderBrokenError, ReplyShapeError, TransportError
from exatlas.messages import HttpCall, HttpReply
from exatlas.protocols import Context
from exatlas.providers.runpod.normalize import body_of, listed
from exatlas.providers.runpod.refusals import refusal, request_id
from exatlas.transport.budget import Budget
from exatlas.transport.exchange import send
from exatlas.transport.redact import redact_text
from exatlas.transport.shape import Fields

T = TypeVar("T")


async def ask(ctx: Context, call: HttpCall, read: Callable[[HttpReply], T], *, budget: Budget | None = None) -> T:
    """Send the call and give what ``read`` makes of a success; a refusal is raised as the error it stands for."""
    reply = await send(ctx, call, budget=budget)
    return take(ctx, call, reply, read)


def take(ctx: Context, call: HttpCall, reply: HttpReply, read: Callable[[HttpReply], T]) -> T:
    """Judge a reply and read it."""
    if not 200 <= reply.status < 300 and (refused := refusal(reply, call, ctx.clock.now())):
        raise refused
    try:
        return read(reply)
    except ReplyShapeError as error:
        error.provider, error.operation = call.provider, call.operation
        error.status, error.request_id = reply.status, request_id(reply)
        error.message = redact_text(error.message, call.secrets)
        error.args = (error.message,)
        raise


def done(reply: HttpReply) -> None:
    """Nothing to read: the status said it."""


def fields(reply: HttpReply) -> Fields:
    """The reply's object, for those who read it themselves."""
    return body_of(reply)


async def all_pages(
    ctx: Context, call_for: Callable[[str | None], HttpCall], key: str, read: Callable[[Fields], T]
) -> list[T]:
    """Every item of a list. A cursor seen before ends it: a server that turns in circles must not hold us."""
    items: list[T] = []
    seen: set[str | None] = {None}
    cursor: str | None = None
    while True:
        found, cursor = await ask(ctx, call_for(cursor), lambda reply: listed(reply, key, read))
        items += found
        if cursor in seen:
            return items
        seen.add(cursor)


def may_have_acted(error: AtlasError) -> bool:
    """Whether the call may have been carried out although it ended in this error."""
    if isinstance(error, TransportError):
        return error.delivered is not False
    return isinstance(error, ProviderBrokenError | ReplyShapeError)


def extend(error: AtlasError, fact: str) -> None:
    """Add one more fact to the end of an error's message."""
    error.message = f"{error.message.rstrip('.')}; {fact}"
    error.args = (error.message,)
