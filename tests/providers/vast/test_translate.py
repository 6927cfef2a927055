"""What we ask for, body by body and call by call."""

from decimal import Decimal

import orjson
import pytest

from exatlas.errors import NotFoundError
from exatlas.messages import Repeat
from exatlas.providers.vast import gpus, translate
from exatlas.providers.vast.offers import Choice, Offer
from exatlas.records.compute import ComputeRequest

KEY = "vastFAKEKEY0123456789"
LABEL = "exatlas.01234567/n-0123456789ab"


def a_request(**fields):
    return ComputeRequest(**{"image": "img", "gpu": "rtx_4090", **fields})


def filters(**fields):
    request = a_request(**fields)
    models = [model for name in request.gpu for model in gpus.models_of(name)]
    return translate.search_filters(request, models, translate.disk_gb(request) or translate.SMALLEST_DISK_GB)


def choice(bid=None):
    offer = Offer(
        id=31415926,
        machine_id=4242,
        gpu_name="RTX 4090",
        gpu_count=1,
        gpu_ram_mib=24564,
        cpus=16,
        memory_gb=64,
        country="DE",
        hosting_type=1,
        base_usd_per_hour=Decimal("0.35"),
        storage_usd_per_gb_month=Decimal("0.15"),
        min_bid_usd_per_hour=Decimal("0.18"),
    )
    return Choice(offer=offer, bid=bid, usd_per_hour=Decimal("0.36"))


SEARCH = {
    "type": "ondemand",
    "verified": {"eq": True},
    "external": {"eq": False},
    "rentable": {"eq": True},
    "rented": {"eq": False},
    "reliability": {"gte": 0.95},
    "order": [["dph_total", "asc"], ["id", "asc"]],
    "limit": 1000,
    "gpu_name": {"in": ["RTX 4090"]},
    "num_gpus": {"eq": 1},
    "gpu_ram": {"gte": 22118},
    "disk_space": {"gte": 20},
    "allocated_storage": 20,
}


@pytest.mark.parametrize(
    ("fields", "change"),
    [
        ({}, {}),
        ({"gpu_count": 4}, {"num_gpus": {"eq": 4}}),
        ({"spot": True}, {"type": "bid"}),
        ({"cloud_type": "secure"}, {"datacenter": {"eq": True}}),
        ({"cloud_type": "community"}, {"datacenter": {"eq": False}}),
        ({"container_disk_gb": 40}, {"disk_space": {"gte": 40}, "allocated_storage": 40}),
        ({"container_disk_gb": 2}, {"disk_space": {"gte": 8}, "allocated_storage": 8}),
        ({"volume_gb": 30}, {"disk_space": {"gte": 50}, "allocated_storage": 50}),
        ({"template_id": "abc"}, {"disk_space": {"gte": 8}, "allocated_storage": 8}),
        ({"ports": ["8000/tcp", "53/udp"]}, {"direct_port_count": {"gte": 3}}),
        ({"region_hints": ["de", "uk"]}, {"geolocation": {"in": ["DE", "GB"]}}),
        ({"cpus": 8}, {"cpu_cores_effective": {"gte": 8}}),
        ({"memory_gb": 32}, {"cpu_ram": {"gte": 32000}}),
        (
            {"gpu": "a100_40g"},
            {"gpu_name": {"in": ["A100 SXM4", "A100 PCIE"]}, "gpu_ram": {"gte": 36864, "lte": 73727}},
        ),
        (
            {"gpu": ["h100", "rtx_4090"]},
            {"gpu_name": {"in": ["H100 SXM", "H100 PCIE", "H100 NVL", "RTX 4090"]}, "gpu_ram": {"gte": 22118}},
        ),
        ({"gpu": "v100"}, {"gpu_name": {"in": ["Tesla V100"]}, "gpu_ram": None}),
        (
            {"gpu": "gh200"},
            {
                "gpu_name": {"in": ["GH200 SXM"]},
                "gpu_ram": {"gte": 88473},
                "cpu_arch": {"in": ["amd64", "arm64"]},
            },
        ),
        (
            {"provider_opts": {"search": {"dph_total": {"lte": 0.5}, "reliability": {"lte": 0.99}, "limit": 5}}},
            {"dph_total": {"lte": 0.5}, "reliability": {"gte": 0.95, "lte": 0.99}, "limit": 5},
        ),
        ({"provider_opts": {"search": {"verified": None}}}, {"verified": None}),
        ({"provider_opts": {"search": {"machine_id": {"notin": [7]}}}}, {"machine_id": {"notin": [7]}}),
    ],
)
def test_a_search(judge_if_there, ctx, fields, change):
    expected = {key: value for key, value in {**SEARCH, **change}.items() if value is not None}
    found = filters(**fields)
    assert found == expected
    if judge_if_there:
        judge_if_there.request(translate.search(found, "spawn_compute", ctx))


