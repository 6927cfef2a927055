"""The fake, met without the provider: it must be at least as strict as Fly, or it proves nothing."""

from decimal import Decimal
from typing import Any

import orjson
import pytest

from exatlas.messages import HttpCall, encode
from exatlas.providers.fly.fake import FakeFly
from exatlas.providers.fly.fake.account import KEY
from exatlas.providers.fly.fake.problems import SHORTAGES


class Wire:
    """Raw calls to a fake."""

    def __init__(self, fake: FakeFly) -> None:
        self.fake = fake

    async def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        call = HttpCall(
            provider="test",
            operation="test",
            method=method,
            url=f"http://fly.test{path}",
            template=path,
            headers={
                "authorization": f"FlyV1 {KEY}",
                **{name.replace("_", "-"): text for name, text in headers.items()},
            },
            body=None if body is None else encode(body),
        )
        reply = await self.fake.handle(call)
        return reply.status, orjson.loads(reply.body) if reply.body else None


@pytest.fixture
def slow(clock):
    return FakeFly(clock, boot_s=8, stop_s=4, destroy_s=2)


@pytest.fixture
async def wire(slow):
    send = Wire(slow)
    assert (await send("POST", "/v1/apps", {"name": "a", "org_slug": "acme"}))[0] == 201
    return send


async def create(wire, **body):
    wire.fake.clock.advance(10)
    return await wire("POST", "/v1/apps/a/machines", {"config": {"image": "img"}, **body})


@pytest.mark.parametrize("header", ["", "Bearer x", f"Bearer {KEY}", f"Bearer FlyV1 {KEY}", f"FlyV1 {KEY},fm2_x"])
async def test_only_the_right_header_opens(wire, header):
    status, body = await wire("GET", "/v1/apps/a", authorization=header)
    assert (status, body["error"]) == (401, "Authenticate: token validation error")


async def test_limits_hold_per_action_and_machine(wire, clock):
    _, machine = await create(wire)
    path = f"/v1/apps/a/machines/{machine['id']}"
    assert [(await wire("GET", "/v1/apps/a/machines"))[0] for _ in range(4)] == [200, 200, 200, 429]
    assert [(await wire("GET", path))[0] for _ in range(11)] == [200] * 10 + [429]
    assert [(await wire("POST", f"{path}/start"))[0] for _ in range(4)][-1] == 429
    clock.advance(1)
    assert (await wire("GET", "/v1/apps/a/machines"))[0] == 200
    assert [(await wire("GET", path))[0] for _ in range(6)] == [200] * 5 + [429]


async def test_states_come_by_themselves(wire, slow, clock):
    _, machine = await create(wire)
    path = f"/v1/apps/a/machines/{machine['id']}"
    seen = [machine["state"]]

    async def watch(*waits):
        for wait_s in waits:
            clock.advance(wait_s)
            seen.append((await wire("GET", path))[1]["state"])

    await watch(3, 2, 4)
    await wire("POST", f"{path}/suspend")
    await watch(0, 4)
    await wire("POST", f"{path}/stop")
    await watch(0, 4)
    await wire("POST", f"{path}/start")
    await watch(0, 8)
    await wire("POST", f"{path}/restart")
    await watch(0, 8)
    await wire("DELETE", f"{path}?force=true")
    await watch(0, 2)
    assert seen == [
        *("created", "creating", "starting", "started", "suspending", "suspended", "stopping", "stopped"),
        *("starting", "started", "restarting", "started", "destroying", "destroyed"),
    ]
    clock.advance(61)
    assert (await wire("GET", path)) == (404, {"error": "not_found: machine not found", "status": "unknown"})


async def test_images_that_end_otherwise(wire, slow, clock):
    slow.broken_images.add("broken")
    slow.unlaunchable_images.add("unlaunchable")
    slow.ends_after_s["short"] = 5
    configs = [
        {"image": "broken"},
        {"image": "unlaunchable"},
        {"image": "short"},
        {"image": "short", "auto_destroy": True},
    ]
    made = [(await create(wire, config=config))[1]["id"] for config in configs]
    clock.advance(4)
    assert slow.machine(made[1]).state(clock.now()) == "destroyed"
    clock.advance(20)
    assert [slow.machine(one).state(clock.now()) for one in made] == ["failed", "destroyed", "stopped", "destroyed"]


