"""The fake is as odd as the cloud: what it answers to calls that our provider never makes, and what it counts."""

from decimal import Decimal

import orjson
import pytest

from exatlas.messages import HttpCall
from exatlas.providers.vast.fake import FakeHost, FakeVast, Fault

KEY = "vastFAKEKEY0123456789"
CREATE = {"image": "img", "env": {}, "disk": 72, "label": "mine"}


@pytest.fixture
def fake(clock):
    host = FakeHost(machine_id=1, gpu_name="A40", gpu_ram=46068, base=0.40, country="DE", min_bid=0.2)
    return FakeVast(clock, hosts=[host], limits=False)


async def ask(fake, method, path, body=None, key=KEY):
    call = HttpCall(
        provider="vast",
        operation="test",
        method=method,
        url=f"http://127.0.0.1{path}",
        template=path,
        headers={"authorization": f"Bearer {key}"},
        body=None if body is None else orjson.dumps(body),
    )
    return await fake.handle(call)


async def create(fake, **body):
    reply = await ask(fake, "PUT", f"/api/v0/asks/{fake.hosts[1].offer_id}/", {**CREATE, **body})
    return reply.json()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/v0/instances/", 410),
        ("GET", "/api/v1/instances", 308),
        ("PUT", "/api/v0/asks/9/", 404),
        ("GET", "/api/v0/instances/9/", 200),
        ("DELETE", "/api/v0/instances/9/", 404),
        ("PUT", "/api/v0/instances/9/", 404),
        ("PUT", "/api/v0/instances/bid_price/9/", 404),
        ("PUT", "/api/v0/instances/reboot/9/", 400),
        ("PUT", "/api/v0/instances/request_logs/9/", 404),
        ("GET", "/api/v0/users/current/", 200),
        ("GET", "/api/v0/nothing/", 400),
        ("GET", "/vast.ai/instance_logs/nope.log", 403),
        ("POST", "/llm/v1/chat/completions", 404),
        ("GET", "/api/v1/instances/?after_token=x", 400),
        ("GET", '/api/v1/instances/?select_filters={"dph_total":{"lt":1}}', 400),
    ],
)
async def test_calls_that_lead_nowhere(fake, method, path, status):
    assert (await ask(fake, method, path, {})).status == status


@pytest.mark.parametrize(("path", "status"), [("/api/v0/bundles/", 404), ("/api/v0/users/current/", 401)])
async def test_a_wrong_key_has_two_statuses(fake, path, status):
    reply = await ask(fake, "POST", path, {}, key="another")
    assert (reply.status, reply.json()["msg"]) == (status, "Invalid user key")


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"image": None, "env": "-e A=b"}, "invalid_args"),
        ({"disk": 7}, "invalid_args"),
        ({"runtype": "magic"}, "invalid_args"),
        ({"label": "x" * 257}, "invalid_args"),
        ({"price": 129}, "invalid_price"),
    ],
)
async def test_a_create_is_read_strictly(fake, body, error):
    assert (await create(fake, **body))["error"] == error
    assert fake.rented() == []


async def test_an_offer_is_good_for_one_create_and_offered_anew_when_it_is_free(fake):
    number = fake.hosts[1].offer_id
    made = await create(fake)
    assert (await ask(fake, "PUT", f"/api/v0/asks/{number}/", CREATE)).status == 410
    await ask(fake, "DELETE", f"/api/v0/instances/{made['new_contract']}/", {})
    assert fake.hosts[1].offer_id != number
    assert (await ask(fake, "PUT", f"/api/v0/asks/{number}/", CREATE)).status == 404
    assert (await create(fake))["success"]


async def test_what_a_life_costs(fake, clock):
    """An hour with the GPU, an hour without, an hour at a bid: the disk bills through."""
    made = await create(fake)
    path = f"/api/v0/instances/{made['new_contract']}/"
    clock.advance(3600)
    await ask(fake, "PUT", path, {"state": "stopped"})
    clock.advance(3600)
    await ask(fake, "DELETE", path, {})
    await create(fake, price=0.25)
    clock.advance(3600)
    first, second = fake.invoice()
    assert (first.usd, first.open, first.seconds) == (Decimal("0.43"), False, 7200)
    assert (second.usd, second.open) == (Decimal("0.265"), True)
    assert first.name == "mine"


async def test_somebody_elses_bid_wins_and_loses(fake):
    made = await create(fake, price=0.25)
    (instance,) = fake.rented()
    fake.rival(1, 0.3)
    assert not instance.has_gpu
    path = f"/api/v0/instances/bid_price/{made['new_contract']}/"
    await ask(fake, "PUT", path, {"client_id": "me", "price": 0.35})
    assert instance.has_gpu
    fake.rival(1, 0.5)
    fake.rival(1, None)
    assert instance.has_gpu


