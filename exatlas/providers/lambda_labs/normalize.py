"""What Lambda says, in our words. Pure: a reply or a decoded object in, records out.

While a machine boots, its optional fields are missing rather than null. Prices are whole US cents for the whole
machine. Fields are added within one version of the API, so unknown ones pass. `raw` keeps the body without the token of
the JupyterLab that every machine runs.

Source: https://docs.lambda.ai/api/cloud (`Instance`, `InstanceTypes`), read 2026-11-23.
"""

from collections.abc import Sequence
from decimal import Decimal
from itertools import groupby
from typing import Any

from exatlas.errors import ReplyShapeError
from exatlas.launch import launch_of
from exatlas.messages import HttpReply
from exatlas.providers.lambda_labs import gpus, tags, words
from exatlas.providers.lambda_labs.choice import InstanceType
from exatlas.records.compute import Compute, ComputeStatus, PortBinding, PortSpec, SshAccess
from exatlas.records.gpu import GpuType, Stock
from exatlas.transport.redact import REDACTED
from exatlas.transport.shape import Fields, body_of

SSH_USER = "ubuntu"
CENTS = 100
LOW_REGIONS = 1

_SECRET_FIELDS = ("jupyter_token", "jupyter_url")


def data(reply: HttpReply) -> Fields:
    """The object in a reply's envelope."""
    found = body_of(reply).object("data")
    if found is None:
        raise ReplyShapeError("the reply has no data", paths=["$.data"])
    return found


def rows(reply: HttpReply) -> list[Fields]:
    """The list in a reply's envelope."""
    return body_of(reply).required_objects("data")


def compute(instance: Fields, provider: str) -> Compute:
    """One machine."""
    status = words.status(instance.required_text("status"))
    name = instance.text("name")
    marks = tags_of(instance)
    kind = instance.object("instance_type")
    shape = None if kind is None else instance_type(kind, ())
    region = instance.object("region")
    ip = instance.text("ip")
    return Compute(
        id=instance.required_text("id"),
        provider=provider,
        status=status,
        name=name,
        launch_id=tags.read(marks, tags.LAUNCH) or launch_of(name),
        image=tags.read(marks, tags.IMAGE),
        gpu_type=shape.gpu if shape else None,
        gpu_native=shape.gpu_native if shape else None,
        gpu_count=shape.gpu_count if shape else 0,
        cpus=shape.cpus if shape else None,
        memory_gb=shape.memory_gb if shape else None,
        cost_usd_per_hour=Decimal(0) if status.is_terminal else shape.usd_per_hour if shape else None,
        region=region.text("name") if region else None,
        public_ip=ip,
        ports=tuple(_binding(port, protocol, ip) for port, protocol in tags.ports_of(tags.read(marks, tags.PORTS))),
        ssh=SshAccess(host=ip, username=SSH_USER) if ip else None,
        created_at=tags.created_at(tags.read(marks, tags.CREATED)) or instance.instant("first_healthy"),
        raw=_without_secrets(instance.raw),
    )


def tags_of(instance: Fields) -> dict[str, str]:
    """A machine's tags; of two with one key the later counts."""
    return {tag.required_text("key"): tag.text("value") or "" for tag in instance.objects("tags")}


def _binding(port: int, protocol: str, ip: str | None) -> PortBinding:
    """Every machine has an address of its own, so numbers are equal inside and outside."""
    url = f"{protocol}://{ip}:{port}" if ip else None
    return PortBinding(internal=port, external=port, protocol=protocol, url=url)


def _without_secrets(body: dict[str, Any]) -> dict[str, Any]:
    return {**body, **{key: REDACTED for key in _SECRET_FIELDS if body.get(key)}}


def launched(reply: HttpReply) -> str:
    """The id of the machine that a launch has rented."""
    found = data(reply)
    ids = found.texts("instance_ids")
    if len(ids) != 1 or not ids[0]:
        raise ReplyShapeError("the reply has not exactly one instance id", paths=[f"{found.path}.instance_ids"])
    return ids[0]


