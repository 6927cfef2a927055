"""What we ask for, in Fly's words. Pure: values and a context in, calls out.

Source: the Machines API's OpenAPI document (`/apps`, `/machines`, `/volumes`, `/ip_assignments`, `/platform`,
`/tokens`) and https://fly.io/docs/machines/api/, read 2026-11-23. Durations are Go strings: a bare number would be
nanoseconds.
"""

from collections.abc import Mapping
from typing import Any

from exatlas.messages import HttpCall, Repeat
from exatlas.protocols import Context
from exatlas.providers.fly import ids, ports
from exatlas.providers.fly.calls import PLATFORM, call
from exatlas.providers.fly.ids import Place
from exatlas.providers.fly.options import Options
from exatlas.providers.fly.ports import Addresses
from exatlas.providers.fly.sizes import Guest
from exatlas.records.compute import ComputeRequest
from exatlas.transport.calls import env_values, merge
from exatlas.transport.shape import objects_of

APPS, APP = "/v1/apps", "/v1/apps/{app}"
MACHINES, MACHINE = "/v1/apps/{app}/machines", "/v1/apps/{app}/machines/{machine}"
VOLUMES, VOLUME = "/v1/apps/{app}/volumes", "/v1/apps/{app}/volumes/{volume}"
ADDRESSES = "/v1/apps/{app}/ip_assignments"

NONCE_HEADER = "fly-machine-lease-nonce"
WAIT_MARGIN_S = 10.0
"""What a held reply may take beyond its hold."""
PAGE_SIZE = 500


# --- machines ---


def services_of(request: ComputeRequest, options: Options) -> list[dict[str, Any]]:
    """The services a machine will have: those for its ports, unless the caller brings others."""
    theirs: list[dict[str, Any]] | None = options.body.get("config", {}).get("services")
    return ports.services(request.ports) if theirs is None else theirs


def machine_body(
    request: ComputeRequest,
    options: Options,
    *,
    name: str,
    marks: Mapping[str, str],
    guest: Guest,
    region: str | None,
    volume_id: str | None,
) -> dict[str, Any]:
    """The body of one create. The marks go over everything the caller has laid over it."""
    services = services_of(request, options)
    config = {
        "image": request.image,
        "guest": guest.body(),
        "env": dict(request.env),
        "init": {"cmd": list(request.command)} if request.command else None,
        "services": services,
        "mounts": [{"volume": volume_id, "path": options.mount}] if volume_id else None,
    }
    body = merge(
        {
            "name": name,
            **({"region": region} if region else {}),
            "config": {key: value for key, value in config.items() if value},
        },
        options.body,
    )
    exposed = ports.exposed_by(objects_of(services, "$.config.services"))
    more = {ids.PORTS: ports.written(exposed)} if exposed else {}
    body["config"]["metadata"] = {**body["config"].get("metadata", {}), **marks, **more}
    return body


def marks(launch_id: str, owner: str | None, addresses: Addresses) -> dict[str, str]:
    """What we write on a machine, beside its name, to find it again and to know what it has."""
    written = {
        ids.MANAGED: "1",
        ids.LAUNCH: launch_id,
        ids.OWNER: owner,
        ids.IPV4: addresses.ipv4,
        ids.IPV6: addresses.ipv6,
        ids.SHARED_IPV4: addresses.shared_ipv4,
    }
    return {key: value for key, value in written.items() if value}


def create_machine(app: str, body: Mapping[str, Any], ctx: Context) -> HttpCall:
    """Create one machine. There is no idempotency key: name and metadata carry the launch id instead."""
    return call(ctx, "spawn_compute", "POST", MACHINES, {"app": app}, body=body, secrets=secrets_in(body["config"]))


def secrets_in(config: Mapping[str, Any]) -> list[str]:
    """The values of every environment in a machine's config."""
    found = list(env_values(config))
    for key in ("processes", "containers"):
        found += [value for part in config.get(key) or () for value in env_values(part)]
    return found


def launched(app: str, launch_id: str, ctx: Context, operation: str = "spawn_compute") -> HttpCall:
    """List the machines of one launch."""
    query = {f"metadata.{ids.LAUNCH}": launch_id}
    return call(ctx, operation, "GET", MACHINES, {"app": app}, query=query)


def list_app(app: str, ctx: Context, operation: str = "list_compute", *, deleted: bool = False) -> HttpCall:
    """List the machines of one app. It is never paged."""
    query = {"include_deleted": "true"} if deleted else None
    return call(ctx, operation, "GET", MACHINES, {"app": app}, query=query)


def list_org(org: str, cursor: str | None, ctx: Context, operation: str = "list_compute") -> HttpCall:
    """List one page of all machines of an organisation, in all of its apps."""
    query = {"limit": str(PAGE_SIZE), **({"cursor": cursor} if cursor else {})}
    return call(ctx, operation, "GET", "/v1/orgs/{org}/machines", {"org": org}, query=query)


def get_machine(place: Place, ctx: Context, operation: str = "get_compute") -> HttpCall:
    """Read one machine."""
    return call(ctx, operation, "GET", MACHINE, _of(place))


def delete_machine(place: Place, ctx: Context, operation: str = "terminate") -> HttpCall:
    """Destroy one machine in whatever state it is; without force a started one is refused."""
    return call(ctx, operation, "DELETE", MACHINE, _of(place), query={"force": "true"})


