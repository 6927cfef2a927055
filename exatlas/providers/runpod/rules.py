"""What RunPod cannot take, said before anything is sent, and all of it at once.

A fault is a value that RunPod refuses; a lack is a field that RunPod has no way to honour. One fault makes the whole
request invalid; lacks alone make it unsupported here, so that another provider may be tried.
"""

import logging
from collections.abc import Callable, Sequence
from datetime import timedelta

from exatlas.errors import UnsupportedError, ValidationError
from exatlas.providers.runpod.flavors import LARGEST_RATIO_GB, is_size
from exatlas.records.compute import ComputeRequest
from exatlas.records.job import JobRequest

log = logging.getLogger("exatlas.providers.runpod")

MOST_HTTP_PORTS = 10
SMALLEST_VOLUME_GB = 10
MOST_ENV_ENTRIES = 50
LARGEST_SUBMIT_BYTES = {"async": 10 * 1024 * 1024, "sync": 20 * 1024 * 1024}
"""Payload limits of `/run` and `/runsync`, for the whole body."""
LONGEST_POLICY = timedelta(days=7)
SHORTEST_EXECUTION = timedelta(seconds=5)
SHORTEST_TTL = timedelta(seconds=10)
MOST_TAIL_LINES = 5000

_KEY_PREFIXES = ("ssh-", "ecdsa-", "sk-ssh-", "sk-ecdsa-")

Check = Callable[[ComputeRequest], str | None]


def check_spawn(request: ComputeRequest, provider: str) -> None:
    """Refuse a machine RunPod cannot rent.

    Raises:
        ValidationError: a field has a value RunPod refuses; lacks are listed along with the faults.
        UnsupportedError: RunPod has no way to honour a field.
    """
    faults = [fault for check in _FAULTS if (fault := check(request))]
    lacks = [lack for check in _LACKS if (lack := check(request))]
    facts = {"provider": provider, "operation": "spawn_compute"}
    if faults:
        raise ValidationError("ComputeRequest", [*faults, *lacks], **facts)
    if lacks:
        capability = "spot" if request.spot and len(lacks) == 1 else None
        raise UnsupportedError("; ".join(lacks), capability=capability, **facts)
    if len(request.env) > MOST_ENV_ENTRIES:
        log.warning("the request sets %d variables; RunPod documents at most %d", len(request.env), MOST_ENV_ENTRIES)


def _cpus(request: ComputeRequest) -> str | None:
    if request.gpu is not None or request.cpus is None or is_size(request.cpus):
        return None
    return f"cpus: expected a power of two, at least 2, got {request.cpus}"


def _memory(request: ComputeRequest) -> str | None:
    if request.gpu is not None or request.memory_gb is None or request.cpus is None:
        return None
    most = LARGEST_RATIO_GB * request.cpus
    if request.memory_gb <= most:
        return None
    return f"memory_gb: expected at most {most} with {request.cpus} cpus, got {request.memory_gb}"


def _volume_size(request: ComputeRequest) -> str | None:
    if request.volume_gb is None or request.volume_gb >= SMALLEST_VOLUME_GB:
        return None
    return f"volume_gb: expected at least {SMALLEST_VOLUME_GB}, got {request.volume_gb}"


def _two_volumes(request: ComputeRequest) -> str | None:
    if request.volume_gb is None or request.network_volume_id is None:
        return None
    return "volume_gb: expected None, because network_volume_id is set and a pod mounts only one of the two"


def _http_ports(request: ComputeRequest) -> str | None:
    count = sum(spec.protocol == "http" for spec in request.ports)
    return f"ports: expected at most {MOST_HTTP_PORTS} http ports, got {count}" if count > MOST_HTTP_PORTS else None


def _http_port_numbers(request: ComputeRequest) -> str | None:
    high = [spec.port for spec in request.ports if spec.protocol == "http" and spec.port > 65535]
    return f"ports: expected http ports up to 65535, got {high[0]}" if high else None


