"""Vast.ai, and what only Vast has.

::

    from exatlas.providers import vast

    await vast.change_bid(compute, 0.45, ctx)
"""

from exatlas.errors import ValidationError
from exatlas.protocols import Context
from exatlas.providers.vast import instances
from exatlas.providers.vast.provider import VastProvider
from exatlas.records.compute import Compute

__all__ = ["ALIASES", "PROVIDER", "VastProvider", "change_bid", "restart"]

PROVIDER = VastProvider
ALIASES = ("vast.ai", "vastai")

SMALLEST_BID, LARGEST_BID_PER_GPU = 0.001, 32.0


async def change_bid(compute: Compute | str, usd_per_hour: float, ctx: Context) -> None:
    """Bid another price for the whole of a spot machine; one that was outbid starts by itself when the new bid wins.

    Raises:
        NotFoundError: there is no such machine.
        InvalidRequestError: it was rented on demand. The two cannot be turned into each other.
    """
    gpus = compute.gpu_count if isinstance(compute, Compute) else 1
    most = LARGEST_BID_PER_GPU * max(gpus, 1)
    if not SMALLEST_BID <= usd_per_hour <= most:
        fault = f"usd_per_hour: expected {SMALLEST_BID} to {most:g}, got {usd_per_hour!r:.40}"
        raise ValidationError("change_bid", [fault], provider=ctx.provider, operation="change_bid")
    await instances.change_bid(_id(compute), usd_per_hour, ctx)


async def restart(compute: Compute | str, ctx: Context) -> None:
    """Restart the container of a running machine in place; its GPU, its disk and its ports stay."""
    await instances.restart(_id(compute), ctx)


def _id(compute: Compute | str) -> str:
    return compute.id if isinstance(compute, Compute) else compute