def act(place: Place, action: str, ctx: Context) -> HttpCall:
    """Ask for a transition: `start`, `stop`, `suspend` or `restart`."""
    body: dict[str, str] | None = {} if action == "stop" else None
    return call(ctx, action, "POST", f"{MACHINE}/{action}", _of(place), body=body)


def wait(place: Place, state: str, hold_s: int, version: str | None, ctx: Context, operation: str) -> HttpCall:
    """Have the reply held until the machine is in a state, for a minute at most: more is refused.

    A 408 is the ordinary answer to a wait that was too short, so it is not for the transport to repeat.
    """
    query = {"state": state, "timeout": str(hold_s), **({"version": version} if version else {})}
    return call(
        ctx,
        operation,
        "GET",
        f"{MACHINE}/wait",
        _of(place),
        query=query,
        repeat=Repeat.REFUSED,
        timeout_s=hold_s + WAIT_MARGIN_S,
    )


def update_machine(place: Place, body: Mapping[str, Any], nonce: str, ctx: Context) -> HttpCall:
    """Replace a machine's whole config. It gets a new version, and restarts if it was running."""
    headers = {NONCE_HEADER: nonce}
    secrets = [*secrets_in(body["config"]), nonce]
    return call(ctx, "update", "POST", MACHINE, _of(place), body=body, headers=headers, secrets=secrets)


def take_lease(place: Place, ttl_s: int, ctx: Context, operation: str) -> HttpCall:
    """Lock a machine against everybody else's changes. Fly's client and its documents place the time differently."""
    body, query = {"ttl": ttl_s, "description": "exatlas"}, {"ttl": str(ttl_s)}
    return call(ctx, operation, "POST", f"{MACHINE}/lease", _of(place), body=body, query=query)


def release_lease(place: Place, nonce: str, ctx: Context, operation: str) -> HttpCall:
    """Unlock a machine."""
    headers = {NONCE_HEADER: nonce}
    return call(ctx, operation, "DELETE", f"{MACHINE}/lease", _of(place), headers=headers, secrets=[nonce])


def _of(place: Place) -> dict[str, str]:
    return {"app": place.app, "machine": place.machine}


# --- apps and their addresses ---


def create_app(app: str, org: str, ctx: Context) -> HttpCall:
    """Create an app. Repeating it does no harm: the name is taken then, and the app can be read."""
    body = {"name": app, "org_slug": org}
    return call(ctx, "spawn_compute", "POST", APPS, body=body, repeat=Repeat.SAFE)


def get_app(app: str, ctx: Context) -> HttpCall:
    """Read an app."""
    return call(ctx, "spawn_compute", "GET", APP, {"app": app})


def delete_app(app: str, ctx: Context, operation: str = "terminate") -> HttpCall:
    """Delete an app, its addresses and whatever machine it has."""
    return call(ctx, operation, "DELETE", APP, {"app": app}, query={"force": "true"})


def list_addresses(app: str, ctx: Context) -> HttpCall:
    """List an app's addresses."""
    return call(ctx, "spawn_compute", "GET", ADDRESSES, {"app": app})


def add_address(app: str, kind: str, ctx: Context) -> HttpCall:
    """Assign an address: `v6`, `shared_v4` or, for money, `v4`."""
    return call(ctx, "spawn_compute", "POST", ADDRESSES, {"app": app}, body={"type": kind})


# --- volumes ---


def create_volume(app: str, name: str, size_gb: int, region: str, guest: Guest, ctx: Context) -> HttpCall:
    """Create a volume on a host with room for the machine too; a volume cannot move to one later.

    The zone need not be another than that of the app's other volumes: that rule only makes creates fail.
    """
    body = {
        "name": name,
        "region": region,
        "size_gb": size_gb,
        "compute": guest.body(),
        "require_unique_zone": False,
    }
    return call(ctx, "spawn_compute", "POST", VOLUMES, {"app": app}, body=body)


def list_volumes(app: str, ctx: Context, operation: str) -> HttpCall:
    """List an app's volumes."""
    return call(ctx, operation, "GET", VOLUMES, {"app": app})


def get_volume(app: str, volume_id: str, ctx: Context, operation: str = "spawn_compute") -> HttpCall:
    """Read a volume."""
    return call(ctx, operation, "GET", VOLUME, {"app": app, "volume": volume_id})


def delete_volume(app: str, volume_id: str, ctx: Context, operation: str) -> HttpCall:
    """Delete a volume. It can be brought back for a day, at no charge."""
    return call(ctx, operation, "DELETE", VOLUME, {"app": app, "volume": volume_id})


# --- the account and the platform ---


def current_tokens(ctx: Context, operation: str) -> HttpCall:
    """Read what the token is good for."""
    return call(ctx, operation, "GET", "/v1/tokens/current")


def regions(ctx: Context, operation: str = "list_regions") -> HttpCall:
    """List the regions."""
    return call(ctx, operation, "GET", "/v1/platform/regions")


def logs(place: Place, cursor: str | None, ctx: Context) -> HttpCall:
    """Read a page of a machine's log: the last hundred lines of a day, or what came after a cursor."""
    query = {"next_token": cursor or "", "instance": place.machine}
    return call(ctx, "stream_logs", "GET", "/api/v1/apps/{app}/logs", {"app": place.app}, api=PLATFORM, query=query)
