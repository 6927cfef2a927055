"""The fake cloud itself: who may call, what goes wrong on purpose, and which part of it answers.

Both of RunPod's APIs are one handler here. They share `/v2`, so an endpoint must not be called `pods` or the like.
"""

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator, Mapping
from datetime import datetime, timedelta
from itertools import count
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

from exatlas.fakes.billing import InvoiceLine
from exatlas.fakes.cloud import FakeCloud
from exatlas.fakes.faults import FaultPlan
from exatlas.fakes.replies import Reply, json_body, json_reply, with_headers
from exatlas.messages import HttpCall, HttpReply, encode
from exatlas.protocols import Clock
from exatlas.providers.runpod.fake import bodies, catalog, resources
from exatlas.providers.runpod.fake.pods import ALLOWED, RENTED, FakePod, stamp
from exatlas.providers.runpod.fake.problems import EDGE_REPLY, broken, limited, problem
from exatlas.providers.runpod.fake.resources import Store, missing
from exatlas.providers.runpod.fake.serverless import FakeEndpoint, Handler
from exatlas.transport.inprocess import StreamingReply

NO_CAPACITY = (
    "There are no longer any instances available with the requested specifications. Please refresh and try again."
)
NO_SHAPE = "You must either provide a template id or pod configuration parameters"
MANAGED = frozenset({"pods", "serverless", "templates", "network-volumes", "catalog"})


