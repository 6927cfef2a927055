"""The fake cloud itself: who may call, how often, and which part of it answers."""

from collections.abc import Mapping
from datetime import timedelta
from itertools import count
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

from attrs import define

from exatlas.fakes.billing import InvoiceLine
from exatlas.fakes.cloud import FakeCloud
from exatlas.fakes.faults import FaultPlan
from exatlas.fakes.replies import Reply, json_body, json_reply, with_headers
from exatlas.messages import HttpCall, HttpReply
from exatlas.protocols import Clock
from exatlas.providers.fly.fake import places
from exatlas.providers.fly.fake.apps import FakeApp, FakeVolume
from exatlas.providers.fly.fake.logs import FakeLog
from exatlas.providers.fly.fake.machines import RESTING, FakeLease, FakeMachine, stamp
from exatlas.providers.fly.fake.problems import EDGE_REPLY, broken, limited, not_found, problem, shortage

KEY = "fm2_lJPECPv/viBhIHRva2VuIG9mIG5vYm9keSdzIA=="
OVER = frozenset({"destroying", "destroyed"})
LONGEST_WAIT_S = 60
WAITED_FOR = frozenset({"started", "stopped", "suspended", "destroyed", "failed", "settled"})
LONGEST_STEP_S = 1.0
"""How often a held wait looks again, for what others do meanwhile."""
VOLUME_HOST_FULL = "insufficient resources to create new machine with existing volume"

Query = Mapping[str, str]


@define
class _Bucket:
    """What is left of one action's allowance."""

    left: float
    at: float


