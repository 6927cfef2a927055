"""The fake keeps true books and Lambda's own rules."""

from decimal import Decimal

import orjson
import pytest

from exatlas.messages import HttpCall
from exatlas.providers.lambda_labs.fake import FakeLambda, catalog
from exatlas.providers.lambda_labs.fake.cloud import PREFIX

EAST = "us-east-1"
LAUNCH = {"region_name": EAST, "instance_type_name": "gpu_1x_a10", "ssh_key_names": ["my-laptop"]}


@pytest.fixture
def fake(clock):
    return FakeLambda(clock, limited=False)


async def ask(fake, method, path, body=None, key=None):
    reply = await fake.handle(
        HttpCall(
            provider="p",
            operation="o",
            method=method,
            url=f"https://x{PREFIX}{path}",
            template=path,
            headers={"authorization": f"Bearer {key or fake.api_key}"},
            body=None if body is None else orjson.dumps(body),
        )
    )
    return reply.status, reply.json()


async def launch(fake, **fields):
    status, body = await ask(fake, "POST", "/instance-operations/launch", {**LAUNCH, **fields})
    return body["data"]["instance_ids"][0] if status == 200 else (status, body["error"]["code"])


async def test_time_is_billed_by_the_started_minute_from_active_to_the_end(fake, clock):
    fake.boot_s = 150
    each = await launch(fake)
    clock.advance(150)
    assert fake.invoice()[0].usd == 0
    clock.advance(61)
    (line,) = fake.invoice()
    assert (line.usd, line.open, line.status) == (Decimal("1.29") * 2 / 60, True, "active")
    await ask(fake, "POST", "/instance-operations/terminate", {"instance_ids": [each]})
    clock.advance(3600)
    (line,) = fake.invoice()
    assert (line.usd, line.open) == (Decimal("1.29") * 2 / 60, False)


async def test_capacity_runs_out_and_comes_back(fake):
    fake.capacity.left["gpu_1x_a10", EAST] = 1
    each = await launch(fake)
    assert await launch(fake) == (400, "instance-operations/launch/insufficient-capacity")
    _, types = await ask(fake, "GET", "/instance-types")
    regions = [region["name"] for region in types["data"]["gpu_1x_a10"]["regions_with_capacity_available"]]
    assert regions == [name for name in catalog.REGIONS if name != EAST]
    await ask(fake, "POST", "/instance-operations/terminate", {"instance_ids": [each]})
    assert isinstance(await launch(fake), str)


@pytest.mark.parametrize(
    ("fields", "refused"),
    [
        ({"ssh_key_names": ["my-laptop", "my-laptop"]}, (400, "global/invalid-parameters")),
        ({"ssh_key_names": []}, (400, "global/invalid-parameters")),
        ({"ssh_key_names": ["nope"]}, (404, "global/object-does-not-exist")),
        ({"instance_type_name": "gpu_1x_t4"}, (400, "global/object-does-not-exist")),
        ({"region_name": "mars-1"}, (404, "global/object-does-not-exist")),
        ({"firewall_rulesets": [{"id": "nope"}]}, (404, "global/object-does-not-exist")),
        ({"file_system_names": ["nope"]}, (404, "global/object-does-not-exist")),
        ({"file_system_names": ["far"]}, (400, "instance-operations/launch/file-system-in-wrong-region")),
        ({"name": "n" * 65}, (400, "global/invalid-parameters")),
        ({"user_data": "x" * 1_000_001}, (400, "global/invalid-parameters")),
        ({"hostname": "UPPER"}, (400, "global/invalid-parameters")),
        ({"tags": [{"key": "lambda-ai-x", "value": "v"}]}, (400, "global/invalid-parameters")),
        ({"tags": [{"key": "kk", "value": "v" * 129}]}, (400, "global/invalid-parameters")),
        ({"quantity": 1}, (400, "global/invalid-parameters")),
    ],
)
async def test_a_launch_is_read_strictly(fake, fields, refused):
    await ask(fake, "POST", "/filesystems", {"name": "far", "region": "us-west-1"})
    assert await launch(fake, **fields) == refused
    assert fake.rented() == []


