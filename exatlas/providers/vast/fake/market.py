"""The fake's market: hosts with one slice each, what the search shows of them, and how it filters. Prices are invented.

A slice that is let is not offered; given back, it is offered again under another number.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from attrs import define

HOURS_PER_MONTH = 720
DEFAULT_LIMIT = 64
CONTROLS = frozenset({"type", "order", "limit", "allocated_storage", "disable_bundling"})
DEFAULTS: Mapping[str, Any] = {
    "verified": {"eq": True},
    "rentable": {"eq": True},
    "rented": {"eq": False},
    "cpu_arch": {"in": ["amd64"]},
}
DAY_S = 86400.0


@define(kw_only=True)
class FakeHost:
    """One slice of one machine."""

    machine_id: int
    gpu_name: str
    gpu_ram: int
    """MiB per GPU."""
    base: float
    """USD per hour, for all GPUs."""
    country: str
    city: str = "Somewhere"
    gpus: int = 1
    secure: bool = True
    storage: float = 0.15
    """USD per GB and month."""
    min_bid: float | None = None
    verified: bool = True
    reliability: float = 0.995
    ports: int = 24
    disk: float = 500.0
    cores: float | None = 64
    cores_effective: float = 16.0
    ram: int = 257_000
    """MB of the whole machine."""
    arch: str = "amd64"
    days: float = 30.0
    offer_id: int = 0
    tenant: int | str | None = None
    """The instance that has the GPU, or somebody else, or nobody."""
    rival: float | None = None
    """What somebody else bids for it now; the search does not show it yet."""

    @property
    def floor(self) -> float:
        """What a bid must reach."""
        return max(self.min_bid or 0.0, self.rival or 0.0)

    @property
    def bid_floor(self) -> float:
        """What the search shows."""
        return self.base / 2 if self.min_bid is None else self.min_bid

    def row(self, kind: str, disk: float, now: float) -> dict[str, Any]:
        """The offer as the search shows it."""
        base = self.bid_floor if kind == "bid" else self.base
        disk_hour = disk * self.storage / HOURS_PER_MONTH
        return {
            "id": self.offer_id,
            "ask_contract_id": self.offer_id,
            "bundle_id": self.machine_id * 7 + 1,
            "machine_id": self.machine_id,
            "host_id": self.machine_id // 10,
            "gpu_name": self.gpu_name,
            "num_gpus": self.gpus,
            "gpu_ram": self.gpu_ram,
            "gpu_total_ram": self.gpu_ram * self.gpus,
            "gpu_frac": 0.25,
            "gpu_arch": "nvidia",
            "cuda_max_good": 12.8,
            "cpu_arch": self.arch,
            "cpu_cores": self.cores,
            "cpu_cores_effective": self.cores_effective,
            "cpu_ram": self.ram,
            "disk_space": self.disk,
            "direct_port_count": self.ports,
            "static_ip": True,
            "public_ipaddr": self.ip,
            "geolocation": f"{self.city}, {self.country}",
            "hosting_type": 1 if self.secure else 0,
            "verification": "verified" if self.verified else "unverified",
            "reliability2": self.reliability,
            "rentable": self.tenant is None,
            "rented": self.tenant is not None,
            "duration": self.days * DAY_S,
            "end_date": now + self.days * DAY_S,
            "is_bid": kind == "bid",
            "dph_base": base,
            "dph_total": base + disk_hour,
            "storage_cost": self.storage,
            "storage_total_cost": disk_hour,
            "min_bid": self.bid_floor,
            "inet_up_cost": 0.002,
            "inet_down_cost": 0.002,
            "vms_enabled": False,
            "resource_type": "gpu",
        }

    @property
    def ip(self) -> str:
        """Its public address, from a range for documentation."""
        return f"203.0.113.{self.machine_id % 250 + 1}"


def hosts() -> list[FakeHost]:
    """A small market."""
    rows: Iterable[tuple[Any, ...]] = (
        (4242, "RTX 4090", 24564, 0.35, "DE", {"city": "Frankfurt", "min_bid": 0.18}),
        (4250, "RTX 4090", 24564, 0.36, "FR", {"min_bid": 0.2}),
        (4260, "RTX 4090", 24564, 0.30, "US", {"secure": False, "storage": 0.3, "min_bid": 0.12}),
        (4270, "RTX 4090", 24564, 0.33, "US", {"secure": False, "storage": 0.1}),
        (4280, "RTX 4090", 24564, 0.72, "US", {"gpus": 2}),
        (4290, "RTX 4090", 24564, 0.05, "US", {"verified": False, "secure": False}),
        (4300, "RTX 4090", 24564, 0.06, "UA", {"reliability": 0.61, "secure": False}),
        (4310, "RTX 4090", 24564, 0.07, "CZ", {"cores": None}),
        (5000, "RTX 3090", 24576, 0.16, "PL", {"secure": False, "ports": 0}),
        (5010, "RTX 3090", 24576, 0.18, "SE", {"secure": False}),
        (6000, "L40S", 46068, 0.85, "NL", {}),
        (6100, "A40", 46068, 0.41, "NL", {}),
        (7000, "A100 SXM4", 81920, 1.40, "US", {}),
        (7010, "A100 SXM4", 40960, 0.90, "US", {}),
        (7020, "A100 PCIE", 81920, 1.10, "SE", {"secure": False}),
        (8000, "H100 SXM", 81559, 2.40, "US", {}),
        (8010, "H100 PCIE", 81559, 1.90, "SE", {}),
        (8020, "H100 NVL", 95830, 1.95, "CA", {"secure": False}),
        (8030, "H100 SXM", 81559, 19.2, "US", {"gpus": 8, "cores_effective": 128.0, "cores": 256, "ram": 2_000_000}),
        (8100, "GH200 SXM", 97871, 1.60, "US", {"arch": "arm64"}),
        (9000, "RTX 6000Ada", 49140, 0.75, "CZ", {}),
        (9100, "Tesla V100", 32768, 0.28, "IT", {}),
    )
    return [
        FakeHost(machine_id=number, gpu_name=name, gpu_ram=ram, base=base, country=country, **more)
        for number, name, ram, base, country, more in rows
    ]


_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "eq": lambda value, wanted: value == wanted,
    "neq": lambda value, wanted: value != wanted,
    "gt": lambda value, wanted: value > wanted,
    "gte": lambda value, wanted: value >= wanted,
    "lt": lambda value, wanted: value < wanted,
    "lte": lambda value, wanted: value <= wanted,
    "in": lambda value, wanted: value in wanted,
    "notin": lambda value, wanted: value not in wanted,
}


def faults(query: Any) -> str | None:
    """What the search refuses about a query."""
    if not isinstance(query, dict):
        return "Invalid json body"
    for column, tests in query.items():
        if column in CONTROLS:
            continue
        if not isinstance(tests, dict) or not set(tests) <= set(_OPERATORS):
            return f"Error in query: {column} has no valid operator"
    return None


def search(offered: Iterable[FakeHost], query: Mapping[str, Any], now: float, *, sloppy: bool) -> list[dict[str, Any]]:
    """The rows that pass, in the order asked for. A sloppy search forgets the filters and the order."""
    disk = float(query.get("allocated_storage", 8))
    kind = query.get("type", "ondemand")
    filters = {**DEFAULTS, **{column: tests for column, tests in query.items() if column not in CONTROLS}}
    rows = [host.row(kind, disk, now) for host in offered if sloppy or _passes(host, kind, disk, filters, now)]
    if not sloppy:
        for column, direction in reversed(query.get("order", [["dph_total", "asc"]])):
            rows.sort(key=lambda row: row.get(column) or 0, reverse=direction == "desc")
    return rows[: query.get("limit", DEFAULT_LIMIT)]


def _passes(host: FakeHost, kind: str, disk: float, filters: Mapping[str, Any], now: float) -> bool:
    row = _columns(host, kind, disk, now)
    return host.disk >= disk and all(
        column not in row or (row[column] is not None and _OPERATORS[word](row[column], wanted))
        for column, tests in filters.items()
        for word, wanted in tests.items()
    )


def _columns(host: FakeHost, kind: str, disk: float, now: float) -> dict[str, Any]:
    """The row, with the columns that only the query knows."""
    return {
        **host.row(kind, disk, now),
        "verified": host.verified,
        "datacenter": host.secure,
        "geolocation": host.country,
        "reliability": host.reliability,
        "external": False,
    }


def numbered(market: Iterable[FakeHost], numbers: Iterator[int]) -> dict[int, FakeHost]:
    """The hosts by machine, each offered."""
    found = {}
    for host in market:
        host.offer_id = next(numbers)
        found[host.machine_id] = host
    return found
