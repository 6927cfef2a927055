"""Send one call to Fly within its limits, and read its reply by Fly's rules."""

from collections.abc import Callable
from typing import TypeVar

from exatlas.messages import HttpCall, HttpReply
from exatlas.protocols import Context
from exatlas.providers.fly import limits
from exatlas.providers.fly.refusals import refusal
from exatlas.transport import asking

T = TypeVar("T")


async def ask(ctx: Context, call: HttpCall, read: Callable[[HttpReply], T]) -> T:
    """Send the call and give what ``read`` makes of a success; a refusal is raised as the error it stands for."""
    return await asking.ask(ctx, call, read, refusal, budget=limits.budget(ctx, call))
