"""How much memory this process has, now and at its fullest."""

import resource
import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")
_PER_MB = 1000 if sys.platform != "darwin" else 1_000_000


def present_mb() -> float:
    """Resident now; where the system does not say, the most so far."""
    return _status("VmRSS") or peak_mb()


def peak_mb() -> float:
    """The most that was ever resident."""
    return _status("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _PER_MB


def _status(name: str) -> float | None:
    """Linux says it per program; `ru_maxrss` there includes what the parent had when it started this process."""
    if not _STATUS.exists():
        return None
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1.024 / 1000
