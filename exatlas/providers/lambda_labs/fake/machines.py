"""The fake's machines: a state on a clock, and what each of them has cost."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from math import ceil
from typing import Any

from attrs import define

from exatlas.fakes.billing import InvoiceLine
from exatlas.launch import launch_of
from exatlas.providers.lambda_labs.fake import catalog
from exatlas.providers.lambda_labs.fake.catalog import Kind

IP = "198.51.100.7"
JUPYTER_TOKEN = "03b7d30d9d3e4d8fa41657bc0d478c1b"  # noqa: S105 - the document's own example
CENTS, MINUTE_S, MINUTES_PER_HOUR = 100, 60, 60


@define(kw_only=True)
class FakeInstance:
    """One machine. Time is passed in; between calls nothing happens."""

    id: str
    body: Mapping[str, Any]
    kind: Kind
    created_at: datetime
    boot_s: float
    terminating_s: float
    filesystems: Mapping[str, str]
    """Name → id."""
    sick: bool = False
    """Whether it fails its health checks: it never becomes active, and bills."""
    ended_at: datetime | None = None
    preempted: bool = False

    @property
    def name(self) -> str:
        """As given at launch."""
        return str(self.body.get("name", ""))

    @property
    def region(self) -> str:
        """Its code."""
        return str(self.body["region_name"])

    @property
    def tags(self) -> dict[str, str]:
        """Key → value."""
        return {tag["key"]: tag["value"] for tag in self.body.get("tags", ())}

    @property
    def ruleset_ids(self) -> list[str]:
        """What it was launched with."""
        return [entry["id"] for entry in self.body.get("firewall_rulesets", ())]

    def status(self, now: datetime) -> str:
        """The state at an instant."""
        if self.ended_at is not None:
            over = now - self.ended_at >= timedelta(seconds=self.terminating_s)
            return "terminated" if over else "preempted" if self.preempted else "terminating"
        if (now - self.created_at).total_seconds() < self.boot_s:
            return "booting"
        return "unhealthy" if self.sick else "active"

    def holds_rulesets(self, now: datetime) -> bool:
        """Whether it still keeps its firewall rulesets from being deleted."""
        return self.status(now) != "terminated"

    def end(self, now: datetime, *, preempted: bool = False) -> None:
        """Let it go; the meter stops. Repeating it changes nothing."""
        if self.ended_at is None:
            self.ended_at, self.preempted = now, preempted

    def billed_s(self, now: datetime) -> float:
        """From passing its health checks, or failing them, until it is told to end."""
        begun = self.created_at + timedelta(seconds=self.boot_s)
        return max(((self.ended_at or now) - begun).total_seconds(), 0.0)

    def invoice(self, now: datetime) -> InvoiceLine:
        """What it has cost by now, by the started minute."""
        seconds = self.billed_s(now)
        minutes = ceil(seconds / MINUTE_S)
        return InvoiceLine(
            compute_id=self.id,
            name=self.name,
            launch_id=launch_of(self.name),
            seconds=seconds,
            usd=Decimal(self.kind.cents) / CENTS * minutes / MINUTES_PER_HOUR,
            status=self.status(now),
            open=self.ended_at is None,
        )

    def view(self, now: datetime, *, ip_after_s: float, bare: bool) -> dict[str, Any]:
        """The Instance object. While it boots, most optional fields are missing, if ``bare``."""
        status = self.status(now)
        age_s = (now - self.created_at).total_seconds()
        shown: dict[str, Any] = {
            "id": self.id,
            "name": self.name,
            "status": status,
            "ssh_key_names": list(self.body["ssh_key_names"]),
            "file_system_names": list(self.filesystems),
            "region": catalog.region_view(self.region),
            "instance_type": self.kind.view(),
            "actions": self._actions(status),
        }
        if age_s >= min(ip_after_s, self.boot_s):
            shown["ip"] = IP
        if bare and (self.ended_at or now) - self.created_at < timedelta(seconds=self.boot_s):
            return shown
        shown |= {
            "private_ip": "10.0.2.100",
            "hostname": self.body.get("hostname", IP.replace(".", "-")),
            "jupyter_token": JUPYTER_TOKEN,
            "jupyter_url": f"https://jupyter-{self.id}.lambdaspaces.com/?token={JUPYTER_TOKEN}",
            "tags": list(self.body.get("tags", ())),
            "firewall_rulesets": list(self.body.get("firewall_rulesets", ())),
        }
        if self.filesystems:
            shown["file_system_mounts"] = [
                {"mount_point": f"/lambda/nfs/{name}", "file_system_id": each}
                for name, each in self.filesystems.items()
            ]
        return shown

    def _actions(self, status: str) -> dict[str, Any]:
        open_to = {"booting": {"terminate"}, "active": {"*"}, "unhealthy": {"*"}}.get(status, set())
        code = "vm-has-not-launched" if status == "booting" else "vm-is-terminating"
        no = {"available": False, "reason_code": code, "reason_description": f"the instance is {status}"}
        names = ("migrate", "rebuild", "restart", "cold_reboot", "terminate")
        return {name: {"available": True} if {"*", name} & open_to else no for name in names}