async def test_a_wait_is_held_and_ends_in_408_when_it_was_in_vain(wire, clock):
    _, machine = await create(wire)
    path = f"/v1/apps/a/machines/{machine['id']}/wait"
    started = clock.monotonic()
    assert (await wire("GET", f"{path}?state=started&timeout=60"))[1]["state"] == "started"
    assert clock.monotonic() == started + 8
    status, body = await wire("GET", f"{path}?state=stopped&timeout=3")
    assert (status, clock.monotonic()) == (408, started + 11)
    assert body["error"] == "deadline_exceeded: machine failed to reach desired state, stopped, currently started"
    status, body = await wire("GET", f"{path}?state=stopped&timeout=1&version=01OLDER")
    assert (status, "currently replaced" in body["error"]) == (408, True)
    clock.advance(5)
    assert (await wire("GET", f"{path}?state=settled"))[0] == 200
    assert (await wire("GET", f"{path}?timeout=90"))[1]["error"].endswith("value must be inside range [1s, 1m0s]")
    assert (await wire("GET", f"{path}?state=happy"))[0] == 400


async def test_a_lease_guards_every_change(wire, clock):
    _, machine = await create(wire)
    clock.advance(10)
    path = f"/v1/apps/a/machines/{machine['id']}"
    status, lease = await wire("POST", f"{path}/lease?ttl=30")
    nonce = lease["data"]["nonce"]
    assert (status, lease["status"]) == (201, "success")
    for method, end in (("POST", "/stop"), ("POST", "/start"), ("DELETE", ""), ("POST", ""), ("POST", "/lease")):
        status, body = await wire(method, f"{path}{end}", {"config": {}})
        assert (status, "lease currently held by" in body["error"]) == (409, True), end
    assert (await wire("GET", path))[0] == 200
    assert (await wire("POST", f"{path}/stop", fly_machine_lease_nonce=nonce))[0] == 200
    assert (await wire("DELETE", f"{path}/lease"))[0] == 400
    assert (await wire("DELETE", f"{path}/lease", fly_machine_lease_nonce=nonce))[0] == 200
    clock.advance(5)
    assert (await wire("POST", f"{path}/start"))[0] == 200


@pytest.mark.parametrize("form", SHORTAGES)
async def test_a_full_region_refuses_in_the_form_that_was_chosen(wire, slow, form):
    slow.room["iad"], slow.shortage = 0, form
    status, body = await create(wire, region="iad")
    assert (status, body["error"]) == SHORTAGES[form][:2]
    assert (await create(wire, region="iad,ewr"))[1]["region"] == "ewr"
    assert (await create(wire))[1]["region"] != "iad"


def sized(kind, cpus, memory_mb, **more):
    return {"config": {"image": "i", "guest": {"cpu_kind": kind, "cpus": cpus, "memory_mb": memory_mb, **more}}}


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"config": {}}, 400, "config.image is required"),
        (sized("performance", 8, 32768, gpus=1), 400, "GPU"),
        (sized("performance", 1, 1024), 400, "minimum required 2048 MiB"),
        (sized("shared", 1, 4096), 400, "maximum allowed 2048 MiB"),
        (sized("odd", 1, 256), 400, "cpu_kind"),
        ({"config": {"image": "i", "mounts": [{}, {}]}}, 400, "one mount"),
        ({"config": {"image": "i", "mounts": [{"volume": "vol_no", "path": "/d"}]}}, 404, "volume not found"),
        ({"config": {"image": "i"}, "region": "atlantis"}, 400, "unknown region"),
    ],
)
async def test_a_create_that_cannot_be(wire, body, status, said):
    wire.fake.clock.advance(5)
    got, reply = await wire("POST", "/v1/apps/a/machines", body)
    assert (got, said in reply["error"]) == (status, True)
    assert wire.fake.rented() == []


async def test_names_are_unique_in_an_app_and_apps_in_the_world(wire, slow):
    await create(wire, name="one")
    assert (await create(wire, name="one"))[0] == 409
    slow.taken_names.add("b")
    for name in ("a", "b"):
        slow.clock.advance(5)
        status, body = await wire("POST", "/v1/apps", {"name": name, "org_slug": "acme"})
        assert (status, body["status"]) == (422, "name_taken")
    assert (await wire("GET", "/v1/apps/b"))[0] == 403
    assert (await wire("GET", "/v1/apps/c"))[0] == 404


