"""The RunPod provider: each operation translates, sends, and reads; the steps live beside their nouns."""

from collections.abc import AsyncGenerator
from typing import Any, ClassVar

from exatlas.capabilities import Capability
from exatlas.protocols import Context, ProviderSettings, UrlSetting
from exatlas.providers.runpod import callbacks, events, jobs, logs, pods
from exatlas.records.compute import Compute, ComputeFilter, ComputeRequest
from exatlas.records.gpu import GpuType
from exatlas.records.job import Job, JobChunk, JobRef, JobRequest, LogLine, StreamEvent


class RunPodProvider:
    """RunPod through REST v2 and the serverless runtime. Holds no state: everything comes with each call."""

    name: ClassVar[str] = "runpod"
    capabilities: ClassVar[frozenset[Capability]] = frozenset(
        {
            Capability.SERVERLESS,
            Capability.NETWORK_VOLUMES,
            Capability.HTTP_PROXY,
            Capability.RAW_TCP,
            Capability.SYMMETRIC_PORTS,
            Capability.WEBHOOKS,
            Capability.GLOBAL_NETWORKING,
            Capability.STOP_START,
            Capability.GPU_CATALOG,
            Capability.ENDPOINT_EVENTS,
            Capability.LOGS,
            Capability.CPU_ONLY,
        }
    )
    settings: ClassVar[ProviderSettings] = ProviderSettings(
        key_env=("RUNPOD_API_KEY",),
        urls={
            "rest": UrlSetting(default="https://api.runpod.io/v2", env="RUNPOD_REST_V2_URL"),
            "runtime": UrlSetting(default="https://api.runpod.ai/v2", env="RUNPOD_ENDPOINT_BASE_URL"),
            "balanced": UrlSetting(default="https://{endpoint}.api.runpod.ai"),
        },
    )

    async def spawn_compute(self, request: ComputeRequest, ctx: Context, /) -> Compute:
        """Rent one pod, trying GPUs and then clouds in order for as long as RunPod has none of the last.

        `region_hints` go into one create together; RunPod places the pod in one of them or refuses.

        Raises:
            ValidationError, UnsupportedError: RunPod cannot rent this; nothing was sent.
            NoCapacityError: nothing that was tried is free; the message lists it.
            OutcomeUnknownError: something may have been rented and was not found.
        """
        return await pods.spawn(request, ctx)

    async def get_compute(self, compute_id: str, ctx: Context, /) -> Compute:
        """Read one pod. A terminated one reads as terminated for a while, then raises NotFoundError (after 1 s)."""
        return await pods.get(compute_id, ctx)

    async def list_compute(self, filters: ComputeFilter, ctx: Context, /) -> list[Compute]:
        """Read all pods that pass the filter, newest first where the server says so. Cluster members are left out."""
        return await pods.list_all(filters, ctx)

    async def terminate(self, compute_id: str, ctx: Context, /) -> None:
        """Destroy the pod and its volume; a network volume is only detached.

        Repeating it is not an error, but takes 4 s: RunPod hides a new pod for a moment, so "no such pod" is believed
        only when it stays.

        Raises:
            ConflictError: the pod belongs to a cluster, which has to be deleted instead.
        """
        await pods.terminate(compute_id, ctx)

    async def stop(self, compute_id: str, ctx: Context, /) -> None:
        """Release the GPU. What is on the volume stays and is billed; the container's disk is lost."""
        await pods.stop(compute_id, ctx)

    async def start(self, compute_id: str, ctx: Context, /) -> None:
        """Bring a stopped pod back to the host it is tied to. Ports and addresses change.

        Raises:
            NoCapacityError: the host is full, or gave the pod no GPU. Terminate it and spawn a new one.
        """
        await pods.start(compute_id, ctx)

    async def list_gpu_types(self, ctx: Context, /) -> list[GpuType]:
        """Models, prices and stock for one GPU, per model and cloud. Two requests at once."""
        return await pods.list_gpu_types(ctx)

    async def run_job(self, request: JobRequest, ctx: Context, /) -> Job:
        """Submit once. In `sync` mode wait for the end, up to the timeout.

        Raises:
            OutcomeUnknownError: the answer was lost. There is no way to find the job, and it was not sent again.
        """
        return await jobs.run(request, ctx)

    async def get_job(self, job: JobRef, ctx: Context, /) -> Job:
        """Read one job. Results can be read for 30 minutes after the end, those of sync jobs for one."""
        return await jobs.get(job, ctx)

    def read_webhook(self, body: bytes, endpoint: str, /) -> Job:
        """Read what RunPod posts to a job's webhook. Proves nothing: see `exatlas.webhooks`. Raises ReplyShapeError."""
        return callbacks.read(body, endpoint, self.name)

    async def cancel_job(self, job: JobRef, ctx: Context, /) -> None:
        """Stop a queued or running job. Cancelling a finished one is not an error."""
        await jobs.cancel(job, ctx)

    def stream_job(self, job: JobRef, ctx: Context, /) -> AsyncGenerator[JobChunk, None]:
        """Yield chunks as they come. RunPod hands each out once: a reader elsewhere takes them from this one."""
        return jobs.stream(job, ctx)

    def stream_events(
        self, endpoint: str, path: str, body: Any, ctx: Context, /, *, done: str | None, idle_s: float
    ) -> AsyncGenerator[StreamEvent, None]:
        """Yield events of `openai/v1/…` on a queue endpoint, or of any other path on a load-balanced one."""
        return events.stream(endpoint, path, body, ctx, done=done, idle_s=idle_s)

    def stream_logs(
        self, compute_id: str, ctx: Context, /, *, tail: int | None, follow: bool
    ) -> AsyncGenerator[LogLine, None]:
        """Yield log lines, oldest first: the last `tail` (None: 100), then new ones while `follow`."""
        return logs.stream(compute_id, ctx, tail=tail, follow=follow)
