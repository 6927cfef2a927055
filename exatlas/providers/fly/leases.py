"""Leases: a lock on one machine, and the changes that need one.

While a machine is leased, every change of it without the lease's secret is refused, for us as for anybody else. So
`stop`, `start` and `terminate` take none; a change that reads first and writes then does.

Source: https://fly.io/docs/machines/api/machines-resource/ and superfly/fly-go `flaps/flaps_machines.go`, read
2026-11-23.
"""

import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from attrs import field, frozen

from exatlas.cancellation import outlive
from exatlas.errors import AtlasError, ConflictError, NotFoundError
from exatlas.messages import HttpReply
from exatlas.protocols import Context
from exatlas.providers.fly import normalize, translate
from exatlas.providers.fly.exchange import ask
from exatlas.providers.fly.ids import Place
from exatlas.records.compute import Compute
from exatlas.transport.asking import done
from exatlas.transport.calls import merge
from exatlas.transport.shape import body_of

TTL_S = 30
ASK_AGAIN_S = 2.0
PATIENCE_S = 60.0
"""How long a lease that somebody else holds is waited for."""

_log = logging.getLogger("exatlas.providers.fly")


@frozen(kw_only=True)
class Lease:
    """The right to change one machine, until it expires."""

    nonce: str = field(repr=False)
    """The secret that every change has to bring."""
    expires_at: datetime | None = None
    """Aware, UTC."""


@asynccontextmanager
async def hold(
    place: Place, ctx: Context, *, ttl_s: int = TTL_S, operation: str = "lease"
) -> AsyncGenerator[Lease, None]:
    """Hold the lease of a machine for a block, and release it on every way out.

    A release that fails is logged: the lease then runs out by itself. One whose answer was lost does too.

    Raises:
        ConflictError: somebody else held it for a minute.
    """
    lease = await _take(place, ttl_s, ctx, operation)
    try:
        yield lease
    finally:
        ended = await outlive(lambda: _release(place, lease, ctx, operation))
        if ended.value is not None:
            _log.warning("the lease of %s could not be released and runs out by itself: %s", place, ended.value)


async def update(place: Place, change: Mapping[str, Any], ctx: Context) -> Compute:
    """Lay a change over a machine's config, under a lease. A running machine restarts; name and region cannot change.

    Raises:
        ConflictError: somebody else changed the machine meanwhile, or held its lease for a minute.
    """
    async with hold(place, ctx, operation="update") as lease:
        machine = await ask(ctx, translate.get_machine(place, ctx, "update"), body_of)
        config = machine.object("config")
        if config is None:
            raise ConflictError(
                f"the config of {place} cannot be read while its host is away",
                provider=ctx.provider,
                operation="update",
            )
        body = {"config": merge(config.raw, change), "current_version": normalize.version_of(machine)}
        call = translate.update_machine(place, body, lease.nonce, ctx)
        return await ask(ctx, call, lambda reply: normalize.compute(body_of(reply), place.app, ctx.provider))


async def _take(place: Place, ttl_s: int, ctx: Context, operation: str) -> Lease:
    until = ctx.clock.monotonic() + PATIENCE_S
    while True:
        try:
            return await ask(ctx, translate.take_lease(place, ttl_s, ctx, operation), read)
        except ConflictError as error:
            if not error.retryable or ctx.clock.monotonic() >= until:
                raise
            await ctx.clock.sleep(min(error.retry_after or ASK_AGAIN_S, ASK_AGAIN_S))


async def _release(place: Place, lease: Lease, ctx: Context, operation: str) -> AtlasError | None:
    try:
        await ask(ctx, translate.release_lease(place, lease.nonce, ctx, operation), done)
    except NotFoundError:
        return None
    except AtlasError as error:
        return error
    return None


def read(reply: HttpReply) -> Lease:
    """A lease, bare as the published document has it, or wrapped as Fly sends it."""
    body = body_of(reply)
    fields = body.object("data") or body
    expires_at = fields.whole("expires_at")
    return Lease(
        nonce=fields.required_text("nonce"),
        expires_at=None if expires_at is None else datetime.fromtimestamp(expires_at, UTC),
    )