def _ssh_keys(request: ComputeRequest) -> str | None:
    if all(key.startswith(_KEY_PREFIXES) and "\n" not in key.strip() for key in request.ssh_keys):
        return None
    return "ssh_keys: expected public keys, one per entry, such as 'ssh-ed25519 AAAA…' (RunPod holds no keys by name)"


def _two_key_sources(request: ComputeRequest) -> str | None:
    if request.ssh_keys and "PUBLIC_KEY" in request.env:
        return "ssh_keys: expected none, because env sets PUBLIC_KEY, which is how they would be handed over"
    return None


def _name_in_opts(request: ComputeRequest) -> str | None:
    if "name" in request.provider_opts:
        return "provider_opts: expected no 'name', which carries the launch id; set the request's own name"
    return None


def _spot(request: ComputeRequest) -> str | None:
    return "spot: RunPod sells no interruptible pods" if request.spot else None


def _udp(request: ComputeRequest) -> str | None:
    udp = [str(spec) for spec in request.ports if spec.protocol == "udp"]
    return f"ports: RunPod exposes http and tcp only, not {', '.join(udp)}" if udp else None


def _cpus_beside_gpu(request: ComputeRequest) -> str | None:
    return "cpus: RunPod sizes them by the GPU" if request.gpu and request.cpus is not None else None


def _memory_beside_gpu(request: ComputeRequest) -> str | None:
    return "memory_gb: RunPod sizes it by the GPU" if request.gpu and request.memory_gb is not None else None


def _volume_on_cpu(request: ComputeRequest) -> str | None:
    if request.gpu is None and request.volume_gb is not None:
        return "volume_gb: RunPod's CPU pods take a network volume or none"
    return None


def _secure_only(request: ComputeRequest) -> str | None:
    if request.cloud_type != "community":
        return None
    if request.gpu is None:
        return "cloud_type: RunPod's CPU pods run in the secure cloud only"
    if request.network_volume_id is not None:
        return "cloud_type: RunPod's network volumes are in the secure cloud only"
    return None


_FAULTS: Sequence[Check] = (
    _cpus,
    _memory,
    _volume_size,
    _two_volumes,
    _http_ports,
    _http_port_numbers,
    _ssh_keys,
    _two_key_sources,
    _name_in_opts,
)
_LACKS: Sequence[Check] = (_spot, _udp, _cpus_beside_gpu, _memory_beside_gpu, _volume_on_cpu, _secure_only)


def check_job(request: JobRequest, provider: str) -> None:
    """Refuse a job RunPod would refuse or lose. Raises ValidationError with every fault."""
    policy = request.policy
    faults = [
        _span("policy.execution_timeout", policy.execution_timeout, SHORTEST_EXECUTION),
        _span("policy.ttl", policy.ttl, SHORTEST_TTL),
    ]
    found = [fault for fault in faults if fault]
    if found:
        raise ValidationError("JobRequest", found, provider=provider, operation="run_job")


def check_submit_size(body: bytes, mode: str, provider: str) -> None:
    """Refuse a payload above RunPod's limit before it is sent."""
    most = LARGEST_SUBMIT_BYTES[mode]
    if len(body) > most:
        advice = "put large data into object storage and send its address"
        raise ValidationError(
            "JobRequest",
            [f"input: expected a request of at most {most // 1024 // 1024} MB, got {len(body)} bytes; {advice}"],
            provider=provider,
            operation="run_job",
        )


def check_tail(tail: object, provider: str) -> None:
    """Refuse a number of log lines RunPod does not give."""
    if tail is None or (isinstance(tail, int) and not isinstance(tail, bool) and 0 <= tail <= MOST_TAIL_LINES):
        return
    fault = f"tail: expected a whole number from 0 to {MOST_TAIL_LINES} or None, got {tail!r:.40}"
    raise ValidationError("stream_logs", [fault], provider=provider, operation="stream_logs")


def _span(field: str, value: timedelta | None, shortest: timedelta) -> str | None:
    if value is None or shortest <= value <= LONGEST_POLICY:
        return None
    return f"{field}: expected {shortest.total_seconds():g} s to 7 days, got {value.total_seconds():g} s"