class FakeRunPod(FakeCloud):
    """RunPod in a process: hand :meth:`handle` to a transport, or serve it on loopback.

    What a test wants to be so is set as attributes, at any time. What is true, whatever the cloud's replies say, is in
    :meth:`rented` and :meth:`invoice`.
    """

    provider: ClassVar[str] = "runpod"

    def __init__(
        self,
        clock: Clock | None = None,
        *,
        api_key: str = "rpa_FAKEKEY0123456789",
        boot_s: float = 0.0,
        listing_lag_s: float = 0.0,
        page_size: int | None = None,
        keeps_terminated: bool = False,
        quota_per_minute: int = 6000,
        faults: FaultPlan | None = None,
    ) -> None:
        """Open an empty account.

        Args:
            boot_s: How long a pod takes from its creation to RUNNING.
            listing_lag_s: How long a new pod is hidden from every read and delete.
            page_size: Lists are paged with a cursor, as newer servers do; None for one page without `pagination`.
            keeps_terminated: Whether a terminated pod reads as TERMINATED, or as 404.
            quota_per_minute: Calls to REST v2 before it answers 429.
        """
        super().__init__(clock, api_key=api_key, faults=faults)
        self.boot_s = boot_s
        self.listing_lag_s = listing_lag_s
        self.page_size = page_size
        self.keeps_terminated = keeps_terminated
        self.quota_per_minute = quota_per_minute
        self.stock = catalog.Stock()
        self.has_funds = True
        self.forbidden_gpus: set[str] = set()
        """Types this account may not use: 403."""
        self.broken_images: set[str] = set()
        """Images that cannot be pulled: their pods end in ERROR, billing."""
        self.full_hosts: set[str] = set()
        """Ids of stopped pods whose host has no GPU left: starting them is a 400."""
        self.stripped: set[str] = set()
        """Ids of stopped pods that come back with no GPU."""
        self.endpoints: dict[str, FakeEndpoint] = {}
        self._pods: dict[str, FakePod] = {}
        self._recent: deque[float] = deque()
        self._ids = count(1)
        self._volumes = resources.volumes()
        self._templates = resources.templates()
        self._managed = resources.endpoints()
        self._log_news: list[asyncio.Future[None]] = []
        self.log_cuts: list[int] = []
        """Each number breaks one log connection after so many lines."""

    # --- what a test sets up, and what is true ---

    def base_urls(self, origin: str = "http://127.0.0.1") -> dict[str, str]:
        """The provider's base URLs that lead here."""
        return {"rest": f"{origin}/v2", "runtime": f"{origin}/v2"}

    def endpoint(self, endpoint_id: str, handler: Handler, **settings: Any) -> FakeEndpoint:
        """Open a queue endpoint that runs the handler; see :class:`FakeEndpoint` for the settings."""
        made = FakeEndpoint(handler, self.clock, new_id=lambda: f"{next(self._ids):08d}-fake", **settings)
        self.endpoints[endpoint_id] = made
        return made

    def pod(self, pod_id: str) -> FakePod:
        """One pod, whatever its state."""
        return self._pods[pod_id]

    def rented(self) -> list[FakePod]:
        """The pods that hold a machine and bill for it, seen or unseen."""
        now = self.clock.now()
        return [pod for pod in self._pods.values() if pod.status(now) in RENTED]

    def invoice(self) -> list[InvoiceLine]:
        """What every pod has cost so far."""
        now = self.clock.now()
        return [pod.invoice(now) for pod in self._pods.values()]

    def log(self, pod_id: str, line: str, source: str = "container") -> None:
        """Have a pod write a line."""
        self._pods[pod_id].logs.append((self.clock.now(), source, line))
        self._tell_logs()

    def _tell_logs(self) -> None:
        for news in self._log_news:
            if not news.done():
                news.set_result(None)

    # --- the way in ---

    def path_of(self, call: HttpCall) -> str:
        """The path without what all paths begin with."""
        return super().path_of(call).removeprefix("/v2")

    def error_reply(self, status: int) -> HttpReply:
        """RunPod's own 500 or 429, or its edge's 403."""
        return {403: EDGE_REPLY, 429: limited()}.get(status, broken())

    async def answer(self, call: HttpCall) -> Reply:
        """Answer one call, as RunPod would."""
        headers = {name.lower(): value for name, value in call.headers.items()}
        if headers.get("user-agent", "").startswith("Python-urllib"):
            return EDGE_REPLY
        path = [unquote(part) for part in self.path_of(call).split("/")[1:]]
        return await self._route(call, path, urlsplit(call.url).query, headers)

    async def _route(self, call: HttpCall, path: list[str], query: str, headers: Mapping[str, str]) -> Reply:
        managed = path[0] in MANAGED
        if headers.get("authorization") != f"Bearer {self.api_key}":
            return (
                problem(401, "Unauthorized", "missing bearer token") if managed else json_reply(401, {"error": "401"})
            )
        if not managed:
            return await self._runtime(call, path, query)
        limits = self._count_call()
        if isinstance(limits, HttpReply):
            return limits
        reply = await self._manage(call, path, parse_qs(query, keep_blank_values=True), headers)
        return with_headers(reply, limits)

    def _count_call(self) -> HttpReply | dict[str, str]:
        now = self.clock.monotonic()
        while self._recent and self._recent[0] <= now - 60:
            self._recent.popleft()
        quota = self.quota_per_minute
        left = quota - len(self._recent)
        resets = max(1, round(60 - (now - self._recent[0]))) if self._recent else 60
        headers = {
            "x-request-id": f"req-{len(self.calls):06d}",
            "ratelimit-policy": f'"minute";q={quota};w=60, "hour";q={quota * 50};w=3600',
            "ratelimit": f'"minute";r={max(left - 1, 0)};t={resets}, "hour";r={quota * 50 - 1};t=1812',
        }
        if left > 0:
            self._recent.append(now)
            return headers
        refused = problem(429, "Too Many Requests", "rate limit exceeded for the minute window")
        more = {**refused.headers, **headers, "retry-after": str(resets)}
        return HttpReply(status=429, headers=more, body=refused.body)

    async def _runtime(self, call: HttpCall, path: list[str], query: str) -> HttpReply:
        endpoint = self.endpoints.get(path[0])
        if endpoint is None or not 2 <= len(path) <= 3:
            return json_reply(404, {"status": 404, "title": "Not Found", "detail": "endpoint not found"})
        return await endpoint.handle(call, path[1], path[2] if len(path) == 3 else None, query)

    async def _manage(
        self, call: HttpCall, path: list[str], query: Mapping[str, list[str]], headers: Mapping[str, str]
    ) -> Reply:
        stores = {"network-volumes": self._volumes, "templates": self._templates, "serverless": self._managed}
        match (call.method, *path):
            case ("GET", "pods"):
                return self._list("pods", [pod.view(self.clock.now()) for pod in self._listed()], query)
            case ("POST", "pods"):
                return self._create_pod(json_body(call))
            case ("GET", "pods", pod_id):
                return self._get_pod(pod_id)
            case ("DELETE", "pods", pod_id):
                return self._delete_pod(pod_id)
            case ("POST", "pods", pod_id, "action"):
                return self._act(pod_id, json_body(call))
            case ("GET", "pods", pod_id, "logs"):
                return self._logs(pod_id, query, headers)
            case ("GET", "catalog", "gpus"):
                return self._gpus(query)
            case (method, name, *rest) if name in stores and len(rest) < 2:
                return self._stored(method, stores[name], rest, call, query)
        if path[0] == "pods" and len(path) < 3:
            return problem(405, "Method Not Allowed", "The requested method is not allowed for this path.")
        return missing()

    def _stored(
        self, method: str, store: Store, rest: list[str], call: HttpCall, query: Mapping[str, list[str]]
    ) -> HttpReply:
        if not rest:
            if method == "GET":
                return self._list(store.key, list(store.items.values()), query)
            new_id = f"{store.key[:3].lower()}{next(self._ids):07d}"
            return store.create(json_body(call), new_id, self.clock.now())
        return store.get(rest[0]) if method == "GET" else store.delete(rest[0])

    def _list(self, key: str, items: list[dict[str, Any]], query: Mapping[str, list[str]]) -> HttpReply:
        if self.page_size is None:
            return json_reply(200, {key: items})
        cursor = query.get("cursor", ["0"])[0]
        if not cursor.isdecimal():
            return problem(422, "Unprocessable Entity", "Request validation failed.", errors=["cursor: malformed"])
        end = int(cursor) + min(self.page_size, int(query.get("limit", ["1000"])[0]))
        more = end < len(items)
        pagination = {"nextCursor": str(end) if more else None, "hasNextPage": more}
        return json_reply(200, {key: items[int(cursor) : end], "pagination": pagination})

    # --- pods ---

    def _visible(self, pod: FakePod) -> bool:
        return self.clock.now() - pod.created_at >= timedelta(seconds=self.listing_lag_s)

    def _listed(self) -> list[FakePod]:
        seen = [pod for pod in self._pods.values() if self._visible(pod) and pod.ended != "TERMINATED"]
        return sorted(seen, key=lambda pod: pod.created_at, reverse=True)

    def _known(self, pod_id: str) -> FakePod | None:
        """The pod that reads and writes can reach."""
        pod = self._pods.get(pod_id)
        return pod if pod and self._visible(pod) else None

    def _create_pod(self, body: Any) -> HttpReply:
        faults = bodies.faults(body, bodies.POD, ("name",))
        if not faults and not body.get("templateId") and "image" not in body:
            faults = ["$: missing property 'image'"]
        if faults:
            return problem(422, "Unprocessable Entity", "Request validation failed.", errors=faults)
        template = self._templates.items.get(body.get("templateId", ""))
        refused = self._refusal(body, template) or self._shortage(body)
        if refused:
            return refused
        pod = self._place(_resolved(body, template))
        self._pods[pod.id] = pod
        return json_reply(201, pod.view(self.clock.now()))

    def _refusal(self, body: Mapping[str, Any], template: Mapping[str, Any] | None) -> HttpReply | None:
        mounts, gpu, cpu = body.get("mounts", {}), body.get("gpu"), body.get("cpu")
        if body.get("templateId") and template is None:
            return missing()
        if template and template["serverless"]:
            return problem(422, "Unprocessable Entity", "Request validation failed.", errors=["$.templateId"])
        rules = {
            "exactly one of gpu or cpu must be set": (gpu is None) is not (cpu is None),
            NO_SHAPE: bool(template) or "disk" in body,
            "cloud must be SECURE or COMMUNITY": body.get("cloud", "SECURE") in catalog.CLOUDS,
            "mounts.persistent and mounts.network are mutually exclusive": len(mounts) < 2,
            "mounts.persistent is not valid for CPU pods": not (cpu and "persistent" in mounts),
            "mounts.persistent.size must be at least 10": mounts.get("persistent", {}).get("size", 10) >= 10,
            "unsupported port protocol": all(re.fullmatch(r"\d+/(http|tcp)", port) for port in body.get("ports", ())),
            "vcpuCount must be a power of two": cpu is None or _is_size(cpu.get("vcpuCount")),
            "unknown cpu flavor": cpu is None or cpu.get("id") in catalog.CPU_FLAVORS,
            "cpu pods run in the secure cloud": cpu is None or body.get("cloud", "SECURE") == "SECURE",
            "request could not be processed": gpu is None or catalog.model_of(gpu.get("id", "")) is not None,
            "network volume not found": self._has_volumes(mounts.get("network", ())),
        }
        broken = next((text for text, holds in rules.items() if not holds), None)
        return problem(400, "Bad Request", broken) if broken else None

    def _has_volumes(self, mounts: Any) -> bool:
        return all(mount.get("volumeId") in self._volumes.items for mount in mounts)

    def _shortage(self, body: Mapping[str, Any]) -> HttpReply | None:
        shape, cloud = body.get("gpu") or body["cpu"], body.get("cloud", "SECURE")
        model = catalog.model_of(shape["id"])
        if shape["id"] in self.forbidden_gpus:
            return problem(403, "Forbidden", "access denied")
        if not self.has_funds:
            return problem(402, "Payment Required", "insufficient balance")
        if (model and not catalog.sold(model, cloud)) or not self.stock.take(shape["id"], cloud):
            return problem(400, "Bad Request", NO_CAPACITY)
        return None

    def _place(self, body: Mapping[str, Any]) -> FakePod:
        now = self.clock.now()
        gpu, cpu = body.get("gpu"), body.get("cpu")
        cloud = body.get("cloud", "SECURE")
        model = catalog.model_of(gpu["id"]) if gpu else None
        each = catalog.price(model, cloud) if model else catalog.USD_PER_VCPU
        units = gpu.get("count", 1) if gpu else cpu["vcpuCount"] if cpu else 0
        return FakePod(
            id=f"pod{next(self._ids):07d}",
            body=body,
            created_at=now,
            center=(body.get("dataCenterIds") or ["US-KS-2"])[0],
            rate=round(each * units, 4),
            boot_s=self.boot_s,
            broken_image=body.get("image") in self.broken_images,
            gpu_count=units if gpu else 0,
            since=now,
        )

    def _get_pod(self, pod_id: str) -> HttpReply:
        pod = self._known(pod_id)
        if pod is None or (pod.ended == "TERMINATED" and not self.keeps_terminated):
            return missing("pod")
        return json_reply(200, pod.view(self.clock.now()))

    def _delete_pod(self, pod_id: str) -> HttpReply:
        pod = self._known(pod_id)
        if pod is None or pod.ended == "TERMINATED":
            return missing("pod")
        self._end(pod, "TERMINATED")
        return HttpReply(status=204)

    def _end(self, pod: FakePod, state: str) -> None:
        if pod.ended is None:
            self.stock.give_back(pod.shape["id"], pod.cloud)
        pod.end(state, self.clock.now())
        self._tell_logs()

    def _act(self, pod_id: str, body: Any) -> HttpReply:
        faults = bodies.faults(body, bodies.ACTION, ("action",))
        if faults:
            return problem(422, "Unprocessable Entity", "Request validation failed.", errors=faults)
        pod = self._known(pod_id)
        if pod is None or (pod.ended == "TERMINATED" and not self.keeps_terminated):
            return missing("pod")
        now = self.clock.now()
        action = body["action"]
        if action not in ALLOWED[pod.status(now)]:
            return problem(409, "Conflict", "action not valid for current pod status")
        if action == "terminate":
            return self._delete_pod(pod_id)
        if action == "start" and (pod_id in self.full_hosts or not self._takes_again(pod)):
            return json_reply(400, {"error": "not enough free GPUs on the host machine"})
        if action == "start":
            pod.start(now)
            pod.gpu_count = 0 if pod_id in self.stripped else pod.gpu_count
        elif action == "stop":
            self._end(pod, "EXITED")
        return json_reply(200, pod.view(now))

    def _takes_again(self, pod: FakePod) -> bool:
        return pod.ended is None or self.stock.take(pod.shape["id"], pod.cloud)

    # --- logs and catalogue ---

    def _logs(self, pod_id: str, query: Mapping[str, list[str]], headers: Mapping[str, str]) -> Reply:
        pod = self._known(pod_id)
        if pod is None or pod.ended == "TERMINATED":
            return missing("pod")
        tail = query.get("tail", ["100"])[0]
        if not tail.isdecimal() or int(tail) > 5000:
            return problem(422, "Unprocessable Entity", "Request validation failed.", errors=["tail: out of range"])
        if "last-event-id" in headers:
            first = int(headers["last-event-id"].rpartition("/")[2])
        elif "since" in query:
            since = datetime.fromisoformat(query["since"][0])
            first = sum(instant < since for instant, _, _ in pod.logs)
        else:
            first = max(len(pod.logs) - int(tail), 0)
        sse = {"content-type": "text/event-stream", "cache-control": "no-cache", "x-accel-buffering": "no"}
        return StreamingReply(headers=sse, body=self._log_events(pod, first))

    async def _log_events(self, pod: FakePod, first: int) -> AsyncIterator[bytes]:
        cut = self.log_cuts.pop(0) if self.log_cuts else None
        sent = 0
        yield b": keep-alive\n\n"
        while pod.ended != "TERMINATED":
            for number, (instant, source, line) in enumerate(pod.logs[first:], start=first + 1):
                if sent == cut:
                    return
                data = encode({"ts": stamp(instant), "source": source, "line": line}).decode()
                yield f"id: {stamp(instant)}/{number:012d}\ndata: {data}\n\n".encode()
                sent += 1
                first = number
            if first == len(pod.logs):
                await self._next_log()

    async def _next_log(self) -> None:
        news = asyncio.get_running_loop().create_future()
        self._log_news.append(news)
        try:
            await news
        finally:
            self._log_news.remove(news)

    def _gpus(self, query: Mapping[str, list[str]]) -> HttpReply:
        asked = "include" in query
        if asked is not ("product" in query):
            return problem(400, "Bad Request", "product is required with include, and only with it")
        cloud = query.get("cloud", ["SECURE"])[0]
        stock = self.stock if asked else None
        entries = [catalog.listing(model, stock, cloud) for model in catalog.MODELS]
        placeholder = {**catalog.listing(catalog.MODELS[0], stock, cloud), "id": "unknown", "name": "unknown"}
        return json_reply(200, {"gpus": [*entries, placeholder]})


def _is_size(vcpus: Any) -> bool:
    return isinstance(vcpus, int) and vcpus >= 2 and vcpus & (vcpus - 1) == 0


def _resolved(body: Mapping[str, Any], template: Mapping[str, Any] | None) -> dict[str, Any]:
    """The body over its template: the body wins, variables merge, and the pod keeps no link."""
    own = {key: value for key, value in body.items() if key != "templateId"}
    if template is None:
        return own
    base = {key: template[key] for key in ("image", "args", "disk", "ports", "mounts")}
    return {**base, **own, "env": {**template["env"], **own.get("env", {})}}