def test_a_volume_binds_the_search_to_its_machine():
    request = a_request(network_volume_id="881")
    found = translate.search_filters(request, gpus.models_of("rtx_4090"), 20, machine_id=4242)
    assert found["machine_id"] == {"eq": 4242}


def test_a_request_wins_over_its_template_and_that_over_the_defaults():
    template = {"cuda_max_good": {"gte": 12.6}, "reliability": {"gte": 0.5}, "num_gpus": {"eq": 8}}
    request = a_request(template_id="4e17", provider_opts={"search": {"cuda_max_good": {"gte": 12.8}}})
    found = translate.search_filters(request, gpus.models_of("rtx_4090"), 20, template=template)
    assert found == {**SEARCH, "cuda_max_good": {"gte": 12.8}, "reliability": {"gte": 0.5}}


CREATE = {
    "client_id": "me",
    "label": LABEL,
    "target_state": "running",
    "cancel_unavail": True,
    "image": "img",
    "disk": 20,
    "runtype": "args",
}


@pytest.mark.parametrize(
    ("fields", "bid", "change"),
    [
        ({}, None, {}),
        ({"command": ["serve", "--port", "8000"]}, None, {"args": ["serve", "--port", "8000"]}),
        ({"env": {"A": "1"}}, None, {"env": {"A": "1"}}),
        (
            {"env": {"A": "1"}, "ports": ["8000/tcp", "53/udp", "70000/tcp"]},
            None,
            {"env": {"A": "1", "-p 8000:8000": "1", "-p 53:53/udp": "1", "-p 70000:70000": "1"}},
        ),
        ({"spot": True}, Decimal("0.198"), {"price": 0.198}),
        ({"volume_gb": 30, "container_disk_gb": 10}, None, {"disk": 40}),
        ({"template_id": "4e17"}, None, {"template_hash_id": "4e17", "disk": None, "runtype": None}),
        ({"template_id": "42", "image": None}, None, {"template_id": 42, "disk": None, "runtype": None, "image": None}),
        ({"template_id": "4e17", "command": ["x"]}, None, {"template_hash_id": "4e17", "disk": None, "args": ["x"]}),
        (
            {"provider_opts": {"runtype": "ssh_direct", "onstart": "date", "search": {"limit": 1}}},
            None,
            {"runtype": "ssh_direct", "onstart": "date"},
        ),
        ({"provider_opts": {"env": {"-h box": "1"}}, "env": {"A": "1"}}, None, {"env": {"A": "1", "-h box": "1"}}),
        (
            {"network_volume_id": "881"},
            None,
            {"volume_info": {"create_new": False, "volume_id": 881, "mount_path": "/workspace"}},
        ),
        ({"idle_ttl": 60, "auth": "bearer"}, None, {}),
    ],
)
def test_a_create(judge_if_there, ctx, fields, bid, change):
    expected = {key: value for key, value in {**CREATE, **change}.items() if value is not None}
    found = translate.create_body(a_request(**fields), choice(bid), LABEL)
    assert found == expected
    if judge_if_there:
        judge_if_there.request(translate.accept(choice(bid), found, ctx))


def test_a_create_is_sent_with_the_key_and_hides_key_variables_and_logins(ctx):
    opts = {"image_login": "-u me -p hunter22 ghcr.io"}
    body = translate.create_body(a_request(env={"TOKEN": "s3cr3t"}, provider_opts=opts), choice(), LABEL)
    call = translate.accept(choice(), body, ctx)
    assert (call.method, call.url) == ("PUT", "https://console.vast.ai/api/v0/asks/31415926/")
    assert call.headers == {
        "accept": "application/json",
        "authorization": f"Bearer {KEY}",
        "content-type": "application/json",
    }
    assert call.repeat is Repeat.REFUSED
    assert {KEY, "s3cr3t", "hunter22", opts["image_login"]} <= set(call.secrets)
    for secret in (KEY, "s3cr3t", "hunter22"):
        assert secret not in repr(call)


