"""Serverless endpoints: what runs jobs. An endpoint with `workers_min` above zero bills around the clock.

Source: https://docs.runpod.io/api-reference-v2 (`/v2/serverless`), read 2026-11-23.
"""

import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

from attrs import field, frozen

from exatlas.errors import ValidationError, faults_of
from exatlas.protocols import Context
from exatlas.providers.runpod import gpus
from exatlas.providers.runpod.flavors import is_size
from exatlas.providers.runpod.normalize import without_env
from exatlas.providers.runpod.resources import Kind
from exatlas.providers.runpod.translate import CPU_DISK_GB, milliseconds
from exatlas.records import checks
from exatlas.transport.calls import merge
from exatlas.transport.shape import Fields

_KIND = Kind("endpoint", "/serverless", "endpoints")

SHORTEST_QUEUE_DELAY_S = 0.5
LONGEST_IDLE = timedelta(hours=1)
DEFAULT_TIMEOUT = timedelta(minutes=5)

EndpointType = Literal["QUEUE", "LOAD_BALANCER"]
FlashBoot = Literal["OFF", "FLASHBOOT", "PRIORITY_FLASHBOOT"]


@frozen(kw_only=True)
class Endpoint:
    """One endpoint. Its id is what `run_job(endpoint=…)` takes. Values of its variables are not kept."""

    id: str
    name: str | None = None
    type: str | None = None
    """`QUEUE` takes jobs; `LOAD_BALANCER` takes any HTTP request at its own host name."""
    image: str | None = None
    pools: tuple[str, ...] = ()
    gpu_count: int | None = None
    workers_min: int | None = None
    workers_max: int | None = None
    idle_timeout: timedelta | None = None
    execution_timeout: timedelta | None = None
    """For jobs whose policy does not say; zero has been seen and means what RunPod makes of it."""
    flashboot: str | None = None
    regions: tuple[str, ...] = ()
    network_volume_ids: tuple[str, ...] = ()
    urls: Mapping[str, str] = field(factory=dict, hash=False)
    """Where to send what, by RunPod's words (`run`, `status`, `base`, …), with `{job_id}` to be filled in."""
    created_at: datetime | None = None
    raw: Mapping[str, Any] = field(factory=dict, repr=False, hash=False)


async def create(
    ctx: Context,
    *,
    name: str,
    image: str | None = None,
    template_id: str | None = None,
    type: EndpointType = "QUEUE",  # noqa: A002 - RunPod's own word for it
    gpu: str | Sequence[str] | None = None,
    gpu_count: int = 1,
    cpus: int | None = None,
    cpu_flavor: str = "cpu5c",
    queue_delay: float | timedelta | None = None,
    request_count: int | None = None,
    workers_min: int = 0,
    workers_max: int = 3,
    idle_timeout: float | timedelta | None = None,
    execution_timeout: float | timedelta = DEFAULT_TIMEOUT,
    command: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    container_disk_gb: int | None = None,
    region_hints: Sequence[str] = (),
    network_volume_ids: Sequence[str] = (),
    flashboot: FlashBoot = "OFF",
    provider_opts: Mapping[str, Any] | None = None,
) -> Endpoint:
    """Create an endpoint.

    Args:
        gpu: Serverless pools (`ADA_24`), or GPU names and ids whose pool is known. None with `cpus` for CPU workers.
        queue_delay: Add workers when jobs wait longer (seconds or timedelta). The default for queues is 4 s.
        request_count: Add workers by requests in flight instead; the only way for load balancers, where it defaults
            to 4.
        idle_timeout: How long a worker waits for another job, up to one hour (seconds or timedelta). RunPod refuses
            it for queues that scale by `request_count`.
        provider_opts: Merged deeply into RunPod's own body, last.

    Raises:
        OutcomeUnknownError: it may have been created; look at :func:`list` before trying again.
    """
    delay, idle, longest = checks.as_span(queue_delay), checks.as_span(idle_timeout), checks.as_span(execution_timeout)
    pools = checks.as_strings(gpu)
    by_count = type == "LOAD_BALANCER" or request_count is not None
    faults = faults_of(
        {
            "name": checks.text(name),
            "image": None if image or template_id else "expected an image reference, or a template_id that brings one",
            "type": checks.member("QUEUE", "LOAD_BALANCER")(type),
            "gpu": checks.texts(pools) or _one_of(pools, cpus),
            "gpu_count": checks.whole(1)(gpu_count),
            "cpus": checks.optional(_cpus)(cpus),
            "queue_delay": checks.optional(_delay)(delay) or _one_scaling(delay, by_count),
            "request_count": checks.optional(checks.whole(1))(request_count),
            "workers_min": checks.whole(0)(workers_min),
            "workers_max": checks.whole(0)(workers_max) or _at_least(workers_max, workers_min),
            "idle_timeout": checks.optional(_idle)(idle) or _idle_allowed(idle, type, by_count),
            "execution_timeout": checks.positive_span(longest),
            "command": checks.texts(checks.as_strings(command)),
            "env": checks.string_map(env or {}),
            "container_disk_gb": checks.optional(checks.whole(1))(container_disk_gb),
            "region_hints": checks.texts(checks.as_strings(region_hints)),
            "network_volume_ids": checks.texts(checks.as_strings(network_volume_ids)),
            "flashboot": checks.member("OFF", "FLASHBOOT", "PRIORITY_FLASHBOOT")(flashboot),
        }
    )
    if faults:
        raise ValidationError("endpoint", faults, provider=ctx.provider, operation="create_endpoint")
    workers = {"min": workers_min, "max": workers_max}
    if idle is not None:
        workers["idleTimeout"] = round(idle.total_seconds())
    optional = {
        "image": image,
        "templateId": template_id,
        "gpu": {"pools": [_pool(pool) for pool in pools], "count": gpu_count} if pools else None,
        "cpu": [{"id": cpu_flavor, "vcpuCount": cpus}] if cpus else None,
        "args": shlex.join(checks.as_strings(command)),
        "env": dict(env or {}),
        "disk": container_disk_gb or (None if template_id else CPU_DISK_GB),
        "dataCenterIds": [*checks.as_strings(region_hints)],
        "networkVolumes": [*checks.as_strings(network_volume_ids)],
    }
    body = {
        "name": name,
        "type": type,
        "scaling": _scaling(by_count, delay, request_count),
        "workers": workers,
        "timeout": milliseconds(longest),
        "flashboot": flashboot,
        **{key: value for key, value in optional.items() if value},
    }
    return await _KIND.create(ctx, merge(body, provider_opts or {}), _read)


