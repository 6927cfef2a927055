"""What Fly cannot take, said before anything is sent, and all of it at once.

A fault is a value that Fly refuses; a lack is a field that Fly has no way to honour. One fault makes the whole request
invalid; lacks alone make it unsupported here, so that another provider may be tried.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from exatlas.errors import ReplyShapeError, UnsupportedError, ValidationError
from exatlas.providers.fly import ids
from exatlas.providers.fly.options import Options
from exatlas.providers.fly.ports import HTTP, HTTPS, exposed_by, external_of
from exatlas.providers.fly.sizes import KINDS, PRESETS, ROOTFS_GB, Guest, fitting, with_memory
from exatlas.providers.fly.translate import services_of
from exatlas.records.compute import ComputeRequest
from exatlas.transport.shape import objects_of

NO_GPUS = "gpu: Fly.io ended its GPU machines on 2026-08-01; leave it out for a CPU machine, or take another provider"
LARGEST_PORT = 65535
LARGEST_VOLUME_GB = 500
LONGEST_NAME = 63
MARK_LENGTH = 13
MOST_TAIL_LINES = 100
"""The log API gives the last hundred lines and no way to ask for more."""
PLACES = frozenset({"apac", "eu", "na", "sa", "us", "usa", "any"})
"""Words for several regions, which a machine may go by and a volume may not."""

_APP = re.compile(r"[a-z0-9][a-z0-9-]*")
_TEXTS = ("app", "org", "size", "mount", "owner")

Check = Callable[[ComputeRequest, Options], str | None]


def check_spawn(request: ComputeRequest, options: Options, provider: str) -> Guest:
    """Refuse a machine Fly cannot rent, and give the size of one it can.

    Raises:
        ValidationError: a field has a value Fly refuses; lacks are listed along with the faults.
        UnsupportedError: Fly has no way to honour a field.
    """
    facts = {"provider": provider, "operation": "spawn_compute"}
    ill_typed = _ill_typed(request.provider_opts)
    if ill_typed:
        raise ValidationError("ComputeRequest", ill_typed, **facts)
    guest = guest_of(request, options)
    faults = [fault for check in _FAULTS if (fault := check(request, options))]
    lacks = [lack for check in _LACKS if (lack := check(request, options))]
    if faults:
        raise ValidationError("ComputeRequest", [*faults, *lacks], **facts)
    if lacks or guest is None:
        raise UnsupportedError("; ".join(lacks), **facts)
    return guest


def guest_of(request: ComputeRequest, options: Options) -> Guest | None:
    """The size a request asks for: a named one, with more memory if need be, or the cheapest that fits."""
    if options.size is None:
        return fitting(request.cpus, request.memory_gb)
    preset = PRESETS.get(options.size)
    if preset is None or request.memory_gb is None:
        return preset
    return with_memory(preset.cpu_kind, preset.cpus, request.memory_gb * 1024)


def check_tail(tail: object, provider: str) -> None:
    """Refuse a number of log lines Fly does not give."""
    if tail is None or (isinstance(tail, int) and not isinstance(tail, bool) and 0 <= tail <= MOST_TAIL_LINES):
        return
    fault = f"tail: expected a whole number from 0 to {MOST_TAIL_LINES} or None, got {tail!r:.40}"
    raise ValidationError("stream_logs", [fault], provider=provider, operation="stream_logs")


def _ill_typed(opts: Mapping[str, Any]) -> list[str]:
    faults = [
        f"provider_opts: expected {word!r} to be a non-empty string, got {type(opts[word]).__name__}"
        for word in _TEXTS
        if word in opts and not (isinstance(opts[word], str) and opts[word])
    ]
    if opts.get("ipv4", "dedicated") != "dedicated":
        faults.append("provider_opts: expected 'ipv4' to be 'dedicated', or to be left out")
    config = opts.get("config", {})
    if not isinstance(config, Mapping) or not isinstance(config.get("metadata", {}), Mapping):
        faults.append("provider_opts: expected 'config', and its 'metadata', to be mappings")
    return faults


def _app(_request: ComputeRequest, options: Options) -> str | None:
    if options.app is None or (_APP.fullmatch(options.app) and not ids.launch_of_app(options.app)):
        return None
    if ids.launch_of_app(options.app):
        return f"provider_opts: the app {options.app!r} has the name of one that goes with its machine; choose another"
    return f"provider_opts: expected an app of lower-case letters, digits and dashes, got {options.app!r:.80}"


def _size(request: ComputeRequest, options: Options) -> str | None:
    if options.size is None:
        return None
    if options.size not in PRESETS:
        return f"provider_opts: expected a size out of {', '.join(PRESETS)}; got {options.size!r:.40}"
    return "cpus: expected None, because provider_opts names a size" if request.cpus is not None else None


def _cpus(request: ComputeRequest, options: Options) -> str | None:
    sizes = sorted({number for kind in KINDS.values() for number in kind.cpus})
    if options.size is not None or request.cpus in (None, *sizes):
        return None
    return f"cpus: expected one of {', '.join(map(str, sizes))}, got {request.cpus}"


def _memory(request: ComputeRequest, options: Options) -> str | None:
    if request.memory_gb is None or guest_of(request, options) is not None:
        return None
    if _cpus(request, options) or _size(request, options):
        return None
    where = options.size or (f"{request.cpus} cpus" if request.cpus else "any number of cpus")
    return f"memory_gb: Fly has no machine with {request.memory_gb} GB and {where}"


def _port_numbers(request: ComputeRequest, _options: Options) -> str | None:
    high = [spec.port for spec in request.ports if spec.port > LARGEST_PORT]
    if high:
        return f"ports: expected numbers up to {LARGEST_PORT}, got {high[0]}"
    outside: dict[tuple[int, bool], int] = {}
    for port in external_of(request.ports):
        numbers = (HTTPS, HTTP) if port.kind == "https" and port.external == HTTPS else (port.external,)
        for number in numbers:
            other = outside.setdefault((number, port.kind == "udp"), port.internal)
            if other != port.internal:
                return f"ports: {other} and {port.internal} would both be reached at {number} (the first http port is)"
    return None


def _volume_size(request: ComputeRequest, _options: Options) -> str | None:
    if request.volume_gb is None or request.volume_gb <= LARGEST_VOLUME_GB:
        return None
    return f"volume_gb: expected at most {LARGEST_VOLUME_GB}, got {request.volume_gb}"


def _volumes(request: ComputeRequest, options: Options) -> str | None:
    if request.network_volume_id is None:
        return None
    if request.volume_gb is not None:
        return "volume_gb: expected None, because network_volume_id is set and a machine mounts only one of the two"
    if options.app is None or options.volume_id is None:
        return (
            "network_volume_id: a volume belongs to an app; expected 'app/vol_…', or the app's name as "
            "provider_opts={'app': …}"
        )
    return None


def _volume_places(request: ComputeRequest, _options: Options) -> str | None:
    vague = [hint for hint in request.region_hints if hint in PLACES or "," in hint]
    if request.volume_gb is None or not vague:
        return None
    return f"region_hints: a volume needs a single region such as 'iad', got {vague[0]!r}"


def _services(request: ComputeRequest, options: Options) -> str | None:
    """Services of the caller's own are read before they are sent, for the addresses and the note they need."""
    try:
        exposed_by(objects_of(services_of(request, options), "config.services"))
    except ReplyShapeError as error:
        return f"provider_opts: {error.paths[0]} cannot be a service of Fly's"
    return None


