"""The fake cloud itself: who may call, how often, and which part of it answers."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from attrs import define

from exatlas.fakes.replies import Reply, json_body, json_reply, with_headers
from exatlas.messages import HttpCall, HttpReply
from exatlas.protocols import Clock
from exatlas.providers.fly.fake import fleet, orders, places, storage
from exatlas.providers.fly.fake.account import KEY, FakeAccount, Query
from exatlas.providers.fly.fake.apps import FakeApp
from exatlas.providers.fly.fake.problems import EDGE_REPLY, broken, limited, not_found, problem


@define
class _Bucket:
    """What is left of one action's allowance."""

    left: float
    at: float


class FakeFly(FakeAccount):
    """Fly.io in a process: hand :meth:`handle` to a transport, or serve it on loopback.

    What a test wants to be so is set as attributes, at any time. What is true, whatever the cloud's replies say, is in
    :meth:`rented` and :meth:`invoice`.
    """

    def __init__(self, clock: Clock | None = None, *, api_key: str = KEY, **settings: Any) -> None:
        """Open an empty account. The settings are those of :class:`FakeAccount`."""
        super().__init__(clock, api_key=api_key, **settings)
        self._buckets: dict[tuple[str, ...], _Bucket] = {}

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
        if self.limited and not self._spend(call.method, path):
            return limited()
        match path:
            case ["api", "v1", "apps", app, "logs"]:
                known = self.app_named(app)
                return self.log_of(app).page(query.get("next_token", ""), query.get("instance")) if known else _no_app()
            case ["v1", "tokens", "current"]:
                return self._tokens()
            case ["v1", "platform", "regions"]:
                return json_reply(200, places.listing())
            case ["v1", "orgs", org, "machines"]:
                return fleet.list_org(self, org, query)
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
        token = {"token_id": "tok_1", "org_slug": self.org, "organization": self.org, "user": ""}
        return json_reply(200, {"tokens": [{**token, "apps": list(self.token_apps)}]})

    # --- apps ---

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
        if self.app_named(name) or name in self.taken_names:
            return problem(422, "unprocessable: Validation failed: Name has already been taken", "name_taken")
        number = next(self.ids)
        made = FakeApp(name=name, org=org, created_at=self.clock.now(), number=number)
        self.apps[name] = made
        return json_reply(201, {"id": f"app{number:010d}", "created_at": int(made.created_at.timestamp() * 1000)})

    def _app_view(self, app: FakeApp) -> dict[str, Any]:
        return app.view(len(self.machines_of(app.name)), len(self.volumes_of(app.name)))

    async def _in_app(
        self, call: HttpCall, name: str, rest: list[str], query: Query, headers: Mapping[str, str]
    ) -> Reply:
        if name in self.taken_names or (self.token_apps and name not in self.token_apps):
            return problem(403, "unauthorized")
        app = self.app_named(name)
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
                return storage.route(self, method, app, more, json_body(call))
            case ("GET", "machines"):
                return fleet.list_app(self, app, query)
            case ("POST", "machines"):
                return fleet.create(self, app, json_body(call) or {})
            case (method, "machines", machine_id, *more):
                return await orders.answer(self, call, method, app, machine_id, more, query, headers)
        return not_found("page")

    def _delete_app(self, app: FakeApp, query: Query) -> HttpReply:
        now = self.clock.now()
        machines = self.machines_of(app.name)
        if machines and query.get("force") != "true":
            return problem(422, "failed_precondition: the app still has machines")
        for machine in machines:
            orders.end(self, machine)
        app.deleted = True
        app.created_at = now  # its name is free again
        return HttpReply(status=202)


def _no_app() -> HttpReply:
    return not_found("app")
