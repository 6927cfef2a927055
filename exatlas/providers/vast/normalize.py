"""What Vast says, in our words. Pure: a reply or a decoded object in, records out.

Vast's API document is written by hand and its replies are looser than it: every field but an id is optional, texts may
end in blanks and line breaks, numbers of ports are texts. A field of the wrong type is a ReplyShapeError with its path.

Source: `show_instance`, `show_instances`, `search_offers` and `create_instance` of vast-ai/docs; the SDK's
`api/instances.py`; dstackai/gpuhunt `providers/vastai.py`; read 2026-11-23.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from exatlas.errors import ReplyShapeError
from exatlas.messages import HttpReply
from exatlas.providers.vast import gpus, labels, regions, words
from exatlas.providers.vast.offers import Offer
from exatlas.providers.vast.secrets import CONTRACT, without_secrets
from exatlas.records.compute import Compute, ComputeStatus, PortBinding, SshAccess
from exatlas.transport.shape import Fields, body_of

MB_PER_GB = 1000
SYMMETRIC_FROM = 70000
"""A port from here up asks for equal numbers inside and outside; Vast chooses them."""

_PORT = re.compile(r"(\d{1,5})(?:/(tcp|udp))?", re.ASCII)
_PORT_OPTION = re.compile(r"-p \d+:(\d+)(?:/(tcp|udp))?", re.ASCII)


def instance(reply: HttpReply) -> Fields | None:
    """The instance in the reply to a single read; the key is plural, and null stands for one that is gone."""
    return body_of(reply).object("instances")


def page(reply: HttpReply, provider: str) -> tuple[list[Compute], str | None]:
    """One page of the list, and the cursor of the next or None."""
    body = body_of(reply)
    return [compute(item, provider) for item in body.required_objects("instances")], body.text("next_token") or None


def contract(reply: HttpReply) -> str:
    """The id of the instance that a create made."""
    body = body_of(reply)
    made = body.whole(CONTRACT)
    if made is None:
        raise ReplyShapeError(f"the reply has nothing at $.{CONTRACT}, where an id belongs", paths=[f"$.{CONTRACT}"])
    return str(made)


def contract_in(raw: Any) -> str | None:
    """The id of the instance that a refused create made all the same, or None."""
    made = raw.get(CONTRACT) if isinstance(raw, Mapping) else None
    return str(made) if isinstance(made, int) and not isinstance(made, bool) else None


def offers(reply: HttpReply) -> list[Offer]:
    """The offers that can be read and are whole. Strangers write them, and one odd row must not hide the market.

    Raises:
        ReplyShapeError: there are offers, and none of them can be read.
    """
    found: list[Offer] = []
    fault: ReplyShapeError | None = None
    for row in body_of(reply).required_objects("offers"):
        try:
            found += [offer] if (offer := _offer(row)) else []
        except ReplyShapeError as error:
            fault = error
    if fault is not None and not found:
        raise fault
    return found


def _offer(row: Fields) -> Offer | None:
    """One row; None for one without what a machine must have (some hosts leave their CPUs out)."""
    offer_id, gpu_name, base = row.whole("id"), text(row, "gpu_name"), row.decimal("dph_base")
    cores = row.number("cpu_cores")
    if offer_id is None or not gpu_name or base is None or not cores:
        return None
    return Offer(
        id=offer_id,
        machine_id=row.whole("machine_id"),
        gpu_name=gpu_name,
        gpu_count=row.whole("num_gpus") or 1,
        gpu_ram_mib=row.number("gpu_ram"),
        cpus=row.number("cpu_cores_effective"),
        memory_gb=_share_gb(row, cores),
        country=regions.country(row.text("geolocation")),
        hosting_type=row.whole("hosting_type"),
        base_usd_per_hour=base,
        storage_usd_per_gb_month=row.decimal("storage_cost") or Decimal(0),
        min_bid_usd_per_hour=row.decimal("min_bid"),
        raw=row.raw,
    )


def _share_gb(row: Fields, cores: float) -> float | None:
    """Memory of the offer: `cpu_ram` is the whole machine's, of which one gets the share of its cores."""
    whole_mb, mine = row.number("cpu_ram"), row.number("cpu_cores_effective")
    return None if whole_mb is None or mine is None else round(whole_mb * mine / cores / MB_PER_GB, 1)


def machine_of_volume(reply: HttpReply, volume_id: str) -> int | None:
    """The machine that a volume lies on; None for a volume that the account does not have."""
    volumes = body_of(reply).required_objects("volumes")
    return next((item.whole("machine_id") for item in volumes if item.whole("id") == int(volume_id)), None)


