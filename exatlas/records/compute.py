"""One rented thing that runs: what we ask for, and what we got."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, Literal, TypedDict

from attrs import field, frozen

from exatlas.errors import ValidationError
from exatlas.records import checks
from exatlas.records.checks import rule


class ComputeStatus(StrEnum):
    """Where a compute is in its life. Words a cloud adds later become `unknown`, with one warning."""

    PROVISIONING = "provisioning"
    """Being placed, or its image is being pulled. It may already bill."""
    RUNNING = "running"
    """Its container is up; nothing is said about a server inside it listening."""
    STOPPING = "stopping"
    STOPPED = "stopped"
    """Paused: no compute bill, but kept disks usually cost something."""
    TERMINATING = "terminating"
    TERMINATED = "terminated"
    """Gone for good."""
    FAILED = "failed"
    """The cloud gave up on it; it may still have to be terminated."""
    UNKNOWN = "unknown"

    @property
    def is_terminal(self) -> bool:
        """Whether it can never run again. A failed compute is not terminal: it can still hold a machine."""
        return self is ComputeStatus.TERMINATED


Protocol = Literal["http", "tcp", "udp"]

MOST_DIGITS = 20
"""Of a port in text; reading thousands of them would raise."""


@frozen(kw_only=True)
class PortSpec:
    """A port asked for. Where a list of ports is expected, ``(8000, "http")`` and ``"8000/http"`` do as well."""

    port: int = field(metadata=rule(checks.whole(1)))
    """The port inside the container. Some clouds give numbers above 65535 a meaning of their own."""
    protocol: Protocol = field(default="http", metadata=rule(checks.member("http", "tcp", "udp")))

    def __attrs_post_init__(self) -> None:
        checks.validate(self)

    def __str__(self) -> str:
        return f"{self.port}/{self.protocol}"


def as_port(value: Any) -> Any:
    """Read ``(8000, "http")`` or ``"8000/http"``; anything else is left for the rule to refuse."""
    if isinstance(value, str):
        number, _, protocol = value.partition("/")
        is_number = number.isdecimal() and len(number) < MOST_DIGITS
        return PortSpec(port=int(number), protocol=_protocol(protocol)) if is_number and protocol else value
    if isinstance(value, tuple | list) and len(value) == 2:
        return PortSpec(port=value[0], protocol=_protocol(value[1]))
    return value


def _protocol(word: Any) -> Any:
    return word.lower() if isinstance(word, str) else word


def _as_names(value: Any) -> Any:
    return None if value is None else checks.as_strings(value)


def _as_status(value: Any) -> Any:
    return ComputeStatus(value) if value in tuple(ComputeStatus) else value


def as_ports(value: Any) -> Any:
    """Read a list of ports, each in any accepted form; what is none stays, for the rule to name."""
    collection = isinstance(value, list | tuple | set | frozenset)
    return tuple(as_port(item) if _port_fault(item) is None else item for item in value) if collection else value


def _port_fault(item: Any) -> str | None:
    try:
        spec = as_port(item)
    except ValidationError as error:
        return "; ".join(error.faults)
    return (
        None
        if isinstance(spec, PortSpec)
        else f"expected one such as (8000, 'http') or '8000/http', {checks.given(item)}"
    )


def ports(value: object) -> str | None:
    """Distinct ports, each with its protocol."""
    if not isinstance(value, tuple):
        return f"expected a list of ports such as (8000, 'http') or '8000/http', {checks.given(value)}"
    faults = [f"[{index}] {fault}" for index, item in enumerate(value) if (fault := _port_fault(item))]
    if faults:
        return "; ".join(faults)
    return None if len(set(value)) == len(value) else "the same port is listed twice"


def _hidden_values(env: Any) -> str:
    return f"{{{', '.join(f'{name!r}: ***' for name in env)}}}" if isinstance(env, Mapping) else "***"


class ComputeFields(TypedDict, total=False):
    """The keyword arguments that `spawn_compute` and `rent` turn into a :class:`ComputeRequest`."""

    gpu: str | list[str] | tuple[str, ...] | None
    gpu_count: int
    cpus: int | None
    memory_gb: int | None
    image: str | None
    command: str | list[str] | tuple[str, ...] | None
    cloud_type: Literal["secure", "community", "any"]
    spot: bool
    region_hints: str | list[str] | tuple[str, ...]
    ports: list[PortSpec | tuple[int, str] | str] | tuple[PortSpec | tuple[int, str] | str, ...]
    env: Mapping[str, str]
    volume_gb: int | None
    container_disk_gb: int | None
    network_volume_id: str | None
    name: str | None
    template_id: str | None
    auth: Literal["none", "bearer", "signed_url"]
    idle_ttl: float | timedelta | None
    ssh_keys: str | list[str] | tuple[str, ...]
    provider_opts: Mapping[str, Any]


@frozen(kw_only=True)
class ComputeRequest:
    """A machine, described without naming a cloud.

    Building one checks every field and raises one :class:`exatlas.ValidationError` that lists all faults.
    A field that the chosen provider cannot honour is an :class:`exatlas.UnsupportedError`, never ignored.
    """

    gpu: tuple[str, ...] | None = field(
        default=None,
        converter=_as_names,
        metadata=rule(checks.optional(checks.texts)),
    )
    """Canonical names (`h100`, `rtx_4090`) or the cloud's own ids, tried in order; None rents a CPU machine."""
    gpu_count: int = field(default=1, metadata=rule(checks.whole(1)))
    """GPUs per machine; more than one needs a `gpu`."""
    cpus: int | None = field(default=None, metadata=rule(checks.optional(checks.whole(1))))
    """Virtual CPUs; None leaves the choice to the cloud."""
    memory_gb: int | None = field(default=None, metadata=rule(checks.optional(checks.whole(1))))
    """Main memory in GB; None leaves the choice to the cloud."""
    image: str | None = field(default=None, metadata=rule(checks.optional(checks.text)))
    """Container image reference. Needed unless `template_id` brings one."""
    command: tuple[str, ...] = field(default=(), converter=checks.as_strings, metadata=rule(checks.texts))
    """Arguments for the image's entrypoint; a lone string is a list of one."""
    cloud_type: Literal["secure", "community", "any"] = field(
        default="any", metadata=rule(checks.member("secure", "community", "any"))
    )
    """`any` prefers secure capacity and falls back to community capacity."""
    spot: bool = field(default=False, metadata=rule(checks.flag))
    """Accept capacity that may be taken back."""
    region_hints: tuple[str, ...] = field(default=(), converter=checks.as_strings, metadata=rule(checks.texts))
    """Regions as the provider spells them, in order of preference; empty means anywhere."""
    ports: tuple[PortSpec, ...] = field(default=(), converter=as_ports, metadata=rule(ports))
    env: Mapping[str, str] = field(
        factory=dict,
        converter=checks.as_dict,
        repr=_hidden_values,
        hash=False,
        metadata=rule(checks.string_map) | {"secret": True},
    )
    """Environment of the container. Values are treated as secrets: never shown, never serialised unless asked for."""
    volume_gb: int | None = field(default=None, metadata=rule(checks.optional(checks.whole(1))))
    """Disk that survives a stop and dies with the machine."""
    container_disk_gb: int | None = field(default=None, metadata=rule(checks.optional(checks.whole(1))))
    """Disk that dies with the container."""
    network_volume_id: str | None = field(default=None, metadata=rule(checks.optional(checks.text)))
    """Existing storage that outlives the machine."""
    name: str | None = field(default=None, metadata=rule(checks.optional(checks.text)))
    """A name for people. A launch id is appended where the cloud has no better place for it."""
    template_id: str | None = field(default=None, metadata=rule(checks.optional(checks.text)))
    auth: Literal["none", "bearer", "signed_url"] = field(
        default="none", metadata=rule(checks.member("none", "bearer", "signed_url"))
    )
    """Mint a secret, put it into the machine's environment, and hand it back as `Compute.auth`."""
    idle_ttl: timedelta | None = field(
        default=None, converter=checks.as_span, metadata=rule(checks.optional(checks.positive_span))
    )
    """End the machine after this long without a sign of life (seconds or timedelta). Needs a tracked session."""
    ssh_keys: tuple[str, ...] = field(default=(), converter=checks.as_strings, metadata=rule(checks.texts))
    """Public keys to install, or names of keys the cloud already holds, as the provider documents."""
    provider_opts: Mapping[str, Any] = field(
        factory=dict, converter=checks.as_dict, repr=False, hash=False, metadata=rule(checks.json_object)
    )
    """Merged deeply into the cloud's own request body, last and unchecked."""

    def __attrs_post_init__(self) -> None:
        checks.validate(self, *self._faults_between_fields())

    def _faults_between_fields(self) -> list[str]:
        faults = []
        if self.image is None and self.template_id is None:
            faults.append("image: expected an image reference, or a template_id that brings one")
        if self.gpu == ():
            faults.append("gpu: expected at least one name, or None for a CPU machine")
        if self.gpu is None and self.gpu_count != 1 and checks.whole(1)(self.gpu_count) is None:
            faults.append("gpu_count: needs a gpu")
        return faults


