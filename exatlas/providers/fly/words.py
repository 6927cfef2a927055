"""Fly's words for the states of a machine and a volume, and ours for them. A word not here becomes `unknown`.

Source: https://fly.io/docs/machines/machine-states/ and https://fly.io/docs/volumes/volume-states/, read 2026-11-23.
"""

import logging
from collections.abc import Mapping
from types import MappingProxyType

from exatlas.records.compute import ComputeStatus
from exatlas.transport.words import unknown

log = logging.getLogger("exatlas.providers.fly")

MACHINE_STATE: Mapping[str, ComputeStatus] = MappingProxyType(
    {
        "created": ComputeStatus.PROVISIONING,
        "creating": ComputeStatus.PROVISIONING,
        "starting": ComputeStatus.PROVISIONING,
        "restarting": ComputeStatus.PROVISIONING,
        "updating": ComputeStatus.PROVISIONING,
        "replacing": ComputeStatus.PROVISIONING,
        "started": ComputeStatus.RUNNING,
        "stopping": ComputeStatus.STOPPING,
        "suspending": ComputeStatus.STOPPING,
        "stopped": ComputeStatus.STOPPED,
        "suspended": ComputeStatus.STOPPED,
        "failed": ComputeStatus.FAILED,
        "launch_failed": ComputeStatus.FAILED,
        "destroying": ComputeStatus.TERMINATING,
        "destroyed": ComputeStatus.TERMINATED,
        # The ends of a version of a machine, not of the machine: what became of it has to be read again.
        "replaced": ComputeStatus.UNKNOWN,
        "migrated": ComputeStatus.UNKNOWN,
    }
)

GONE_VOLUMES = frozenset(
    {"scheduling_destroy", "pending_destroy", "fork_cleanup", "waiting_for_detach", "destroying", "destroyed"}
)
"""States of a volume that is deleted or on its way out: a deletion is undone by nobody for 24 hours."""


def machine_status(word: str) -> ComputeStatus:
    """Our word for a machine's state; `unknown`, with one warning per process, for a word Fly added later."""
    return MACHINE_STATE.get(word) or unknown(log, "Fly", "machine state", word, ComputeStatus.UNKNOWN)