def compute(item: Fields, provider: str) -> Compute:
    """One instance."""
    compute_id = item.whole("id")
    if compute_id is None:
        raise ReplyShapeError(f"the reply has nothing at {item.path}.id", paths=[f"{item.path}.id"])
    label = labels.read(text(item, "label"))
    gpu_name, mib = text(item, "gpu_name"), item.number("gpu_ram")
    seen = words.status(state(item))
    public_ip = text(item, "public_ipaddr")
    mapped = _mapped(item) if seen in (ComputeStatus.RUNNING, ComputeStatus.PROVISIONING) else {}
    cpus, cores = item.number("cpu_cores_effective"), item.number("cpu_cores")
    return Compute(
        id=str(compute_id),
        provider=provider,
        status=seen,
        name=label.name,
        launch_id=label.launch_id,
        image=text(item, "image_uuid"),
        gpu_type=gpus.canonical(gpu_name, mib),
        gpu_native=gpu_name,
        gpu_count=item.whole("num_gpus") or 0,
        cpus=None if cpus is None else round(cpus),
        memory_gb=_share_gb(item, cores) if cores else None,
        cost_usd_per_hour=_cost(item, seen),
        region=text(item, "country_code") or regions.country(text(item, "geolocation")),
        public_ip=public_ip,
        ports=bindings(_declared(item.any("extra_env")), mapped, public_ip),
        ssh=_ssh(item, mapped, public_ip),
        created_at=_instant(item, "start_date"),
        raw=without_secrets(item.raw),
    )


def state(item: Fields) -> words.State:
    """The five fields that say what an instance is up to."""
    return words.State(
        intended=_word(item, "intended_status"),
        current=_word(item, "cur_state"),
        next=_word(item, "next_state"),
        actual=_word(item, "actual_status"),
        message=text(item, "status_msg"),
    )


def text(item: Fields, key: str) -> str | None:
    """A text without the blanks and line breaks at its ends; nothing for an empty one."""
    return (item.text(key) or "").strip() or None


def _word(item: Fields, key: str) -> str | None:
    return (text(item, key) or "").lower() or None


def _cost(item: Fields, seen: ComputeStatus) -> Decimal | None:
    """What it bills now: a stopped one its disk, a gone one nothing."""
    if seen is ComputeStatus.TERMINATED:
        return Decimal(0)
    return item.decimal("storage_total_cost" if seen is ComputeStatus.STOPPED else "dph_total")


def _instant(item: Fields, key: str) -> datetime | None:
    seconds = item.number(key)
    try:
        return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise ReplyShapeError("expected seconds since 1970", paths=[f"{item.path}.{key}"]) from error


Port = tuple[int, str]
"""Number inside, protocol."""


def _mapped(item: Fields) -> dict[Port, int]:
    """Port inside → number outside, as docker tells it. Only a running instance has them."""
    ports = item.object("ports")
    found: dict[Port, int] = {}
    for key in ports.raw if ports else ():
        inside = _PORT.fullmatch(key)
        ways = ports.objects(key) if ports else []
        outside = next((way for way in ways if way.text("HostIp") != "::"), ways[0] if ways else None)
        if inside and outside:
            found[int(inside[1]), inside[2] or "tcp"] = _port_number(outside)
    return found


def _port_number(way: Fields) -> int:
    """`HostPort` is a text with a number in it."""
    value = way.any("HostPort")
    if isinstance(value, str) and value.strip().isdecimal():
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ReplyShapeError("expected a port number", paths=[f"{way.path}.HostPort"])


def _declared(extra_env: Any) -> list[Port]:
    """The ports asked for, which stand among the variables as options of docker's."""
    if isinstance(extra_env, Mapping):
        options: Iterable[Any] = extra_env
    else:
        options = (item[0] if isinstance(item, list) and item else item for item in extra_env or ())
    found = (_PORT_OPTION.fullmatch(option) for option in options if isinstance(option, str))
    return [(int(port[1]), port[2] or "tcp") for port in found if port]


def bindings(declared: Iterable[Port], mapped: Mapping[Port, int], ip: str | None) -> tuple[PortBinding, ...]:
    """The ports asked for, each with what is mapped to it by now; then those that the image exposes by itself."""
    left = dict(mapped)
    found = []
    for port, protocol in declared:
        inside = port if port < SYMMETRIC_FROM else _symmetric(left, protocol) or port
        found.append(_binding(inside, protocol, left.pop((inside, protocol), None), ip))
    return (*found, *(_binding(port, protocol, out, ip) for (port, protocol), out in sorted(left.items())))


def _symmetric(mapped: Mapping[Port, int], protocol: str) -> int | None:
    """A port that is the same inside and outside; which one Vast gave is nowhere else to be read."""
    same = (port for (port, kind), outside in sorted(mapped.items()) if kind == protocol and port == outside)
    return next(same, None)


def _binding(port: int, protocol: str, outside: int | None, ip: str | None) -> PortBinding:
    if outside is None or not ip:
        return PortBinding(internal=port, protocol=protocol)
    host = f"[{ip}]" if ":" in ip else ip
    return PortBinding(internal=port, external=outside, protocol=protocol, url=f"{protocol}://{host}:{outside}")


def _ssh(item: Fields, mapped: Mapping[Port, int], ip: str | None) -> SshAccess | None:
    """The direct way in where port 22 is mapped, else Vast's proxy, which only its own launch modes answer."""
    if ip and (22, "tcp") in mapped:
        return SshAccess(host=ip, port=mapped[22, "tcp"])
    mode = text(item, "image_runtype") or ""
    host, port = text(item, "ssh_host"), item.whole("ssh_port")
    if host is None or port is None or not ("ssh" in mode or "jupyter" in mode):
        return None
    return SshAccess(host=host, port=port + 1 if "jupyter" in mode else port)
