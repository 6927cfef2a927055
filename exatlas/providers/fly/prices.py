"""What a machine costs. Fly's API states no prices, so they are computed from the published table.

Every row of that table is reproduced by one formula: a price per CPU with some memory in it, a price per GB beyond
that, and a factor per region. Volumes, addresses and traffic are billed beside the machine and are not part of it.

Source: https://fly.io/docs/about/pricing/ and https://fly.io/docs/about/billing/. The CPU prices are those of
`PRICED_ON`; the page's history shows no change to them until 2026-08-07.
"""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from types import MappingProxyType

from attrs import frozen

PRICED_ON = date(2025, 8, 19)
"""The day the prices were read."""

SECONDS_PER_HOUR = 3600
HOURS_PER_MONTH = 30 * 24
"""Fly's month has 30 days."""
MEMORY_USD_PER_GB_S = Decimal("0.00000193")
ROOTFS_USD_PER_GB_MONTH = Decimal("0.15")
"""What stopped and suspended machines go on paying for their root file system."""
VOLUME_USD_PER_GB_MONTH = Decimal("0.15")
"""For what is provisioned, attached or not."""


@frozen
class _Cpu:
    usd_per_s: Decimal
    included_mb: int


_CPUS: Mapping[str, _Cpu] = MappingProxyType(
    {"shared": _Cpu(Decimal("0.00000075"), 256), "performance": _Cpu(Decimal("0.00001196"), 2048)}
)

REGION_FACTORS: Mapping[str, Decimal] = MappingProxyType(
    {
        "iad": Decimal(1),
        "ewr": Decimal(1),
        "ams": Decimal("1.0385"),
        "arn": Decimal("1.0385"),
        "bom": Decimal("1.0769"),
        "yyz": Decimal("1.1154"),
        "lhr": Decimal("1.1346"),
        "cdg": Decimal("1.1346"),
        "fra": Decimal("1.1538"),
        "sjc": Decimal("1.1923"),
        "lax": Decimal("1.1995"),
        "ord": Decimal("1.25"),
        "dfw": Decimal("1.25"),
        "sin": Decimal("1.2692"),
        "syd": Decimal("1.2692"),
        "jnb": Decimal("1.3029"),
        "nrt": Decimal("1.3077"),
        "gru": Decimal("1.6154"),
    }
)
"""Relative to Ashburn. A region not listed is priced as Ashburn is, which is an estimate."""


def usd_per_hour(cpu_kind: str, cpus: int, memory_mb: int, region: str | None) -> Decimal | None:
    """What a started machine costs; None for a kind of CPU without a published price."""
    cpu = _CPUS.get(cpu_kind)
    if cpu is None:
        return None
    extra_mb = max(memory_mb - cpus * cpu.included_mb, 0)
    per_s = cpus * cpu.usd_per_s + Decimal(extra_mb) / 1024 * MEMORY_USD_PER_GB_S
    return per_s * SECONDS_PER_HOUR * REGION_FACTORS.get(region or "", Decimal(1))


def rootfs_usd_per_hour(size_gb: int) -> Decimal:
    """What a stopped machine goes on costing."""
    return size_gb * ROOTFS_USD_PER_GB_MONTH / HOURS_PER_MONTH


def volume_usd_per_hour(size_gb: int) -> Decimal:
    """What a volume costs."""
    return size_gb * VOLUME_USD_PER_GB_MONTH / HOURS_PER_MONTH
