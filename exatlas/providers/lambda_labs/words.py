"""Lambda's words for states, and ours. The table is total over what Lambda documents.

Source: `InstanceStatus` in https://docs.lambda.ai/api/cloud, read 2026-11-23.
"""

import logging
from collections.abc import Mapping
from types import MappingProxyType

from exatlas.records.compute import ComputeStatus
from exatlas.transport.words import unknown

log = logging.getLogger("exatlas.providers.lambda_labs")

STATUS: Mapping[str, ComputeStatus] = MappingProxyType(
    {
        "booting": ComputeStatus.PROVISIONING,
        "active": ComputeStatus.RUNNING,
        "unhealthy": ComputeStatus.FAILED,
        "terminating": ComputeStatus.TERMINATING,
        "terminated": ComputeStatus.TERMINATED,
        "preempted": ComputeStatus.TERMINATED,
    }
)
"""`active` says that the machine is up, not its container; an `unhealthy` machine exists and bills."""


def status(word: str) -> ComputeStatus:
    """Our word for a machine's status; `unknown`, with one warning per process, for a word Lambda added later."""
    return STATUS.get(word) or unknown(log, "Lambda", "status", word, ComputeStatus.UNKNOWN)
