"""Which instance type to ask for, where, and in which order. Pure: the catalogue of the moment in, candidates out.

GPUs go in the order of the request, models of a family in theirs, then types by price; regions in the order of the
hints. Only regions that Lambda lists with capacity are asked: every launch, a refused one too, takes one of five a
minute. The list is advisory all the same, so the next candidate is tried after a refusal.

Source: https://docs.lambda.ai/api/cloud (`GET /instance-types`), read 2026-11-23.
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from attrs import field, frozen

from exatlas.errors import NoCapacityError, UnsupportedError, ValidationError
from exatlas.protocols import Context
from exatlas.records.compute import ComputeRequest
from exatlas.records.gpu import gpu_names, nearest_gpu

OPEN_REGION = "us-south-1"
"""Firewall rules do not apply there, so nothing can be said about a port."""
BYTES_PER_GIB = 1024**3
CONTINENTS = {"eu": "europe"}


@frozen(kw_only=True)
class InstanceType:
    """One type, as the catalogue has it now."""

    name: str
    gpu: str | None
    """Canonical name; None for CPU machines and for models exatlas has no name for."""
    gpu_native: str | None
    """Lambda's `gpu_description`; None for CPU machines."""
    gpu_count: int
    gpu_memory_gb: int | None
    cpus: int
    memory_gib: int
    storage_gib: int
    usd_per_hour: Decimal
    """The whole machine."""
    arm: bool
    regions: tuple[str, ...]
    """Where there is capacity."""
    raw: Mapping[str, Any] = field(factory=dict, repr=False, hash=False)

    @property
    def memory_gb(self) -> float:
        """Main memory in GB."""
        return round(self.memory_gib * BYTES_PER_GIB / 10**9, 1)


@frozen
class Candidate:
    """One launch to try."""

    type: InstanceType
    region: str

    def __str__(self) -> str:
        return f"{self.type.name} in {self.region}"


def candidates(
    request: ComputeRequest, types: Sequence[InstanceType], ctx: Context, *, only_region: str | None = None
) -> list[Candidate]:
    """The launches to try, in order; at least one.

    Args:
        only_region: Where the machine must be, because its filesystem is there.

    Raises:
        ValidationError: Lambda does not sell the GPU in that number, or no such machine has the size asked for.
        UnsupportedError: Lambda sells no such GPU, or no CPU machines.
        NoCapacityError: nothing that fits is free where it may be.
    """
    fitting = _sized(request, _matching(request, types, ctx), ctx)
    found = [
        Candidate(each, region)
        for each in fitting
        for region in _ordered(each.regions, request.region_hints)
        if only_region in (None, region) and not (request.ports and region == OPEN_REGION)
    ]
    if not found:
        raise NoCapacityError(
            _shortage(fitting, request, only_region), provider=ctx.provider, operation="spawn_compute"
        )
    return found


def _matching(request: ComputeRequest, types: Sequence[InstanceType], ctx: Context) -> list[InstanceType]:
    """The types of the wanted GPUs, best first."""
    if request.gpu is None:
        found = sorted((each for each in types if each.gpu_count == 0), key=_price)
        if not found:
            raise _unsupported("gpu: Lambda sells no machines without a GPU at this moment", ctx)
        return found
    models = [group for name in request.gpu for group in _groups(name, types)]
    if not models:
        raise _unsupported(f"gpu: {_not_sold(request.gpu, types)}", ctx)
    found = [
        each for name, group in models for each in group if each.name == name or each.gpu_count == request.gpu_count
    ]
    if not found:
        counts = ", ".join(map(str, sorted({each.gpu_count for _, group in models for each in group})))
        fault = f"gpu_count: expected one of {counts}, in which Lambda sells it, got {request.gpu_count}"
        raise _invalid([fault], ctx)
    return list(dict.fromkeys(found))


def _groups(name: str, types: Sequence[InstanceType]) -> Iterable[tuple[str, list[InstanceType]]]:
    """The types that a name stands for, model by model: a type's own name, Lambda's name of a GPU, or one of ours."""
    own = [each for each in types if name in (each.name, each.gpu_native)]
    groups = [own, *([each for each in types if each.gpu == model] for model in gpu_names(name))]
    return [(name, sorted(group, key=_price)) for group in groups if group]


def _sized(request: ComputeRequest, types: Sequence[InstanceType], ctx: Context) -> list[InstanceType]:
    """Those with enough processors, memory and disk."""
    disk_gb = (request.container_disk_gb or 0) + (request.volume_gb or 0)
    found = [
        each
        for each in types
        if each.cpus >= (request.cpus or 0)
        and each.memory_gb >= (request.memory_gb or 0)
        and each.storage_gib * BYTES_PER_GIB >= disk_gb * 10**9
    ]
    if not found:
        sizes = "; ".join(
            f"{each.name} has {each.cpus} cpus, {each.memory_gb:g} GB of memory and {each.storage_gib} GiB of disk"
            for each in types
        )
        raise _invalid([f"cpus, memory_gb, volume_gb and container_disk_gb: no type is large enough ({sizes})"], ctx)
    return found


def _ordered(regions: Iterable[str], hints: Sequence[str]) -> list[str]:
    """The regions that the hints admit, in the hints' order. A hint is a region, or what its name begins with."""
    if not hints:
        return list(regions)
    return list(dict.fromkeys(region for hint in hints for region in regions if _admits(hint, region)))


def _admits(hint: str, region: str) -> bool:
    wanted = hint.lower()
    wanted = CONTINENTS.get(wanted, wanted)
    return region == wanted or region.startswith(f"{wanted}-")


def _shortage(types: Sequence[InstanceType], request: ComputeRequest, only_region: str | None) -> str:
    free = [f"{each.name} in {', '.join(each.regions)}" for each in types if each.regions]
    if not free:
        return f"{', '.join(each.name for each in types)}: sold out in every region"
    reasons = [f"region_hints ask for {', '.join(request.region_hints)}"] if request.region_hints else []
    reasons += [f"the filesystem is in {only_region}"] if only_region else []
    reasons += [f"firewall rules, which ports need, do not apply in {OPEN_REGION}"] if request.ports else []
    return f"free only: {'; '.join(free)}; but {' and '.join(reasons)}"


def _not_sold(names: Sequence[str], types: Sequence[InstanceType]) -> str:
    sold = sorted({each.gpu or each.gpu_native or each.name for each in types if each.gpu_count})
    unknown = [name for name in names if not gpu_names(name)]
    near = nearest_gpu(unknown[0]) if unknown else None
    hint = f" (did you mean {near!r}?)" if near else ""
    return f"Lambda sells no {', '.join(map(repr, names))}{hint}; it has {', '.join(sold)}"


def _price(each: InstanceType) -> tuple[Decimal, str]:
    return each.usd_per_hour, each.name


def _invalid(faults: Sequence[str], ctx: Context) -> ValidationError:
    return ValidationError("ComputeRequest", faults, provider=ctx.provider, operation="spawn_compute")


def _unsupported(message: str, ctx: Context) -> UnsupportedError:
    return UnsupportedError(message, provider=ctx.provider, operation="spawn_compute")
