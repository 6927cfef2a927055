"""What we ask for, in RunPod's words. Pure: a request and a context in, calls out.

Source: REST v2 (`CreatePodRequest` and the pod, catalogue and log routes) and runpod/docs
`serverless/endpoints/operation-reference.mdx`, read 2026-11-23. Bodies are strict: an unknown field is a 422.
"""

import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from exatlas.messages import HttpCall, Repeat
from exatlas.protocols import Context
from exatlas.providers.runpod import calls
from exatlas.providers.runpod.flavors import choices
from exatlas.records.compute import ComputeRequest
from exatlas.records.job import JobPolicy, JobRef, JobRequest
from exatlas.transport.calls import as_json, env_values, merge, segment

GPU_DISK_GB = 50
CPU_DISK_GB = 20
"""Without a disk and without a template RunPod refuses the create with a text about something else."""
MOUNT_PATH = "/workspace"
PAGE_SIZE = 100
LONGEST_WAIT = timedelta(seconds=90)
"""How long `/runsync` is asked to hold its reply. It may be asked for 300 s, but that reply carries the job's id, and
a connection that breaks first leaves a job nobody can name; past the hold the job is polled by id."""
SHORTEST_WAIT_S = 1.0
READ_MARGIN_S = 15.0
"""What a held reply may take beyond its hold."""


def pod_bodies(request: ComputeRequest, gpu_ids: Sequence[str], name: str) -> list[dict[str, Any]]:
    """The bodies to try in order, one per GPU and cloud, without doubles.

    A GPU of higher preference comes before a cheaper cloud: all clouds of the first GPU, then the next GPU.
    """
    shapes = [{"gpu": {"id": gpu, "count": request.gpu_count}} for gpu in gpu_ids] or [
        {"cpu": {"id": choice.id, "vcpuCount": choice.vcpus}} for choice in choices(request.cpus, request.memory_gb)
    ]
    common = _pod_common(request, name)
    bodies: list[dict[str, Any]] = []
    for shape in shapes:
        for cloud in _clouds(request):
            body = merge({**common, **shape, "cloud": cloud}, request.provider_opts)
            if body not in bodies:
                bodies.append(body)
    return bodies


def _clouds(request: ComputeRequest) -> tuple[str, ...]:
    if request.cloud_type == "any":
        secure_only = request.gpu is None or request.network_volume_id is not None
        return ("SECURE",) if secure_only else ("SECURE", "COMMUNITY")
    return (request.cloud_type.upper(),)


def _pod_common(request: ComputeRequest, name: str) -> dict[str, Any]:
    default_disk = CPU_DISK_GB if request.gpu is None else GPU_DISK_GB
    optional = {
        "image": request.image,
        "disk": request.container_disk_gb or (None if request.template_id else default_disk),
        "dataCenterIds": list(request.region_hints),
        "ports": [str(spec) for spec in request.ports],
        "env": _env(request),
        "args": _args(request.command),
        "mounts": _mounts(request),
        "templateId": request.template_id,
        "startSsh": bool(request.ssh_keys),
    }
    return {"name": name, **{key: value for key, value in optional.items() if value}}


def _env(request: ComputeRequest) -> dict[str, str]:
    """The container's variables. RunPod's images start sshd with the keys in PUBLIC_KEY, and leave one that is set."""
    keys = {"PUBLIC_KEY": "\n".join(key.strip() for key in request.ssh_keys)} if request.ssh_keys else {}
    return {**request.env, **keys}


def _args(command: tuple[str, ...]) -> str | None:
    """RunPod takes one string and splits it itself; how is not documented, so it is quoted as a shell would need it."""
    return shlex.join(command) if command else None


def _mounts(request: ComputeRequest) -> dict[str, Any] | None:
    if request.network_volume_id:
        return {"network": [{"volumeId": request.network_volume_id, "path": MOUNT_PATH}]}
    if request.volume_gb:
        return {"persistent": {"size": request.volume_gb, "path": MOUNT_PATH}}
    return None


def spawn(body: Mapping[str, Any], ctx: Context) -> HttpCall:
    """Create one pod. There is no idempotency key: the name carries the launch id instead."""
    return calls.rest(ctx, "spawn_compute", "POST", "/pods", body=body, secrets=env_values(body))


def get_pod(compute_id: str, ctx: Context, operation: str = "get_compute") -> HttpCall:
    """Read one pod."""
    return calls.rest(ctx, operation, "GET", f"/pods/{_pod(compute_id)}", template="/pods/{id}")


def list_pods(cursor: str | None, ctx: Context, operation: str = "list_compute") -> HttpCall:
    """Read one page of pods. Servers that do not page ignore the query and send everything."""
    return calls.rest(ctx, operation, "GET", "/pods", query=page(cursor))


def page(cursor: str | None) -> dict[str, str]:
    """The query for one page of any list."""
    query = {"limit": str(PAGE_SIZE)}
    return {**query, "cursor": cursor} if cursor else query


def act(compute_id: str, action: str, ctx: Context) -> HttpCall:
    """Ask for a state transition: `start`, `stop` or `restart`."""
    path = f"/pods/{_pod(compute_id)}/action"
    return calls.rest(ctx, action, "POST", path, template="/pods/{id}/action", body={"action": action})


def delete_pod(compute_id: str, ctx: Context) -> HttpCall:
    """Terminate one pod."""
    return calls.rest(ctx, "terminate", "DELETE", f"/pods/{_pod(compute_id)}", template="/pods/{id}")


def _pod(compute_id: str) -> str:
    return segment(compute_id, "compute id")


