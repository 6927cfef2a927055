"""The fake cloud itself: who may call and how often, what goes wrong on purpose, and which part of it answers."""

import re
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import timedelta
from itertools import count
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import orjson

from exatlas.fakes.billing import InvoiceLine
from exatlas.fakes.cloud import FakeCloud
from exatlas.fakes.faults import FaultPlan
from exatlas.fakes.replies import Reply, json_body, json_reply, text_reply
from exatlas.messages import HttpCall, HttpReply
from exatlas.protocols import Clock
from exatlas.providers.vast.fake import market, problems
from exatlas.providers.vast.fake.instances import KEY, FakeInstance
from exatlas.providers.vast.fake.market import FakeHost
from exatlas.transport.address import origin_of
from exatlas.transport.inprocess import StreamingReply

SOMEBODY = "somebody"
INTERVALS_S: Mapping[tuple[str, str], float] = {
    ("PUT", "asks"): 4.5,
    ("GET", "instances"): 2.0,
    ("PUT", "instances"): 1.0,
    ("DELETE", "instances"): 3.0,
    ("GET", "list"): 1.0,
    ("GET", "volumes"): 5.5,
    ("GET", "template"): 3.0,
    ("PUT", "bid_price"): 5.5,
    ("PUT", "reboot"): 1.0,
}
"""Seconds that two calls to a route must be apart."""
SEARCHES_PER_MINUTE = 10
RUNTYPES = frozenset({"ssh", "jupyter", "args", "ssh_proxy", "ssh_direct", "jupyter_proxy", "jupyter_direct"})
LONGEST_LABEL = 256
MOST_PER_PAGE = 25
LOGS = "/vast.ai/instance_logs/"

_COMPUTED = frozenset({"dph_total", "num_gpus"})


