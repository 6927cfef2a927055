"""Fly's regions, as it lists them itself.

Source: https://fly.io/docs/reference/regions/ and `/platform/regions` of the Machines API, read 2026-11-23.
"""

from exatlas.protocols import Context
from exatlas.providers.fly import normalize, translate
from exatlas.providers.fly.exchange import ask
from exatlas.providers.fly.normalize import Region

FALLBACK = "iad"
"""Fly's largest region, for when it does not say which is the nearest."""


async def list_all(ctx: Context) -> list[Region]:
    """Every region, deprecated ones included."""
    return await ask(ctx, translate.regions(ctx), normalize.regions)


async def nearest(ctx: Context) -> str | None:
    """The region next to this process, as the API sees it."""
    return await ask(ctx, translate.regions(ctx, "spawn_compute"), normalize.nearest_region)
