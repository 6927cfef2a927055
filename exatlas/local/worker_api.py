"""What workers see: the protocol that the published `runpod` package speaks, at `/v2/<endpoint>/job-take/…`.

A worker is told everything by URLs in its environment (:meth:`WorkerApi.environment`). They carry a token in their
query and not in a header: the package sends whatever key it finds in the user's own settings file as its header.

Source: `runpod` 1.12.0 on PyPI, `serverless/modules/rp_job.py`, `rp_http.py`, `rp_ping.py`, `rp_scale.py`.
"""

from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import web

from exatlas.local.desk import Desk
from exatlas.local.wire import Answer, is_secret, read_body, reply, whole_number
from exatlas.providers.runpod.queue import Queue
from exatlas.providers.runpod.submission import RefusedError

MOST_IN_A_BATCH = 1_000


class WorkerApi:
    """Routes of one endpoint for the workers that were given its token."""

    def __init__(self, desk: Desk, endpoint: str, token: str) -> None:
        self._desk = desk
        self._endpoint = endpoint
        self._token = token

    def environment(self, base_url: str, worker: str) -> dict[str, str]:
        """The variables that make a process a worker of this endpoint. ``$ID`` and the like are its to fill in."""
        root, query = f"{base_url}/{self._endpoint}", f"token={self._token}"
        return {
            "RUNPOD_ENDPOINT_ID": self._endpoint,
            "RUNPOD_POD_ID": worker,
            "RUNPOD_AI_API_KEY": self._token,  # the package sends no pings without one
            "RUNPOD_WEBHOOK_GET_JOB": f"{root}/job-take/$ID?{query}",
            "RUNPOD_WEBHOOK_POST_OUTPUT": f"{root}/job-done/$RUNPOD_POD_ID/$ID?{query}",
            "RUNPOD_WEBHOOK_POST_STREAM": f"{root}/job-stream/$RUNPOD_POD_ID/$ID?{query}",
            "RUNPOD_WEBHOOK_PING": f"{root}/ping/$RUNPOD_POD_ID?{query}",
        }

    def routes(self) -> list[web.RouteDef]:
        """For the server's router."""
        return [
            self._route("GET", "job-take/{worker}", self._take),
            self._route("GET", "job-take-batch/{worker}", self._take_batch),
            self._route("GET", "job-stop/{worker}", self._stop),
            self._route("POST", "job-stream/{worker}/{job}", self._chunk),
            self._route("POST", "job-done/{worker}/{job}", self._done),
            self._route("GET", "ping/{worker}", self._ping),
        ]

    def _route(self, method: str, path: str, answer: Answer) -> web.RouteDef:
        async def guarded(request: web.Request) -> web.StreamResponse:
            if not is_secret(request.query.get("token"), self._token):
                raise RefusedError(401, "the worker's token is missing or wrong")
            return await answer(request)

        return web.route(method, f"/v2/{self._endpoint}/{path}", guarded)

    async def _take(self, request: web.Request) -> web.Response:
        jobs = await self._jobs(request, 1)
        return reply(jobs[0]) if jobs else web.Response(status=204)

    async def _take_batch(self, request: web.Request) -> web.Response:
        limit = min(max(whole_number(request, "batch_size", 1), 1), MOST_IN_A_BATCH)
        jobs = await self._jobs(request, limit)
        return reply(jobs) if jobs else web.Response(status=204)

    async def _jobs(self, request: web.Request, limit: int) -> list[dict[str, Any]]:
        """Hold the request until there is work. A worker that hangs up cancels this, and nothing is taken."""
        holding = {"0": False, "1": True}.get(request.query.get("job_in_progress", ""))
        return await self._desk.next_jobs(request.match_info["worker"], limit, holding)

    async def _stop(self, request: web.Request) -> web.Response:
        job_ids = await self._desk.next_stops(request.match_info["worker"])
        return reply({"jobsToStop": job_ids}) if job_ids else web.Response(status=204)

    async def _chunk(self, request: web.Request) -> web.Response:
        body = await read_body(request, self._desk.queue.rules.runsync_bytes)
        size = body if isinstance(body, int) else len(body)
        chunk = {} if isinstance(body, int) else _object(body)
        return self._accepted(Queue.post_stream, request, chunk, size)

    async def _done(self, request: web.Request) -> web.Response:
        body = await read_body(request, self._desk.queue.rules.runsync_bytes)
        size = body if isinstance(body, int) else len(body)
        try:
            report = {} if isinstance(body, int) else _object(body)
        except RefusedError as refused:
            # The worker has no more to say about the job, so the job ends here, and the reader hears why.
            report = {"error": refused.message}
        return self._accepted(Queue.post_output, request, report, size)

    def _accepted(self, operation: Any, request: web.Request, body: Mapping[str, Any], size: int) -> web.Response:
        worker, job_id = request.match_info["worker"], request.match_info["job"]
        return reply({"accepted": self._desk.ask(operation, worker, job_id, body, size=size)})

    async def _ping(self, request: web.Request) -> web.Response:
        held = [job_id for job_id in request.query.get("job_id", "").split(",") if job_id]
        healthy = request.query.get("status") != "unhealthy"
        self._desk.ask(Queue.ping, request.match_info["worker"], job_ids=held, healthy=healthy)
        return reply({"ok": True})


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RefusedError(400, f"the worker's report is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise RefusedError(400, "the worker's report is not a JSON object")
    return value
