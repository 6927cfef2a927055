"""Send one call to RunPod and read its reply by RunPod's rules."""

from collections.abc import Callable
from typing import TypeVar

from exatlas.messages import HttpCall, HttpReply
from exatlas.protocols import Context
from exatlas.providers.runpod.normalize import listed
from exatlas.providers.runpod.refusals import refusal
from exatlas.transport import asking
from exatlas.transport.budget import Budget
from exatlas.transport.shape import Fields

T = TypeVar("T")


async def ask(ctx: Context, call: HttpCall, read: Callable[[HttpReply], T], *, budget: Budget | None = None) -> T:
    """Send the call and give what ``read`` makes of a success; a refusal is raised as the error it stands for."""
    return await asking.ask(ctx, call, read, refusal, budget=budget)


def take(ctx: Context, call: HttpCall, reply: HttpReply, read: Callable[[HttpReply], T]) -> T:
    """Judge a reply and read it."""
    return asking.take(ctx, call, reply, read, refusal)


async def all_pages(
    ctx: Context, call_for: Callable[[str | None], HttpCall], key: str, read: Callable[[Fields], T]
) -> list[T]:
    """Every item of a list."""

    async def page(cursor: str | None) -> tuple[list[T], str | None]:
        return await ask(ctx, call_for(cursor), lambda reply: listed(reply, key, read))

    return await asking.all_pages(page)