@frozen(kw_only=True)
class PortBinding:
    """A port obtained: where it is inside, and how to reach it from outside."""

    internal: int
    external: int | None = None
    """The public port number; None while unmapped, and always for ports behind an HTTPS proxy."""
    protocol: str = "http"
    url: str | None = None
    """Where a client connects (`https://…`, `tcp://host:port`); None until the cloud has mapped it."""


@frozen(kw_only=True)
class SshAccess:
    """How to get a shell."""

    host: str
    port: int = 22
    username: str = "root"
    command: str | None = None
    """The cloud's own ready-made command line, where it gives one."""


@frozen(kw_only=True)
class AuthHandle:
    """The secret that a freshly spawned machine shares with us. It is handed out once, by `spawn_compute`."""

    scheme: Literal["bearer", "signed_url"]
    token: str | None = field(default=None, repr=False, metadata={"secret": True})
    """The bearer token, or the key that signs URLs. None on a record that went through serialisation."""
    hash: str
    """SHA-256 of the token in hexadecimal: what to store and compare against."""

    @property
    def header(self) -> dict[str, str]:
        """The request header a client sends; empty for signed URLs and once the token is gone."""
        return {"Authorization": f"Bearer {self.token}"} if self.scheme == "bearer" and self.token else {}


@frozen(kw_only=True)
class Compute:
    """One rented machine, as last seen. A snapshot: it never fetches by itself."""

    id: str
    provider: str
    status: ComputeStatus
    name: str | None = None
    launch_id: str | None = None
    """The mark exatlas wrote on the machine at spawn; None for machines that others made."""
    image: str | None = None
    gpu_type: str | None = None
    """Canonical name where known, else None; None for CPU machines."""
    gpu_native: str | None = None
    """The cloud's own id of the GPU."""
    gpu_count: int = 0
    cpus: int | None = None
    memory_gb: float | None = None
    cost_usd_per_hour: Decimal | None = None
    """What the whole machine bills now; None where the cloud does not say."""
    region: str | None = None
    public_ip: str | None = None
    ports: tuple[PortBinding, ...] = ()
    ssh: SshAccess | None = None
    auth: AuthHandle | None = None
    """Set by the `spawn_compute` that minted it, and by nothing else."""
    created_at: datetime | None = None
    """Aware, UTC."""
    raw: Mapping[str, Any] = field(factory=dict, repr=False, hash=False)
    """The cloud's own body, with secrets removed."""


