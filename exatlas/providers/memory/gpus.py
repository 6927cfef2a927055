"""What the in-memory cloud has for rent. Models are real, prices are invented and stay put."""

from collections.abc import Sequence
from decimal import Decimal
from difflib import get_close_matches

from attrs import frozen

from exatlas.errors import InvalidRequestError
from exatlas.records.gpu import GpuType, Stock

REGIONS = ("mem-eu-1", "mem-us-1", "mem-us-2")
CPU = "cpu"
"""The name under which CPU machines count against `capacity`."""
CPU_USD_PER_HOUR = Decimal("0.02")
"""Per virtual CPU."""
SPOT_FACTOR = Decimal("0.5")


@frozen(kw_only=True)
class Model:
    """One model of GPU."""

    canonical: str
    native: str
    memory_gb: int
    secure_usd_per_hour: Decimal
    community_usd_per_hour: Decimal | None = None
    """None where only the secure cloud has it."""

    def sold_in(self, cloud_type: str) -> bool:
        """Whether that kind of cloud has it."""
        return cloud_type != "community" or self.community_usd_per_hour is not None

    def price(self, cloud_type: str, *, spot: bool) -> Decimal:
        """Per GPU and hour. `any` is the secure cloud here, which never fills up before the other."""
        price = self.community_usd_per_hour if cloud_type == "community" else self.secure_usd_per_hour
        return (price or self.secure_usd_per_hour) * (SPOT_FACTOR if spot else 1)


MODELS = (
    Model(canonical="h100", native="MEM H100 80GB", memory_gb=80, secure_usd_per_hour=Decimal("3.00")),
    Model(
        canonical="a100_80g",
        native="MEM A100 80GB",
        memory_gb=80,
        secure_usd_per_hour=Decimal("1.80"),
        community_usd_per_hour=Decimal("1.40"),
    ),
    Model(
        canonical="rtx_4090",
        native="MEM RTX 4090",
        memory_gb=24,
        secure_usd_per_hour=Decimal("0.70"),
        community_usd_per_hour=Decimal("0.40"),
    ),
    Model(canonical="l4", native="MEM L4", memory_gb=24, secure_usd_per_hour=Decimal("0.44")),
)


def pick(models: Sequence[Model], name: str) -> Model:
    """The model that a canonical or native name means."""
    for model in models:
        if name in (model.canonical, model.native):
            return model
    known = [model.canonical for model in models]
    close = get_close_matches(name.lower(), known, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    raise InvalidRequestError(f"no GPU is named {name!r}{hint}; there are {', '.join(known)}")


def stock_of(free: int | None) -> Stock:
    """How a count of free GPUs is told; None is no limit."""
    if free is None or free > 8:
        return Stock.HIGH
    if free > 2:
        return Stock.MEDIUM
    return Stock.LOW if free > 0 else Stock.UNAVAILABLE


def catalogue(provider: str, model: Model, free: int | None) -> list[GpuType]:
    """One record for each kind of cloud that has the model."""
    kinds = {"secure": model.secure_usd_per_hour, "community": model.community_usd_per_hour}
    return [
        GpuType(
            id=model.native,
            provider=provider,
            canonical=model.canonical,
            display_name=model.native,
            memory_gb=model.memory_gb,
            price_usd_per_hour=price,
            spot_price_usd_per_hour=price * SPOT_FACTOR,
            stock=stock_of(free),
            cloud_type=kind,
            regions=REGIONS if free is None or free > 0 else (),
        )
        for kind, price in kinds.items()
        if price is not None
    ]
