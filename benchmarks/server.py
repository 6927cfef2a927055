"""A RunPod-like cloud on loopback, in a process of its own: job streams, machines, and a way to set the scene.

Prints its port. Ends when its standard input closes, so that it never outlives who started it.
"""

import asyncio
import gc
import sys
import time
from random import Random
from typing import Any

import orjson

from benchmarks.jobs import Endpoint, Job
from benchmarks.limits import allow_many_files
from benchmarks.wire import Connection

HOLD_S = 10.0
"""How long RunPod holds a poll that does not say."""

POD: dict[str, Any] = {
    "id": "7h9k2m4n6p",
    "name": "exatlas-7f3c2a91",
    "status": "RUNNING",
    "actions": ["stop", "restart", "terminate"],
    "image": "pytorch/pytorch:2.5.0-cuda12.1-cudnn9-runtime",
    "args": "",
    "disk": 50,
    "mounts": {"persistent": {"size": 20, "path": "/workspace"}},
    "ports": ["8000/http", "22/tcp"],
    "env": {"MODE": "production", "LEVEL": "info"},
    "registry": None,
    "gpu": {"id": "NVIDIA L4", "count": 1, "vcpuCount": 12, "memory": 50},
    "cloud": "SECURE",
    "dataCenterId": "EU-RO-1",
    "cudaVersion": "12.4",
    "ssh": {
        "proxy": {"host": "ssh.runpod.io", "port": 22, "username": "7h9k2m4n6p-64410a", "command": None},
        "direct": {"host": "203.0.113.7", "port": 10341, "username": "root", "command": None},
    },
    "template": None,
    "cost": 0.43,
    "locked": False,
    "globalNetworking": {"enabled": False},
    "runtime": {
        "uptime": 3600,
        "ports": [
            {"ip": "203.0.113.7", "private": 22, "public": 10341, "type": "tcp"},
            {"ip": "100.65.0.4", "private": 8000, "public": 60042, "type": "http"},
        ],
    },
    "createdAt": "2026-11-20T12:00:00Z",
    "startedAt": "2026-11-20T12:00:41Z",
}


class Cloud:
    """Everything the server knows."""

    def __init__(self) -> None:
        self._endpoints: dict[str, Endpoint] = {}
        self._jobs: dict[tuple[str, str], Job] = {}
        self._pod = orjson.dumps(POD)
        self._graphql = orjson.dumps({"data": {"pod": POD}})

    def handle(self, connection: Connection, method: str, path: str, query: dict[str, str], body: bytes) -> None:
        """Answer one request, now or later."""
        match path.split("/")[1:]:
            case ["v2", "pods", _]:
                connection.reply(self._pod)
            case ["v2", endpoint, "stream", job]:
                self._stream(connection, endpoint, job, query)
            case ["v2", endpoint, "status", job] if (endpoint, job) in self._jobs:
                ended = self._jobs[endpoint, job].ended_at is not None
                connection.reply(orjson.dumps({"id": job, "status": "COMPLETED" if ended else "IN_PROGRESS"}))
            case ["graphql"]:
                connection.reply(self._graphql)
            case ["scene"] if method == "POST":
                connection.reply(orjson.dumps(self._set_scene(**orjson.loads(body))))
            case ["scene", endpoint]:
                connection.reply(orjson.dumps(self._counts(endpoint)))
            case _:
                connection.reply(b'{"error":"not found"}', status=404)

    def _stream(self, connection: Connection, endpoint_name: str, job_id: str, query: dict[str, str]) -> None:
        job = self._jobs.get((endpoint_name, job_id))
        if job is None:
            connection.reply(b'{"error":"job not found"}', status=404)
        elif not job.endpoint.admit(time.monotonic()):
            connection.reply(b'{"error":"too many requests"}', status=429)
        elif job.endpoint.events:
            job.listen(connection)
        else:
            job.poll(connection, float(query["wait"]) / 1000 if "wait" in query else HOLD_S)

    def _set_scene(
        self,
        *,
        endpoint: str,
        jobs: int,
        chunks: int,
        every_s: float,
        lead_s: float,
        size: int,
        limited: bool,
        events: bool,
        seed: int,
    ) -> dict[str, Any]:
        """Make jobs whose chunks begin to come `lead_s` from now; with no time between chunks all are there at once."""
        place = self._endpoints[endpoint] = Endpoint(limited=limited, events=events)
        random = Random(seed)
        start = time.monotonic() + lead_s
        ids = [f"job-{number}" for number in range(jobs)]
        for job_id in ids:
            job = self._jobs[endpoint, job_id] = Job(place)
            if every_s:
                job.schedule(chunks, every_s, start, size, random)
            else:
                job.fill(chunks, size)
        gc.collect()
        return {"ids": ids, "start": start, "cpu_s": time.process_time()}

    def _counts(self, endpoint: str) -> dict[str, Any]:
        place = self._endpoints[endpoint]
        ends = {job_id: job.ended_at for (name, job_id), job in self._jobs.items() if name == endpoint}
        return {
            "requests": place.requests,
            "refused": place.refused,
            "peak_in_flight": place.peak_in_flight,
            "ended_at": ends,
            "cpu_s": time.process_time(),
        }


async def main() -> None:
    """Serve until standard input closes."""
    allow_many_files()
    cloud = Cloud()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(cloud.handle), "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
