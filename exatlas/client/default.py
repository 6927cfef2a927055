"""The module functions, and the default client behind them: one per event loop, closed with it."""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import AbstractAsyncContextManager
from threading import Lock
from typing import Any, Unpack, overload
from weakref import WeakKeyDictionary

from exatlas.client.arguments import (
    CallOptions,
    EventOptions,
    JobOptions,
    ListOptions,
    LogOptions,
    OpenStreamOptions,
    ReadyOptions,
    RunOptions,
    SpawnOptions,
    StreamOptions,
)
from exatlas.client.atlas import Atlas, P
from exatlas.fanout import Outcome
from exatlas.records.compute import Compute, ComputeFilter, ComputeRequest
from exatlas.records.gpu import GpuType
from exatlas.records.job import Job, JobChunk, JobRef, JobRequest, LogLine, StreamEvent
from exatlas.streaming.job_stream import JobStream

_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, Atlas] = WeakKeyDictionary()
_lock = Lock()


def default_client() -> Atlas:
    """The client behind the module functions in the running event loop, made on first use.

    It takes everything from the environment and closes when the loop shuts down.
    """
    loop = asyncio.get_running_loop()
    with _lock:  # loops of other threads come here too
        client = _clients.get(loop)
        if client is None or client.closed:
            # A client holds its loop for as long as it has connections, so entries do not vanish by themselves.
            for other in [other for other, old in _clients.items() if old.closed]:
                del _clients[other]
            client = _clients[loop] = Atlas()
    return client


async def spawn_compute(request: ComputeRequest | None = None, /, **fields: Unpack[SpawnOptions]) -> Compute:
    """See :meth:`exatlas.Atlas.spawn_compute`."""
    return await default_client().spawn_compute(request, **fields)


def rent(
    request: ComputeRequest | None = None, /, **fields: Unpack[SpawnOptions]
) -> AbstractAsyncContextManager[Compute]:
    """See :meth:`exatlas.Atlas.rent`."""
    return default_client().rent(request, **fields)


async def wait_until_ready(compute: str | Compute, /, **options: Unpack[ReadyOptions]) -> Compute:
    """See :meth:`exatlas.Atlas.wait_until_ready`."""
    return await default_client().wait_until_ready(compute, **options)


async def get_compute(compute: str | Compute, /, **options: Unpack[CallOptions]) -> Compute:
    """See :meth:`exatlas.Atlas.get_compute`."""
    return await default_client().get_compute(compute, **options)


@overload
async def list_compute(
    filters: ComputeFilter | None = None, /, *, providers: None = None, **fields: Unpack[ListOptions]
) -> list[Compute]: ...


@overload
async def list_compute(
    filters: ComputeFilter | None = None, /, *, providers: Iterable[P], **fields: Unpack[ListOptions]
) -> list[Outcome[P, list[Compute]]]: ...


async def list_compute(
    filters: ComputeFilter | None = None, /, *, providers: Iterable[P] | None = None, **fields: Any
) -> list[Compute] | list[Outcome[P, list[Compute]]]:
    """See :meth:`exatlas.Atlas.list_compute`."""
    if providers is None:
        machines: list[Compute] = await default_client().list_compute(filters, **fields)
        return machines
    return await default_client().list_compute(filters, providers=providers, **fields)


async def terminate(compute: str | Compute, /, **options: Unpack[CallOptions]) -> None:
    """See :meth:`exatlas.Atlas.terminate`."""
    await default_client().terminate(compute, **options)


async def stop(compute: str | Compute, /, **options: Unpack[CallOptions]) -> None:
    """See :meth:`exatlas.Atlas.stop`."""
    await default_client().stop(compute, **options)


async def start(compute: str | Compute, /, **options: Unpack[CallOptions]) -> None:
    """See :meth:`exatlas.Atlas.start`."""
    await default_client().start(compute, **options)


@overload
async def list_gpu_types(*, providers: None = None, **options: Unpack[CallOptions]) -> list[GpuType]: ...


@overload
async def list_gpu_types(
    *, providers: Iterable[P], **options: Unpack[CallOptions]
) -> list[Outcome[P, list[GpuType]]]: ...


async def list_gpu_types(
    *, providers: Iterable[P] | None = None, **options: Any
) -> list[GpuType] | list[Outcome[P, list[GpuType]]]:
    """See :meth:`exatlas.Atlas.list_gpu_types`."""
    if providers is None:
        types: list[GpuType] = await default_client().list_gpu_types(**options)
        return types
    return await default_client().list_gpu_types(providers=providers, **options)


def stream_logs(compute: str | Compute, /, **options: Unpack[LogOptions]) -> AsyncGenerator[LogLine, None]:
    """See :meth:`exatlas.Atlas.stream_logs`."""
    return default_client().stream_logs(compute, **options)


async def run_job(request: JobRequest | None = None, /, **fields: Unpack[RunOptions]) -> Job:
    """See :meth:`exatlas.Atlas.run_job`."""
    return await default_client().run_job(request, **fields)


async def get_job(job: str | Job | JobRef, /, **options: Unpack[JobOptions]) -> Job:
    """See :meth:`exatlas.Atlas.get_job`."""
    return await default_client().get_job(job, **options)


async def cancel_job(job: str | Job | JobRef, /, **options: Unpack[JobOptions]) -> None:
    """See :meth:`exatlas.Atlas.cancel_job`."""
    await default_client().cancel_job(job, **options)


def stream_job(job: str | Job | JobRef, /, **options: Unpack[StreamOptions]) -> AsyncGenerator[JobChunk, None]:
    """See :meth:`exatlas.Atlas.stream_job`."""
    return default_client().stream_job(job, **options)


def open_job_stream(job: str | Job | JobRef, /, **options: Unpack[OpenStreamOptions]) -> JobStream:
    """See :meth:`exatlas.Atlas.open_job_stream`."""
    return default_client().open_job_stream(job, **options)


def stream_events(
    endpoint: str, path: str, body: Any, /, **options: Unpack[EventOptions]
) -> AsyncGenerator[StreamEvent, None]:
    """See :meth:`exatlas.Atlas.stream_events`."""
    return default_client().stream_events(endpoint, path, body, **options)
