"""What a machine's states, one after the other, say about whether it will ever run. Pure: time is an argument."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from attrs import define

from exatlas.errors import NotReadyReason
from exatlas.launch import LOOKS_S
from exatlas.records.compute import Compute, ComputeStatus

GRACE_S = sum(LOOKS_S)
"""How long a machine may be unknown, paused, or failed after it ran, before that is believed: reads lag."""
MOST_FALLS = 3
"""So many times it may stop running before that is a loop."""

_PULL = re.compile(
    r"manifest unknown|manifest for .{1,300} not found|pull access denied|repository does not exist|no such image"
    r"|invalid reference format|ErrImagePull|ImagePullBackOff|(error|fail(ed|ure)?)( while| to| in)? ?pull(ing)?\b",
    re.IGNORECASE,
)
"""What container engines say about an image that cannot be had. Progress of a pull is in none of these words.

Source: Docker Engine and Kubernetes error texts; Vast.ai's `cli/self_test/runtime_diagnostics.py` lists most of them.
"""
_WAITING = frozenset({ComputeStatus.STOPPED, ComputeStatus.STOPPING, ComputeStatus.FAILED})
_GONE = frozenset({ComputeStatus.TERMINATED, ComputeStatus.TERMINATING})


@define
class Course:
    """One machine as it is seen, look by look. Each look gives why there is no hope, or None."""

    began: float
    """When the waiting did, in seconds of the clock."""
    dud_after_s: float | None
    """How long it may provision; None for as long as it likes."""
    last: Compute | None = None
    falls: int = 0
    """How many times it has stopped running."""
    running_since: float | None = None
    has_run: bool = False
    _doubtful_since: float | None = None

    def saw(self, compute: Compute, now: float) -> NotReadyReason | None:
        """It was read."""
        self.last = compute
        status = compute.status
        if status is ComputeStatus.RUNNING:
            self.running_since = now if self.running_since is None else self.running_since
            self.has_run, self._doubtful_since = True, None
            return None
        if self.running_since is not None:
            self.falls, self.running_since = self.falls + 1, None
        if status in _GONE:
            return NotReadyReason.GONE
        if self.falls >= MOST_FALLS:
            return NotReadyReason.CRASH_LOOP
        return self._stuck(compute, now)

    def missed(self, now: float) -> NotReadyReason | None:
        """The cloud does not know it."""
        return NotReadyReason.GONE if self._persists(now) else None

    def _stuck(self, compute: Compute, now: float) -> NotReadyReason | None:
        failed = compute.status is ComputeStatus.FAILED
        no_image = speaks_of_the_image(compute.raw)
        if failed and not self.has_run:
            return NotReadyReason.IMAGE_PULL if no_image else NotReadyReason.FAILED
        if compute.status in _WAITING:
            return NotReadyReason(compute.status if failed else "stopped") if self._persists(now) else None
        if no_image and not self.has_run:
            return NotReadyReason.IMAGE_PULL if self._persists(now) else None
        self._doubtful_since = None
        overdue = self.dud_after_s is not None and now - self.began >= self.dud_after_s
        return NotReadyReason.DUD_HOST if overdue and not self.has_run else None

    def _persists(self, now: float) -> bool:
        if self._doubtful_since is None:
            self._doubtful_since = now
        return now - self._doubtful_since >= GRACE_S


def speaks_of_the_image(said: Any) -> bool:
    """Whether a text, or any text of a JSON value, says that an image cannot be pulled."""
    return any(_PULL.search(text) for text in _texts(said))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, part in value.items():
            if name != "env":
                yield from _texts(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _texts(part)
