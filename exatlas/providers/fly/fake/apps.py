"""The fake's apps: their addresses, and volumes that bill until they are deleted themselves."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from attrs import define, field

from exatlas.fakes.billing import InvoiceLine, Meter
from exatlas.providers.fly import prices
from exatlas.providers.fly.fake.machines import stamp


@define(kw_only=True)
class FakeApp:
    """One app."""

    name: str
    org: str
    created_at: datetime
    number: int
    addresses: list[dict[str, Any]] = field(factory=list)
    deleted: bool = False

    def assign(self, kind: str, now: datetime) -> dict[str, Any] | None:
        """A new address; None for a kind that there is not. Every app has the same shared one, and has it once."""
        count = len(self.addresses) + 1
        ip = {
            "v4": f"198.51.100.{self.number % 200 + count}",
            "v6": f"2a09:8280:1::{self.number:x}:{count:x}",
            "shared_v4": "66.241.124.10",
            "private_v6": f"fdaa:0:{self.number:x}::{count:x}",
        }.get(kind)
        if ip is None:
            return None
        made = {"ip": ip, "region": "global", "shared": kind == "shared_v4", "created_at": stamp(now)}
        if made["ip"] not in [address["ip"] for address in self.addresses]:
            self.addresses.append(made)
        return made

    def view(self, machines: int, volumes: int) -> dict[str, Any]:
        """The App object."""
        return {
            "id": f"app{self.number:010d}",
            "internal_numeric_id": self.number,
            "name": self.name,
            "status": "deployed" if machines else "pending",
            "network": "default",
            "machine_count": machines,
            "volume_count": volumes,
            "organization": {"name": self.org, "slug": self.org},
        }


@define(kw_only=True)
class FakeVolume:
    """One volume."""

    id: str
    app: str
    name: str
    region: str
    size_gb: int
    created_at: datetime
    meter: Meter
    state: str = "created"
    attached_to: str | None = None

    @classmethod
    def make(cls, volume_id: str, app: str, body: dict[str, Any], region: str, now: datetime) -> "FakeVolume":
        """A new one, billing from now on."""
        size_gb = body.get("size_gb", 3)
        meter = Meter(prices.volume_usd_per_hour(size_gb), now)
        return cls(
            id=volume_id, app=app, name=body["name"], region=region, size_gb=size_gb, created_at=now, meter=meter
        )

    def delete(self, now: datetime) -> None:
        """End it, and its bill. It can be brought back for a day."""
        self.state = "pending_destroy"
        self.attached_to = None
        self.meter.switch(now, on=False)

    def invoice(self, now: datetime) -> InvoiceLine:
        """What it has cost by now."""
        return InvoiceLine(
            compute_id=self.id,
            name=self.name,
            launch_id=self.name.removeprefix("exatlas_") if self.name.startswith("exatlas_") else None,
            seconds=self.meter.seconds(now),
            usd=self.meter.usd(now) + Decimal(0),
            status=self.state,
            open=self.meter.running,
        )

    def view(self) -> dict[str, Any]:
        """The Volume object."""
        shown = {
            "id": self.id,
            "name": self.name,
            "state": self.state,
            "size_gb": self.size_gb,
            "region": self.region,
            "zone": "4de2",
            "encrypted": True,
            "fstype": "ext4",
            "created_at": stamp(self.created_at),
            "snapshot_retention": 5,
            "auto_backup_enabled": True,
            "host_status": "ok",
        }
        return {**shown, **({"attached_machine_id": self.attached_to} if self.attached_to else {})}