@frozen(kw_only=True)
class ComputeFilter:
    """Which machines `list_compute` should give; None in a field means any."""

    status: ComputeStatus | None = field(
        default=None,
        converter=_as_status,
        metadata=rule(checks.optional(checks.member(*ComputeStatus))),
    )
    name: str | None = field(default=None, metadata=rule(checks.optional(checks.text)))
    """The exact name, or the name given at spawn (before the launch id was appended)."""
    region: str | None = field(default=None, metadata=rule(checks.optional(checks.text)))
    gpu: str | None = field(default=None, metadata=rule(checks.optional(checks.text)))
    """Canonical or native."""

    def __attrs_post_init__(self) -> None:
        checks.validate(self)

    def admits(self, compute: Compute) -> bool:
        """Whether the compute passes every field that is set. Providers may pre-filter; this decides."""
        return (
            (self.status is None or compute.status is self.status)
            and (self.name is None or self.name in _names(compute))
            and (self.region is None or compute.region == self.region)
            and (self.gpu is None or self.gpu in (compute.gpu_type, compute.gpu_native))
        )


def _names(compute: Compute) -> tuple[str | None, ...]:
    if compute.name and compute.launch_id:
        return compute.name, compute.name.removesuffix(f"-{compute.launch_id}")
    return (compute.name,)
