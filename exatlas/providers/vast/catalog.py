"""What there is to rent: live offers, grouped by model. Vast has no price list of its own that a renter may read."""

from collections.abc import Iterable
from decimal import Decimal

from exatlas.protocols import Context
from exatlas.providers.vast import gpus, normalize, translate
from exatlas.providers.vast.exchange import ask
from exatlas.providers.vast.offers import DATACENTER, PRIVATE, Offer, admits
from exatlas.records.gpu import GpuType, Stock

CLOUDS = {"secure": PRIVATE, "community": DATACENTER}
"""Each cloud, and the kind of host it must not be."""
LEVELS = ((2, Stock.LOW), (9, Stock.MEDIUM))
"""Up to so many offers."""


async def list_gpu_types(ctx: Context) -> list[GpuType]:
    """One record per model, size and kind of cloud that has an offer now. Two searches."""
    found: list[GpuType] = []
    for cloud, wrong in CLOUDS.items():
        filters = translate.catalog_filters(cloud)
        offers = await ask(ctx, translate.search(filters, "list_gpu_types", ctx), normalize.offers)
        fitting = [offer for offer in offers if offer.hosting_type != wrong and admits(filters, offer.raw)]
        found += grouped(fitting, cloud, ctx.provider)
    return found


def grouped(offers: Iterable[Offer], cloud: str, provider: str) -> list[GpuType]:
    """The offers of one kind of cloud by model and size."""
    groups: dict[tuple[str, int | None], list[Offer]] = {}
    for offer in offers:
        groups.setdefault((offer.gpu_name, gpus.nominal_gb(offer.gpu_name, offer.gpu_ram_mib)), []).append(offer)
    return [_gpu_type(name, size, group, cloud, provider) for (name, size), group in sorted(groups.items(), key=str)]


def _gpu_type(name: str, memory_gb: int | None, group: list[Offer], cloud: str, provider: str) -> GpuType:
    bids = [offer.min_bid_usd_per_hour / offer.gpu_count for offer in group if offer.min_bid_usd_per_hour]
    return GpuType(
        id=gpus.id_of(name, memory_gb),
        provider=provider,
        canonical=gpus.canonical(name, group[0].gpu_ram_mib),
        display_name=name,
        memory_gb=memory_gb,
        price_usd_per_hour=_rounded(min(offer.base_usd_per_hour / offer.gpu_count for offer in group)),
        spot_price_usd_per_hour=_rounded(min(bids)) if bids else None,
        stock=next((level for most, level in LEVELS if len(group) <= most), Stock.HIGH),
        cloud_type=cloud,
        regions=tuple(sorted({offer.country for offer in group if offer.country})),
        raw={"offers": len(group)},
    )


def _rounded(usd: Decimal) -> Decimal:
    return round(usd, 6)
