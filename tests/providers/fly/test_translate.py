"""What we ask for, in Fly's words."""

import orjson
import pytest
from attrs import evolve

from exatlas.errors import ValidationError
from exatlas.messages import Repeat
from exatlas.providers.fly import translate
from exatlas.providers.fly.ids import Place
from exatlas.providers.fly.options import Settings, options_of
from exatlas.providers.fly.ports import Addresses, route
from exatlas.providers.fly.sizes import Guest
from exatlas.records.compute import Compute, ComputeRequest, ComputeStatus

PLACE = Place("workers", "3d8d413b29d089")
SMALL = Guest("shared", 1, 256)


def body(region=None, volume_id=None, marks=None, **fields):
    request = ComputeRequest(**{"image": "img", **fields})
    return translate.machine_body(
        request,
        options_of(request, Settings()),
        name="n-0123456789ab",
        marks=marks or {},
        guest=SMALL,
        region=region,
        volume_id=volume_id,
    )


def test_the_smallest_body():
    assert body() == {
        "name": "n-0123456789ab",
        "config": {
            "image": "img",
            "guest": {"cpu_kind": "shared", "cpus": 1, "memory_mb": 256},
            "metadata": {},
        },
    }


def test_the_largest_body():
    asked = body(
        region="fra",
        volume_id="vol_1",
        marks={"exatlas_managed": "1"},
        ports=["8000/http", "9000/http", "22/tcp", "53/udp"],
        env={"A": "1"},
        command=["serve", "--port", "8000"],
        provider_opts={
            "app": "workers",
            "mount": "/models",
            "ipv4": "dedicated",
            "owner": "me",
            "config": {"metadata": {"team": "x"}, "restart": {"policy": "no"}, "env": {"B": "2"}},
            "skip_launch": True,
        },
    )
    always_on = {"autostop": "off", "autostart": False}
    assert asked == {
        "name": "n-0123456789ab",
        "region": "fra",
        "skip_launch": True,
        "config": {
            "image": "img",
            "guest": {"cpu_kind": "shared", "cpus": 1, "memory_mb": 256},
            "env": {"A": "1", "B": "2"},
            "init": {"cmd": ["serve", "--port", "8000"]},
            "mounts": [{"volume": "vol_1", "path": "/models"}],
            "restart": {"policy": "no"},
            "metadata": {
                "team": "x",
                "exatlas_managed": "1",
                "exatlas_ports": "8000:443:https 9000:9000:https 22:22:tcp 53:53:udp",
            },
            "services": [
                {
                    "protocol": "tcp",
                    "internal_port": 8000,
                    "ports": [
                        {"port": 443, "handlers": ["tls", "http"]},
                        {"port": 80, "handlers": ["http"], "force_https": True},
                    ],
                    **always_on,
                },
                {
                    "protocol": "tcp",
                    "internal_port": 9000,
                    "ports": [{"port": 9000, "handlers": ["tls", "http"]}],
                    **always_on,
                },
                {"protocol": "tcp", "internal_port": 22, "ports": [{"port": 22, "handlers": []}], **always_on},
                {"protocol": "udp", "internal_port": 53, "ports": [{"port": 53, "handlers": []}], **always_on},
            ],
        },
    }


def test_services_of_the_callers_own_are_what_the_note_says():
    services = [{"protocol": "tcp", "internal_port": 1, "ports": [{"port": 2, "handlers": ["tls"]}]}]
    asked = body(ports=["8000/http"], provider_opts={"config": {"services": services}})
    assert asked["config"]["services"] == services
    assert asked["config"]["metadata"] == {"exatlas_ports": "1:2:tls"}


def test_marks_say_whose_machine_it_is_and_how_it_is_reached():
    addresses = Addresses(ipv6="2a09::1", shared_ipv4="66.0.0.1")
    assert translate.marks("0123456789ab", "svc-a", addresses) == {
        "exatlas_managed": "1",
        "exatlas_launch_id": "0123456789ab",
        "exatlas_owner": "svc-a",
        "exatlas_ipv6": "2a09::1",
        "exatlas_shared_ipv4": "66.0.0.1",
    }
    assert translate.marks("0123456789ab", "", Addresses()) == {
        "exatlas_managed": "1",
        "exatlas_launch_id": "0123456789ab",
    }


def test_every_environment_is_a_secret_of_the_create(ctx):
    asked = body(
        env={"A": "hush1"},
        provider_opts={"config": {"processes": [{"env": {"B": "hush2"}}], "containers": [{"env": {"C": "hush3"}}]}},
    )
    call = translate.create_machine("workers", asked, ctx)
    assert {"hush1", "hush2", "hush3", ctx.api_key} <= set(call.secrets)
    assert "hush" not in repr(call)
    assert call.repeat is Repeat.REFUSED


def test_single_tokens_of_a_key_are_secrets_too(ctx):
    call = translate.get_machine(PLACE, evolve(ctx, api_key="FlyV1 fm2_aaaa,fo1_bbbb"))
    assert {"fm2_aaaa", "fo1_bbbb"} <= set(call.secrets)
    assert call.headers["authorization"] == "FlyV1 fm2_aaaa"


