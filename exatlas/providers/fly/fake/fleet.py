"""The fake's routes for machines as a whole: lists, and creates with everything that may stand against them."""

from collections.abc import Mapping
from typing import Any

from exatlas.fakes.replies import json_reply
from exatlas.messages import HttpReply
from exatlas.providers.fly.fake import places
from exatlas.providers.fly.fake.account import FakeAccount, Query
from exatlas.providers.fly.fake.apps import FakeApp, FakeVolume
from exatlas.providers.fly.fake.machines import FakeMachine, stamp
from exatlas.providers.fly.fake.problems import not_found, problem, shortage

VOLUME_HOST_FULL = "insufficient resources to create new machine with existing volume"


def list_app(cloud: FakeAccount, app: FakeApp, query: Query) -> HttpReply:
    """The machines of an app."""
    now = cloud.clock.now()
    found = [machine for machine in cloud.machines.values() if machine.app == app.name and cloud.listed(machine)]
    if query.get("include_deleted") != "true":
        found = [machine for machine in found if machine.state(now) != "destroyed"]
    for key, value in query.items():
        if key.startswith("metadata.") and not cloud.ignores_filters:
            name = key.removeprefix("metadata.")
            found = [machine for machine in found if machine.config.get("metadata", {}).get(name) == value]
    return json_reply(200, [machine.view(now) for machine in found])


def list_org(cloud: FakeAccount, org: str, query: Query) -> HttpReply:
    """One page of the machines of an organisation."""
    if org not in (cloud.org, "personal"):
        return not_found("organization")
    now = cloud.clock.now()
    seen = [machine for machine in cloud.rented() if cloud.listed(machine)]
    reached = [machine for machine in seen if machine.region not in cloud.error_regions]
    start = int(query.get("cursor") or 0)
    end = start + min(cloud.page_size, int(query.get("limit", 1000)))
    body = {
        "machines": [machine.overview(now) for machine in reached[start:end]],
        "next_cursor": str(end) if end < len(reached) else "",
        "last_machine_id": "",
        "last_updated_at": stamp(now),
        "error_regions": list(cloud.error_regions),
    }
    return json_reply(200, body)


def create(cloud: FakeAccount, app: FakeApp, body: dict[str, Any]) -> HttpReply:
    """Place one machine, or say why not."""
    config = dict(body.get("config") or {})
    config.setdefault("guest", {"cpu_kind": "shared", "cpus": 1, "memory_mb": 256})
    refused = _refusal(cloud, app, body, config)
    if refused is not None:
        return refused
    regions = places.resolve(body.get("region"))
    if regions is None:
        return problem(400, f"invalid_argument: unknown region {body['region']}")
    volume = cloud.volume_in(config)
    region = cloud.room.first_of(regions)
    if region is None:
        return shortage(cloud.shortage)
    if region in cloud.over_quota:
        return problem(403, f"organization is over the allowed quota of memory in {region}")
    cloud.room.take(region)
    return _place(cloud, app, body, config, region, volume)


def _refusal(cloud: FakeAccount, app: FakeApp, body: dict[str, Any], config: dict[str, Any]) -> HttpReply | None:
    guest, volume = config["guest"], cloud.volume_in(config)
    if not config.get("image"):
        return problem(400, "invalid_argument: config.image is required")
    if guest.get("gpu_kind") or guest.get("gpus"):
        return problem(400, "invalid_argument: GPU machines are no longer available")
    if fault := guest_fault(guest):
        return problem(400, f"invalid_argument: {fault}")
    if cloud.needs_payment and cloud.machines_of(app.name):
        return problem(403, "To create more than 1 machine per app please add a payment method")
    if body.get("name") in [machine.name for machine in cloud.machines_of(app.name)]:
        return problem(409, f"already_exists: unique machine name violation, machine {body['name']} exists")
    if len(config.get("mounts", ())) > 1:
        return problem(400, "invalid_argument: a machine takes one mount")
    if not config.get("mounts"):
        return None
    if volume is None or volume.app != app.name or volume.state != "created":
        return not_found("volume")
    if cloud.attached(volume).attached_to:
        return problem(412, f"failed_precondition: volume {volume.id} is attached already")
    if volume.id in cloud.full_hosts:
        return problem(412, f"{VOLUME_HOST_FULL} '{volume.id}'")
    if body.get("region") not in (None, volume.region):
        return problem(400, f"invalid_argument: volume {volume.id} is in {volume.region}")
    return None


def _place(
    cloud: FakeAccount,
    app: FakeApp,
    body: dict[str, Any],
    config: dict[str, Any],
    region: str,
    volume: FakeVolume | None,
) -> HttpReply:
    now, number = cloud.clock.now(), next(cloud.ids)
    machine = FakeMachine(
        app=app.name,
        native_id=f"{number:04x}8d413b29d0",
        name=body.get("name") or f"quiet-brook-{number}",
        region=region,
        config=config,
        created_at=now,
        version=f"01VERSION{number:017d}",
    )
    machine.go(now, *_birth(cloud, config, skip=bool(body.get("skip_launch"))))
    cloud.machines[machine.native_id] = machine
    if volume is not None:
        volume.attached_to = machine.native_id
    return json_reply(200, machine.view(now, state="created"))


def _birth(cloud: FakeAccount, config: Mapping[str, Any], *, skip: bool) -> list[tuple[float, str]]:
    image = config["image"]
    if skip:
        return [(0, "created")]
    half, whole = cloud.boot_s / 2, cloud.boot_s
    if image in cloud.unlaunchable_images:
        return [(0, "created"), (half, "launch_failed"), (whole, "destroyed")]
    if image in cloud.broken_images:
        return [(0, "created"), (half, "starting"), (whole, "failed")]
    return [(0, "created"), (half / 2, "creating"), *rise(cloud, config, half, whole)]


def rise(cloud: FakeAccount, config: Mapping[str, Any], starting_s: float, started_s: float) -> list[tuple[float, str]]:
    """The course of a machine from its start on: one whose process ends stops, or destroys itself."""
    steps = [(starting_s, "starting"), (started_s, "started")]
    end_s = cloud.ends_after_s.get(config["image"])
    end = "destroyed" if config.get("auto_destroy") else "stopped"
    return steps if end_s is None else [*steps, (started_s + end_s, end)]


def guest_fault(guest: Mapping[str, Any]) -> str | None:
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
