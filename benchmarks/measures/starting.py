"""How long a program takes to start that imports something, from outside."""

import subprocess
import sys
import time
from statistics import median

from benchmarks.measures import Numbers

_CODE = {
    "floor": "pass",
    "exatlas": "import exatlas",
    "aiohttp": "import aiohttp",
    "runpod": "import runpod",
}


def start(contender: str, *, times: int) -> Numbers:
    """Start the interpreter with one import. The floor is the interpreter alone."""
    command = [sys.executable, "-c", _CODE[contender]]
    times_s = []
    for _ in range(times):
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times_s.append(time.perf_counter() - started)
    return {"start_ms": median(times_s) * 1000}