CALLS = {
    "create_app": (lambda ctx: translate.create_app("a", "acme", ctx), "POST", "/v1/apps", Repeat.SAFE),
    "get_app": (lambda ctx: translate.get_app("a", ctx), "GET", "/v1/apps/a", Repeat.SAFE),
    "delete_app": (lambda ctx: translate.delete_app("a", ctx), "DELETE", "/v1/apps/a?force=true", Repeat.SAFE),
    "addresses": (lambda ctx: translate.list_addresses("a", ctx), "GET", "/v1/apps/a/ip_assignments", Repeat.SAFE),
    "address": (lambda ctx: translate.add_address("a", "v6", ctx), "POST", "/v1/apps/a/ip_assignments", Repeat.REFUSED),
    "launched": (
        lambda ctx: translate.launched("a", "0123456789ab", ctx),
        "GET",
        "/v1/apps/a/machines?metadata.exatlas_launch_id=0123456789ab",
        Repeat.SAFE,
    ),
    "org": (
        lambda ctx: translate.list_org("acme", "c", ctx),
        "GET",
        "/v1/orgs/acme/machines?limit=500&cursor=c",
        Repeat.SAFE,
    ),
    "delete": (
        lambda ctx: translate.delete_machine(PLACE, ctx),
        "DELETE",
        "/v1/apps/workers/machines/3d8d413b29d089?force=true",
        Repeat.SAFE,
    ),
    "start": (
        lambda ctx: translate.act(PLACE, "start", ctx),
        "POST",
        "/v1/apps/workers/machines/3d8d413b29d089/start",
        Repeat.REFUSED,
    ),
    "wait": (
        lambda ctx: translate.wait(PLACE, "stopped", 55, "01V", ctx, "stop"),
        "GET",
        "/v1/apps/workers/machines/3d8d413b29d089/wait?state=stopped&timeout=55&version=01V",
        Repeat.REFUSED,
    ),
    "volume": (
        lambda ctx: translate.create_volume("a", "v", 5, "fra", SMALL, ctx),
        "POST",
        "/v1/apps/a/volumes",
        Repeat.REFUSED,
    ),
    "lease": (
        lambda ctx: translate.take_lease(PLACE, 30, ctx, "lease"),
        "POST",
        "/v1/apps/workers/machines/3d8d413b29d089/lease?ttl=30",
        Repeat.REFUSED,
    ),
    "tokens": (lambda ctx: translate.current_tokens(ctx, "x"), "GET", "/v1/tokens/current", Repeat.SAFE),
    "regions": (translate.regions, "GET", "/v1/platform/regions", Repeat.SAFE),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_goes_where_fly_takes_it(ctx, judge, name):
    build, method, path, repeat = CALLS[name]
    call = build(ctx)
    assert (call.method, call.url, call.repeat) == (method, f"https://api.machines.dev{path}", repeat)
    judge.request(call)


def test_the_log_api_is_another_address(ctx):
    call = translate.logs(PLACE, "17690", ctx)
    assert call.url == "https://api.fly.io/api/v1/apps/workers/logs?next_token=17690&instance=3d8d413b29d089"


def test_a_held_wait_is_read_longer_than_it_is_held(ctx):
    assert translate.wait(PLACE, "started", 55, None, evolve(ctx, timeout_s=5), "start").timeout_s == 65


def test_bodies_of_actions(ctx):
    assert translate.act(PLACE, "stop", ctx).body == b"{}"
    assert translate.act(PLACE, "start", ctx).body is None
    asked = orjson.loads(translate.create_volume("a", "v", 5, "fra", SMALL, ctx).body)
    assert asked["compute"] == SMALL.body()
    assert asked["require_unique_zone"] is False


@pytest.mark.parametrize("odd", ["", " ", ".", ".."])
def test_an_id_that_would_name_another_path_is_refused(ctx, odd):
    with pytest.raises(ValidationError):
        translate.get_machine(Place("workers", odd), ctx)
    with pytest.raises(ValidationError):
        translate.get_machine(Place(odd, "x"), ctx)


def test_an_id_is_one_segment(ctx):
    assert translate.get_machine(Place("a", "b/../c?d#e"), ctx).url.endswith("/machines/b%2F..%2Fc%3Fd%23e")


@pytest.mark.parametrize(
    ("note", "expect"),
    [
        ("22:22:tcp 8000:443:https", ("https://workers.fly.dev", {"fly-force-instance-id": "m1"})),
        ("8080:8080:http", ("http://workers.fly.dev:8080", {"fly-force-instance-id": "m1"})),
        ("22:22:tcp", None),
        ("", None),
    ],
)
def test_one_machine_of_several_is_reached_by_a_header(note, expect):
    raw = {"config": {"metadata": {"exatlas_ports": note}}}
    compute = Compute(id="workers/m1", provider="fly", status=ComputeStatus.RUNNING, raw=raw)
    assert route(compute) == expect
