"""What clients see: RunPod's queue endpoints at `/v2/<endpoint>/…`.

Source: https://docs.runpod.io/serverless/endpoints/operation-reference, read 2026-11; `stream?wait=` as RunPod's own
tools use it.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import orjson
from aiohttp import web

from exatlas.local.desk import Desk
from exatlas.local.limits import Gate
from exatlas.local.wire import Answer, is_secret, read_body, reply, whole_number
from exatlas.providers.runpod.queue import JobState, Queue, Topic
from exatlas.providers.runpod.submission import RefusedError

SHORTEST_WAIT_MS = 1_000
LONGEST_WAIT_MS = 300_000
RUNSYNC_WAIT_MS = 90_000
STREAM_WAIT_MS = 10_000


class ClientApi:
    """Routes of one endpoint for whoever holds its key."""

    def __init__(self, desk: Desk, endpoint: str, api_key: str, gates: Mapping[str, Gate]) -> None:
        self._desk = desk
        self._endpoint = endpoint
        self._api_key = api_key
        self._gates = gates

    def routes(self) -> list[web.RouteDef]:
        """For the server's router. The order does not matter."""
        return [
            self._route("POST", "run", self._run),
            self._route("POST", "runsync", self._runsync),
            self._route("GET", "status/{job}", self._status),
            self._route("GET", "stream/{job}", self._stream),
            self._route("POST", "cancel/{job}", self._cancel),
            self._route("POST", "retry/{job}", self._retry),
            self._route("POST", "purge-queue", self._purge),
            self._route("GET", "health", self._health),
        ]

    def _route(self, method: str, path: str, answer: Answer) -> web.RouteDef:
        gate = self._gates.get(path.partition("/")[0])

        async def guarded(request: web.Request) -> web.StreamResponse:
            self._check_key(request)
            if request.match_info["endpoint"] != self._endpoint:
                raise RefusedError(404, f"there is no such endpoint here; this one is {self._endpoint}")
            passing: AbstractContextManager[None] = gate.passing() if gate else nullcontext()
            with passing:
                return await answer(request)

        return web.route(method, "/v2/{endpoint}/" + path, guarded)

    def _check_key(self, request: web.Request) -> None:
        scheme, _, key = request.headers.get("Authorization", "").rpartition(" ")
        if scheme.strip().lower() not in ("", "bearer") or not is_secret(key, self._api_key):
            raise RefusedError(401, "the API key is missing or wrong")

    async def _run(self, request: web.Request) -> web.Response:
        return reply(await self._submit(request, sync=False))

    async def _runsync(self, request: web.Request) -> web.Response:
        hold_s = _wait_s(request, RUNSYNC_WAIT_MS)
        job_id = (await self._submit(request, sync=True))["id"]
        await self._desk.until(Topic("job", job_id), lambda: self._has_ended(job_id), hold_s)
        return reply(self._desk.ask(Queue.status, job_id))

    async def _submit(self, request: web.Request, *, sync: bool) -> dict[str, Any]:
        rules = self._desk.queue.rules
        limit = rules.runsync_bytes if sync else rules.run_bytes
        if (request.content_length or 0) > limit:  # refused unread
            raise RefusedError(413, f"the request has {request.content_length} bytes; the limit is {limit}")
        body = await read_body(request, limit)
        if isinstance(body, int):
            raise RefusedError(413, f"the request has {body} bytes; the limit is {limit}")
        try:
            wanted = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise RefusedError(400, f"the request body is not JSON: {error}") from error
        return self._desk.ask(Queue.submit, wanted, sync=sync, size=len(body))

    def _has_ended(self, job_id: str) -> bool:
        return JobState(self._desk.ask(Queue.status, job_id)["status"]).is_terminal

    async def _status(self, request: web.Request) -> web.Response:
        return reply(self._desk.ask(Queue.status, request.match_info["job"]))

    async def _stream(self, request: web.Request) -> web.Response:
        job_id, desk = request.match_info["job"], self._desk
        hold_s = _wait_s(request, STREAM_WAIT_MS)
        await desk.until(Topic("job", job_id), lambda: desk.ask(Queue.has_news, job_id), hold_s)
        return reply(desk.ask(Queue.drain, job_id))

    async def _cancel(self, request: web.Request) -> web.Response:
        return reply(self._desk.ask(Queue.cancel, request.match_info["job"]))

    async def _retry(self, request: web.Request) -> web.Response:
        return reply(self._desk.ask(Queue.retry, request.match_info["job"]))

    async def _purge(self, _: web.Request) -> web.Response:
        return reply(self._desk.ask(Queue.purge))

    async def _health(self, _: web.Request) -> web.Response:
        return reply(self._desk.ask(Queue.health))


def _wait_s(request: web.Request, default_ms: int) -> float:
    """How long the client lets the server hold its request. Values out of RunPod's range become its nearest end."""
    wait_ms = whole_number(request, "wait", default_ms)
    return min(max(wait_ms, SHORTEST_WAIT_MS), LONGEST_WAIT_MS) / 1000