async def test_account_states(fake):
    fake.has_address = False
    assert await launch(fake) == (403, "global/invalid-address")
    fake.has_address, fake.most_machines = True, 0
    assert await launch(fake) == (400, "global/quota-exceeded")
    fake.is_active = False
    assert await launch(fake) == (403, "global/account-inactive")
    assert (await ask(fake, "GET", "/instances", key="wrong"))[0] == 401


async def test_one_request_a_second_and_one_launch_in_twelve(clock):
    fake = FakeLambda(clock)

    async def status(path, method="GET", body=None):
        return (await ask(fake, method, path, body))[0]

    assert await status("/instances") == 200
    clock.advance(0.9)
    assert await status("/instances") == 429
    clock.advance(0.9)
    assert await status("/instances") == 429, "a refused call counts too"
    clock.advance(1.01)
    assert await status("/instance-operations/launch", "POST", LAUNCH) == 200
    clock.advance(11)
    assert await status("/instance-operations/launch", "POST", LAUNCH) == 429
    clock.advance(12)
    assert await status("/instance-operations/launch", "POST", LAUNCH) == 200
    assert fake.refused_for_rate == 3


async def test_an_unknown_id_spoils_a_batch(fake):
    each = await launch(fake)
    status, _ = await ask(fake, "POST", "/instance-operations/terminate", {"instance_ids": [each, "nope"]})
    assert status == 404
    assert len(fake.rented()) == 1


async def test_a_ruleset_in_use_cannot_be_deleted_and_lists_its_machines(fake, clock):
    fake.terminating_s = 60
    body = {"name": "n", "region": EAST, "rules": []}
    _, made = await ask(fake, "POST", "/firewall-rulesets", body)
    ruleset = made["data"]["id"]
    each = await launch(fake, firewall_rulesets=[{"id": ruleset}])
    _, listed = await ask(fake, "GET", "/firewall-rulesets")
    assert listed["data"][0]["instance_ids"] == [each]
    await ask(fake, "POST", "/instance-operations/terminate", {"instance_ids": [each]})
    status, told = await ask(fake, "DELETE", f"/firewall-rulesets/{ruleset}")
    assert (status, told["error"]["code"]) == (400, "firewall-rulesets/firewall-ruleset-in-use")
    clock.advance(60)
    assert (await ask(fake, "DELETE", f"/firewall-rulesets/{ruleset}"))[0] == 200
    assert (await ask(fake, "DELETE", f"/firewall-rulesets/{ruleset}"))[0] == 404


async def test_a_machine_over_its_life(fake, clock):
    fake.boot_s, fake.terminating_s = 100, 10
    each = await launch(fake, tags=[{"key": "kk", "value": "v"}])

    async def seen():
        status, body = await ask(fake, "GET", f"/instances/{each}")
        return (body["data"]["status"], "ip" in body["data"], "tags" in body["data"]) if status == 200 else status

    assert await seen() == ("booting", False, False)
    clock.advance(30)
    assert await seen() == ("booting", True, False)
    clock.advance(70)
    assert await seen() == ("active", True, True)
    fake.preempt(each)
    assert await seen() == ("preempted", True, True)
    clock.advance(10)
    assert await seen() == 404
    fake.keeps_terminated = True
    assert await seen() == ("terminated", True, True)
    assert (await ask(fake, "GET", "/instances"))[1]["data"] == []


async def test_keys(fake):
    status, made = await ask(fake, "POST", "/ssh-keys", {"name": "pair"})
    assert (status, "private_key" in made["data"]) == (200, True)
    assert (await ask(fake, "POST", "/ssh-keys", {"name": "pair"}))[0] == 400
    assert (await ask(fake, "DELETE", f"/ssh-keys/{made['data']['id']}"))[0] == 200
    assert (await ask(fake, "DELETE", f"/ssh-keys/{made['data']['id']}"))[0] == 404


@pytest.mark.parametrize(("method", "path"), [("GET", "/nothing"), ("POST", "/file-systems"), ("GET", "")])
async def test_what_is_not_there(fake, method, path):
    assert (await ask(fake, method, path))[0] == 404


async def test_regions(fake):
    _, found = await ask(fake, "GET", "/regions")
    assert [region["name"] for region in found["data"]] == list(catalog.REGIONS)