def _name(request: ComputeRequest, _options: Options) -> str | None:
    most = LONGEST_NAME - MARK_LENGTH
    if request.name is None or len(request.name) <= most:
        return None
    return f"name: expected at most {most} characters, because the launch id follows, got {len(request.name)}"


def _reserved(_request: ComputeRequest, options: Options) -> str | None:
    ours = {
        "name": "the launch id is in it; set the request's own name",
        "region": "set region_hints",
        "lease_ttl": "a lease whose secret nobody keeps locks everybody out",
    }
    found = [f"{key!r} ({why})" for key, why in ours.items() if key in options.body]
    metadata = options.body.get("config", {}).get("metadata", {})
    found += [f"metadata {key!r} (it is ours)" for key in metadata if key.startswith(ids.KEY_PREFIX)]
    return f"provider_opts: expected no {', '.join(found)}" if found else None


def _gpu(request: ComputeRequest, _options: Options) -> str | None:
    return NO_GPUS if request.gpu is not None else None


def _image(request: ComputeRequest, _options: Options) -> str | None:
    return "template_id: Fly has no templates" if request.template_id is not None else None


def _spot(request: ComputeRequest, _options: Options) -> str | None:
    if not request.spot:
        return None
    return "spot: undocumented at Fly; at your own risk provider_opts={'config': {'spot': {'max_price_fraction': …}}}"


def _community(request: ComputeRequest, _options: Options) -> str | None:
    return "cloud_type: Fly runs on its own hosts only" if request.cloud_type == "community" else None


def _ssh_keys(request: ComputeRequest, _options: Options) -> str | None:
    return "ssh_keys: Fly signs its own certificates (`fly ssh console`)" if request.ssh_keys else None


def _disk(request: ComputeRequest, _options: Options) -> str | None:
    if request.container_disk_gb is None or request.container_disk_gb <= ROOTFS_GB:
        return None
    return f"container_disk_gb: Fly's root file system has {ROOTFS_GB} GB; put more on a volume (volume_gb)"


def _udp(request: ComputeRequest, options: Options) -> str | None:
    udp = [str(spec) for spec in request.ports if spec.protocol == "udp"]
    if not udp or options.dedicated_ipv4:
        return None
    return f"ports: {', '.join(udp)} needs a dedicated IPv4 address ($2 a month): provider_opts={{'ipv4': 'dedicated'}}"


_FAULTS: Sequence[Check] = (
    _app,
    _size,
    _cpus,
    _memory,
    _port_numbers,
    _volume_size,
    _volumes,
    _volume_places,
    _services,
    _name,
    _reserved,
)
_LACKS: Sequence[Check] = (_gpu, _image, _spot, _community, _ssh_keys, _disk, _udp)
