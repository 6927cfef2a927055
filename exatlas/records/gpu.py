"""Models of GPU: the names exatlas has for them, and what one provider offers of one."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from difflib import get_close_matches
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from attrs import field, frozen


@frozen
class GpuModel:
    """One model, whoever offers it."""

    name: str
    """The canonical name, such as `h100_sxm`."""
    memory_gb: int
    """Nominal video memory; drivers report a little less."""
    architecture: str
    vendor: str = "nvidia"


def _models() -> Iterable[GpuModel]:
    for architecture, models in _NVIDIA.items():
        yield from (GpuModel(name, memory_gb, architecture) for name, memory_gb in models.items())
    for architecture, models in _AMD.items():
        yield from (GpuModel(name, memory_gb, architecture, "amd") for name, memory_gb in models.items())


_NVIDIA: Mapping[str, Mapping[str, int]] = {
    "pascal": {"p4": 8, "p40": 24, "p100": 16, "gtx_1080_ti": 11},
    "volta": {
        "titan_v": 12,
        "v100_fhhl_16g": 16,
        "v100_pcie_16g": 16,
        "v100_pcie_32g": 32,
        "v100_sxm2_16g": 16,
        "v100_sxm2_32g": 32,
    },
    "turing": {
        "t4": 16,
        "titan_rtx": 24,
        "rtx_2060": 6,
        "rtx_2080_super": 8,
        "rtx_2080_ti": 11,
        "rtx_6000": 24,
        "rtx_8000": 48,
    },
    "ampere": {
        "a2": 16,
        "a10": 24,
        "a10g": 24,
        "a16": 16,
        "a30": 24,
        "a40": 48,
        "a100_40g_pcie": 40,
        "a100_40g_sxm": 40,
        "a100_80g_pcie": 80,
        "a100_80g_sxm": 80,
        "a100x": 80,
        "a800_pcie": 80,
        "rtx_3060": 12,
        "rtx_3060_ti": 8,
        "rtx_3070": 8,
        "rtx_3070_ti": 8,
        "rtx_3080": 10,
        "rtx_3080_ti": 12,
        "rtx_3090": 24,
        "rtx_3090_ti": 24,
        "rtx_a2000": 6,
        "rtx_a4000": 16,
        "rtx_a4500": 20,
        "rtx_a5000": 24,
        "rtx_a6000": 48,
    },
    "ada": {
        "l4": 24,
        "l40": 48,
        "l40s": 48,
        "rtx_4060": 8,
        "rtx_4060_ti": 16,
        "rtx_4070": 12,
        "rtx_4070_super": 12,
        "rtx_4070_ti": 12,
        "rtx_4070_ti_super": 16,
        "rtx_4080": 16,
        "rtx_4080_super": 16,
        "rtx_4090": 24,
        "rtx_4090_d": 24,
        "rtx_2000_ada": 16,
        "rtx_4000_ada": 20,
        "rtx_4000_sff_ada": 20,
        "rtx_4500_ada": 24,
        "rtx_5000_ada": 32,
        "rtx_5880_ada": 48,
        "rtx_6000_ada": 48,
    },
    "hopper": {
        "gh200": 96,
        "h100_nvl": 94,
        "h100_pcie": 80,
        "h100_sxm": 80,
        "h200_nvl": 141,
        "h200_sxm": 141,
    },
    "blackwell": {
        "b200": 180,
        "b300": 288,
        "rtx_5060": 8,
        "rtx_5060_ti": 16,
        "rtx_5070": 12,
        "rtx_5070_ti": 16,
        "rtx_5080": 16,
        "rtx_5090": 32,
        "rtx_pro_4000": 24,
        "rtx_pro_4500": 32,
        "rtx_pro_5000": 48,
        "rtx_pro_6000": 96,
        "rtx_pro_6000_maxq": 96,
        "rtx_pro_6000_wk": 96,
        "rtx_pro_6000_mig_24g": 24,
        "rtx_pro_6000_mig_48g": 48,
    },
}

_AMD: Mapping[str, Mapping[str, int]] = {
    "gcn": {"mi50": 16},
    "cdna": {"mi100": 32},
    "cdna2": {"mi210": 64, "mi250x": 128},
    "cdna3": {"mi300x": 192},
    "rdna3": {"rx_7900_xtx": 24},
}

GPU_MODELS: Mapping[str, GpuModel] = MappingProxyType({model.name: model for model in _models()})
"""Every model exatlas has a name for. The list is open: providers take names that are not here as their own."""

GPU_FAMILIES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "a100": ("a100_80g_sxm", "a100_80g_pcie", "a100_40g_sxm", "a100_40g_pcie"),
        "a100_40g": ("a100_40g_sxm", "a100_40g_pcie"),
        "a100_80g": ("a100_80g_sxm", "a100_80g_pcie"),
        "a2000": ("rtx_a2000",),
        "a4000": ("rtx_a4000",),
        "a4500": ("rtx_a4500",),
        "a5000": ("rtx_a5000",),
        "a6000": ("rtx_a6000",),
        "h100": ("h100_sxm", "h100_pcie", "h100_nvl"),
        "h200": ("h200_sxm", "h200_nvl"),
        "rtx_pro_6000": ("rtx_pro_6000", "rtx_pro_6000_wk", "rtx_pro_6000_maxq"),
        "v100": ("v100_sxm2_32g", "v100_sxm2_16g", "v100_pcie_16g", "v100_pcie_32g"),
    }
)
"""Names that mean several models, in the order in which they are tried, and short names for one."""


def gpu_names(name: str) -> tuple[str, ...]:
    """The canonical names of the models that a name stands for, best first; empty for a name that is none of ours."""
    wanted = name.lower()
    if wanted in GPU_FAMILIES:
        return GPU_FAMILIES[wanted]
    return (wanted,) if wanted in GPU_MODELS else ()


def nearest_gpu(name: str) -> str | None:
    """The known name that looks most like this one, or None if none does."""
    wanted = name.strip().lower().replace("-", "_").replace(" ", "_")
    close = get_close_matches(wanted, [*GPU_MODELS, *GPU_FAMILIES], n=1)
    return close[0] if close else None


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
