"""Send one call and read its reply, by the provider's own rules for what a refusal is and what a success says."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TypeVar

from exatlas.errors import AtlasError, ReplyShapeError
from exatlas.messages import HttpCall, HttpReply
from exatlas.protocols import Context
from exatlas.transport.budget import Budget
from exatlas.transport.exchange import request_id_of, send
from exatlas.transport.redact import redact_text

T = TypeVar("T")

Refusal = Callable[[HttpReply, HttpCall, datetime], AtlasError | None]
"""The error a reply stands for, or None for a success."""

Read = Callable[[HttpReply], T]


async def ask(ctx: Context, call: HttpCall, read: Read[T], refusal: Refusal, *, budget: Budget | None = None) -> T:
    """Send the call and give what ``read`` makes of a success; a refusal is raised as the error it stands for."""
    reply = await send(ctx, call, budget=budget)
    return take(ctx, call, reply, read, refusal)


def take(ctx: Context, call: HttpCall, reply: HttpReply, read: Read[T], refusal: Refusal) -> T:
    """Judge a reply and read it; an unreadable one is told with operation, status and redacted text."""
    refused = refusal(reply, call, ctx.clock.now())
    if refused is not None:
        raise refused
    try:
        return read(reply)
    except ReplyShapeError as error:
        error.provider, error.operation = call.provider, call.operation
        error.status, error.request_id = reply.status, request_id_of(reply.headers)
        error.message = redact_text(error.message, call.secrets)
        error.args = (error.message,)
        raise


async def all_pages(page: Callable[[str | None], Awaitable[tuple[list[T], str | None]]]) -> list[T]:
    """Every item of a list, from a function of a cursor that gives one page and the next cursor, or None at the end.

    A cursor seen before ends it too: a server that turns in circles must not hold us.
    """
    items: list[T] = []
    seen: set[str | None] = {None}
    cursor: str | None = None
    while True:
        found, cursor = await page(cursor)
        items += found
        if cursor in seen:
            return items
        seen.add(cursor)


def done(reply: HttpReply) -> None:
    """Nothing to read: the status said it."""