class FakeFly(FakeCloud):
    """Fly.io in a process: hand :meth:`handle` to a transport, or serve it on loopback.

    What a test wants to be so is set as attributes, at any time. What is true, whatever the cloud's replies say, is in
    :meth:`rented` and :meth:`invoice`.
    """

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
        self.logs: dict[str, FakeLog] = {}
        self.apps: dict[str, FakeApp] = {}
        self.volumes: dict[str, FakeVolume] = {}
        self.machines: dict[str, FakeMachine] = {}
        self._buckets: dict[tuple[str, ...], _Bucket] = {}
        self._ids = count(1)

    # --- what a test sets up, and what is true ---

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

    # --- the way in ---

    def error_reply(self, status: int) -> HttpReply:
        """Fly's own 500 or 429, or an edge's 403."""
        return {403: EDGE_REPLY, 429: limited()}.get(status, broken())

    async def answer(self, call: HttpCall) -> Reply:
        """Answer one call, as Fly would."""
        request_id = {"fly-request-id": f"01FAKE{len(self.calls):020d}-iad"}
        return with_headers(await self._answer(call), request_id)

    async def _answer(self, call: HttpCall) -> Reply:
        headers = {name.lower(): value for name, value in call.headers.items()}
        if headers.get("authorization") != self._authorization():
            return problem(401, "Authenticate: token validation error")
        path = [unquote(part) for part in urlsplit(call.url).path.split("/")[1:]]
        query = {key: values[-1] for key, values in parse_qs(urlsplit(call.url).query, keep_blank_values=True).items()}
        if not self._spend(call.method, path):
            return limited()
        match path:
            case ["api", "v1", "apps", app, "logs"]:
                known = self._app(app)
                return self.log_of(app).page(query.get("next_token", ""), query.get("instance")) if known else _no_app()
            case ["v1", "tokens", "current"]:
                return self._tokens()
            case ["v1", "platform", "regions"]:
                return json_reply(200, places.listing())
            case ["v1", "orgs", org, "machines"]:
                return self._org_machines(org, query)
            case ["v1", "apps"]:
                return self._apps_route(call, query)
            case ["v1", "apps", name, *rest]:
                return await self._in_app(call, name, rest, query, headers)
        return not_found("page")

    def _authorization(self) -> str:
        """The one header that is right for the key."""
        parts = [part.strip() for part in self.api_key.removeprefix("FlyV1 ").split(",")]
        macaroons = [part for part in parts if part.startswith(("fm1a_", "fm1r_", "fm2_"))]
        return f"FlyV1 {','.join(macaroons)}" if macaroons else f"Bearer {','.join(parts)}"

    def _spend(self, method: str, path: list[str]) -> bool:
        """Count a call against the allowance of its action on its thing."""
        reads_machine = method == "GET" and len(path) == 5 and path[3] == "machines"
        per_s, most = (5.0, 10.0) if reads_machine or path[-1] == "logs" else (1.0, 3.0)
        bucket = self._buckets.setdefault((method, *path), _Bucket(most, self.clock.monotonic()))
        now = self.clock.monotonic()
        bucket.left, bucket.at = min(most, bucket.left + (now - bucket.at) * per_s), now
        if bucket.left < 1 - 1e-6:
            return False
        bucket.left -= 1
        return True

    def _tokens(self) -> HttpReply:
        if self._authorization().startswith("Bearer"):
            return problem(401, "Authenticate: no macaroon in header")
        token = {
            "token_id": "tok_1",
            "org_slug": self.org,
            "organization": self.org,
            "user": "",
            "apps": self.token_apps,
        }
        return json_reply(200, {"tokens": [{**token, "apps": list(self.token_apps)}]})

    # --- apps ---

    def _app(self, name: str) -> FakeApp | None:
        app = self.apps.get(name)
        return app if app and not app.deleted else None

    def _apps_route(self, call: HttpCall, query: Query) -> HttpReply:
        if call.method == "GET":
            apps = [self._app_view(app) for app in self.apps.values() if not app.deleted]
            return json_reply(200, {"total_apps": len(apps), "apps": apps})
        body = json_body(call) or {}
        name, org = body.get("name"), body.get("org_slug")
        if not name or not org:
            return problem(400, "invalid_argument: name and org_slug are required")
        if self.token_apps or org not in (self.org, "personal"):
            return problem(403, "unauthorized")
        if self._app(name) or name in self.taken_names:
            return problem(422, "unprocessable: Validation failed: Name has already been taken", "name_taken")
        number = next(self._ids)
        made = FakeApp(name=name, org=org, created_at=self.clock.now(), number=number)
        self.apps[name] = made
        return json_reply(201, {"id": f"app{number:010d}", "created_at": int(made.created_at.timestamp() * 1000)})

    def _app_view(self, app: FakeApp) -> dict[str, Any]:
        return app.view(len(self._machines_of(app.name)), len(self._volumes_of(app.name)))

    async def _in_app(
        self, call: HttpCall, name: str, rest: list[str], query: Query, headers: Mapping[str, str]
    ) -> Reply:
        if name in self.taken_names or (self.token_apps and name not in self.token_apps):
            return problem(403, "unauthorized")
        app = self._app(name)
        if app is None:
            return _no_app()
        if self.clock.now() - app.created_at < timedelta(seconds=self.app_lag_s):
            return problem(401, "Authenticate: app unknown") if len(self.calls) % 2 else _no_app()
        match (call.method, *rest):
            case ("GET",):
                return json_reply(200, self._app_view(app))
            case ("DELETE",):
                return self._delete_app(app, query)
            case ("GET", "ip_assignments"):
                return json_reply(200, {"ips": app.addresses})
            case ("POST", "ip_assignments"):
                made = app.assign((json_body(call) or {}).get("type", ""), self.clock.now())
                return json_reply(200, made) if made else problem(400, "invalid_argument: unknown address type")
            case (method, "volumes", *more):
                return self._volume_route(method, app, more, json_body(call))
            case ("GET", "machines"):
                return self._list(app, query)
            case ("POST", "machines"):
                return self._create(app, json_body(call) or {})
            case (method, "machines", machine_id, *more):
                return await self._in_machine(call, method, app, machine_id, more, query, headers)
        return not_found("page")

    def _delete_app(self, app: FakeApp, query: Query) -> HttpReply:
        now = self.clock.now()
        machines = self._machines_of(app.name)
        if machines and query.get("force") != "true":
            return problem(422, "failed_precondition: the app still has machines")
        for machine in machines:
            self._end(machine)
        app.deleted = True
        app.created_at = now  # its name is free again
        return HttpReply(status=202)

    # --- volumes: they bill on when their app and their machine are gone ---

    def _volumes_of(self, app: str) -> list[FakeVolume]:
        return [volume for volume in self.volumes.values() if volume.app == app and volume.state == "created"]

    def _volume_route(self, method: str, app: FakeApp, more: list[str], body: Any) -> HttpReply:
        if not more:
            if method == "POST":
                return self._create_volume(app, body or {})
            shown = [volume for volume in self.volumes.values() if volume.app == app.name and self._listed(volume)]
            return json_reply(200, [self._attached(volume).view() for volume in shown])
        volume = self.volumes.get(more[0])
        if volume is None or volume.app != app.name:
            return not_found("volume")
        if method == "GET":
            return json_reply(200, self._attached(volume).view())
        if self._attached(volume).attached_to:
            return problem(412, f"failed_precondition: volume is attached to machine {volume.attached_to}")
        volume.delete(self.clock.now())
        return json_reply(200, volume.view())

    def _attached(self, volume: FakeVolume) -> FakeVolume:
        """The volume, let go of by a machine that is destroyed by now."""
        holder = self.machines.get(volume.attached_to or "")
        if holder is None or holder.state(self.clock.now()) == "destroyed":
            volume.attached_to = None
        return volume

    def _create_volume(self, app: FakeApp, body: dict[str, Any]) -> HttpReply:
        name, region = str(body.get("name", "")), body.get("region") or places.NEAREST
        if not name.replace("_", "").isalnum():
            return problem(400, "invalid_argument: volume names take letters, digits and underscores")
        if region not in places.REGIONS or not 1 <= body.get("size_gb", 3) <= 500:
            return problem(400, "invalid_argument: region or size_gb")
        if self.volume_room.first_of([region]) is None:
            return problem(400, "invalid_argument: no capacity available in region")
        self.volume_room.take(region)
        made = FakeVolume.make(f"vol_{next(self._ids):016x}", app.name, body, region, self.clock.now())
        self.volumes[made.id] = made
        return json_reply(200, made.view())

    # --- lists ---

    def _machines_of(self, app: str) -> list[FakeMachine]:
        return [machine for machine in self.rented() if machine.app == app]

    def _listed(self, thing: FakeMachine | FakeVolume) -> bool:
        return self.clock.now() - thing.created_at >= timedelta(seconds=self.listing_lag_s)

    def _list(self, app: FakeApp, query: Query) -> HttpReply:
        now = self.clock.now()
        found = [machine for machine in self.machines.values() if machine.app == app.name and self._listed(machine)]
        if query.get("include_deleted") != "true":
            found = [machine for machine in found if machine.state(now) != "destroyed"]
        for key, value in query.items():
            if key.startswith("metadata."):
                name = key.removeprefix("metadata.")
                found = [machine for machine in found if machine.config.get("metadata", {}).get(name) == value]
        return json_reply(200, [machine.view(now) for machine in found])

    def _org_machines(self, org: str, query: Query) -> HttpReply:
        if org not in (self.org, "personal"):
            return not_found("organization")
        now = self.clock.now()
        seen = [machine for machine in self.rented() if self._listed(machine)]
        reached = [machine for machine in seen if machine.region not in self.error_regions]
        start = int(query.get("cursor") or 0)
        end = start + min(self.page_size, int(query.get("limit", 1000)))
        body = {
            "machines": [machine.overview(now) for machine in reached[start:end]],
            "next_cursor": str(end) if end < len(reached) else "",
            "last_machine_id": "",
            "last_updated_at": stamp(now),
            "error_regions": list(self.error_regions),
        }
        return json_reply(200, body)

    # --- machines ---

    def _create(self, app: FakeApp, body: dict[str, Any]) -> HttpReply:
        config = dict(body.get("config") or {})
        config.setdefault("guest", {"cpu_kind": "shared", "cpus": 1, "memory_mb": 256})
        refused = self._refusal(app, body, config)
        if refused is not None:
            return refused
        regions = places.resolve(body.get("region"))
        if regions is None:
            return problem(400, f"invalid_argument: unknown region {body['region']}")
        volume = self._volume_of(config)
        region = self.room.first_of(regions)
        if region is None:
            return shortage(self.shortage)
        if region in self.over_quota:
            return problem(403, f"organization is over the allowed quota of memory in {region}")
        self.room.take(region)
        return self._place(app, body, config, region, volume)

    def _refusal(self, app: FakeApp, body: dict[str, Any], config: dict[str, Any]) -> HttpReply | None:
        guest, volume = config["guest"], self._volume_of(config)
        if not config.get("image"):
            return problem(400, "invalid_argument: config.image is required")
        if guest.get("gpu_kind") or guest.get("gpus"):
            return problem(400, "invalid_argument: GPU machines are no longer available")
        if fault := _guest_fault(guest):
            return problem(400, f"invalid_argument: {fault}")
        if self.needs_payment and self._machines_of(app.name):
            return problem(403, "To create more than 1 machine per app please add a payment method")
        if body.get("name") in [machine.name for machine in self._machines_of(app.name)]:
            return problem(409, f"already_exists: unique machine name violation, machine {body['name']} exists")
        if len(config.get("mounts", ())) > 1:
            return problem(400, "invalid_argument: a machine takes one mount")
        if not config.get("mounts"):
            return None
        if volume is None or volume.app != app.name or volume.state != "created":
            return not_found("volume")
        if self._attached(volume).attached_to:
            return problem(412, f"failed_precondition: volume {volume.id} is attached already")
        if volume.id in self.full_hosts:
            return problem(412, f"{VOLUME_HOST_FULL} '{volume.id}'")
        if body.get("region") not in (None, volume.region):
            return problem(400, f"invalid_argument: volume {volume.id} is in {volume.region}")
        return None

    def _volume_of(self, config: Mapping[str, Any]) -> FakeVolume | None:
        mounts = config.get("mounts") or [{}]
        return self.volumes.get(mounts[0].get("volume", ""))

    def _place(
        self, app: FakeApp, body: dict[str, Any], config: dict[str, Any], region: str, volume: FakeVolume | None
    ) -> HttpReply:
        now, number = self.clock.now(), next(self._ids)
        machine = FakeMachine(
            app=app.name,
            native_id=f"{number:04x}8d413b29d0",
            name=body.get("name") or f"quiet-brook-{number}",
            region=region,
            config=config,
            created_at=now,
            version=f"01VERSION{number:017d}",
        )
        machine.go(now, *self._birth(config["image"], skip=bool(body.get("skip_launch"))))
        self.machines[machine.native_id] = machine
        if volume is not None:
            volume.attached_to = machine.native_id
        return json_reply(200, machine.view(now, state="created"))

    def _birth(self, image: str, *, skip: bool) -> list[tuple[float, str]]:
        if skip:
            return [(0, "created")]
        half, whole = self.boot_s / 2, self.boot_s
        if image in self.unlaunchable_images:
            return [(0, "created"), (half, "launch_failed"), (whole, "destroyed")]
        if image in self.broken_images:
            return [(0, "created"), (half, "starting"), (whole, "failed")]
        return [(0, "created"), (half / 2, "creating"), *self._rise(image, half, whole)]

    def _rise(self, image: str, starting_s: float, started_s: float) -> list[tuple[float, str]]:
        steps = [(starting_s, "starting"), (started_s, "started")]
        end_s = self.ends_after_s.get(image)
        return steps if end_s is None else [*steps, (started_s + end_s, "stopped")]

    async def _in_machine(
        self,
        call: HttpCall,
        method: str,
        app: FakeApp,
        machine_id: str,
        more: list[str],
        query: Query,
        headers: Mapping[str, str],
    ) -> Reply:
        machine = self.machines.get(machine_id)
        gone = machine.gone_since(self.clock.now()) if machine else None
        forgotten = gone is not None and self.clock.now() - gone >= timedelta(seconds=self.remembers_s)
        if machine is None or machine.app != app.name or forgotten:
            return not_found("machine")
        match (method, *more):
            case ("GET",):
                return json_reply(200, machine.view(self.clock.now()))
            case ("GET", "wait"):
                return await self._wait(machine, query)
            case ("POST", "lease"):
                return self._lease(machine, query, headers.get("fly-machine-lease-nonce"))
            case ("DELETE", "lease"):
                return self._release(machine, headers.get("fly-machine-lease-nonce"))
        if gone is not None:
            return not_found("machine")
        return self._change(call, machine, method, more, query, headers)

    def _change(
        self,
        call: HttpCall,
        machine: FakeMachine,
        method: str,
        more: list[str],
        query: Query,
        headers: Mapping[str, str],
    ) -> HttpReply:
        now = self.clock.now()
        held = machine.leased(now, headers.get("fly-machine-lease-nonce"))
        if held is not None:
            text = f"lease currently held by {held.owner}, expires at {stamp(held.expires_at)}"
            return problem(409, f"aborted: machine ID {machine.native_id} {text}")
        if machine.unreachable:
            return problem(503, "unavailable: the machine's host does not answer")
        state = machine.state(now)
        match (method, *more):
            case ("DELETE",):
                return self._destroy(machine, state, query)
            case ("POST",):
                return self._update(machine, json_body(call) or {})
            case ("POST", "start"):
                return self._start(machine, state)
            case ("POST", "stop" | "suspend" as action):
                return self._stop(machine, state, action)
            case ("POST", "restart"):
                machine.go(now, (0, "restarting"), (self.boot_s, "started"))
                return json_reply(200, {"ok": True})
        return not_found("page")

    def _destroy(self, machine: FakeMachine, state: str, query: Query) -> HttpReply:
        if state == "started" and query.get("force") != "true":
            return problem(412, "failed_precondition: unable to destroy machine, not currently stopped")
        self._end(machine)
        return json_reply(200, {"ok": True})

    def _end(self, machine: FakeMachine) -> None:
        now = self.clock.now()
        if machine.state(now) not in OVER:
            self.room.take(machine.region, -1)
            machine.go(now, (0, "destroying"), (self.destroy_s, "destroyed"))

    def _start(self, machine: FakeMachine, state: str) -> HttpReply:
        now = self.clock.now()
        if machine.native_id in self.full_hosts:
            return shortage("409")
        if state in ("replacing", "updating"):
            return problem(412, "failed_precondition: machine getting replaced, refusing to start")
        if state not in ("stopped", "suspended", "started", "failed"):
            return problem(412, f"failed_precondition: unable to start machine from current state: '{state}'")
        if state != "started":
            machine.go(now, (0, "starting"), *self._rise(machine.config["image"], 0, self.boot_s)[1:])
        return json_reply(200, {"previous_state": state, "migrated": False, "new_host": ""})

    def _stop(self, machine: FakeMachine, state: str, action: str) -> HttpReply:
        now = self.clock.now()
        on_the_way, end = ("stopping", "stopped") if action == "stop" else ("suspending", "suspended")
        if state in ("created", "creating"):
            return problem(412, f"failed_precondition: unable to {action} machine from current state: '{state}'")
        if state not in ("stopped", "suspended") or (state, action) == ("suspended", "stop"):
            machine.go(now, (0, on_the_way), (self.stop_s, end))
        return json_reply(200, {"ok": True})

    def _update(self, machine: FakeMachine, body: dict[str, Any]) -> HttpReply:
        now = self.clock.now()
        if body.get("current_version") not in (None, machine.version):
            return problem(412, "failed_precondition: current_version does not match")
        if fault := _guest_fault(body["config"]["guest"]):
            return problem(400, f"invalid_argument: {fault}")
        machine.config = body["config"]
        machine.version = f"01VERSION{next(self._ids):017d}"
        machine.go(now, (0, "updating"), (self.boot_s, "started"))
        return json_reply(200, machine.view(now))

    async def _wait(self, machine: FakeMachine, query: Query) -> HttpReply:
        """Hold the reply until the machine is in one of the states, or answer 408."""
        wanted = query.get("state", "started").split(",")
        hold_s = int(query.get("timeout", LONGEST_WAIT_S))
        if not 1 <= hold_s <= LONGEST_WAIT_S:
            return problem(400, "invalid_argument: timeout: value must be inside range [1s, 1m0s]")
        if not WAITED_FOR.issuperset(wanted):
            return problem(400, f"invalid_argument: unknown state {','.join(wanted)}")
        version = query.get("version") or query.get("instance_id")
        until = self.clock.monotonic() + hold_s
        while True:
            now = self.clock.now()
            state = machine.state(now) if version in (None, machine.version) else "replaced"
            if state in wanted or ("settled" in wanted and state in RESTING):
                return json_reply(200, {"ok": True, "state": state, "version": machine.version})
            left_s = until - self.clock.monotonic()
            if left_s <= 0:
                text = f"machine failed to reach desired state, {','.join(wanted)}, currently {state}"
                return problem(408, f"deadline_exceeded: {text}")
            change = machine.next_change(now)
            change_s = LONGEST_STEP_S if change is None else (change - now).total_seconds()
            await self.clock.sleep(min(left_s, change_s, LONGEST_STEP_S))

    # --- leases ---

    def _lease(self, machine: FakeMachine, query: Query, nonce: str | None) -> HttpReply:
        now = self.clock.now()
        held = machine.leased(now, nonce)
        if held is not None:
            text = f"lease currently held by {held.owner}, expires at {stamp(held.expires_at)}"
            return problem(409, f"aborted: machine ID {machine.native_id} {text}")
        until = now + timedelta(seconds=int(query.get("ttl", 30)))
        machine.lease = FakeLease(nonce or f"nonce{next(self._ids):08x}", until, "exatlas@tokens.fly.io")
        inner = {"nonce": machine.lease.nonce, "expires_at": int(until.timestamp()), "owner": machine.lease.owner}
        return json_reply(201, {"status": "success", "data": {**inner, "description": "", "version": machine.version}})

    def _release(self, machine: FakeMachine, nonce: str | None) -> HttpReply:
        if nonce is None:
            return problem(400, "invalid_argument: fly-machine-lease-nonce is required")
        if machine.lease is None or machine.lease.nonce != nonce:
            return not_found("lease")
        machine.lease = None
        return json_reply(200, {"status": "success"})


def _no_app() -> HttpReply:
    return not_found("app")


def _guest_fault(guest: Mapping[str, Any]) -> str | None:
    """What is wrong with a size."""
    rules = {"shared": (256, 2048, 256), "performance": (2048, 8192, 2048)}
    if guest.get("cpu_kind") not in rules:
        return f"invalid config.guest.cpu_kind, {guest.get('cpu_kind')}"
    least, most, step = rules[guest["cpu_kind"]]
    memory, cpus = guest["memory_mb"], guest["cpus"]
    if memory < least * cpus:
        return f"invalid config.guest.memory_mb, minimum required {least * cpus} MiB"
    if memory > most * cpus or memory % step:
        return f"invalid config.guest.memory_mb, maximum allowed {most * cpus} MiB in steps of {step}"
    return None