def gpu_catalog(ctx: Context, cloud: str) -> HttpCall:
    """Read all GPU types with the stock of one cloud; the other cloud's stock takes a call of its own."""
    query = {"include": "AVAILABILITY", "product": "POD", "count": "1", "cloud": cloud}
    return calls.rest(ctx, "list_gpu_types", "GET", "/catalog/gpus", query=query)


def gpu_names(ctx: Context) -> HttpCall:
    """Read all GPU types without stock, to look a name up."""
    return calls.rest(ctx, "spawn_compute", "GET", "/catalog/gpus")


def logs(
    compute_id: str, ctx: Context, *, tail: int, after: str | None = None, since: datetime | None = None
) -> HttpCall:
    """Open the log stream: the last `tail` lines, or what came after an event id or an instant.

    The stream has no end, so only the wait for its head has a deadline.
    """
    query = {"tail": str(tail)}
    if since is not None and after is None:
        query = {"since": since.isoformat().replace("+00:00", "Z")}
    headers = {"accept": "text/event-stream", **({"last-event-id": after} if after else {})}
    path = f"/pods/{_pod(compute_id)}/logs"
    return calls.rest(ctx, "stream_logs", "GET", path, template="/pods/{id}/logs", query=query, headers=headers)


def job_body(request: JobRequest, ctx: Context) -> bytes:
    """The submit body. `policy` is left out unless something is set in it."""
    body: dict[str, Any] = {"input": request.input}
    if request.webhook:
        body["webhook"] = request.webhook
    if policy := _policy(request.policy):
        body["policy"] = policy
    return as_json(merge(body, request.provider_opts), "run_job", ctx)


def _policy(policy: JobPolicy) -> dict[str, Any]:
    """RunPod counts these in milliseconds."""
    wire: dict[str, Any] = {}
    if policy.execution_timeout is not None:
        wire["executionTimeout"] = milliseconds(policy.execution_timeout)
    if policy.ttl is not None:
        wire["ttl"] = milliseconds(policy.ttl)
    if policy.low_priority:
        wire["lowPriority"] = True
    return wire


def milliseconds(span: timedelta) -> int:
    """A duration in RunPod's unit for jobs."""
    return round(span / timedelta(milliseconds=1))


def run(request: JobRequest, body: bytes, ctx: Context) -> HttpCall:
    """Submit a job to the queue."""
    return calls.runtime(
        ctx,
        "run_job",
        "POST",
        request.endpoint,
        "run",
        body=body,
        repeat=Repeat.REFUSED,
        timeout_s=ctx.timeout_s or calls.WRITE_TIMEOUT_S,
        secrets=_job_secrets(request),
    )


def runsync(request: JobRequest, body: bytes, ctx: Context) -> HttpCall:
    """Submit a job and have the reply held until it ends, or for as long as the caller waits (90 s at most)."""
    wait = min(request.timeout or LONGEST_WAIT, LONGEST_WAIT).total_seconds()
    wait_s = max(min(wait, ctx.timeout_s or wait), SHORTEST_WAIT_S)
    return calls.runtime(
        ctx,
        "run_job",
        "POST",
        request.endpoint,
        "runsync",
        query={"wait": str(round(wait_s * 1000))},
        body=body,
        repeat=Repeat.REFUSED,
        timeout_s=wait_s + READ_MARGIN_S,
        secrets=_job_secrets(request),
    )


def _job_secrets(request: JobRequest) -> tuple[str, ...]:
    storage = request.provider_opts.get("s3Config")
    keys = (storage.get("accessId"), storage.get("accessSecret")) if isinstance(storage, Mapping) else ()
    return tuple(text for text in (request.webhook, *keys) if isinstance(text, str))


def status(job: JobRef, ctx: Context, operation: str = "get_job") -> HttpCall:
    """Read one job."""
    return calls.runtime(ctx, operation, "GET", job.endpoint, "status", job_id=job.id)


def cancel(job: JobRef, ctx: Context) -> HttpCall:
    """Cancel one job. Repeating it changes nothing."""
    return calls.runtime(ctx, "cancel_job", "POST", job.endpoint, "cancel", job_id=job.id)


def retry(job: JobRef, ctx: Context) -> HttpCall:
    """Queue a failed or timed-out job again, under the same id."""
    return calls.runtime(ctx, "retry_job", "POST", job.endpoint, "retry", job_id=job.id, repeat=Repeat.REFUSED)


def health(endpoint: str, ctx: Context) -> HttpCall:
    """Count an endpoint's jobs and workers."""
    return calls.runtime(ctx, "endpoint_health", "GET", endpoint, "health")


def purge(endpoint: str, ctx: Context) -> HttpCall:
    """Drop every queued job of an endpoint."""
    return calls.runtime(ctx, "purge_queue", "POST", endpoint, "purge-queue", repeat=Repeat.REFUSED)


def stream_poll(job: JobRef, hold_s: float, last_event_id: str | None, ctx: Context) -> HttpCall:
    """Drain what the job has put out, held up to `hold_s` seconds when there is nothing (0: do not ask for a hold).

    Each chunk is handed out once, so this call is never repeated by itself.
    """
    return calls.runtime(
        ctx,
        "stream_job",
        "GET",
        job.endpoint,
        "stream",
        job_id=job.id,
        query={"wait": str(round(max(hold_s, SHORTEST_WAIT_S) * 1000))} if hold_s else None,
        headers={"last-event-id": last_event_id} if last_event_id else None,
        repeat=Repeat.NEVER,
        timeout_s=hold_s + READ_MARGIN_S,
    )