async def test_a_started_machine_and_its_app_go_by_force_only(wire, slow, clock):
    _, machine = await create(wire)
    clock.advance(10)
    assert (await wire("DELETE", f"/v1/apps/a/machines/{machine['id']}"))[0] == 412
    assert (await wire("DELETE", "/v1/apps/a"))[0] == 422
    assert (await wire("DELETE", "/v1/apps/a?force=true"))[0] == 202
    clock.advance(2)
    assert slow.rented() == []
    assert (await wire("GET", "/v1/apps/a"))[0] == 404


async def test_a_volume_outlives_machine_and_app_and_goes_on_billing(wire, slow, clock):
    _, volume = await wire("POST", "/v1/apps/a/volumes", {"name": "v", "region": "iad", "size_gb": 100})
    mounts = {"image": "img", "mounts": [{"volume": volume["id"], "path": "/data"}]}
    _, machine = await create(wire, config=mounts)
    path = f"/v1/apps/a/volumes/{volume['id']}"
    assert (await wire("GET", path))[1]["attached_machine_id"] == machine["id"]
    assert (await create(wire, config=mounts))[0] == 412, "it is attached"
    status, body = await wire("DELETE", path)
    assert (status, f"attached to machine {machine['id']}" in body["error"]) == (412, True)
    await wire("DELETE", "/v1/apps/a?force=true")
    clock.advance(720 * 3600)
    (line,) = [line for line in slow.invoice() if line.compute_id == volume["id"]]
    assert line.open
    assert 15 <= line.usd < Decimal("15.01")


async def test_lists_lag_and_reads_do_not(clock):
    slow = FakeFly(clock, listing_lag_s=5)
    wire = Wire(slow)
    await wire("POST", "/v1/apps", {"name": "a", "org_slug": "acme"})
    _, machine = await wire("POST", "/v1/apps/a/machines", {"config": {"image": "img"}})
    assert (await wire("GET", "/v1/apps/a/machines"))[1] == []
    assert (await wire("GET", "/v1/orgs/acme/machines"))[1]["machines"] == []
    assert (await wire("GET", f"/v1/apps/a/machines/{machine['id']}"))[0] == 200
    clock.advance(5)
    assert [one["id"] for one in (await wire("GET", "/v1/apps/a/machines"))[1]] == [machine["id"]]
    assert [one["app_name"] for one in (await wire("GET", "/v1/orgs/acme/machines"))[1]["machines"]] == ["a"]


async def test_destroyed_machines_are_listed_only_when_asked_for(wire, clock):
    _, machine = await create(wire)
    await wire("DELETE", f"/v1/apps/a/machines/{machine['id']}?force=true")
    clock.advance(5)
    assert (await wire("GET", "/v1/apps/a/machines"))[1] == []
    assert len((await wire("GET", "/v1/apps/a/machines?include_deleted=true"))[1]) == 1


async def test_a_host_that_is_away_shows_an_incomplete_config_and_takes_no_orders(wire, slow):
    _, machine = await create(wire)
    slow.machine(machine["id"]).unreachable = True
    path = f"/v1/apps/a/machines/{machine['id']}"
    _, shown = await wire("GET", path)
    assert (shown["host_status"], "config" in shown, shown["incomplete_config"]["image"]) == (
        "unreachable",
        False,
        "img",
    )
    assert (await wire("DELETE", f"{path}?force=true"))[0] == 503


async def test_compute_is_billed_by_the_second_and_the_root_file_system_of_a_stopped_machine_too(wire, slow, clock):
    config = {"image": "img", "guest": {"cpu_kind": "performance", "cpus": 2, "memory_mb": 4096}}
    _, machine = await create(wire, config=config)
    clock.advance(4 + 3600)
    await wire("POST", f"/v1/apps/a/machines/{machine['id']}/stop")
    clock.advance(4)
    running = slow.invoice()[0].usd
    assert abs(running - Decimal("0.086112") * 3604 / 3600) < Decimal("0.00001"), "from starting to stopped"
    clock.advance(720 * 3600)
    assert f"{slow.invoice()[0].usd - running:.4f}" == "0.1500"
