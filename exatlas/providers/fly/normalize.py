"""What Fly says, in our words. Pure: a reply or a decoded object in, records out.

Every field but an id is optional when read. A field of the wrong type is a ReplyShapeError with its path. `raw` keeps
the body without the values of any environment, without files' contents and without the secret of a lease.

Source: `Machine`, `OrgMachine`, `Volume`, `App` and `IPAssignment` of the Machines API's OpenAPI document and
superfly/fly-go, read 2026-11-23.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from attrs import frozen

from exatlas.launch import launch_of
from exatlas.messages import HttpReply
from exatlas.providers.fly import ids, ports, prices, words
from exatlas.providers.fly.ids import Place
from exatlas.providers.fly.ports import Addresses
from exatlas.providers.fly.sizes import MB_PER_GB
from exatlas.records.compute import Compute, ComputeStatus, PortBinding
from exatlas.transport.redact import REDACTED
from exatlas.transport.shape import Fields, body_of, objects_of

UNREACHABLE = "unreachable"
_UNPRICED = frozenset({ComputeStatus.FAILED, ComputeStatus.TERMINATING, ComputeStatus.UNKNOWN})


@frozen(kw_only=True)
class Volume:
    """Storage of one app in one region, on one host. It bills until it is deleted, attached or not."""

    id: str
    app: str
    name: str | None = None
    region: str | None = None
    size_gb: int | None = None
    state: str | None = None
    """In Fly's words."""
    attached_to: str | None = None
    """The machine that mounts it."""

    @property
    def is_gone(self) -> bool:
        """Whether it is deleted, or surely will be."""
        return self.state in words.GONE_VOLUMES


@frozen(kw_only=True)
class Region:
    """Where machines can be."""

    code: str
    name: str | None = None
    area: str | None = None
    deprecated: bool = False
    needs_paid_plan: bool = False


@frozen(kw_only=True)
class Scope:
    """What a token is good for."""

    orgs: tuple[str, ...]
    apps: tuple[str, ...]
    """The only apps of a token that is restricted to some."""


# --- machines ---


def compute(machine: Fields, app: str, provider: str) -> Compute:
    """One machine, from a read or from any list.

    A host that cannot be reached says nothing about its machines: their last known state is not taken for the present.
    """
    place = Place(app, machine.required_text("id"))
    config = machine.object("config") or machine.object("incomplete_config")
    metadata = metadata_of(machine)
    guest = config.object("guest") if config else None
    addresses = _addresses(metadata)
    name, region = machine.text("name"), machine.text("region")
    status = _status(machine)
    return Compute(
        id=str(place),
        provider=provider,
        status=status,
        name=name,
        launch_id=metadata.get(ids.LAUNCH) or launch_of(name),
        image=_image(machine, config),
        gpu_native=guest.text("gpu_kind") if guest else None,
        gpu_count=(guest.whole("gpus") or 0) if guest else 0,
        cpus=guest.whole("cpus") if guest else None,
        memory_gb=_memory_gb(guest),
        cost_usd_per_hour=_cost(status, config, guest, region),
        region=region,
        public_ip=addresses.any if ids.launch_of_app(app) else None,
        ports=_bindings(app, config, metadata, addresses),
        created_at=machine.instant("created_at"),
        raw={**without_secrets(machine.raw), "app_name": app},
    )


def is_ours(machine: Fields) -> bool:
    """Whether exatlas made it: an organisation has machines that others look after."""
    return ids.MANAGED in metadata_of(machine)


def metadata_of(machine: Fields) -> Mapping[str, str]:
    """What is written on a machine."""
    config = machine.object("config") or machine.object("incomplete_config")
    return _texts(config.object("metadata") if config else None)


def version_of(machine: Fields) -> str | None:
    """The version of its config."""
    return machine.text("instance_id")


def machines_of_app(reply: HttpReply) -> list[Fields]:
    """The machines in a list of one app."""
    return objects_of(reply.json())


def machines_of_org(reply: HttpReply) -> tuple[list[Fields], str | None, tuple[str, ...]]:
    """The machines of a page, the next cursor, and the regions that could not be asked."""
    body = body_of(reply)
    return body.objects("machines"), body.text("next_cursor") or None, body.texts("error_regions")


def without_secrets(machine: dict[str, Any]) -> dict[str, Any]:
    """A machine whose variables keep their names and lose their values, and whose files keep their paths."""
    hidden = {key: REDACTED for key in ("nonce",) if machine.get(key)}
    configs = {
        key: _clean_config(machine[key])
        for key in ("config", "incomplete_config")
        if isinstance(machine.get(key), dict)
    }
    return {**machine, **hidden, **configs}


def _clean_config(config: dict[str, Any]) -> dict[str, Any]:
    parts = {
        key: [_clean_config(part) if isinstance(part, dict) else part for part in config[key]]
        for key in ("processes", "containers")
        if isinstance(config.get(key), list)
    }
    return {**config, **parts, **_clean_env(config), **_clean_files(config)}


def _clean_env(config: dict[str, Any]) -> dict[str, Any]:
    env = config.get("env")
    return {"env": dict.fromkeys(env, REDACTED)} if isinstance(env, dict) else {}


def _clean_files(config: dict[str, Any]) -> dict[str, Any]:
    files = config.get("files")
    return {"files": [_clean_file(file) for file in files]} if isinstance(files, list) else {}


