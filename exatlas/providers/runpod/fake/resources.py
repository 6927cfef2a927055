"""The fake's volumes, templates and endpoints: stores of plain objects behind one set of routes."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from attrs import define, field

from exatlas.fakes.replies import json_reply
from exatlas.messages import HttpReply
from exatlas.providers.runpod.fake import bodies
from exatlas.providers.runpod.fake.pods import stamp
from exatlas.providers.runpod.fake.problems import problem


@define(kw_only=True)
class Store:
    """One kind of resource."""

    key: str
    """The list's wrapper."""
    shape: bodies.Shape
    required: tuple[str, ...]
    complete: Callable[[Mapping[str, Any], str, datetime], dict[str, Any]]
    """From a create body, an id and an instant to the object that reads give."""
    refuse: Callable[[Mapping[str, Any]], HttpReply | None] = field(default=lambda _: None)
    """Rules beyond the schema."""
    items: dict[str, dict[str, Any]] = field(factory=dict)

    def create(self, body: Any, new_id: str, now: datetime) -> HttpReply:
        """POST."""
        faults = bodies.faults(body, self.shape, self.required)
        if faults:
            return problem(422, "Unprocessable Entity", "Request validation failed.", errors=faults)
        refused = self.refuse(body)
        if refused:
            return refused
        self.items[new_id] = self.complete(body, new_id, now)
        return json_reply(201, self.items[new_id])

    def get(self, resource_id: str) -> HttpReply:
        """GET one."""
        item = self.items.get(resource_id)
        return json_reply(200, item) if item else missing()

    def delete(self, resource_id: str) -> HttpReply:
        """DELETE."""
        return HttpReply(status=204) if self.items.pop(resource_id, None) else missing()


def missing(noun: str = "resource") -> HttpReply:
    """404."""
    return problem(404, "Not Found", f"{noun} not found")


def _container(body: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "image": body.get("image", ""),
        "args": body.get("args", ""),
        "disk": body.get("disk", 20),
        "ports": body.get("ports", []),
        "env": body.get("env", {}),
        "registry": body.get("registry"),
    }


def _volume(body: Mapping[str, Any], new_id: str, _now: datetime) -> dict[str, Any]:
    return {
        "id": new_id,
        "name": body["name"],
        "size": body["size"],
        "dataCenter": body["dataCenter"],
        "type": body.get("type", "STANDARD"),
    }


def _volume_rules(body: Mapping[str, Any]) -> HttpReply | None:
    if 10 <= body["size"] <= 4096:
        return None
    errors = ["$.size: must be between 10 and 4096"]
    return problem(422, "Unprocessable Entity", "Request validation failed.", errors=errors)


def _template(body: Mapping[str, Any], new_id: str, _now: datetime) -> dict[str, Any]:
    return {
        "id": new_id,
        "name": body["name"],
        **_container(body),
        "mounts": body.get("mounts", {}),
        "serverless": body.get("serverless", False),
        "public": body.get("public", False),
        "category": body.get("category", "NVIDIA"),
        "startSsh": body.get("startSsh", True),
        "startJupyter": body.get("startJupyter", True),
        "allowedCudaVersions": body.get("allowedCudaVersions", []),
    }


def _endpoint(body: Mapping[str, Any], new_id: str, now: datetime) -> dict[str, Any]:
    base = f"https://api.runpod.ai/v2/{new_id}"
    queue_urls = {
        "run": f"{base}/run",
        "runSync": f"{base}/runsync",
        "status": f"{base}/status/{{job_id}}",
        "stream": f"{base}/stream/{{job_id}}",
        "cancel": f"{base}/cancel/{{job_id}}",
        "retry": f"{base}/retry/{{job_id}}",
        "purgeQueue": f"{base}/purge-queue",
        "health": f"{base}/health",
    }
    host = f"https://{new_id}.api.runpod.ai"
    is_queue = body["type"] == "QUEUE"
    endpoint: dict[str, Any] = {
        "id": new_id,
        "name": body["name"],
        "type": body["type"],
        "requestUrls": queue_urls if is_queue else {"base": host, "health": f"{base}/health"},
        **_container(body),
        "workers": {"min": 0, "max": 3, "idleTimeout": 10, **body.get("workers", {})},
        "scaling": body["scaling"],
        "dataCenterIds": body.get("dataCenterIds", []),
        "networkVolumes": body.get("networkVolumes", []),
        "timeout": body.get("timeout", 300000),
        "flashboot": body.get("flashboot", "OFF"),
        "createdAt": stamp(now),
    }
    if "gpu" in body:
        endpoint["gpu"] = {"count": 1, "allowedCudaVersions": [], "minCudaVersion": None, **body["gpu"]}
    else:
        endpoint["cpu"] = [{**cpu, "memory": 2 * cpu["vcpuCount"]} for cpu in body["cpu"]]
    return endpoint


def _endpoint_rules(body: Mapping[str, Any]) -> HttpReply | None:
    by_count = body["scaling"].get("type") == "REQUEST_COUNT"
    if not body.get("image") and not body.get("templateId"):
        errors = ["$: missing property 'image'"]
        return problem(422, "Unprocessable Entity", "Request validation failed.", errors=errors)
    if body["type"] == "LOAD_BALANCER" and not by_count:
        return problem(422, "Unprocessable Entity", "Request validation failed.", errors=["$.scaling: REQUEST_COUNT"])
    if ("gpu" in body) is ("cpu" in body):
        return problem(400, "Bad Request", "exactly one of gpu or cpu must be set")
    if by_count and body["type"] == "QUEUE" and "idleTimeout" in body.get("workers", {}):
        return problem(400, "Bad Request", "idleTimeout is not valid for this scaler")
    return None


def volumes() -> Store:
    """An empty store of network volumes."""
    return Store(
        key="networkVolumes",
        shape=bodies.VOLUME,
        required=("name", "size", "dataCenter"),
        complete=_volume,
        refuse=_volume_rules,
    )


def templates() -> Store:
    """An empty store of templates."""
    return Store(key="templates", shape=bodies.TEMPLATE, required=("name", "image"), complete=_template)


def endpoints() -> Store:
    """An empty store of serverless endpoints."""
    return Store(
        key="endpoints",
        shape=bodies.ENDPOINT,
        required=("name", "type", "scaling"),
        complete=_endpoint,
        refuse=_endpoint_rules,
    )
