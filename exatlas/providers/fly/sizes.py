"""Sizes of machines: what Fly sells, its names for them, and the cheapest that has what is asked for.

Source: superfly/fly-go `machine_types.go` and https://fly.io/docs/machines/guides-examples/machine-sizing/, read
2026-11-23.
"""

from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from attrs import frozen

from exatlas.providers.fly.prices import usd_per_hour

MB_PER_GB = 1024
ROOTFS_GB = 8
"""How large an unpacked image and everything written beside it may be."""


@frozen
class Guest:
    """The size of one machine."""

    cpu_kind: str
    cpus: int
    memory_mb: int

    def body(self) -> dict[str, Any]:
        """As Fly takes it."""
        return {"cpu_kind": self.cpu_kind, "cpus": self.cpus, "memory_mb": self.memory_mb}


@frozen
class Kind:
    """The rules for one kind of CPU. Memory comes in steps, and its bounds grow with the CPUs."""

    cpus: tuple[int, ...]
    step_mb: int
    least_mb_per_cpu: int
    most_mb_per_cpu: int


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "shared": Kind((1, 2, 4, 6, 8), 256, 256, 2048),
        "performance": Kind((1, 2, 4, 6, 8, 10, 12, 14, 16), 2048, 2048, 8192),
    }
)

_NAMES = {"shared": "shared-cpu-{}x", "performance": "performance-{}x"}

PRESETS: Mapping[str, Guest] = MappingProxyType(
    {
        _NAMES[name].format(cpus): Guest(name, cpus, cpus * kind.least_mb_per_cpu)
        for name, kind in KINDS.items()
        for cpus in kind.cpus
    }
)
"""Fly's names for sizes, each with the memory that comes with it."""


def fitting(cpus: int | None, memory_gb: int | None) -> Guest | None:
    """The cheapest size with exactly so many CPUs (None: any number) and at least so much memory; None if none has."""
    wanted_mb = (memory_gb or 0) * MB_PER_GB
    found = [
        guest
        for name, kind in KINDS.items()
        for number in kind.cpus
        if cpus in (None, number) and (guest := with_memory(name, number, wanted_mb)) is not None
    ]
    return min(found, key=_price, default=None)


def _price(guest: Guest) -> Decimal:
    return usd_per_hour(guest.cpu_kind, guest.cpus, guest.memory_mb, None) or Decimal("Infinity")


def with_memory(cpu_kind: str, cpus: int, wanted_mb: int) -> Guest | None:
    """A size with at least so much memory, or None where that is more than so many CPUs can have."""
    kind = KINDS[cpu_kind]
    memory_mb = max(kind.least_mb_per_cpu * cpus, -(-wanted_mb // kind.step_mb) * kind.step_mb)
    return Guest(cpu_kind, cpus, memory_mb) if memory_mb <= kind.most_mb_per_cpu * cpus else None
