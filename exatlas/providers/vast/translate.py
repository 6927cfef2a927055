"""What we ask for, in Vast's words. Pure: a request and a context in, calls out.

Source: vast-ai/docs `search_offers`, `create_instance`, `show_instances`, `manage_instance`, `logs`; the SDK's
`api/offers.py`, `api/instances.py`, `utils.py`; read 2026-11-23.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from exatlas.messages import HttpCall, Repeat, encode
from exatlas.protocols import Context
from exatlas.providers.vast import calls, gpus, regions
from exatlas.providers.vast.offers import Choice
from exatlas.records.compute import ComputeRequest, PortSpec
from exatlas.transport.calls import env_values, merge

DISK_GB = 20
SMALLEST_DISK_GB = 8
"""Vast's own default, which a template without a disk gets too."""
LEAST_RELIABILITY = 0.95
MOUNT_PATH = "/workspace"
PAGE_SIZE = 25
SEARCH_LIMIT = 1000
"""Without a limit the server gives a few dozen offers and does not say that there are more."""
SEARCH_OPTS = "search"
"""The key of `provider_opts` that goes into the search; all others go into the create."""
ANY_ARCH = {"in": ["amd64", "arm64"]}
"""Grace Hopper machines are arm64, which the server leaves out unless asked."""
ON_DEMAND, BID = "ondemand", "bid"


def disk_gb(request: ComputeRequest) -> int | None:
    """The size of the one disk there is, which survives a stop and dies with the instance.

    None leaves it to a template.
    """
    own = request.container_disk_gb
    if request.template_id and own is None and request.volume_gb is None:
        return None
    return max((own or DISK_GB) + (request.volume_gb or 0), SMALLEST_DISK_GB)


