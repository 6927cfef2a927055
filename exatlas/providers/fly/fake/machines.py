"""The fake's machines: states that come by themselves, leases, and what each of them has cost."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from attrs import define, field

from exatlas.fakes.billing import SECONDS_PER_HOUR, InvoiceLine
from exatlas.providers.fly import ids, prices

ROOTFS_GB = 1
RUNS = frozenset({"starting", "started", "stopping", "suspending", "restarting", "updating", "replacing"})
"""States that are billed by the second; every other but `destroyed` is billed for its root file system."""
RESTING = frozenset({"created", "started", "stopped", "suspended", "failed", "destroyed"})
"""States that last until somebody asks for another."""


@define
class FakeLease:
    """Somebody's lock on a machine."""

    nonce: str
    expires_at: datetime
    owner: str


@define(kw_only=True)
class FakeMachine:
    """One machine. What has happened and what will is one list of instants; time is passed in."""

    app: str
    native_id: str
    name: str
    region: str
    config: dict[str, Any]
    created_at: datetime
    version: str
    course: list[tuple[datetime, str]] = field(factory=list)
    """From when on it is in which state; the later ones come by themselves unless somebody asks for another."""
    lease: FakeLease | None = None
    unreachable: bool = False
    """Its host is away: what is known of it is old, and it takes no orders."""

    @property
    def id(self) -> str:
        """As the provider names it."""
        return f"{self.app}/{self.native_id}"

    def state(self, now: datetime) -> str:
        """The state at an instant."""
        return next(word for at, word in reversed(self.course) if at <= now)

    def go(self, now: datetime, *steps: tuple[float, str]) -> None:
        """Take another course: so many seconds from now it will be in these states."""
        self.course = [step for step in self.course if step[0] <= now]
        self.course += [(now + timedelta(seconds=after_s), word) for after_s, word in steps]

    def next_change(self, now: datetime) -> datetime | None:
        """When its state will change by itself."""
        return next((at for at, _ in self.course if at > now), None)

    def gone_since(self, now: datetime) -> datetime | None:
        """Since when it is destroyed; None while it is not."""
        at, word = next((at, word) for at, word in reversed(self.course) if at <= now)
        return at if word == "destroyed" else None

    def leased(self, now: datetime, nonce: str | None) -> FakeLease | None:
        """The lease that forbids a change, or None."""
        if self.lease is None or self.lease.expires_at <= now or self.lease.nonce == nonce:
            return None
        return self.lease

    def usd_per_hour(self, word: str) -> Decimal:
        """What a state costs."""
        if word == "destroyed":
            return Decimal(0)
        guest = self.config["guest"]
        running = prices.usd_per_hour(guest["cpu_kind"], guest["cpus"], guest["memory_mb"], self.region)
        return running or Decimal(0) if word in RUNS else prices.rootfs_usd_per_hour(ROOTFS_GB)

    def invoice(self, now: datetime) -> InvoiceLine:
        """What it has cost by now."""
        past = [step for step in self.course if step[0] <= now]
        spans = [
            ((end - at).total_seconds(), word)
            for (at, word), end in zip(past, [*(at for at, _ in past[1:]), now], strict=True)
        ]
        usd = sum((self.usd_per_hour(word) * Decimal(str(seconds)) for seconds, word in spans), Decimal(0))
        return InvoiceLine(
            compute_id=self.id,
            name=self.name,
            launch_id=self.config.get("metadata", {}).get(ids.LAUNCH),
            seconds=sum(seconds for seconds, word in spans if word != "destroyed"),
            usd=usd / SECONDS_PER_HOUR,
            status=self.state(now),
            open=self.state(now) != "destroyed",
        )

    def view(self, now: datetime, *, state: str | None = None) -> dict[str, Any]:
        """The Machine object."""
        registry, _, rest = str(self.config["image"]).rpartition("/")
        repository, _, tag = rest.partition(":")
        shown = {
            "id": self.native_id,
            "name": self.name,
            "state": state or self.state(now),
            "region": self.region,
            "instance_id": self.version,
            "private_ip": "fdaa:2:45b:a7b:19c:bbcd:6f8e:2",
            "image_ref": {
                "registry": registry or "registry-1.docker.io",
                "repository": repository,
                "tag": tag or "latest",
                "digest": "sha256:0000",
            },
            "created_at": stamp(self.created_at),
            "updated_at": stamp(max(at for at, _ in self.course if at <= now)),
            "events": self._events(now),
            "checks": [],
            "host_status": "unreachable" if self.unreachable else "ok",
        }
        return {**shown, "incomplete_config" if self.unreachable else "config": _served(self.config)}

    def overview(self, now: datetime) -> dict[str, Any]:
        """What the list of an organisation shows of it."""
        view = self.view(now)
        kept = ("id", "name", "state", "region", "instance_id", "private_ip", "created_at", "updated_at")
        config = {key: self.config[key] for key in ("guest", "image", "metadata") if key in self.config}
        return {key: view[key] for key in kept} | {"app_name": self.app, "version": self.version, "config": config}

    def _events(self, now: datetime) -> list[dict[str, Any]]:
        past = [step for step in self.course if step[0] <= now]
        return [
            {
                "id": f"01EV{number:022d}",
                "type": "launch" if number == 0 else "start",
                "status": word,
                "source": "flyd",
                "timestamp": int(at.timestamp() * 1000),
            }
            for number, (at, word) in reversed(list(enumerate(past)))
        ]


def _served(config: dict[str, Any]) -> dict[str, Any]:
    """A config as reads give it: `autostop` comes back as true or false where it went out as a word."""
    services = [
        {**service, "autostop": {"off": False, "stop": True}.get(service["autostop"], service["autostop"])}
        if "autostop" in service
        else service
        for service in config.get("services", ())
    ]
    return {**config, **({"services": services} if services else {})}


def stamp(instant: datetime) -> str:
    """An instant as Fly writes it."""
    return instant.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
