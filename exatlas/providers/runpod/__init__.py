"""RunPod, and what only RunPod has.

::

    from exatlas.providers import runpod

    volume = await runpod.network_volumes.create(ctx, name="models", size_gb=100, region="EU-RO-1")
    await runpod.endpoint_health("abc123", ctx)
"""

from exatlas.protocols import Context
from exatlas.providers.runpod import endpoints, jobs, network_volumes, pods, templates
from exatlas.providers.runpod.endpoints import Endpoint
from exatlas.providers.runpod.jobs import EndpointHealth
from exatlas.providers.runpod.network_volumes import NetworkVolume
from exatlas.providers.runpod.provider import RunPodProvider
from exatlas.providers.runpod.templates import Template
from exatlas.records.compute import Compute
from exatlas.records.job import Job, JobRef

__all__ = [
    "PROVIDER",
    "Endpoint",
    "EndpointHealth",
    "NetworkVolume",
    "RunPodProvider",
    "Template",
    "endpoint_health",
    "endpoints",
    "network_volumes",
    "purge_queue",
    "restart",
    "retry_job",
    "templates",
]

PROVIDER = RunPodProvider


async def retry_job(job: Job | JobRef, ctx: Context) -> Job:
    """Queue a failed or timed-out job again: same id, same input, old output removed.

    Raises:
        InvalidRequestError, ConflictError: the job is in no state to be retried.
        NotFoundError: the job is past its retention.
        OutcomeUnknownError: the answer was lost, and the job still shows its old end.
    """
    return await jobs.retry(job, ctx)


async def endpoint_health(endpoint: str | Endpoint, ctx: Context) -> EndpointHealth:
    """Count an endpoint's jobs and workers: the first thing to read when a queue does not move."""
    return await jobs.health(_endpoint_id(endpoint), ctx)


async def purge_queue(endpoint: str | Endpoint, ctx: Context) -> int | None:
    """Drop every queued job of an endpoint and give their number; running jobs go on. Two calls in 10 s at most."""
    return await jobs.purge(_endpoint_id(endpoint), ctx)


async def restart(compute: str | Compute, ctx: Context) -> None:
    """Restart the container of a running machine in place; only its mounts survive.

    Raises:
        ConflictError: the machine is not running.
    """
    await pods.restart(compute.id if isinstance(compute, Compute) else compute, ctx)


def _endpoint_id(endpoint: str | Endpoint) -> str:
    return endpoint.id if isinstance(endpoint, Endpoint) else endpoint
