"""RunPod's words for states and stock, and ours for them. Total tables: a word not here becomes `unknown`.

Source: `PodStatus` and `AvailabilityLevel` of REST v2; runpod/docs `serverless/endpoints/job-states.mdx`, read
2026-11-23.
"""

import logging
from collections.abc import Mapping
from types import MappingProxyType

from exatlas.records.compute import ComputeStatus
from exatlas.records.gpu import Stock
from exatlas.records.job import JobStatus
from exatlas.transport.words import unknown

log = logging.getLogger("exatlas.providers.runpod")

POD_STATUS: Mapping[str, ComputeStatus] = MappingProxyType(
    {
        "PROVISIONING": ComputeStatus.PROVISIONING,
        "STARTING": ComputeStatus.PROVISIONING,
        "RUNNING": ComputeStatus.RUNNING,
        "EXITED": ComputeStatus.STOPPED,
        "ERROR": ComputeStatus.FAILED,
        "TERMINATED": ComputeStatus.TERMINATED,
    }
)

JOB_STATUS: Mapping[str, JobStatus] = MappingProxyType(
    {
        "IN_QUEUE": JobStatus.IN_QUEUE,
        "IN_PROGRESS": JobStatus.IN_PROGRESS,
        "RUNNING": JobStatus.IN_PROGRESS,
        "COMPLETED": JobStatus.COMPLETED,
        "FAILED": JobStatus.FAILED,
        "CANCELLED": JobStatus.CANCELLED,
        "TIMED_OUT": JobStatus.TIMED_OUT,
    }
)

STOCK: Mapping[str, Stock] = MappingProxyType(
    {
        "HIGH": Stock.HIGH,
        "MEDIUM": Stock.MEDIUM,
        "LOW": Stock.LOW,
        "NONE": Stock.UNAVAILABLE,
    }
)


def pod_status(word: str) -> ComputeStatus:
    """Our word for a pod's status; `unknown`, with one warning per process, for a word RunPod added later."""
    return POD_STATUS.get(word) or unknown(log, "RunPod", "pod status", word, ComputeStatus.UNKNOWN)


def job_status(word: str) -> JobStatus:
    """Our word for a job's status. An unknown word is not taken for an end."""
    return JOB_STATUS.get(word) or unknown(log, "RunPod", "job status", word, JobStatus.UNKNOWN)


def stock(word: str | None) -> Stock:
    """Our word for a level of stock. None means nobody asked RunPod, which is not the same as none left."""
    if word is None:
        return Stock.UNKNOWN
    return STOCK.get(word) or unknown(log, "RunPod", "availability", word, Stock.UNKNOWN)