BASE = "https://console.vast.ai/api"
ORDER = "order_by=%5B%7B%22col%22%3A%22id%22%2C%22dir%22%3A%22asc%22%7D%5D"


@pytest.mark.parametrize(
    ("build", "method", "url", "body", "repeat"),
    [
        (lambda ctx: translate.get_instance("7", ctx), "GET", "/v0/instances/7/?owner=me", None, Repeat.SAFE),
        (lambda ctx: translate.list_instances(None, ctx), "GET", f"/v1/instances/?limit=25&{ORDER}", None, Repeat.SAFE),
        (
            lambda ctx: translate.list_instances("a=b&", ctx),
            "GET",
            f"/v1/instances/?limit=25&{ORDER}&after_token=a%3Db%26",
            None,
            Repeat.SAFE,
        ),
        (
            lambda ctx: translate.list_instances(None, ctx, label='a"b'),
            "GET",
            f"/v1/instances/?limit=25&{ORDER}&select_filters=%7B%22label%22%3A%7B%22eq%22%3A%22a%5C%22b%22%7D%7D",
            None,
            Repeat.SAFE,
        ),
        (
            lambda ctx: translate.find_template("4e17", ctx),
            "GET",
            "/v0/template/?select_filters=%7B%22hash_id%22%3A%7B%22eq%22%3A%224e17%22%7D%7D&select_cols=%5B%22%2A%22%5D",
            None,
            Repeat.SAFE,
        ),
        (
            lambda ctx: translate.find_template("42", ctx),
            "GET",
            "/v0/template/?select_filters=%7B%22id%22%3A%7B%22eq%22%3A42%7D%7D&select_cols=%5B%22%2A%22%5D",
            None,
            Repeat.SAFE,
        ),
        (
            lambda ctx: translate.list_volumes(ctx),
            "GET",
            "/v0/volumes?owner=me&type=local_volume",
            None,
            Repeat.SAFE,
        ),
        (lambda ctx: translate.destroy("7", ctx), "DELETE", "/v0/instances/7/", {}, Repeat.SAFE),
        (
            lambda ctx: translate.set_state("7", "stopped", ctx, "stop"),
            "PUT",
            "/v0/instances/7/",
            {"state": "stopped"},
            Repeat.SAFE,
        ),
        (
            lambda ctx: translate.change_bid("7", 0.21, ctx),
            "PUT",
            "/v0/instances/bid_price/7/",
            {"client_id": "me", "price": 0.21},
            Repeat.SAFE,
        ),
        (lambda ctx: translate.reboot("7", ctx), "PUT", "/v0/instances/reboot/7/", {}, Repeat.REFUSED),
        (
            lambda ctx: translate.request_logs("7", 200, ctx),
            "PUT",
            "/v0/instances/request_logs/7/",
            {"tail": "200"},
            Repeat.SAFE,
        ),
    ],
)
def test_calls(judge_if_there, ctx, build, method, url, body, repeat):
    call = build(ctx)
    assert (call.method, call.url, call.repeat) == (method, f"{BASE}{url}", repeat)
    assert (None if call.body is None else orjson.loads(call.body)) == body
    assert call.headers["authorization"] == f"Bearer {KEY}"
    assert "7/" not in call.template
    if judge_if_there:
        judge_if_there.request(call)


@pytest.mark.parametrize("value", ["", " ", "..", "7/../8", "abc", "\uff17", "-7", None, 7])
def test_an_id_that_is_no_number_names_nothing(ctx, value):
    with pytest.raises(NotFoundError, match="whole numbers"):
        translate.get_instance(value, ctx)


def test_the_address_of_a_log_never_sees_the_key(ctx):
    call = translate.fetch_log("https://s3.example/x.log?sig=abc", ctx)
    assert call.headers == {}
    assert call.secrets == ("https://s3.example/x.log?sig=abc",)
    assert "sig" not in repr(call)
