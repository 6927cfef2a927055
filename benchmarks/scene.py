"""The child's wire to the server: set up jobs before a measurement, read the server's counts after it.

Blocking on purpose: nothing of it runs while something is measured.
"""

import http.client
import json
from itertools import count
from os import getpid
from typing import Any

from attrs import frozen

_numbers = count()


@frozen
class Scene:
    """Jobs that are about to run."""

    endpoint: str
    ids: list[str]
    start: float
    """When the first chunks may come, in monotonic seconds."""
    cpu_s: float
    """The server's CPU time at that point."""


class Stage:
    """The server, as far as setting scenes goes."""

    def __init__(self, port: int) -> None:
        self._port = port

    def set(
        self,
        jobs: int,
        chunks: int,
        *,
        every_s: float,
        lead_s: float = 0.0,
        size: int = 100,
        limited: bool = False,
        events: bool = False,
        seed: int = 0,
    ) -> Scene:
        """Make jobs on a fresh endpoint. `every_s=0` has all chunks there from the start."""
        endpoint = f"bench-{getpid()}-{next(_numbers)}"
        made = self._ask(
            "POST",
            "/scene",
            {
                "endpoint": endpoint,
                "jobs": jobs,
                "chunks": chunks,
                "every_s": every_s,
                "lead_s": lead_s,
                "size": size,
                "limited": limited,
                "events": events,
                "seed": seed,
            },
        )
        return Scene(endpoint, made["ids"], made["start"], made["cpu_s"])

    def counts(self, scene: Scene) -> dict[str, Any]:
        """What the server counted on the scene's endpoint."""
        return self._ask("GET", f"/scene/{scene.endpoint}", None)

    def _ask(self, method: str, path: str, body: Any) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            connection.request(method, path, None if body is None else json.dumps(body).encode())
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()
