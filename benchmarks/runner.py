"""Starts the server and the children, round by round, contenders in turn, so that a change of the weather hits all."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from benchmarks.kept import Result, of_step
from benchmarks.measures import Numbers
from benchmarks.plan import Step

LONGEST_S = 180
NEEDS = {
    "runpod": ("runpod",),
    "httpx-sse": ("httpx_sse",),
    "SQLAlchemy asyncio": ("greenlet", "aiosqlite", "asyncpg"),
}
"""The modules that a contender cannot do without."""


@contextmanager
def serving() -> Iterator[int]:
    """The server, for as long as the block lasts; gives its port."""
    server = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.server"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert server.stdin
    assert server.stdout
    try:
        yield int(server.stdout.readline())
    finally:
        server.stdin.close()
        server.wait(10)


def run(step: Step, port: int) -> Result:
    """All rounds of one step. Contenders that are not installed take no part."""
    present = [name for name in step.contenders if all(map(find_spec, NEEDS.get(name, ())))]
    values: dict[str, dict[str, list[float]]] = {contender: {} for contender in present}
    for number in range(step.rounds):
        for contender in present:
            if step.takes_part(contender, number):
                for name, value in _measure(step, contender, port).items():
                    values[contender].setdefault(name, []).append(value)
    return of_step(step, values)


def _measure(step: Step, contender: str, port: int) -> Numbers:
    order = {"contender": contender, "port": port, "what": step.what, "settings": step.settings_for(contender)}
    server = f"http://127.0.0.1:{port}"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.child"],
        input=json.dumps(order),
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
        env=os.environ | {"RUNPOD_ENDPOINT_BASE_URL": f"{server}/v2", "RUNPOD_API_BASE_URL": server},
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{step.name}, {contender}: the measurement failed\n{done.stderr}")
    numbers: Numbers = json.loads(done.stdout.splitlines()[-1])
    return numbers