async def test_a_bid_below_the_floor_is_refused_and_makes_something(fake):
    fake.rival(1, 0.9)
    told = await create(fake, price=0.25)
    assert told["success"] is False
    assert fake.rented()[0].number == told["new_contract"]


async def test_who_waits_gets_the_slice_when_somebody_leaves(fake):
    made = await create(fake)
    path = f"/api/v0/instances/{made['new_contract']}/"
    await ask(fake, "PUT", path, {"state": "stopped"})
    fake.occupy(1)
    assert (await ask(fake, "PUT", path, {"state": "running"})).json() == {"success": True}
    seen = (await ask(fake, "GET", path)).json()["instances"]
    assert (seen["intended_status"], seen["cur_state"], seen["next_state"]) == ("running", "stopped", "running")
    fake.vacate(1)
    assert fake.rented()[0].has_gpu


@pytest.mark.parametrize(
    ("method", "path", "text"),
    [
        ("GET", "/api/v0/instances/9/", b"API requests too frequent: endpoint threshold=2.0"),
        ("PUT", "/api/v0/asks/9/", b'{"detail":"API requests too frequent endpoint threshold=4.5"}'),
        ("DELETE", "/api/v0/instances/9/", b"rate_limit_exceeded"),
    ],
)
async def test_a_hasty_call_is_refused_in_the_form_of_its_route(fake, clock, method, path, text):
    fake.limits = True
    assert (await ask(fake, method, path, {})).status != 429
    hasty = await ask(fake, method, path, {})
    assert hasty.status == 429
    assert text in hasty.body
    clock.advance(5)
    assert (await ask(fake, method, path, {})).status != 429


async def test_the_eleventh_search_of_a_minute_is_refused(fake, clock):
    fake.limits = True
    assert [(await ask(fake, "POST", "/api/v0/bundles/", {})).status for _ in range(11)] == [200] * 10 + [429]
    clock.advance(60)
    assert (await ask(fake, "POST", "/api/v0/bundles/", {})).status == 200


@pytest.mark.parametrize("query", [{"gpu_name": "A40"}, {"gpu_name": {"like": "A40"}}, ["x"]])
async def test_a_search_it_cannot_read(fake, query):
    assert (await ask(fake, "POST", "/api/v0/bundles/", query)).status == 400


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, 1),
        ({"gpu_name": {"in": ["A40"]}}, 1),
        ({"gpu_name": {"in": ["A_40"]}}, 0),
        ({"gpu_ram": {"gte": 24}}, 1),
        ({"gpu_ram": {"gte": 49152}}, 0),
        ({"geolocation": {"in": ["DE"]}}, 1),
        ({"geolocation": {"notin": ["DE"]}}, 0),
        ({"datacenter": {"eq": False}}, 0),
        ({"allocated_storage": 501}, 0),
        ({"dph_total": {"lt": 0.5, "gt": 0.1}, "num_gpus": {"neq": 2, "lte": 1}}, 1),
    ],
)
async def test_the_search_filters(fake, query, found):
    assert len((await ask(fake, "POST", "/api/v0/bundles/", query)).json()["offers"]) == found


async def test_a_new_instance_hides_from_everything(fake, clock):
    fake.listing_lag_s = 5
    made = await create(fake)
    path = f"/api/v0/instances/{made['new_contract']}/"
    assert (await ask(fake, "GET", path)).json() == {"instances": None}
    assert (await ask(fake, "DELETE", path, {})).status == 404
    assert (await ask(fake, "GET", "/api/v1/instances/")).json()["instances"] == []
    clock.advance(5)
    assert (await ask(fake, "GET", path)).json()["instances"]["label"] == "mine"


async def test_a_silent_host_and_an_ended_container(fake):
    made = await create(fake)
    instance = fake.instance(str(made["new_contract"]))
    path = f"/api/v0/instances/{instance.id}/"
    for field, value, actual in (("exited", True, "exited"), ("silent", "offline", "offline")):
        setattr(instance, field, value)
        assert (await ask(fake, "GET", path)).json()["instances"]["actual_status"] == actual


async def test_faults_come_in_vasts_own_words(fake):
    for fault, status in ((Fault.ERROR_BEFORE, 500), (Fault.EDGE, 403), (Fault.LIMITED, 429)):
        fake.fail(fault)
        assert (await ask(fake, "GET", "/api/v0/users/current/")).status == status


def test_it_tells_where_it_is_reached(fake):
    assert fake.base_urls("http://127.0.0.1:9") == {"rest": "http://127.0.0.1:9", "openai": "http://127.0.0.1:9"}
