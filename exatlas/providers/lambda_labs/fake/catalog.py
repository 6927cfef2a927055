"""What the fake sells, where, and how much of it is left. Prices are invented."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from attrs import define, field, frozen

REGIONS: Mapping[str, str] = MappingProxyType(
    {
        "us-east-1": "Virginia, USA",
        "us-west-1": "California, USA",
        "us-south-1": "Texas, USA",
        "us-midwest-1": "Illinois, USA",
        "europe-central-1": "Germany",
    }
)


@frozen
class Kind:
    """One instance type."""

    name: str
    description: str
    gpu_description: str
    cents: int
    """Per hour, for the whole machine."""
    vcpus: int
    memory_gib: int
    storage_gib: int
    gpus: int
    architecture: str = "x86_64"

    def view(self) -> dict[str, Any]:
        """The InstanceType object."""
        return {
            "name": self.name,
            "description": self.description,
            "gpu_description": self.gpu_description,
            "architecture": self.architecture,
            "price_cents_per_hour": self.cents,
            "specs": {
                "vcpus": self.vcpus,
                "memory_gib": self.memory_gib,
                "storage_gib": self.storage_gib,
                "gpus": self.gpus,
            },
        }


def _gpu(
    name: str, gpu: str, cents: int, cpus: int, memory: int, disk: int, count: int = 1, arch: str = "x86_64"
) -> Kind:
    return Kind(name, f"{count}x {gpu}", gpu, cents, cpus, memory, disk, count, arch)


KINDS = (
    Kind("cpu_4x_general", "4x CPU cores (16 GB)", "", 20, 4, 16, 512, 0),
    _gpu("gpu_1x_a10", "A10 (24 GB PCIe)", 129, 30, 226, 1400),
    _gpu("gpu_1x_rtx6000", "RTX 6000 (24 GB)", 69, 14, 46, 512),
    _gpu("gpu_1x_a6000", "A6000 (48 GB)", 109, 14, 100, 512),
    _gpu("gpu_2x_a6000", "A6000 (48 GB)", 218, 28, 200, 1024, 2),
    _gpu("gpu_1x_a100", "A100 (40 GB PCIe)", 199, 30, 225, 512),
    _gpu("gpu_1x_a100_sxm4", "A100 (40 GB SXM4)", 199, 30, 220, 512),
    _gpu("gpu_8x_a100", "A100 (40 GB SXM4)", 1592, 124, 1800, 6144, 8),
    _gpu("gpu_8x_a100_80gb_sxm4", "A100 (80 GB SXM4)", 2232, 240, 1800, 20000, 8),
    _gpu("gpu_1x_h100_pcie", "H100 (80 GB PCIe)", 329, 26, 225, 1024),
    _gpu("gpu_1x_h100_sxm5", "H100 (80 GB SXM5)", 429, 26, 225, 2816),
    _gpu("gpu_2x_h100_sxm5", "H100 (80 GB SXM5)", 838, 52, 450, 5632, 2),
    _gpu("gpu_8x_h100_sxm5", "H100 (80 GB SXM5)", 3192, 208, 1800, 22528, 8),
    _gpu("gpu_1x_gh200", "GH200 (96 GB)", 229, 64, 432, 4096, arch="arm64"),
    _gpu("gpu_1x_b200_sxm6", "B200 (180 GB SXM6)", 699, 26, 360, 2816),
    _gpu("gpu_8x_v100", "Tesla V100 (16 GB)", 504, 88, 448, 5939, 8),
)


@define
class Capacity:
    """How many machines of each type are free in each region. What is not listed never runs out."""

    left: dict[tuple[str, str], int] = field(factory=dict)
    phantom: set[tuple[str, str]] = field(factory=set)
    """Listed as free, and refused at launch."""

    def sell_out(self, kind: str, *regions: str) -> None:
        """Leave none of a type in these regions, or in any."""
        self.left.update({(kind, region): 0 for region in regions or REGIONS})

    def free_in(self, kind: str) -> list[dict[str, str]]:
        """The regions that are listed with capacity."""
        return [
            {"name": name, "description": text} for name, text in REGIONS.items() if self.left.get((kind, name), 1) > 0
        ]

    def take(self, kind: str, region: str) -> bool:
        """Take one, if there is one."""
        free = self.left.get((kind, region))
        if free == 0 or (kind, region) in self.phantom:
            return False
        if free is not None:
            self.left[kind, region] = free - 1
        return True

    def give_back(self, kind: str, region: str) -> None:
        """Free one again."""
        if (kind, region) in self.left:
            self.left[kind, region] += 1


def kind_of(name: str) -> Kind | None:
    """The type with this name."""
    return next((kind for kind in KINDS if kind.name == name), None)


def region_view(name: str) -> dict[str, str]:
    """The Region object."""
    return {"name": name, "description": REGIONS[name]}