async def list(ctx: Context) -> tuple[Endpoint, ...]:  # noqa: A001 - read as `endpoints.list`
    """Every endpoint of the account."""
    return await _KIND.list(ctx, _read)


async def get(ctx: Context, endpoint_id: str) -> Endpoint:
    """Read one endpoint. Raises NotFoundError."""
    return await _KIND.get(ctx, endpoint_id, _read)


async def delete(ctx: Context, endpoint_id: str) -> None:
    """Delete an endpoint with its queue and workers. One that is gone already is not an error."""
    await _KIND.delete(ctx, endpoint_id)


def _pool(name: str) -> str:
    return gpus.known_pool(name) or name


def _scaling(by_count: bool, delay: timedelta | None, count: int | None) -> dict[str, Any]:
    if by_count:
        return {"type": "REQUEST_COUNT", "requestCount": count or 4}
    return {"type": "QUEUE_DELAY", "queueDelay": delay.total_seconds() if delay else 4}


def _one_of(pools: Any, cpus: int | None) -> str | None:
    return None if bool(pools) is (cpus is None) else "expected either gpu or cpus"


def _one_scaling(delay: Any, by_count: bool) -> str | None:
    return "expected None where workers scale by request_count" if delay is not None and by_count else None


def _cpus(value: int) -> str | None:
    return checks.whole(1)(value) or (None if is_size(value) else f"expected a power of two, at least 2, got {value}")


def _at_least(most: int, fewest: object) -> str | None:
    return f"expected at least workers_min, got {most}" if isinstance(fewest, int) and most < fewest else None


def _delay(value: object) -> str | None:
    if isinstance(value, timedelta) and value.total_seconds() >= SHORTEST_QUEUE_DELAY_S:
        return None
    return f"expected at least {SHORTEST_QUEUE_DELAY_S} s, {checks.given(value)}"


def _idle(value: object) -> str | None:
    if isinstance(value, timedelta) and timedelta(seconds=1) <= value <= LONGEST_IDLE:
        return None
    return f"expected 1 s to 1 h, {checks.given(value)}"


def _idle_allowed(idle: Any, type_: str, by_count: bool) -> str | None:
    if idle is not None and by_count and type_ == "QUEUE":
        return "expected None for a queue that scales by request_count"
    return None


def _read(body: Fields) -> Endpoint:
    gpu, workers, urls = body.object("gpu"), body.object("workers"), body.object("requestUrls")
    idle_s = workers.number("idleTimeout") if workers else None
    timeout_ms = body.number("timeout")
    return Endpoint(
        id=body.required_text("id"),
        name=body.text("name"),
        type=body.text("type"),
        image=body.text("image"),
        pools=gpu.texts("pools") if gpu else (),
        gpu_count=gpu.whole("count") if gpu else None,
        workers_min=workers.whole("min") if workers else None,
        workers_max=workers.whole("max") if workers else None,
        idle_timeout=None if idle_s is None else timedelta(seconds=idle_s),
        execution_timeout=None if timeout_ms is None else timedelta(milliseconds=timeout_ms),
        flashboot=body.text("flashboot"),
        regions=body.texts("dataCenterIds"),
        network_volume_ids=body.texts("networkVolumes"),
        urls={name: url for name, url in urls.raw.items() if isinstance(url, str)} if urls else {},
        created_at=body.instant("createdAt"),
        raw=without_env(body.raw),
    )
