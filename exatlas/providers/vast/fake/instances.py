"""The fake's instances: a state machine on a clock, and what each of them has cost.

The disk bills from the create to the destroy, the GPU while the instance has it.
"""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from attrs import define, field

from exatlas.fakes.billing import InvoiceLine, Meter
from exatlas.launch import launch_of
from exatlas.providers.vast.fake.market import DAY_S, HOURS_PER_MONTH, FakeHost

SYMMETRIC_FROM = 70000
KEY = "instance-key-0123456789abcdef"
"""The key that an instance gets of its own; nobody may ever see it."""


@define(kw_only=True)
class FakeInstance:
    """One instance. Time is passed in; between calls nothing happens."""

    number: int
    host: FakeHost
    body: Mapping[str, Any]
    created_at: datetime
    since: datetime
    """When it last got its GPU."""
    boot_s: float
    bid: float | None = None
    intended: str = "running"
    outbid: bool = False
    """Stopped by the market, and started by it again."""
    gone: bool = False
    gone_at: datetime | None = None
    starts: int = 0
    meter: Meter = field(init=False)
    logs: list[str] = field(factory=list)
    dud: bool = False
    """Stays in loading for ever."""
    trouble: str | None = None
    """What its start fails with."""
    exited: bool = False
    """Whether its container has ended by itself."""
    silent: str | None = None
    """`offline` or `unknown`, while its host is not heard of."""

    def __attrs_post_init__(self) -> None:
        self.meter = Meter(self.rate(), None)
        self.meter.switch(self.created_at, on=True)

    @property
    def id(self) -> str:
        """As the provider names it."""
        return str(self.number)

    @property
    def label(self) -> str:
        """What its maker wrote on it."""
        return str(self.body.get("label") or "")

    @property
    def has_gpu(self) -> bool:
        """Whether it holds its slice."""
        return self.host.tenant == self.number

    @property
    def disk(self) -> float:
        """GB."""
        return float(self.body.get("disk", 8))

    @property
    def _disk_hour(self) -> float:
        return self.disk * self.host.storage / HOURS_PER_MONTH

    def rate(self) -> Decimal:
        """USD per hour now."""
        gpu = (self.host.base if self.bid is None else self.bid) if self.has_gpu else 0.0
        return Decimal(str(round(gpu + self._disk_hour, 6)))

    def take(self, now: datetime) -> None:
        """Get the GPU."""
        self.host.tenant, self.since, self.outbid = self.number, now, False
        self.starts += 1
        self.meter.change(now, self.rate())

    def leave(self, now: datetime) -> None:
        """Give the GPU away; the disk stays."""
        if self.has_gpu:
            self.host.tenant = None
        self.meter.change(now, self.rate())

    def destroy(self, now: datetime) -> None:
        """Everything ends."""
        self.leave(now)
        self.meter.switch(now, on=False)
        self.gone, self.gone_at = True, now

    def actual(self, now: datetime) -> str | None:
        """The container's state, as the host last said."""
        if self.silent:
            return self.silent
        if not self.has_gpu:
            return "exited" if self.starts else None
        age_s = (now - self.since).total_seconds()
        if age_s < self.boot_s / 3:
            return None
        if self.trouble:
            return "created"
        if self.dud or age_s < self.boot_s:
            return "loading"
        return "exited" if self.exited else "running"

    def _message(self, now: datetime) -> str | None:
        image = self.body.get("image", "")
        actual = self.actual(now)
        if actual == "created":
            return f"{self.trouble}\n"
        told = {"running": f"success, running {image}\n", "loading": f"{image}: Pulling fs layer 7c457f213c76 \n"}
        return told.get(actual or "")

    def _states(self) -> tuple[str, str, str]:
        """Intended, current, next."""
        if self.outbid:
            return "stopped", "stopped", "stopped"
        return self.intended, "running" if self.has_gpu else "stopped", self.intended

    def invoice(self, now: datetime) -> InvoiceLine:
        """What it has cost by now."""
        name = self.label.partition("/")[2] or self.label
        return InvoiceLine(
            compute_id=self.id,
            name=name,
            launch_id=launch_of(self.label),
            seconds=self.meter.seconds(now),
            usd=self.meter.usd(now),
            status="destroyed" if self.gone else self.actual(now) or "created",
            open=not self.gone,
        )

    def view(self, now: datetime) -> dict[str, Any]:
        """The instance object."""
        intended, current, following = self._states()
        row = self.host.row("ondemand", self.disk, now.timestamp())
        gpu_hour = row["dph_base"] if self.bid is None else self.bid
        kept = ("gpu_name", "num_gpus", "gpu_ram", "gpu_frac", "gpu_arch", "cpu_arch", "cpu_cores_effective", "cpu_ram")
        running = self.actual(now) == "running"
        return {
            "id": self.number,
            "label": self.label or None,
            "actual_status": self.actual(now),
            "intended_status": intended,
            "cur_state": current,
            "next_state": following,
            "status_msg": self._message(now),
            "image_uuid": self.body.get("image", "vastai/base-image"),
            "image_runtype": self.body.get("runtype", "ssh"),
            "image_args": list(self.body.get("args", ())),
            "extra_env": [[name, value] for name, value in self.body.get("env", {}).items()],
            "jupyter_token": "a7" * 32,
            "machine_id": self.host.machine_id,
            "host_id": row["host_id"],
            "bundle_id": row["bundle_id"],
            **{name: row[name] for name in kept},
            "cpu_cores": int(self.host.cores or 0),
            "disk_space": self.disk,
            "geolocation": row["geolocation"],
            "country_code": None,
            "public_ipaddr": f"{self.host.ip}\n",
            "ports": self._ports() if running else None,
            "ssh_host": "ssh5.vast.ai",
            "ssh_port": 14320,
            "direct_port_start": -1,
            "direct_port_end": -1,
            "direct_port_count": self.host.ports,
            "start_date": self.created_at.timestamp(),
            "end_date": self.created_at.timestamp() + self.host.days * DAY_S,
            "duration": self.host.days * DAY_S,
            "is_bid": self.bid is not None,
            "min_bid": self.host.floor,
            "dph_base": gpu_hour,
            "dph_total": round(gpu_hour + self._disk_hour, 6),
            "storage_cost": self.host.storage,
            "storage_total_cost": round(self._disk_hour, 6),
            "verification": row["verification"],
            "static_ip": True,
            "reliability2": self.host.reliability,
        }

    def _ports(self) -> dict[str, Any]:
        """Docker's mapping: numbers inside as keys, numbers outside as texts, and another one after every start."""
        found: dict[str, Any] = {}
        options = (name for name in self.body.get("env", {}) if name.startswith("-p "))
        for index, option in enumerate(options):
            number, _, protocol = option.rpartition(":")[2].partition("/")
            outside = 33000 + 100 * self.starts + index
            inside = outside if int(number) >= SYMMETRIC_FROM else int(number)
            ways = [{"HostIp": "0.0.0.0", "HostPort": str(outside)}, {"HostIp": "::", "HostPort": str(outside)}]  # noqa: S104
            found[f"{inside}/{protocol or 'tcp'}"] = ways
        return found
