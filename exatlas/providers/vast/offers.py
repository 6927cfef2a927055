"""What the market has, and which of it to take. Pure.

Vast has no catalogue of machines to rent, only offers: one slice of one host at one price, gone as soon as somebody
takes it. The server's filters are a hint (it has been seen to return offers that do not match), so they are applied
again here.

Source: dstackai/gpuhunt `providers/vastai.py`; the SDK's `data/query.py`; read 2026-11-23.
"""

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import ROUND_CEILING, Decimal
from types import MappingProxyType
from typing import Any

from attrs import evolve, field, frozen

from exatlas.providers.vast import regions
from exatlas.providers.vast.gpus import Model
from exatlas.records.compute import ComputeRequest

HOURS_PER_MONTH = 30 * 24
"""Vast prices disks by the month of thirty days."""
BID_MARGIN = Decimal("1.1")
"""A bid at the floor is lost to the next one who bids more."""

DATACENTER, PRIVATE = 1, 0
"""Values of `hosting_type`."""


@frozen(kw_only=True)
class Offer:
    """One slice of one host."""

    id: int
    """What the create names; good for seconds. Not the machine's number, nor the new instance's."""
    machine_id: int | None
    gpu_name: str
    gpu_count: int
    gpu_ram_mib: float | None
    """Per GPU."""
    cpus: float | None
    memory_gb: float | None
    country: str | None
    hosting_type: int | None
    base_usd_per_hour: Decimal
    """For all its GPUs, without disk and traffic."""
    storage_usd_per_gb_month: Decimal
    min_bid_usd_per_hour: Decimal | None
    """For all its GPUs; None where it takes no bids."""
    raw: Mapping[str, Any] = field(factory=dict, repr=False, hash=False)

    def usd_per_hour(self, disk_gb: float, bid: Decimal | None = None) -> Decimal:
        """What it costs with a disk of that size, on demand or at a bid; traffic comes on top."""
        disk = Decimal(str(disk_gb)) * self.storage_usd_per_gb_month / HOURS_PER_MONTH
        return round((self.base_usd_per_hour if bid is None else bid) + disk, 6)

    def default_bid(self) -> Decimal | None:
        """A tenth above the lowest bid that would win now."""
        floor = self.min_bid_usd_per_hour
        return None if floor is None else (floor * BID_MARGIN).quantize(Decimal("0.0001"), ROUND_CEILING)


@frozen(kw_only=True)
class Choice:
    """An offer to try, with what is to be bid on it and what it would cost."""

    offer: Offer
    bid: Decimal | None
    usd_per_hour: Decimal
    kind: tuple[int, int] = (0, 0)
    """The places of its model and its kind of cloud among what was asked for."""

    def __str__(self) -> str:
        offer = self.offer
        where = f" in {offer.country}" if offer.country else ""
        return f"{offer.gpu_count}x {offer.gpu_name}{where} at {self.usd_per_hour:.3f} USD/h (offer {offer.id})"


def choose(
    found: Iterable[Offer],
    request: ComputeRequest,
    models: Sequence[Model],
    filters: Mapping[str, Any],
    disk_gb: float,
) -> list[Choice]:
    """The offers to try, best first: by model, then region, then kind of cloud as the request prefers them, then price.

    `filters` is the search that found them.
    """
    ranked = []
    for offer in found:
        rank = _rank(offer, request, models)
        choice = _choice(offer, request, disk_gb) if rank and admits(filters, offer.raw) else None
        if rank and choice:
            ranked.append(((*rank, choice.usd_per_hour, offer.id), evolve(choice, kind=(rank[0], rank[2]))))
    ranked.sort(key=lambda entry: entry[0])
    return [choice for _, choice in ranked]