def provisional(
    compute_id: str, name: str, shape: InstanceType, region: str, ports: Sequence[PortSpec], **facts: Any
) -> Compute:
    """A machine just launched, of which Lambda has said no more than its id."""
    return Compute(
        id=compute_id,
        status=ComputeStatus.PROVISIONING,
        name=name,
        gpu_type=shape.gpu,
        gpu_native=shape.gpu_native,
        gpu_count=shape.gpu_count,
        cpus=shape.cpus,
        memory_gb=shape.memory_gb,
        cost_usd_per_hour=shape.usd_per_hour,
        region=region,
        ports=tuple(_binding(spec.port, spec.protocol, None) for spec in ports),
        raw={"id": compute_id},
        **facts,
    )


def instance_types(reply: HttpReply) -> list[InstanceType]:
    """The catalogue: an object by type name, not a list."""
    catalog = data(reply)
    found = []
    for name in catalog.raw:
        entry = catalog.object(name)
        kind = entry.object("instance_type") if entry else None
        if entry is None or kind is None:
            raise ReplyShapeError("the reply has a type without a description", paths=[f"{catalog.path}.{name}"])
        regions = [region.required_text("name") for region in entry.required_objects("regions_with_capacity_available")]
        found.append(instance_type(kind, tuple(dict.fromkeys(regions)), entry.raw))
    return found


def instance_type(kind: Fields, regions: tuple[str, ...], raw: dict[str, Any] | None = None) -> InstanceType:
    """One type."""
    name = kind.required_text("name")
    specs = kind.object("specs")
    if specs is None:
        raise ReplyShapeError("the reply has a type without specs", paths=[f"{kind.path}.specs"])
    count = _whole(specs, "gpus")
    described = kind.text("gpu_description") if count else None
    return InstanceType(
        name=name,
        gpu=gpus.canonical(name, described) if count else None,
        gpu_native=described or (name if count else None),
        gpu_count=count,
        gpu_memory_gb=gpus.memory_gb(described),
        cpus=_whole(specs, "vcpus"),
        memory_gib=_whole(specs, "memory_gib"),
        storage_gib=_whole(specs, "storage_gib"),
        usd_per_hour=Decimal(_whole(kind, "price_cents_per_hour")) / CENTS,
        arm=kind.text("architecture") == "arm64",
        regions=regions,
        raw=raw or {},
    )


def _whole(fields: Fields, key: str) -> int:
    value = fields.whole(key)
    if value is None:
        raise ReplyShapeError("the reply lacks a number", paths=[f"{fields.path}.{key}"])
    return value


def gpu_types(types: Sequence[InstanceType], provider: str) -> list[GpuType]:
    """One record per GPU: the lowest price per GPU, and every region where some number of it is free."""
    by_gpu = sorted((each for each in types if each.gpu_count), key=lambda each: each.gpu_native or "")
    groups = [list(group) for _, group in groupby(by_gpu, key=lambda each: each.gpu_native)]
    return [_gpu_type(group, provider) for group in groups]


def _gpu_type(group: Sequence[InstanceType], provider: str) -> GpuType:
    regions = tuple(dict.fromkeys(region for each in group for region in each.regions))
    prices = [each.usd_per_hour / each.gpu_count for each in group if each.usd_per_hour]
    return GpuType(
        id=group[0].gpu_native or group[0].name,
        provider=provider,
        canonical=group[0].gpu,
        display_name=group[0].gpu_native,
        memory_gb=group[0].gpu_memory_gb,
        price_usd_per_hour=min(prices, default=None),
        stock=_stock(regions),
        cloud_type="secure",
        regions=regions,
        raw={each.name: each.raw for each in group},
    )


def _stock(regions: Sequence[str]) -> Stock:
    """Lambda says where, not how many; one region alone runs out soon."""
    if not regions:
        return Stock.UNAVAILABLE
    return Stock.LOW if len(regions) <= LOW_REGIONS else Stock.MEDIUM
