"""The fake cloud itself: who may call and how often, what goes wrong on purpose, and which part of it answers."""

import hashlib
from collections.abc import Mapping
from datetime import timedelta
from itertools import count
from typing import Any, ClassVar
from urllib.parse import unquote

from exatlas.fakes.billing import InvoiceLine
from exatlas.fakes.cloud import FakeCloud
from exatlas.fakes.faults import FaultPlan
from exatlas.fakes.replies import Reply, json_body
from exatlas.messages import HttpCall, HttpReply
from exatlas.protocols import Clock
from exatlas.providers.lambda_labs.fake import bodies, catalog
from exatlas.providers.lambda_labs.fake.catalog import Capacity, Kind
from exatlas.providers.lambda_labs.fake.machines import FakeInstance
from exatlas.providers.lambda_labs.fake.problems import (
    EDGE_REPLY,
    broken,
    inactive,
    invalid,
    limited,
    missing,
    no_address,
    no_capacity,
    problem,
    quota,
    unauthorized,
)
from exatlas.providers.lambda_labs.fake.resources import Filesystems, Keys, Rulesets, data

PREFIX = "/api/v1"
REQUEST_EVERY_S = 1.0
LAUNCH_EVERY_S = 12.0
LAUNCH_PATH = "/instance-operations/launch"
FIRST_KEY = ("my-laptop", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFirstKey me@laptop")


class FakeLambda(FakeCloud):
    """Lambda in a process: hand :meth:`handle` to a transport, or serve it on loopback.

    What a test wants to be so is set as attributes, at any time. What is true, whatever the cloud's replies say, is in
    :meth:`rented` and :meth:`invoice`. The account begins with one SSH key.
    """

    provider: ClassVar[str] = "lambda_labs"

    def __init__(
        self,
        clock: Clock | None = None,
        *,
        api_key: str = "secret_fake_0123456789abcdef.FAKEKEY",
        boot_s: float = 0.0,
        ip_after_s: float = 25.0,
        terminating_s: float = 0.0,
        listing_lag_s: float = 0.0,
        keeps_terminated: bool = False,
        bare_while_booting: bool = True,
        limited: bool = True,
        retry_after_s: int | None = None,
        most_machines: int = 100,
        most_rulesets: int = 100,
        faults: FaultPlan | None = None,
    ) -> None:
        """Open an empty account.

        Args:
            boot_s: How long a machine takes from its launch to `active`; 2 to 4 min have been seen, 25 for eights.
            ip_after_s: When it has its address, if that is before it is active.
            terminating_s: How long an ended machine is listed, and keeps its firewall rulesets.
            listing_lag_s: How long a new machine or ruleset is hidden from every read, and a machine from its end.
            keeps_terminated: Whether a terminated machine can still be read by its id.
            bare_while_booting: Whether tags and other optional fields are missing until a machine is active.
            limited: Whether one request a second and one launch in 12 s are all it takes before it answers 429.
            retry_after_s: What a 429 advises; None for no advice.
            most_machines: How many machines the account may have at once.
            most_rulesets: How many firewall rulesets it may have.
        """
        super().__init__(clock, api_key=api_key, faults=faults)
        self.boot_s = boot_s
        self.ip_after_s = ip_after_s
        self.terminating_s = terminating_s
        self.listing_lag_s = listing_lag_s
        self.keeps_terminated = keeps_terminated
        self.bare_while_booting = bare_while_booting
        self.limited = limited
        self.retry_after_s = retry_after_s
        self.most_machines = most_machines
        self.capacity = Capacity()
        self.is_active = True
        """Whether the account may do anything at all: else 403."""
        self.has_address = True
        """Whether it has a billing address: else launches are 403."""
        self.sick_hosts = 0
        """How many of the next machines never pass their health checks."""
        self.stubborn: dict[str, int] = {}
        """Ids of machines that refuse to be terminated so many times, as those do that are being launched."""
        self.keys = Keys()
        self.rulesets = Rulesets(quota=most_rulesets, users=self._with_ruleset)
        self.filesystems = Filesystems(users=self._with_filesystem)
        self.refused_for_rate = 0
        """How many calls were answered with 429 because there were too many."""
        self._instances: dict[str, FakeInstance] = {}
        self._ids = count(1)
        self._last: dict[str, float] = {}
        self.keys.add(*FIRST_KEY, self._new_id("key"))

    # --- what a test sets up, and what is true ---

    def base_urls(self, origin: str = "http://127.0.0.1") -> dict[str, str]:
        """The provider's base URLs that lead here."""
        return {"api": f"{origin}{PREFIX}"}

    def instance(self, instance_id: str) -> FakeInstance:
        """One machine, whatever its state."""
        return self._instances[instance_id]

    def preempt(self, instance_id: str) -> None:
        """Take a machine away."""
        self._end(self._instances[instance_id], preempted=True)

    def rented(self) -> list[FakeInstance]:
        """The machines that exist and bill, or will once they have booted; seen or unseen."""
        return [each for each in self._instances.values() if each.ended_at is None]

    def invoice(self) -> list[InvoiceLine]:
        """What every machine has cost so far."""
        now = self.clock.now()
        return [each.invoice(now) for each in self._instances.values()]

    # --- the way in ---

    def path_of(self, call: HttpCall) -> str:
        """The path without what all paths begin with."""
        return super().path_of(call).removeprefix(PREFIX)

    def error_reply(self, status: int) -> HttpReply:
        """Lambda's own 500 or 429, or its edge's 403."""
        return {403: EDGE_REPLY, 429: limited(self.retry_after_s)}.get(status, broken())

    async def answer(self, call: HttpCall) -> Reply:
        """Answer one call, as Lambda would."""
        headers = {name.lower(): value for name, value in call.headers.items()}
        path = [unquote(part) for part in self.path_of(call).split("/")[1:]]
        if not super().path_of(call).startswith(f"{PREFIX}/"):
            return problem(404, "global/not-found", "Not found.", "Check the path.")
        if headers.get("authorization") != f"Bearer {self.api_key}":
            return unauthorized()
        if self._is_too_often(self.path_of(call)):
            self.refused_for_rate += 1
            return limited(self.retry_after_s)
        if not self.is_active:
            return inactive()
        return self._route(call.method, path, json_body(call))

    def _is_too_often(self, path: str) -> bool:
        """Count the call against both limits; a refused one counts too."""
        now = self.clock.monotonic()
        every = {"": REQUEST_EVERY_S, **({LAUNCH_PATH: LAUNCH_EVERY_S} if path == LAUNCH_PATH else {})}
        late = [name for name, every_s in every.items() if now - self._last.get(name, -every_s) < every_s]
        self._last.update(dict.fromkeys(every, now))
        return self.limited and bool(late)

    def _route(self, method: str, path: list[str], body: Any) -> HttpReply:
        now = self.clock.now()
        match (method, *path):
            case ("GET", "instances"):
                return data([self._view(each) for each in self._listed()])
            case ("GET", "instances", instance_id):
                return self._get(instance_id)
            case ("POST", "instance-operations", "launch"):
                return self._launch(body)
            case ("POST", "instance-operations", "terminate"):
                return self._terminate(body)
            case ("POST", "instance-operations", "restart"):
                return self._restart(body)
            case ("GET", "instance-types"):
                return data({kind.name: self._offer(kind) for kind in catalog.KINDS})
            case ("GET", "regions"):
                return data([catalog.region_view(name) for name in catalog.REGIONS])
            case ("GET", "ssh-keys"):
                return data(list(self.keys.items.values()))
            case ("POST", "ssh-keys"):
                return self.keys.create(body, self._new_id("key"))
            case ("DELETE", "ssh-keys", key_id):
                return self.keys.delete(key_id)
            case ("GET", "firewall-rulesets"):
                return self.rulesets.listing(now, self.listing_lag_s)
            case ("POST", "firewall-rulesets"):
                return self.rulesets.create(body, self._new_id("ruleset"), now)
            case ("DELETE", "firewall-rulesets", ruleset_id):
                return self.rulesets.delete(ruleset_id)
            case ("GET", "file-systems"):
                return self.filesystems.listing()
            case ("POST", "filesystems"):
                return self.filesystems.create(body, self._new_id("filesystem"), now)
            case ("DELETE", "filesystems", filesystem_id):
                return self.filesystems.delete(filesystem_id)
        return problem(404, "global/not-found", "Not found.", "Check the path.")

    def _offer(self, kind: Kind) -> dict[str, Any]:
        return {"instance_type": kind.view(), "regions_with_capacity_available": self.capacity.free_in(kind.name)}

    def _new_id(self, noun: str) -> str:
        return hashlib.sha256(f"{noun} {next(self._ids)}".encode()).hexdigest()[:32]

    # --- machines ---

    def _visible(self, each: FakeInstance) -> bool:
        return self.clock.now() - each.created_at >= timedelta(seconds=self.listing_lag_s)

    def _listed(self) -> list[FakeInstance]:
        now = self.clock.now()
        return [each for each in self._instances.values() if self._visible(each) and each.status(now) != "terminated"]

    def _known(self, instance_id: str) -> FakeInstance | None:
        """The machine that reads and operations can reach."""
        each = self._instances.get(instance_id)
        return each if each in self._listed() else None

    def _view(self, each: FakeInstance) -> dict[str, Any]:
        return each.view(self.clock.now(), ip_after_s=self.ip_after_s, bare=self.bare_while_booting)

    def _get(self, instance_id: str) -> HttpReply:
        each = self._known(instance_id)
        if each is None and self.keeps_terminated:
            each = self._instances.get(instance_id)
        return data(self._view(each)) if each else missing("Specified instance does not exist.")

    def _launch(self, body: Any) -> HttpReply:
        fault = bodies.launch_fault(body)
        if fault:
            return invalid(fault)
        kind = catalog.kind_of(body["instance_type_name"])
        refused = self._refusal(body, kind)
        if refused or kind is None:
            return refused or missing("Specified instance type does not exist.")
        if not self.has_address:
            return no_address()
        if len(self.rented()) >= self.most_machines:
            return quota("instances")
        if not self.capacity.take(kind.name, body["region_name"]):
            return no_capacity()
        each = FakeInstance(
            id=self._new_id("instance"),
            body=body,
            kind=kind,
            created_at=self.clock.now(),
            boot_s=self.boot_s,
            terminating_s=self.terminating_s,
            filesystems=self._mounted(body),
            sick=self.sick_hosts > 0,
        )
        self.sick_hosts = max(self.sick_hosts - 1, 0)
        self._instances[each.id] = each
        return data({"instance_ids": [each.id]})

    def _refusal(self, body: Mapping[str, Any], kind: Kind | None) -> HttpReply | None:
        """What the launch names and the account has not, or has elsewhere. Filesystems come before capacity."""
        region = body["region_name"]
        rulesets = [self.rulesets.items.get(entry["id"]) for entry in body.get("firewall_rulesets", ())]
        stores = [self.filesystems.named(name) for name in body.get("file_system_names", ())]
        stores += [self.filesystems.items.get(each["file_system_id"]) for each in body.get("file_system_mounts", ())]
        lacking = {
            "Specified region does not exist.": region not in catalog.REGIONS,
            "Specified instance type does not exist.": kind is None,
            "Specified SSH key does not exist.": not set(body["ssh_key_names"]) <= self.keys.names(),
            "Specified firewall ruleset does not exist.": any(each is None for each in rulesets),
            "Specified filesystem does not exist.": any(each is None for each in stores),
        }
        for text, is_lacking in lacking.items():
            if is_lacking:
                return missing(text, 400 if "type" in text else 404)
        if any(each["region"]["name"] != region for each in rulesets if each):
            return invalid("firewall_rulesets: must be in the region of the instance")
        if any(each["region"]["name"] != region for each in stores if each):
            code = "instance-operations/launch/file-system-in-wrong-region"
            return problem(400, code, "The filesystem is in another region.", "Choose the region of the filesystem.")
        return None

    def _mounted(self, body: Mapping[str, Any]) -> dict[str, str]:
        named = {name: self.filesystems.named(name) for name in body.get("file_system_names", ())}
        by_id = {each["file_system_id"] for each in body.get("file_system_mounts", ())}
        mounted = {self.filesystems.items[each]["name"]: each for each in by_id}
        return {**mounted, **{name: each["id"] for name, each in named.items() if each}}

    def _terminate(self, body: Any) -> HttpReply:
        fault = bodies.ids_fault(body)
        if fault:
            return invalid(fault)
        found = [self._known(instance_id) for instance_id in body["instance_ids"]]
        if any(each is None for each in found):
            return missing("Specified instance does not exist.")
        ended = []
        for each in found:
            if each is not None and self._yields(each.id):
                self._end(each)
                ended.append(self._view(each) | {"status": "terminating"})
        return data({"terminated_instances": ended})

    def _yields(self, instance_id: str) -> bool:
        left = self.stubborn.get(instance_id, 0)
        self.stubborn[instance_id] = left - 1
        return left <= 0

    def _end(self, each: FakeInstance, *, preempted: bool = False) -> None:
        if each.ended_at is None:
            self.capacity.give_back(each.kind.name, each.region)
        each.end(self.clock.now(), preempted=preempted)

    def _restart(self, body: Any) -> HttpReply:
        fault = bodies.ids_fault(body)
        if fault:
            return invalid(fault)
        found = [self._known(instance_id) for instance_id in body["instance_ids"]]
        if any(each is None for each in found):
            return missing("Specified instance does not exist.")
        now = self.clock.now()
        if any(each.status(now) not in {"active", "unhealthy"} for each in found if each):
            return problem(409, "global/conflict", "An action is in progress.", "Wait for it to end.")
        return data({"restarted_instances": [self._view(each) for each in found if each]})

    def _with_ruleset(self, ruleset_id: str) -> list[str]:
        now = self.clock.now()
        return [
            each.id for each in self._instances.values() if each.holds_rulesets(now) and ruleset_id in each.ruleset_ids
        ]

    def _with_filesystem(self, filesystem_id: str) -> list[str]:
        return [each.id for each in self.rented() if filesystem_id in each.filesystems.values()]