def search_filters(
    request: ComputeRequest,
    models: Sequence[gpus.Model],
    disk_gb: float,
    *,
    machine_id: int | None = None,
    template: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The search for a machine: columns with what they must be, and words that steer it.

    `machine_id` is where a volume lies that the request wants; `template` are the filters of its template, over which
    the request's own go.
    """
    market = _market(BID if request.spot else ON_DEMAND, request.cloud_type)
    wanted = merge(market, template or {})
    wanted = merge(wanted, _columns(request, models, disk_gb, machine_id))
    wanted = merge(wanted, request.provider_opts.get(SEARCH_OPTS) or {})
    return {column: tests for column, tests in wanted.items() if tests is not None}


def _columns(
    request: ComputeRequest, models: Sequence[gpus.Model], disk_gb: float, machine_id: int | None
) -> dict[str, Any]:
    least_mib, most_mib = gpus.bounds(models)
    body: dict[str, Any] = {
        "gpu_name": {"in": list(dict.fromkeys(model.gpu_name for model in models))},
        "num_gpus": {"eq": request.gpu_count},
        "disk_space": {"gte": disk_gb},
        "allocated_storage": disk_gb,
    }
    if least_mib or most_mib:
        body["gpu_ram"] = {"gte": least_mib, **({"lte": most_mib} if most_mib else {})}
    if any(model.gpu_name.upper().startswith("GH") for model in models):
        body["cpu_arch"] = ANY_ARCH
    if machine_id is not None:
        body["machine_id"] = {"eq": machine_id}
    if request.ports:
        body["direct_port_count"] = {"gte": len(request.ports) + 1}
    if request.region_hints:
        body["geolocation"] = {"in": regions.all_countries(request.region_hints)}
    if request.cpus is not None:
        body["cpu_cores_effective"] = {"gte": request.cpus}
    if request.memory_gb is not None:
        body["cpu_ram"] = {"gte": request.memory_gb * 1000}
    return body


def catalog_filters(cloud_type: str) -> dict[str, Any]:
    """The search for everything one kind of cloud has."""
    return {**_market(ON_DEMAND, cloud_type), "cpu_arch": ANY_ARCH, "allocated_storage": SMALLEST_DISK_GB}


def _market(kind: str, cloud_type: str) -> dict[str, Any]:
    """What every search says. The defaults are said too: the server's and its own client's have differed."""
    body: dict[str, Any] = {
        "type": kind,
        "verified": {"eq": True},
        "external": {"eq": False},
        "rentable": {"eq": True},
        "rented": {"eq": False},
        "reliability": {"gte": LEAST_RELIABILITY},
        "order": [["dph_total", "asc"], ["id", "asc"]],
        "limit": SEARCH_LIMIT,
    }
    if cloud_type != "any":
        body["datacenter"] = {"eq": cloud_type == "secure"}
    return body


def search(filters: Mapping[str, Any], operation: str, ctx: Context) -> HttpCall:
    """Look for offers. It changes nothing, but counts towards a daily quota."""
    return calls.rest(ctx, operation, "POST", "/api/v0/bundles/", body=filters)


def create_body(request: ComputeRequest, choice: Choice, label: str) -> dict[str, Any]:
    """The body that takes one offer; the request's `provider_opts` are laid over it last.

    Only `args` leaves the image's entrypoint in place; a template's own way of launching is left alone.
    """
    optional: dict[str, Any] = {
        "image": request.image,
        "disk": disk_gb(request),
        "args": list(request.command),
        "env": environment(request.env, request.ports),
        "volume_info": _volume(request.network_volume_id),
        "price": None if choice.bid is None else float(choice.bid),
        "runtype": None if request.template_id and not request.command else "args",
        **_template(request.template_id),
    }
    body = {
        "client_id": "me",
        "label": label,
        "target_state": "running",
        "cancel_unavail": True,
        **{key: value for key, value in optional.items() if value},
    }
    opts = {key: value for key, value in request.provider_opts.items() if key != SEARCH_OPTS}
    return merge(body, opts)


def _template(template_id: str | None) -> dict[str, Any]:
    """A template goes by the hash of its content, or by its number."""
    if template_id is None:
        return {}
    return {"template_id": int(template_id)} if template_id.isdecimal() else {"template_hash_id": template_id}


def _volume(volume_id: str | None) -> dict[str, Any] | None:
    """An existing volume; where it is mounted can be changed by `provider_opts`."""
    if volume_id is None:
        return None
    return {"create_new": False, "volume_id": int(volume_id), "mount_path": MOUNT_PATH}


def environment(env: Mapping[str, str], ports: Sequence[PortSpec]) -> dict[str, str]:
    """Variables and ports in one mapping: a port is a variable named like the option of docker's that opens it.

    The port on the left is not the one outside, which Vast chooses.
    """
    return {**env, **{port_option(spec): "1" for spec in ports}}


def port_option(spec: PortSpec) -> str:
    """`-p 8000:8000`, with the protocol where it is not tcp."""
    return f"-p {spec.port}:{spec.port}{'/udp' if spec.protocol == 'udp' else ''}"


def accept(choice: Choice, body: Mapping[str, Any], ctx: Context) -> HttpCall:
    """Take one offer. There is no idempotency key: the label carries the launch id instead."""
    return calls.rest(
        ctx,
        "spawn_compute",
        "PUT",
        "/api/v0/asks/{id}/",
        compute_id=str(choice.offer.id),
        body=body,
        repeat=Repeat.REFUSED,
        secrets=(*env_values(body), *_login(body)),
    )


def _login(body: Mapping[str, Any]) -> tuple[str, ...]:
    """The registry's password in a login such as `-u USER -p TOKEN registry.host`."""
    login = body.get("image_login")
    words = login.split() if isinstance(login, str) else []
    return (str(login), *(word for flag, word in pairwise(words) if flag == "-p")) if words else ()


def get_instance(compute_id: str, ctx: Context, operation: str = "get_compute") -> HttpCall:
    """Read one instance."""
    return calls.rest(ctx, operation, "GET", "/api/v0/instances/{id}/", compute_id=compute_id, query={"owner": "me"})


def list_instances(
    cursor: str | None, ctx: Context, operation: str = "list_compute", *, label: str | None = None
) -> HttpCall:
    """Read one page of instances, all of them or those with exactly this label. The older list is gone (410)."""
    query = {"limit": str(PAGE_SIZE), "order_by": '[{"col":"id","dir":"asc"}]'}
    if label is not None:
        query["select_filters"] = encode({"label": {"eq": label}}).decode()
    if cursor:
        query["after_token"] = cursor
    return calls.rest(ctx, operation, "GET", "/api/v1/instances/", query=query)


def find_template(template_id: str, ctx: Context) -> HttpCall:
    """Look for one template, by the hash of its content or by its number."""
    column = "id" if template_id.isdecimal() else "hash_id"
    wanted: str | int = int(template_id) if template_id.isdecimal() else template_id
    query = {"select_filters": encode({column: {"eq": wanted}}).decode(), "select_cols": '["*"]'}
    return calls.rest(ctx, "spawn_compute", "GET", "/api/v0/template/", query=query)


def list_volumes(ctx: Context) -> HttpCall:
    """Read the account's volumes; this path is the one that has no slash at its end."""
    query = {"owner": "me", "type": "local_volume"}
    return calls.rest(ctx, "spawn_compute", "GET", "/api/v0/volumes", query=query)


def set_state(compute_id: str, state: str, ctx: Context, operation: str) -> HttpCall:
    """Ask for `running` or `stopped`; asking twice is as good as once."""
    return calls.rest(ctx, operation, "PUT", "/api/v0/instances/{id}/", compute_id=compute_id, body={"state": state})


def destroy(compute_id: str, ctx: Context, operation: str = "terminate") -> HttpCall:
    """Destroy one instance."""
    return calls.rest(ctx, operation, "DELETE", "/api/v0/instances/{id}/", compute_id=compute_id)


def change_bid(compute_id: str, usd_per_hour: float, ctx: Context) -> HttpCall:
    """Bid another price for the whole machine."""
    body = {"client_id": "me", "price": usd_per_hour}
    template = "/api/v0/instances/bid_price/{id}/"
    return calls.rest(ctx, "change_bid", "PUT", template, compute_id=compute_id, body=body)


def reboot(compute_id: str, ctx: Context) -> HttpCall:
    """Stop and start the container without giving the GPU away."""
    template = "/api/v0/instances/reboot/{id}/"
    return calls.rest(ctx, "restart", "PUT", template, compute_id=compute_id, repeat=Repeat.REFUSED)


def request_logs(compute_id: str, tail: int, ctx: Context) -> HttpCall:
    """Have the last lines uploaded; numbers are texts here."""
    template = "/api/v0/instances/request_logs/{id}/"
    return calls.rest(ctx, "stream_logs", "PUT", template, compute_id=compute_id, body={"tail": str(tail)})


def fetch_log(url: str, ctx: Context) -> HttpCall:
    """Read an uploaded log. The address belongs to a storage service and never sees the key."""
    return HttpCall(
        provider=ctx.provider,
        operation="stream_logs",
        method="GET",
        url=url,
        template="/{log}",
        repeat=Repeat.NEVER,
        timeout_s=ctx.timeout_s or calls.READ_TIMEOUT_S,
        secrets=(url,),
    )
