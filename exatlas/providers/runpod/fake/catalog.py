"""What the fake sells, and how much of it is left. Prices are invented."""

from typing import Any

from attrs import define, field, frozen

CLOUDS = ("SECURE", "COMMUNITY")
RAM_GB_PER_VCPU = {"c": 2, "g": 4, "m": 8}


@frozen
class Model:
    """One GPU type."""

    id: str
    name: str
    memory: int
    secure: float
    community: float
    """USD per GPU and hour; 0 where that cloud does not sell it."""
    pool: str | None = None
    max_count: int = 8


MODELS = (
    Model("NVIDIA GeForce RTX 4090", "RTX 4090", 24, 0.69, 0.34, "ADA_24"),
    Model("NVIDIA GeForce RTX 3090", "RTX 3090", 24, 0.46, 0.22, "AMPERE_24"),
    Model("NVIDIA L4", "L4", 24, 0.43, 0, "AMPERE_24"),
    Model("NVIDIA L40S", "L40S", 48, 0.86, 0.79, "ADA_48_PRO"),
    Model("NVIDIA A40", "A40", 48, 0.40, 0, "AMPERE_48"),
    Model("NVIDIA A100-SXM4-80GB", "A100 SXM", 80, 1.89, 0, "AMPERE_80"),
    Model("NVIDIA A100 80GB PCIe", "A100 PCIe", 80, 1.64, 1.19, "AMPERE_80"),
    Model("NVIDIA H100 80GB HBM3", "H100 SXM", 80, 2.99, 2.69, "ADA_80_PRO"),
    Model("NVIDIA H100 PCIe", "H100 PCIe", 80, 2.39, 1.99, "ADA_80_PRO"),
    Model("NVIDIA H100 NVL", "H100 NVL", 94, 2.79, 2.59, "ADA_80_PRO"),
    Model("NVIDIA H200", "H200 SXM", 141, 3.99, 0, "HOPPER_141"),
    Model("AMD Instinct MI300X OAM", "MI300X", 192, 2.49, 0),
)
CPU_FLAVORS = ("cpu3c", "cpu3g", "cpu3m", "cpu5c", "cpu5g", "cpu5m")
USD_PER_VCPU = 0.03
CENTERS = {"US-KS-2": "US Kansas 2", "EU-RO-1": "EU Romania 1", "CA-MTL-3": "CA Montreal 3"}

_LEVELS = ((0, "NONE"), (2, "LOW"), (5, "MEDIUM"))


@define
class Stock:
    """How many machines of each kind are free, per cloud. Unlisted kinds never run out."""

    left: dict[tuple[str, str], int] = field(factory=dict)

    def take(self, kind: str, cloud: str) -> bool:
        """Take one, if there is one."""
        free = self.left.get((kind, cloud))
        if free == 0:
            return False
        if free is not None:
            self.left[kind, cloud] = free - 1
        return True

    def give_back(self, kind: str, cloud: str) -> None:
        """Free one again."""
        if (kind, cloud) in self.left:
            self.left[kind, cloud] += 1

    def level(self, kind: str, cloud: str) -> str:
        """The coarse word for what is left."""
        free = self.left.get((kind, cloud), 100)
        return next((word for most, word in _LEVELS if free <= most), "HIGH")


def model_of(gpu_id: str) -> Model | None:
    """The model with this id."""
    return next((model for model in MODELS if model.id == gpu_id), None)


def sold(model: Model, cloud: str) -> bool:
    """Whether a cloud offers the model at all."""
    return price(model, cloud) > 0


def price(model: Model, cloud: str) -> float:
    """USD per GPU and hour."""
    return model.secure if cloud == "SECURE" else model.community


def listing(model: Model, stock: Stock | None, cloud: str) -> dict[str, Any]:
    """One catalogue entry, with stock when it was asked for."""
    entry: dict[str, Any] = {
        "id": model.id,
        "name": model.name,
        "pool": model.pool,
        "manufacturer": model.id.split()[0] if model.id.split()[0] in {"NVIDIA", "AMD"} else "UNKNOWN",
        "memory": model.memory,
        "secure": model.secure > 0,
        "community": model.community > 0,
        "price": {"secure": model.secure, "community": model.community},
        "maxCount": {
            "secure": model.max_count if model.secure else 0,
            "community": model.max_count if model.community else 0,
        },
    }
    if model.pool:
        entry["price"]["serverless"] = round(model.secure * 1.6, 2)
    if stock is None:
        return entry
    level = stock.level(model.id, cloud) if sold(model, cloud) else "NONE"
    entry["availability"] = level
    if level != "NONE":
        entry["dataCenters"] = [
            {"id": center, "name": name, "availability": level if center != "CA-MTL-3" else "NONE"}
            for center, name in CENTERS.items()
        ]
        if entry["manufacturer"] == "NVIDIA":
            entry["cudaVersions"] = [{"version": "12.8", "available": True}]
    return entry
