"""The fake's pods: a state machine on a clock, and what each of them has cost."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from attrs import define, field

from exatlas.fakes.billing import SECONDS_PER_HOUR, InvoiceLine
from exatlas.launch import launch_of
from exatlas.providers.runpod.fake import catalog

RENTED = frozenset({"PROVISIONING", "STARTING", "RUNNING", "ERROR"})
"""States in which a pod holds a machine and bills for it."""

ALLOWED: Mapping[str, tuple[str, ...]] = {
    "PROVISIONING": ("stop", "terminate"),
    "STARTING": ("stop", "terminate"),
    "RUNNING": ("stop", "restart", "terminate"),
    "EXITED": ("start", "terminate"),
    "ERROR": ("start", "terminate"),
    "TERMINATED": (),
}
PUBLIC_IP = "203.0.113.7"
SYMMETRIC_FROM = 70000


@define(kw_only=True)
class FakePod:
    """One pod. Time is passed in; between calls nothing happens."""

    id: str
    body: Mapping[str, Any]
    created_at: datetime
    center: str
    rate: float
    """USD per hour while it holds a machine."""
    boot_s: float
    broken_image: bool = False
    gpu_count: int = 0
    since: datetime
    """When it was created, or last started."""
    ended: str | None = None
    """EXITED or TERMINATED, once it is; None while it holds a machine."""
    billed_s: float = 0.0
    starts: int = 0
    logs: list[tuple[datetime, str, str]] = field(factory=list)
    """Instant, source, line."""

    def status(self, now: datetime) -> str:
        """The state at an instant."""
        if self.ended:
            return self.ended
        age_s = (now - self.since).total_seconds()
        if age_s >= self.boot_s:
            return "ERROR" if self.broken_image else "RUNNING"
        return "STARTING" if age_s >= self.boot_s / 2 else "PROVISIONING"

    @property
    def shape(self) -> Mapping[str, Any]:
        """The machine asked for."""
        shape: Mapping[str, Any] = self.body.get("gpu") or self.body["cpu"]
        return shape

    @property
    def cloud(self) -> str:
        """Where it runs."""
        return str(self.body.get("cloud", "SECURE"))

    def end(self, state: str, now: datetime) -> None:
        """Stop or terminate: the meter stops."""
        if self.ended is None:
            self.billed_s += (now - self.since).total_seconds()
        self.ended = state

    def start(self, now: datetime) -> None:
        """Take the machine again: the meter runs, ports change."""
        self.ended, self.since, self.starts = None, now, self.starts + 1

    def invoice(self, now: datetime) -> InvoiceLine:
        """What it has cost by now."""
        running_s = 0.0 if self.ended else (now - self.since).total_seconds()
        seconds = self.billed_s + running_s
        name = str(self.body["name"])
        return InvoiceLine(
            compute_id=self.id,
            name=name,
            launch_id=launch_of(name),
            seconds=seconds,
            usd=Decimal(str(seconds)) / SECONDS_PER_HOUR * Decimal(str(self.rate)),
            status=self.status(now),
            open=self.status(now) in RENTED,
        )

    def view(self, now: datetime) -> dict[str, Any]:
        """The Pod object."""
        status = self.status(now)
        body = self.body
        shown: dict[str, Any] = {
            "id": self.id,
            "name": body["name"],
            "image": body.get("image", ""),
            "args": body.get("args", ""),
            "disk": body.get("disk", 50),
            "ports": list(body.get("ports", ())),
            "env": dict(body.get("env", {})),
            "registry": body.get("registry"),
            "status": status,
            "actions": list(ALLOWED[status]),
            "mounts": body.get("mounts", {}),
            "cloud": self.cloud,
            "dataCenterId": None if status == "PROVISIONING" else self.center,
            "cudaVersion": "12.8" if "gpu" in body and status != "PROVISIONING" else None,
            "ssh": self._ssh(status),
            "template": None,
            "cost": self.rate if self.ended is None else 0.0,
            "locked": False,
            "globalNetworking": {"enabled": bool(body.get("globalNetworking"))},
            "runtime": self._runtime(now) if status == "RUNNING" else None,
            "createdAt": stamp(self.created_at),
            "startedAt": stamp(self.since + timedelta(seconds=self.boot_s)) if status == "RUNNING" else None,
        }
        if "gpu" in body:
            shown["gpu"] = {"id": self.shape["id"], "count": self.gpu_count}
        else:
            shape = self.shape
            memory = catalog.RAM_GB_PER_VCPU[shape["id"][-1]] * shape["vcpuCount"]
            shown["cpu"] = {"id": shape["id"], "vcpuCount": shape["vcpuCount"], "memory": memory}
        return shown

    def _ports(self) -> list[tuple[int, str]]:
        split = (text.partition("/") for text in self.body.get("ports", ()))
        return [(int(number), protocol) for number, _, protocol in split]

    def _public(self, index: int) -> int:
        return 30000 + 100 * self.starts + index

    def _runtime(self, now: datetime) -> dict[str, Any]:
        mapping = []
        for index, (number, protocol) in enumerate(self._ports()):
            public = self._public(index)
            private = public if number >= SYMMETRIC_FROM else number
            ip = PUBLIC_IP if protocol == "tcp" else "100.65.4.9"
            mapping.append({"private": private, "public": public, "type": protocol, "ip": ip})
        uptime = int((now - self.since).total_seconds() - self.boot_s)
        gpus = [{"util": 0, "memoryUtil": 1}] * self.gpu_count
        return {"uptime": uptime, "gpus": gpus, "cpu": {"util": 3}, "memory": {"util": 2}, "ports": mapping}

    def _ssh(self, status: str) -> dict[str, Any]:
        if status in {"PROVISIONING", "EXITED", "TERMINATED"}:
            return {"proxy": None, "direct": None}
        user = f"{self.id}-64411eb2"
        proxy = {"host": "ssh.runpod.io", "port": 22, "username": user, "command": f"ssh {user}@ssh.runpod.io"}
        mapped = [index for index, port in enumerate(self._ports()) if port == (22, "tcp")]
        direct = None
        if mapped and status == "RUNNING":
            port = self._public(mapped[0])
            direct = {
                "host": PUBLIC_IP,
                "port": port,
                "username": "root",
                "command": f"ssh root@{PUBLIC_IP} -p {port}",
            }
        return {"proxy": proxy, "direct": direct}


def stamp(instant: datetime) -> str:
    """An instant as RunPod writes it."""
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
