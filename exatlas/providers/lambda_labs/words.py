"""Lambda's words for states, and ours. The table is total over what Lambda documents.

Source: `InstanceStatus` in https://docs.lambda.ai/api/cloud, read 2026-11-23.
"""

import logging
from collections.abc import Mapping
from types import MappingProxyType

from exatlas.records.compute import ComputeStatus

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

_complained: set[str] = set()


def status(word: str) -> ComputeStatus:
    """Our word for a machine's status; `unknown`, with one warning per process, for a word Lambda added later."""
    known = STATUS.get(word)
    if known is not None:
        return known
    if word not in _complained:
        _complained.add(word)
        log.warning("Lambda sent the status %.80r, which this version does not know; it is read as unknown", word)
    return ComputeStatus.UNKNOWN
