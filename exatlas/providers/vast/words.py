"""Vast's words for the state of an instance, and ours. It takes five fields to know it: one alone misleads.

`intended_status` is what was asked for, `cur_state` and `next_state` are the contract's, `actual_status` is the
container's as the host last said, and `status_msg` is where a start that cannot succeed says so.

Source: vast-ai/docs `api-reference/hello-world`, `guides/instances/manage-instances`; the SDK's
`cli/self_test/runtime_diagnostics.py`; the `Instance` schema of the published API document; read 2026-11-23.
"""

import logging
import re

from attrs import frozen

from exatlas.records.compute import ComputeStatus
from exatlas.transport.words import unknown

log = logging.getLogger("exatlas.providers.vast")

GONE = frozenset({"unloaded", "destroyed", "terminated"})
PAUSED = frozenset({"stopped", "frozen"})
STARTING = frozenset({None, "created", "loading", "rebooting", "recycling", "restarting"})
BROKEN = frozenset({"exited", "offline", "unknown"})
"""Container states that never become running by themselves."""
ACTUAL = frozenset({*STARTING, *BROKEN, *PAUSED, "running"})
STATES = frozenset({None, "running", "stopped", *GONE})
"""Of a contract."""
INTENDED = frozenset({None, "running", *PAUSED, *GONE})

FATAL = re.compile(
    r"oci runtime create failed|manifest unknown|not found|unauthorized|pull access denied|no such image"
    r"|exec format error|failed to start|permission denied|error.*\bmount|\bmount.*(failed|error)",
    re.IGNORECASE | re.DOTALL,
)
"""Texts of a start that cannot succeed. The same field carries the progress of a pull, which is none of these."""
_MAY_BE_FATAL = frozenset({None, "created", "loading", "exited"})


@frozen(kw_only=True)
class State:
    """What an instance says about itself."""

    intended: str | None = None
    current: str | None = None
    next: str | None = None
    actual: str | None = None
    message: str | None = None

    @property
    def is_scheduling(self) -> bool:
        """Whether it waits for its GPU: somebody else may have it, for as long as they like."""
        return self.intended == "running" and self.current == "stopped" and self.next != "stopped"


def status(state: State) -> ComputeStatus:
    """Our word for a state. A word Vast added later makes it `unknown`, with one warning per process."""
    if {state.current, state.intended} & GONE:
        return ComputeStatus.TERMINATED
    strange = _strange(state)
    if strange:
        return unknown(log, "Vast", *strange, ComputeStatus.UNKNOWN)
    if state.intended in PAUSED or (state.current == state.next == "stopped"):
        return ComputeStatus.STOPPED
    if state.actual in _MAY_BE_FATAL and FATAL.search(state.message or ""):
        return ComputeStatus.FAILED
    if state.actual in BROKEN and not (state.is_scheduling and state.actual == "exited"):
        return ComputeStatus.FAILED
    if state.actual == "running":
        return ComputeStatus.RUNNING
    if state.actual in PAUSED and state.intended is None:
        return ComputeStatus.STOPPED
    return ComputeStatus.PROVISIONING


def _strange(state: State) -> tuple[str, str] | None:
    """The first field that has a word we do not know."""
    for field, word, known in (
        ("intended_status", state.intended, INTENDED),
        ("cur_state", state.current, STATES),
        ("next_state", state.next, STATES),
        ("actual_status", state.actual, ACTUAL),
    ):
        if word is not None and word not in known:
            return field, word
    return None