def _rank(offer: Offer, request: ComputeRequest, models: Sequence[Model]) -> tuple[int, int, int] | None:
    """Model, region and kind of cloud by their places in the request; None for an offer that is none of them."""
    model = next((i for i, model in enumerate(models) if model.is_it(offer.gpu_name, offer.gpu_ram_mib)), None)
    region = regions.rank(request.region_hints, offer.country) if request.region_hints else 0
    if model is None or offer.gpu_count != request.gpu_count or (request.region_hints and _nowhere(region, request)):
        return None
    if _is_wrong_cloud(offer, request.cloud_type) or _is_too_small(offer, request):
        return None
    return model, region, 0 if offer.hosting_type == DATACENTER else 1


def _nowhere(region: int, request: ComputeRequest) -> bool:
    return region >= len(request.region_hints)


def _is_wrong_cloud(offer: Offer, cloud_type: str) -> bool:
    """Whether the row contradicts what was asked for; one that does not say passes."""
    wrong = {"secure": PRIVATE, "community": DATACENTER}.get(cloud_type)
    return wrong is not None and offer.hosting_type == wrong


def _is_too_small(offer: Offer, request: ComputeRequest) -> bool:
    cpus = request.cpus is not None and offer.cpus is not None and offer.cpus < request.cpus
    memory = request.memory_gb is not None and offer.memory_gb is not None and offer.memory_gb < request.memory_gb
    return cpus or memory


def _choice(offer: Offer, request: ComputeRequest, disk_gb: float) -> Choice | None:
    """The offer with its bid, or None where it does not take it."""
    if not request.spot:
        return Choice(offer=offer, bid=None, usd_per_hour=offer.usd_per_hour(disk_gb))
    floor, own = offer.min_bid_usd_per_hour, request.provider_opts.get("price")
    bid = offer.default_bid() if own is None else Decimal(str(own))
    if floor is None or bid is None or bid < floor:
        return None
    return Choice(offer=offer, bid=bid, usd_per_hour=offer.usd_per_hour(disk_gb, bid))


Test = Callable[[Any, Any], bool]

_NUMERIC: Mapping[str, Test] = MappingProxyType(
    {"gt": operator.gt, "gte": operator.ge, "lt": operator.lt, "lte": operator.le}
)
_ANY: Mapping[str, Test] = MappingProxyType(
    {
        "eq": operator.eq,
        "neq": operator.ne,
        "in": lambda value, wanted: value in wanted,
        "notin": lambda value, wanted: value not in wanted,
    }
)
_COLUMNS = frozenset(
    {
        "compute_cap",
        "cpu_cores_effective",
        "cpu_ram",
        "cuda_max_good",
        "direct_port_count",
        "disk_space",
        "dph_total",
        "duration",
        "gpu_ram",
        "host_id",
        "inet_down",
        "inet_down_cost",
        "inet_up",
        "inet_up_cost",
        "machine_id",
        "min_bid",
        "num_gpus",
        "reliability",
        "storage_cost",
        "verification",
    }
)
"""Columns whose name means the same in the question and in the answer. Others, such as `datacenter` or `verified`, are
words of the query only."""
_ALIASES = MappingProxyType({"reliability": ("reliability2", "reliability")})


def admits(filters: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    """Whether a row passes the filters that can be judged by it. A column that the row leaves out passes."""
    return all(
        _passes(_value(row, column), tests)
        for column, tests in filters.items()
        if column in _COLUMNS and isinstance(tests, Mapping)
    )


def _value(row: Mapping[str, Any], column: str) -> Any:
    return next((row[name] for name in _ALIASES.get(column, (column,)) if row.get(name) is not None), None)


def _passes(value: Any, tests: Mapping[str, Any]) -> bool:
    return value is None or all(_test(word)(value, wanted) for word, wanted in tests.items() if _is_fit(word, wanted))


def _test(word: str) -> Test:
    return _NUMERIC.get(word) or _ANY[word]


def _is_fit(word: str, wanted: Any) -> bool:
    """Whether it is an operator of ours with something it can work on; the server has refused anything worse."""
    if word in _NUMERIC:
        return isinstance(wanted, int | float)
    return word in _ANY and (word in {"eq", "neq"} or isinstance(wanted, list | tuple))
