"""Fly.io, and what only Fly.io has.

::

    from exatlas.providers import fly

    provider = fly.FlyProvider(org="acme", app="workers")
    url, headers = fly.route(compute)
    await fly.update(compute, {"restart": {"policy": "no"}}, ctx)
"""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

from exatlas.protocols import Context
from exatlas.providers.fly import leases, regions, volumes
from exatlas.providers.fly.finding import locate
from exatlas.providers.fly.ids import Place
from exatlas.providers.fly.leases import Lease
from exatlas.providers.fly.normalize import Region, Volume
from exatlas.providers.fly.options import Settings
from exatlas.providers.fly.ports import route
from exatlas.providers.fly.prices import PRICED_ON
from exatlas.providers.fly.provider import FlyProvider
from exatlas.records.compute import Compute

__all__ = [
    "PRICED_ON",
    "PROVIDER",
    "FlyProvider",
    "Lease",
    "Region",
    "Volume",
    "lease",
    "list_regions",
    "list_volumes",
    "route",
    "update",
]

PROVIDER = FlyProvider


async def update(compute: str | Compute, change: Mapping[str, Any], ctx: Context) -> Compute:
    """Lay a change over a machine's config, in Fly's words, under a lease. A running machine restarts.

    Raises:
        ConflictError: somebody else changed the machine meanwhile, or held its lease for a minute.
    """
    return await leases.update(await _place(compute, ctx, "update"), change, ctx)


def lease(compute: Compute, ctx: Context, *, ttl_s: int = leases.TTL_S) -> AbstractAsyncContextManager[Lease]:
    """Hold a machine's lease for an ``async with`` block: nobody changes the machine without it, exatlas included.

    Raises:
        ConflictError: somebody else held it for a minute.
    """
    app, _, machine = compute.id.partition("/")
    return leases.hold(Place(app, machine), ctx, ttl_s=ttl_s)


async def list_regions(ctx: Context) -> list[Region]:
    """Fly's regions, deprecated ones included. One request."""
    return await regions.list_all(ctx)


async def list_volumes(app: str, ctx: Context) -> list[Volume]:
    """The volumes of one app that are not deleted. One request."""
    return await volumes.list_app(app, ctx)


async def _place(compute: str | Compute, ctx: Context, operation: str) -> Place:
    compute_id = compute.id if isinstance(compute, Compute) else compute
    return await locate(compute_id, Settings(), ctx, operation)
