"""One list for everybody who wants to read a machine right now.

A key may send one request a second, so a hundred machines that are read one by one take a hundred seconds, and read
together they take one. A reader joins the list that is under way, which mostly means waiting for its turn; there is no
cache, so nothing is older than one request. What this process does to machines is always read back afresh: a list that
was under way then is given to nobody who comes later.
"""

import asyncio
from collections.abc import Hashable, Mapping
from weakref import WeakKeyDictionary

from exatlas.protocols import Context
from exatlas.providers.lambda_labs import normalize, translate
from exatlas.providers.lambda_labs.exchange import ask
from exatlas.transport.shape import Fields

Machines = Mapping[str, Fields]
"""Instances by id."""


class _Reading:
    """A list under way, and how many wait for it. It is cut when nobody does any more."""

    def __init__(self, ctx: Context) -> None:
        self.readers = 0
        self.task = asyncio.create_task(_list(ctx))

    async def result(self) -> Machines:
        self.readers += 1
        try:
            return await asyncio.shield(self.task)
        finally:
            self.readers -= 1
            if not self.readers:
                self.task.cancel()


_under_way: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Hashable, _Reading]] = WeakKeyDictionary()


async def machines(ctx: Context) -> Machines:
    """Every instance of the account, from a request that is shared with all who ask meanwhile.

    Cancelling one reader leaves the others alone. The request is made with the first one's deadline and hooks.
    """
    here, key = _here(), _key(ctx)
    reading = here.get(key)
    if reading is None or reading.task.done() or not reading.readers:
        reading = here[key] = _Reading(ctx)
    try:
        return await reading.result()
    finally:
        if here.get(key) is reading and not reading.readers:
            del here[key]


def forget(ctx: Context) -> None:
    """Let later readers start a list of their own, because a machine has just been changed."""
    _here().pop(_key(ctx), None)


async def _list(ctx: Context) -> Machines:
    rows = await ask(ctx, translate.list_instances(ctx, "get_compute"), normalize.rows)
    return {row.required_text("id"): row for row in rows}


def _here() -> dict[Hashable, _Reading]:
    return _under_way.setdefault(asyncio.get_running_loop(), {})


def _key(ctx: Context) -> Hashable:
    """Who may share: one account over one transport, clock and address."""
    return ctx.account, ctx.base_url, id(ctx.transport), id(ctx.clock)