class FakeVast(FakeCloud):
    """Vast in a process: hand :meth:`handle` to a transport, or serve it on loopback.

    What a test wants to be so is set as attributes, at any time. What is true, whatever the cloud's replies say, is in
    :meth:`rented` and :meth:`invoice`: every instance that is not destroyed bills, a stopped one for its disk.
    """

    provider: ClassVar[str] = "vast"

    def __init__(
        self,
        clock: Clock | None = None,
        *,
        api_key: str = "vastFAKEKEY0123456789",
        boot_s: float = 0.0,
        listing_lag_s: float = 0.0,
        page_size: int = MOST_PER_PAGE,
        limits: bool = True,
        upload_s: float = 0.0,
        hosts: Iterable[FakeHost] | None = None,
        faults: FaultPlan | None = None,
    ) -> None:
        """Open an empty account.

        Args:
            boot_s: How long an instance takes from getting its GPU to running.
            listing_lag_s: How long a new instance is hidden from every read, change and destroy.
            page_size: Instances per page of the list; Vast gives 25 at most.
            limits: Whether calls that come too soon are answered 429.
            upload_s: How long an uploaded log is not there yet.
            hosts: What is on the market; a small invented one unless given.
        """
        super().__init__(clock, api_key=api_key, faults=faults)
        self.boot_s = boot_s
        self.listing_lag_s = listing_lag_s
        self.removal_lag_s = 0.0
        """How long the list still shows a destroyed instance."""
        self.page_size = page_size
        self.limits = limits
        self.upload_s = upload_s
        self._offer_numbers = count(31_415_926)
        self.hosts = market.numbered(market.hosts() if hosts is None else hosts, self._offer_numbers)
        """By machine number."""
        self.snatched = 0
        """So many of the next creates find that somebody else was faster."""
        self.sloppy = False
        """Whether the search forgets its filters, as Vast's sometimes does."""
        self.searches_left: int | None = None
        """Of the day; None for as many as one likes."""
        self.duds: set[int] = set()
        """Machines that never leave loading."""
        self.troubles: dict[int, str] = {}
        """Machines whose containers cannot start, and what `status_msg` says then."""
        self.has_funds = True
        self.foreign: set[int] = set()
        """Machines of a host that may rent his own only: 403."""
        self.volumes: dict[int, int] = {}
        """Local volumes of the account: number → the machine it lies on."""
        self.templates: dict[str, dict[str, Any]] = {}
        """Templates by the hash of their content: `image`, `extra_filters`, `recommended_disk_space`."""
        self.completions: dict[str, list[str]] = {}
        """Endpoint name → the events that its OpenAI-compatible routes answer with."""
        self._instances: dict[int, FakeInstance] = {}
        self._numbers = count(7_654_321)
        self._last: dict[tuple[str, str], float] = {}
        self._searches: deque[float] = deque()
        self._uploads: dict[str, tuple[float, str]] = {}

    # --- what a test sets up, and what is true ---

    def base_urls(self, origin: str = "http://127.0.0.1") -> dict[str, str]:
        """The provider's base URLs that lead here."""
        return {"rest": origin, "openai": origin}

    def instance(self, compute_id: str) -> FakeInstance:
        """One instance, whatever its state."""
        return self._instances[int(compute_id)]

    def rented(self) -> list[FakeInstance]:
        """The instances that bill, seen or unseen, running or stopped."""
        return [instance for instance in self._instances.values() if not instance.gone]

    def invoice(self) -> list[InvoiceLine]:
        """What every instance has cost so far, disk included; traffic is free here."""
        now = self.clock.now()
        return [instance.invoice(now) for instance in self._instances.values()]

    def log(self, compute_id: str, *lines: str) -> None:
        """Have an instance write lines."""
        self._instances[int(compute_id)].logs.extend(lines)

    def occupy(self, machine_id: int) -> None:
        """Let somebody else rent the slice."""
        self.hosts[machine_id].tenant = SOMEBODY

    def sell_out(self) -> None:
        """Let somebody else rent every slice that is free."""
        for host in self.hosts.values():
            host.tenant = SOMEBODY if host.tenant is None else host.tenant

    def vacate(self, machine_id: int) -> None:
        """Let somebody else leave; who waits for the slice gets it."""
        host = self.hosts[machine_id]
        if host.tenant == SOMEBODY:
            host.tenant = None
            self._relist(host)
        self._settle(host)

    def rival(self, machine_id: int, usd_per_hour: float | None) -> None:
        """Let somebody else bid so much for the slice (None: stop bidding). A lower bid is out, a higher one in."""
        host = self.hosts[machine_id]
        host.rival = usd_per_hour
        now = self.clock.now()
        for instance in self.rented():
            if instance.host is host and instance.bid is not None and instance.has_gpu and instance.bid < host.floor:
                instance.leave(now)
                instance.outbid = True
        self._settle(host)

    def _settle(self, host: FakeHost) -> None:
        """Give a free slice to whoever waits for it."""
        for instance in self.rented():
            waits = instance.host is host and instance.intended == "running" and not instance.has_gpu
            if waits and host.tenant is None and (instance.bid is None or instance.bid >= host.floor):
                instance.take(self.clock.now())

    def _relist(self, host: FakeHost) -> None:
        host.offer_id = next(self._offer_numbers)

    # --- the way in ---

    def error_reply(self, status: int) -> HttpReply:
        """Vast's own 500 or 429, or the edge's 403."""
        return {403: problems.EDGE_REPLY, 429: problems.limited("PUT", 4.5)}.get(status, problems.broken())

    async def answer(self, call: HttpCall) -> Reply:
        """Answer one call, as Vast would."""
        path = self.path_of(call)
        if path.startswith(LOGS):
            return self._uploaded(path)
        headers = {name.lower(): value for name, value in call.headers.items()}
        if headers.get("authorization") != f"Bearer {self.api_key}":
            return problems.wrong_key(404 if path == "/api/v0/bundles/" else 401)
        parts = path.strip("/").split("/")
        if parts[0] != "api":
            return self._completion(parts)
        if not path.endswith("/") and parts[1:] != ["v0", "volumes"]:
            return HttpReply(status=308, headers={"location": f"{path}/"})
        return self._route(call, parts[1:])

    def _route(self, call: HttpCall, path: list[str]) -> HttpReply:
        match (call.method, *path):
            case ("POST", "v0", "bundles"):
                return self._search(json_body(call))
            case ("GET", "v0", "instances"):
                return problems.RETIRED
            case ("GET", "v1", "instances"):
                return self._too_soon("GET", "list") or self._list(call)
            case ("GET", "v0", "template"):
                return self._too_soon("GET", "template") or self._found_templates(call)
            case ("GET", "v0", "volumes"):
                return self._too_soon("GET", "volumes") or self._volumes()
            case ("GET", "v0", "users", "current"):
                return json_reply(200, {"id": 1, "email": "a@example.org", "credit": 25.0 if self.has_funds else 0.0})
            case (_, "v0", "asks", offer) if offer.isdecimal() and call.method == "PUT":
                return self._too_soon("PUT", "asks") or self._create(int(offer), json_body(call))
            case (method, "v0", "instances", number) if number.isdecimal():
                return self._too_soon(method, "instances") or self._one(method, int(number), json_body(call))
            case ("PUT", "v0", "instances", action, number) if number.isdecimal():
                return self._too_soon("PUT", action) or self._act(action, int(number), call)
        return problems.problem(400, "invalid_args", "Invalid args: no such route")

    def _too_soon(self, method: str, route: str) -> HttpReply | None:
        interval_s = INTERVALS_S.get((method, route))
        if interval_s is None or not self.limits:
            return None
        now = self.clock.monotonic()
        if now - self._last.get((method, route), float("-inf")) < interval_s:
            return problems.limited(method, interval_s)
        self._last[method, route] = now
        return None

    # --- the market ---

    def _search(self, query: Any) -> HttpReply:
        now = self.clock.monotonic()
        while self._searches and self._searches[0] <= now - 60:
            self._searches.popleft()
        if self.limits and len(self._searches) >= SEARCHES_PER_MINUTE:
            return problems.searched_too_often()
        if self.searches_left == 0:
            return problems.quota()
        fault = market.faults(query)
        if fault:
            return json_reply(400, {"error": "invalid_request", "msg": fault})
        self._searches.append(now)
        self.searches_left = None if self.searches_left is None else self.searches_left - 1
        offered = [host for host in self.hosts.values() if host.tenant is None or self.sloppy]
        rows = market.search(offered, query, self.clock.now().timestamp(), sloppy=self.sloppy)
        return json_reply(200, {"offers": rows})

    def _create(self, offer_id: int, body: Any) -> HttpReply:
        host = next((host for host in self.hosts.values() if host.offer_id == offer_id), None)
        if host is None:
            return problems.no_offer(offer_id)
        refused = _refusal(offer_id, body)
        if refused:
            return refused
        if host.machine_id in self.foreign:
            text = f"error 403/3586: Offer {offer_id} is not your own. Hosts can only rent their own machines."
            return problems.problem(403, "invalid_args", text, ask_id=offer_id)
        if self.snatched:
            self.snatched -= 1
            self.occupy(host.machine_id)
        if host.tenant is not None:
            return problems.taken(offer_id)
        volume = body.get("volume_info")
        if volume and self.volumes.get(volume.get("volume_id")) != host.machine_id:
            return problems.problem(400, "invalid_args", "Volume is not on this machine", ask_id=offer_id)
        if not self.has_funds:
            return problems.problem(400, "invalid_args", "Insufficient credit", ask_id=offer_id)
        made = self._place(host, body)
        if made.bid is not None and made.bid < host.floor:
            made.outbid = True
            text = f"error 400/3470: bid {made.bid} is below the current price {host.floor}"
            return problems.problem(400, "invalid_price", text, ask_id=offer_id, new_contract=made.number)
        made.take(made.created_at)
        return json_reply(200, {"success": True, "new_contract": made.number, "instance_api_key": KEY})

    def _place(self, host: FakeHost, body: Mapping[str, Any]) -> FakeInstance:
        now = self.clock.now()
        template = self.templates.get(body.get("template_hash_id", ""), {})
        base = {"image": template.get("image"), "disk": template.get("recommended_disk_space")}
        body = {**{key: value for key, value in base.items() if value}, **body}
        made = FakeInstance(
            number=next(self._numbers),
            host=host,
            body=body,
            created_at=now,
            since=now,
            boot_s=self.boot_s,
            bid=body.get("price"),
            intended=body.get("target_state", "running"),
            dud=host.machine_id in self.duds,
            trouble=self.troubles.get(host.machine_id),
        )
        self._instances[made.number] = made
        return made

    def _found_templates(self, call: HttpCall) -> HttpReply:
        filters = orjson.loads(parse_qs(urlsplit(call.url).query)["select_filters"][0])
        wanted = filters.get("hash_id", {}).get("eq")
        rows = [{"id": 1, "hash_id": wanted, **self.templates[wanted]}] if wanted in self.templates else []
        return json_reply(200, {"success": True, "templates_found": len(rows), "templates": rows})

    def _volumes(self) -> HttpReply:
        rows = [
            {"id": number, "machine_id": machine, "disk_space": 50.0, "status": "ready"}
            for number, machine in self.volumes.items()
        ]
        return json_reply(200, {"volumes": rows})

    # --- instances ---

    def _known(self, number: int) -> FakeInstance | None:
        """The instance that reads and writes can reach."""
        instance = self._instances.get(number)
        return instance if instance and not instance.gone and self._is_visible(instance) else None

    def _is_visible(self, instance: FakeInstance) -> bool:
        return self.clock.now() - instance.created_at >= timedelta(seconds=self.listing_lag_s)

    def _is_listed(self, instance: FakeInstance) -> bool:
        lag = timedelta(seconds=self.removal_lag_s)
        gone = instance.gone_at is not None and self.clock.now() >= instance.gone_at + lag
        return not gone and self._is_visible(instance)

    def _one(self, method: str, number: int, body: Any) -> HttpReply:
        instance = self._known(number)
        if method == "GET":
            return json_reply(200, {"instances": instance.view(self.clock.now()) if instance else None})
        if instance is None:
            return problems.no_instance()
        if method == "DELETE":
            return self._destroy(instance)
        return self._change(instance, body)

    def _destroy(self, instance: FakeInstance) -> HttpReply:
        had_gpu = instance.has_gpu
        instance.destroy(self.clock.now())
        if had_gpu:
            self._relist(instance.host)
            self._settle(instance.host)
        return json_reply(200, {"success": True, "msg": "Instance destroyed successfully"})

    def _change(self, instance: FakeInstance, body: Any) -> HttpReply:
        state = body.get("state") if isinstance(body, dict) else None
        if state == "running" and not self.has_funds:
            return problems.problem(400, "missing_billing", "No billing information found.")
        if state not in ("running", "stopped"):
            return problems.problem(400, "invalid_args", "Invalid args: state")
        instance.intended = state
        if state == "stopped":
            self._stop(instance)
        else:
            self._settle(instance.host)
        return json_reply(200, {"success": True})

    def _stop(self, instance: FakeInstance) -> None:
        had_gpu = instance.has_gpu
        instance.outbid = False
        instance.leave(self.clock.now())
        if had_gpu:
            self._relist(instance.host)
            self._settle(instance.host)

    def _act(self, action: str, number: int, call: HttpCall) -> HttpReply:
        instance = self._known(number)
        body = json_body(call)
        match action:
            case "request_logs":
                return self._upload(instance, body, origin_of(call.url))
            case "reboot" if instance is None:
                return problems.problem(400, "invalid_args", "invalid instance_id")
            case _ if instance is None:
                return problems.no_instance()
            case "bid_price":
                return self._bid(instance, body.get("price"))
            case "reboot":
                return json_reply(200, {"success": True})
        return problems.problem(400, "invalid_args", "Invalid args: no such action")

    def _bid(self, instance: FakeInstance, price: Any) -> HttpReply:
        if instance.bid is None:
            return problems.problem(400, "invalid_args", "The instance is not interruptible.")
        if not isinstance(price, int | float) or price < 0.001:
            return problems.problem(400, "invalid_args", "Please set a bid price >= 0.001.")
        instance.bid = price
        instance.meter.change(self.clock.now(), instance.rate())
        self.rival(instance.host.machine_id, instance.host.rival)
        return json_reply(200, {"success": True})

    def _list(self, call: HttpCall) -> HttpReply:
        query = {name: values[0] for name, values in parse_qs(urlsplit(call.url).query).items()}
        filters = orjson.loads(query.get("select_filters", "{}"))
        wrong = _COMPUTED & set(filters)
        if wrong:
            text = f"Error in query parameters: {min(wrong)} is not a valid search key"
            return json_reply(400, {"error": "invalid_request", "msg": text})
        token = query.get("after_token", "t0")
        if not re.fullmatch(r"t\d+", token):
            return json_reply(400, {"error": "invalid_token", "msg": "Invalid token"})
        shown = (instance for instance in self._instances.values() if self._is_listed(instance))
        found = [instance for instance in shown if _matches(instance, filters)]
        size = min(int(query.get("limit", "25")), self.page_size, MOST_PER_PAGE)
        later = [instance for instance in found if instance.number > int(token[1:])]
        page = later[:size]
        now = self.clock.now()
        labels = [instance.label for instance in found]
        return json_reply(
            200,
            {
                "success": True,
                "instances_found": len(page),
                "total_instances": len(found),
                "label_counts": {label: labels.count(label) for label in labels},
                "next_token": f"t{page[-1].number}" if len(later) > size else None,
                "instances": [instance.view(now) for instance in page],
            },
        )

    # --- logs and endpoints ---

    def _upload(self, instance: FakeInstance | None, body: Any, origin: str) -> HttpReply:
        if instance is None:
            return json_reply(404, {"error": "invalid_id", "msg": "Invalid instance id."})
        tail = int(body.get("tail", "1000"))
        name = f"{len(self._uploads):032x}.log"
        content = "".join(f"{line}\n" for line in instance.logs[max(len(instance.logs) - tail, 0) :])
        self._uploads[name] = (self.clock.monotonic() + self.upload_s, content)
        return json_reply(200, {"success": True, "result_url": f"{origin}{LOGS}{name}", "msg": "Logs uploading"})

    def _uploaded(self, path: str) -> HttpReply:
        ready_at, content = self._uploads.get(path.removeprefix(LOGS), (float("inf"), ""))
        if self.clock.monotonic() < ready_at:
            return text_reply(403, "<Error><Code>AccessDenied</Code></Error>", kind="application/xml")
        return text_reply(200, content)

    def _completion(self, path: list[str]) -> Reply:
        events = self.completions.get(path[0])
        if events is None or path[1:] not in (["v1", "chat", "completions"], ["v1", "completions"]):
            return problems.problem(404, "not_found", "Endpoint not found")
        return StreamingReply(headers={"content-type": "text/event-stream"}, body=_events(events))


