"""The fake's account: what a test sets up, what there is, and what is true whatever the replies say."""

from collections.abc import Mapping
from datetime import timedelta
from itertools import count
from typing import Any, ClassVar

from exatlas.fakes.billing import InvoiceLine
from exatlas.fakes.cloud import FakeCloud
from exatlas.fakes.faults import FaultPlan
from exatlas.protocols import Clock
from exatlas.providers.fly.fake import places
from exatlas.providers.fly.fake.apps import FakeApp, FakeVolume
from exatlas.providers.fly.fake.logs import FakeLog
from exatlas.providers.fly.fake.machines import FakeLease, FakeMachine

KEY = "fm2_lJPECPv/viBhIHRva2VuIG9mIG5vYm9keSdzIA=="

Query = Mapping[str, str]


class FakeAccount(FakeCloud):
    """Apps, machines and volumes, and how this cloud is to behave. Set any attribute at any time."""

    provider: ClassVar[str] = "fly"

    def __init__(
        self,
        clock: Clock | None = None,
        *,
        api_key: str = KEY,
        org: str = "acme",
        boot_s: float = 0.0,
        stop_s: float = 0.0,
        destroy_s: float = 0.0,
        listing_lag_s: float = 0.0,
        app_lag_s: float = 0.0,
        page_size: int = 1000,
        remembers_s: float = 60.0,
        faults: FaultPlan | None = None,
    ) -> None:
        """Open an empty account.

        Args:
            org: The organisation that the key is for.
            boot_s: How long a machine takes from its creation, or from a start, until it has started.
            stop_s: How long a stop takes.
            destroy_s: How long a machine is on its way out, holding on to its volume.
            listing_lag_s: How long new machines and volumes are missing from every list.
            app_lag_s: How long a new app answers 404 and 401.
            page_size: Machines on one page of an organisation's list, at most.
            remembers_s: How long a destroyed machine can still be read.
        """
        super().__init__(clock, api_key=api_key, faults=faults)
        self.org = org
        self.boot_s, self.stop_s, self.destroy_s = boot_s, stop_s, destroy_s
        self.listing_lag_s, self.app_lag_s = listing_lag_s, app_lag_s
        self.page_size = page_size
        self.remembers_s = remembers_s
        self.room = places.Room()
        """How many more machines each region takes; one not named takes any number."""
        self.volume_room = places.Room()
        self.shortage = "412"
        """Which of the forms of `problems.SHORTAGES` a full region answers in."""
        self.full_hosts: set[str] = set()
        """Machines whose host has no room to start them, and volumes whose host has none for a machine."""
        self.over_quota: set[str] = set()
        """Regions in which the organisation has used up its memory."""
        self.needs_payment = False
        """Whether this is a trial organisation: one machine per app."""
        self.taken_names: set[str] = set()
        """Apps of other organisations."""
        self.broken_images: set[str] = set()
        """Images whose machines end as failed."""
        self.unlaunchable_images: set[str] = set()
        """Images whose machines end as destroyed, through launch_failed."""
        self.ends_after_s: dict[str, float] = {}
        """Images whose process ends by itself so long after it has started."""
        self.token_apps: tuple[str, ...] = ()
        """The only apps that the key is for."""
        self.error_regions: tuple[str, ...] = ()
        """Regions that lists of the organisation do not reach."""
        self.limited = True
        """Whether more calls than Fly allows are answered 429. Over a socket, calls may arrive bunched up."""
        self.ignores_filters = False
        """Whether lists take no notice of filters by metadata, which the older published document does not know."""
        self.logs: dict[str, FakeLog] = {}
        self.apps: dict[str, FakeApp] = {}
        self.volumes: dict[str, FakeVolume] = {}
        self.machines: dict[str, FakeMachine] = {}
        self.ids = count(1)

    def base_urls(self, origin: str = "http://127.0.0.1") -> dict[str, str]:
        """The provider's base URLs that lead here."""
        return {"machines": origin, "platform": origin}

    def machine(self, compute_id: str) -> FakeMachine:
        """One machine, by its own id or by app and id, whatever its state."""
        return self.machines[compute_id.rpartition("/")[2]]

    def rented(self) -> list[FakeMachine]:
        """The machines that are not destroyed, seen or unseen. Stopped ones bill too, for their root file system."""
        now = self.clock.now()
        return [machine for machine in self.machines.values() if machine.state(now) != "destroyed"]

    def invoice(self) -> list[InvoiceLine]:
        """What every machine and every volume has cost so far."""
        now = self.clock.now()
        machines = [machine.invoice(now) for machine in self.machines.values()]
        return machines + [volume.invoice(now) for volume in self.volumes.values()]

    def left_over(self) -> list[str]:
        """Everything there still is: apps, machines and volumes, by name."""
        apps = [app.name for app in self.apps.values() if not app.deleted]
        return [*apps, *(line.name for line in self.invoice() if line.open)]

    def log(self, compute_id: str, line: str, *, at_ns: int | None = None) -> None:
        """Have a machine write a line."""
        machine = self.machine(compute_id)
        now_ns = int(self.clock.now().timestamp() * 1000) * 1_000_000 if at_ns is None else at_ns
        self.log_of(machine.app).lines.append((now_ns, machine.native_id, machine.region, line))

    def log_of(self, app: str) -> FakeLog:
        """The log of an app."""
        return self.logs.setdefault(app, FakeLog())

    def lease(self, compute_id: str, ttl_s: float) -> None:
        """Have somebody else lock a machine, as `fly deploy` does."""
        until = self.clock.now() + timedelta(seconds=ttl_s)
        self.machine(compute_id).lease = FakeLease("somebody-elses", until, "deployer@tokens.fly.io")

    def app_named(self, name: str) -> FakeApp | None:
        """An app that is there."""
        app = self.apps.get(name)
        return app if app and not app.deleted else None

    def machines_of(self, app: str) -> list[FakeMachine]:
        """The machines of an app that are not destroyed."""
        return [machine for machine in self.rented() if machine.app == app]

    def volumes_of(self, app: str) -> list[FakeVolume]:
        """The volumes of an app that are not deleted."""
        return [volume for volume in self.volumes.values() if volume.app == app and volume.state == "created"]

    def volume_in(self, config: Mapping[str, Any]) -> FakeVolume | None:
        """The volume that a config mounts."""
        mounts = config.get("mounts") or [{}]
        return self.volumes.get(mounts[0].get("volume", ""))

    def listed(self, thing: FakeMachine | FakeVolume) -> bool:
        """Whether lists show it yet."""
        return self.clock.now() - thing.created_at >= timedelta(seconds=self.listing_lag_s)

    def attached(self, volume: FakeVolume) -> FakeVolume:
        """The volume, let go of by a machine that is destroyed by now."""
        holder = self.machines.get(volume.attached_to or "")
        if holder is None or holder.state(self.clock.now()) == "destroyed":
            volume.attached_to = None
        return volume
