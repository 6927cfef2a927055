"""A model of GPU as one provider offers it."""

from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Any

from attrs import field, frozen


class Stock(StrEnum):
    """How much of it is free, as coarse as clouds tell. Advisory: a spawn right after may still find none."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"
    UNAVAILABLE = "unavailable"
    UNKNOWN = "unknown"


@frozen(kw_only=True)
class GpuType:
    """A model of GPU, in one kind of cloud, at one moment."""

    id: str
    """The provider's own id, good as `gpu=` for that provider."""
    provider: str
    canonical: str | None = None
    """exatlas's name for the model, the same at every provider; None for models it does not know."""
    display_name: str | None = None
    memory_gb: int | None = None
    """Video memory per GPU."""
    price_usd_per_hour: Decimal | None = None
    """Per single GPU, on demand; None where not sold that way."""
    spot_price_usd_per_hour: Decimal | None = None
    stock: Stock = Stock.UNKNOWN
    cloud_type: str | None = None
    """`secure` or `community`, where the provider distinguishes."""
    regions: tuple[str, ...] = ()
    """Where it was free at that moment."""
    raw: Mapping[str, Any] = field(factory=dict, repr=False, hash=False)