async def _events(events: list[str]) -> AsyncIterator[bytes]:
    for event in [*events, "[DONE]"]:
        yield f"data: {event}\n\n".encode()


def _refusal(offer_id: int, body: Any) -> HttpReply | None:
    """What a create is refused for, whatever the offer."""
    if not isinstance(body, dict):
        return problems.problem(400, "invalid_args", "Invalid json body", ask_id=offer_id)
    price = body.get("price", 0.001)
    rules = {
        "'image' is required": "image" in body or "template_hash_id" in body or "template_id" in body,
        "'env' must be an object": isinstance(body.get("env", {}), dict),
        "'disk' must be at least 8": body.get("disk", 8) >= 8,
        "'runtype' is unknown": body.get("runtype", "ssh") in RUNTYPES,
        "'label' is too long": len(body.get("label", "")) <= LONGEST_LABEL,
    }
    broken = next((text for text, holds in rules.items() if not holds), None)
    if broken:
        return problems.problem(400, "invalid_args", f"error 400/3467: Invalid args: {broken}", ask_id=offer_id)
    if not 0.001 <= price <= 128:
        return problems.problem(400, "invalid_price", "error 400/3470: Invalid price", ask_id=offer_id)
    return None


def _matches(instance: FakeInstance, filters: Mapping[str, Any]) -> bool:
    tests = filters.get("label", {})
    return instance.label == tests.get("eq", instance.label) and instance.label in tests.get("in", [instance.label])