def _clean_file(file: Any) -> Any:
    return {**file, "raw_value": REDACTED} if isinstance(file, dict) and "raw_value" in file else file


def _status(machine: Fields) -> ComputeStatus:
    if machine.text("host_status") == UNREACHABLE:
        return ComputeStatus.UNKNOWN
    word = machine.text("state")
    return words.machine_status(word) if word else ComputeStatus.UNKNOWN


def _texts(fields: Fields | None) -> Mapping[str, str]:
    return {key: value for key, value in fields.raw.items() if isinstance(value, str)} if fields else {}


def _addresses(metadata: Mapping[str, str]) -> Addresses:
    return Addresses(
        ipv4=metadata.get(ids.IPV4), ipv6=metadata.get(ids.IPV6), shared_ipv4=metadata.get(ids.SHARED_IPV4)
    )


def _bindings(
    app: str, config: Fields | None, metadata: Mapping[str, str], addresses: Addresses
) -> tuple[PortBinding, ...]:
    """From the machine's services, or from our note of them where a list shows none."""
    exposed = ports.exposed_by(config.objects("services")) if config else []
    exposed = exposed or ports.read(metadata.get(ids.PORTS, ""))
    if ids.launch_of_app(app):
        return tuple(ports.binding(port, app, addresses) for port in exposed)
    return tuple(ports.unsure(port) for port in exposed)


def _image(machine: Fields, config: Fields | None) -> str | None:
    image = config.text("image") if config else None
    if image:
        return image
    parts = machine.object("image_ref")
    if parts is None or not parts.text("repository"):
        return None
    registry, repository, tag = (parts.text(key) for key in ("registry", "repository", "tag"))
    return f"{f'{registry}/' if registry else ''}{repository}{f':{tag}' if tag else ''}"


def _memory_gb(guest: Fields | None) -> float | None:
    memory_mb = guest.whole("memory_mb") if guest else None
    return None if memory_mb is None else memory_mb / MB_PER_GB


def _cost(status: ComputeStatus, config: Fields | None, guest: Fields | None, region: str | None) -> Decimal | None:
    """By the published formula; a stopped machine pays for its root file system, whose size is rarely told."""
    if status is ComputeStatus.TERMINATED:
        return Decimal(0)
    if config is None or guest is None or status in _UNPRICED:
        return None
    if status is ComputeStatus.STOPPED:
        rootfs = config.object("rootfs")
        size_gb = rootfs.whole("size_gb") if rootfs else None
        return None if size_gb is None else prices.rootfs_usd_per_hour(size_gb)
    kind, cpus, memory_mb = guest.text("cpu_kind"), guest.whole("cpus"), guest.whole("memory_mb")
    if kind is None or cpus is None or memory_mb is None or guest.any("gpu_kind"):
        return None
    return prices.usd_per_hour(kind, cpus, memory_mb, region)


# --- what machines live in and on ---


def addresses(reply: HttpReply) -> Addresses:
    """An app's public addresses. Private ones, which begin with `fdaa:`, and egress ones reach nobody from outside."""
    found: dict[str, str] = {}
    for item in body_of(reply).objects("ips"):
        slot, ip = address(item)
        if slot and ip:
            found.setdefault(slot, ip)
    return Addresses(**found)


def address(item: Fields) -> tuple[str | None, str | None]:
    """Which kind of public address it is, and the address."""
    ip = item.text("ip")
    kind = item.text("type") or ""
    if not ip or ip.startswith("fdaa:") or kind.startswith(("egress", "private")):
        return None, None
    if ":" in ip:
        return "ipv6", ip
    return ("shared_ipv4" if item.flag("shared") or kind == "shared_v4" else "ipv4"), ip


def volume(item: Fields, app: str) -> Volume:
    """One volume."""
    return Volume(
        id=item.required_text("id"),
        app=app,
        name=item.text("name"),
        region=item.text("region"),
        size_gb=item.whole("size_gb"),
        state=item.text("state"),
        attached_to=item.text("attached_machine_id") or None,
    )


def volumes(reply: HttpReply, app: str) -> list[Volume]:
    """The volumes of one app."""
    return [volume(item, app) for item in objects_of(reply.json())]


def scope(reply: HttpReply) -> Scope:
    """The organisations and apps of the tokens that were sent."""
    tokens = body_of(reply).objects("tokens")
    orgs = [org for token in tokens if (org := token.text("org_slug") or token.text("organization"))]
    restricted = [token.texts("apps") for token in tokens]
    apps = [app for names in restricted for app in names if app != "*"] if all(restricted) else []
    return Scope(orgs=tuple(dict.fromkeys(orgs)), apps=tuple(dict.fromkeys(apps)))


def regions(reply: HttpReply) -> list[Region]:
    """Every region. Fly's own client reads the keys in either letter case, so they may come in either."""
    body = body_of(reply)
    key = "regions" if body.any("regions") is not None else "Regions"
    return [
        Region(
            code=item.required_text("code"),
            name=item.text("name"),
            area=item.text("geo_region"),
            deprecated=item.flag("deprecated") or False,
            needs_paid_plan=item.flag("requires_paid_plan") or False,
        )
        for item in body.objects(key)
    ]


def nearest_region(reply: HttpReply) -> str | None:
    """The region next to whoever asks."""
    body = body_of(reply)
    return body.text("nearest") or body.text("Nearest") or None
