"""What we ask for and what we got: every field's rule, accepted spellings, and secrets that stay hidden."""

from datetime import timedelta
from decimal import Decimal

import attrs
import pytest

from exatlas.errors import ErrorKind, ValidationError
from exatlas.records.compute import (
    AuthHandle,
    Compute,
    ComputeFields,
    ComputeFilter,
    ComputeRequest,
    ComputeStatus,
    PortBinding,
    PortSpec,
)

HTTP = PortSpec(port=8000)
TCP = PortSpec(port=22, protocol="tcp")


def request(**fields):
    return ComputeRequest(**{"image": "img", **fields})


ACCEPTED = [
    ("gpu", "h100", ("h100",)),
    ("gpu", ["h100", "l4"], ("h100", "l4")),
    ("gpu", ("h100",), ("h100",)),
    ("gpu", None, None),
    ("cpus", 4, 4),
    ("memory_gb", 16, 16),
    ("image", "a/b:c", "a/b:c"),
    ("command", "serve", ("serve",)),
    ("command", ["serve", "--port"], ("serve", "--port")),
    ("command", None, ()),
    ("cloud_type", "secure", "secure"),
    ("cloud_type", "community", "community"),
    ("spot", True, True),
    ("region_hints", "eu", ("eu",)),
    ("region_hints", ["eu", "us"], ("eu", "us")),
    ("ports", [(8000, "http")], (HTTP,)),
    ("ports", ["8000/http"], (HTTP,)),
    ("ports", ["8000/HTTP"], (HTTP,)),
    ("ports", [[8000, "Http"]], (HTTP,)),
    ("ports", [HTTP, (22, "tcp")], (HTTP, TCP)),
    ("ports", ((22, "tcp"), "53/udp"), (TCP, PortSpec(port=53, protocol="udp"))),
    ("ports", [(70000, "tcp")], (PortSpec(port=70000, protocol="tcp"),)),
    ("ports", [], ()),
    ("env", {"A": "b"}, {"A": "b"}),
    ("env", None, {}),
    ("volume_gb", 10, 10),
    ("container_disk_gb", 20, 20),
    ("network_volume_id", "v", "v"),
    ("name", "n", "n"),
    ("template_id", "t", "t"),
    ("auth", "bearer", "bearer"),
    ("auth", "signed_url", "signed_url"),
    ("idle_ttl", 60, timedelta(minutes=1)),
    ("idle_ttl", 0.5, timedelta(seconds=0.5)),
    ("idle_ttl", timedelta(hours=1), timedelta(hours=1)),
    ("ssh_keys", "ssh-ed25519 x", ("ssh-ed25519 x",)),
    ("provider_opts", {"a": {"b": [1]}}, {"a": {"b": [1]}}),
    ("provider_opts", None, {}),
]

REFUSED = {
    "gpu": [5, "", [""], [], ["h100", 4], {"h100": 1}],
    "gpu_count": [0, -1, 1.0, "1", True, None],
    "cpus": [0, 1.5, "4", True],
    "memory_gb": [0, 0.5, "16"],
    "image": [5, "", " ", ["img"]],
    "command": [5, [""], ["a", 5], {"a": 1}],
    "cloud_type": ["public", "SECURE", None, 1],
    "spot": [None, 1, "yes"],
    "region_hints": [5, [""], [None]],
    "ports": [
        8000,
        "8000/http",
        [8000],
        ["http/8000"],
        ["8000"],
        ["8000/"],
        ["-1/http"],
        ["0/http"],
        ["9" * 5000 + "/http"],
        [(0, "http")],
        [(8000, "quic")],
        [(8000,)],
        [(8000, "http", 1)],
        [("8000", "http")],
        [(True, "http")],
        [{"port": 8000}],
        [None],
        [(8000, "http"), "8000/http"],
        {"8000": "http"},
    ],
    "env": ["A=b", {"A": 1}, {"A=": "b"}, {"": "b"}, {1: "b"}, {"A": "\0"}, [("A", "b")]],
    "volume_gb": [0, 1.5, "10"],
    "container_disk_gb": [0, "10"],
    "network_volume_id": ["", 5],
    "name": ["", " ", 5],
    "template_id": ["", 5],
    "auth": [None, "basic", True],
    "idle_ttl": [0, -1, "60", True, timedelta(0), 1e300, float("nan"), timedelta(days=365 * 200)],
    "ssh_keys": [5, [""], [b"key"]],
    "provider_opts": [5, [], {1: 2}, {"a": {2}}, {"a": float("nan")}],
}


@pytest.mark.parametrize(("name", "given", "kept"), ACCEPTED)
def test_a_field_takes_what_people_type(name, given, kept):
    made = request(**{name: given})
    assert getattr(made, name) == kept
    assert type(getattr(made, name)) is type(kept)


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name, values in REFUSED.items() for value in values],
    ids=lambda x: repr(x)[:30],
)
def test_a_field_refuses_what_cannot_be_right(name, value):
    with pytest.raises(ValidationError) as caught:
        request(**{name: value})
    assert any(fault.startswith(f"{name}: ") for fault in caught.value.faults), caught.value.faults
    assert len(caught.value.faults) == 1
    assert caught.value.kind is ErrorKind.VALIDATION


def test_every_field_has_a_row_of_bad_values_and_its_keyword_is_typed():
    names = {field.name for field in attrs.fields(ComputeRequest)}
    assert set(REFUSED) == names
    assert set(ComputeFields.__annotations__) == names


def test_all_faults_are_told_at_once():
    with pytest.raises(ValidationError) as caught:
        ComputeRequest(gpu_count=2, cpus=0, spot="no", env={"A": 1}, ports=[(0, "http"), "x"])
    faults = caught.value.faults
    assert [fault.partition(":")[0] for fault in faults] == [
        "cpus", "spot", "ports", "env", "image", "gpu_count",
    ]  # fmt: skip
    ports = next(fault for fault in faults if fault.startswith("ports"))
    assert "[0] port: expected a whole number" in ports
    assert "[1] expected one such as (8000, 'http') or '8000/http', got 'x'" in ports


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"image": None}, "image: expected an image reference, or a template_id that brings one"),
        ({"gpu": ()}, "gpu: expected at least one name, or None for a CPU machine"),
        ({"gpu_count": 2}, "gpu_count: needs a gpu"),
    ],
)
def test_fields_that_need_each_other(fields, fault):
    with pytest.raises(ValidationError) as caught:
        request(**fields)
    assert caught.value.faults == (fault,)


def test_a_template_brings_an_image():
    assert ComputeRequest(template_id="t").image is None


def test_later_changes_of_what_was_given_do_not_reach_the_record():
    env, opts, gpus = {"A": "b"}, {"x": 1}, ["l4"]
    made = request(env=env, provider_opts=opts, gpu=gpus)
    env["A"], opts["x"], gpus[0] = "c", 2, "h100"
    assert (made.env, made.provider_opts, made.gpu) == ({"A": "b"}, {"x": 1}, ("l4",))


def test_records_are_frozen_and_hashable():
    made = request(env={"A": "b"}, ports=["80/http"], provider_opts={"a": []})
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        made.image = "x"
    assert hash(made) == hash(request(env={"A": "b"}, ports=["80/http"], provider_opts={"a": []}))


def test_no_secret_shows_in_a_repr_or_an_error():
    made = request(env={"TOKEN": "s3cr3t"}, provider_opts={"auth": "s3cr3t"})
    assert "s3cr3t" not in repr(made)
    assert "'TOKEN': ***" in repr(made)
    with pytest.raises(ValidationError) as caught:
        request(env={"TOKEN": ["s3cr3t"], "B": "s3cr3t"}, provider_opts={"auth": {"s3cr3t"}})
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize("env", ["TOKEN=s3cr3t", ["s3cr3t"]])
def test_not_even_of_an_environment_of_the_wrong_type(env):
    with pytest.raises(ValidationError) as caught:
        request(env=env)
    assert "s3cr3t" not in str(caught.value)


def test_a_port_says_itself_as_it_is_typed():
    assert (str(HTTP), str(TCP)) == ("8000/http", "22/tcp")


@pytest.mark.parametrize("facts", [{"port": 0}, {"port": "1"}, {"port": 1, "protocol": "HTTP"}, {"port": True}])
def test_a_bad_port_spec(facts):
    with pytest.raises(ValidationError, match=r"PortSpec is not valid: (port|protocol): "):
        PortSpec(**facts)


def test_only_a_terminated_compute_can_never_run_again():
    assert [status for status in ComputeStatus if status.is_terminal] == [ComputeStatus.TERMINATED]


def test_a_token_is_hidden_and_makes_a_header():
    handle = AuthHandle(scheme="bearer", token="s3cr3t", hash="h")
    assert "s3cr3t" not in repr(handle)
    assert handle.header == {"Authorization": "Bearer s3cr3t"}
    assert AuthHandle(scheme="signed_url", token="s3cr3t", hash="h").header == {}
    assert AuthHandle(scheme="bearer", hash="h").header == {}


def test_what_the_cloud_said_is_not_shown():
    compute = Compute(
        id="i",
        provider="p",
        status=ComputeStatus.RUNNING,
        raw={"x": "s3cr3t"},
        auth=AuthHandle(scheme="bearer", token="s3cr3t", hash="h"),
        ports=(PortBinding(internal=1),),
        cost_usd_per_hour=Decimal("1.5"),
    )
    assert "s3cr3t" not in repr(compute)
    assert isinstance(hash(compute), int)


SEEN = Compute(
    id="i",
    provider="p",
    status=ComputeStatus.RUNNING,
    name="web-0123456789ab",
    launch_id="0123456789ab",
    region="eu",
    gpu_type="l4",
    gpu_native="NVIDIA L4",
)


@pytest.mark.parametrize(
    ("filters", "admitted"),
    [
        ({}, True),
        ({"status": "running"}, True),
        ({"status": ComputeStatus.RUNNING}, True),
        ({"status": "stopped"}, False),
        ({"name": "web-0123456789ab"}, True),
        ({"name": "web"}, True),
        ({"name": "we"}, False),
        ({"region": "eu"}, True),
        ({"region": "us"}, False),
        ({"gpu": "l4"}, True),
        ({"gpu": "NVIDIA L4"}, True),
        ({"gpu": "h100"}, False),
        ({"status": "running", "gpu": "h100"}, False),
    ],
)
def test_a_filter_admits_what_passes_every_field(filters, admitted):
    assert ComputeFilter(**filters).admits(SEEN) is admitted


def test_a_machine_that_others_made_goes_by_its_whole_name():
    foreign = attrs.evolve(SEEN, launch_id=None)
    assert not ComputeFilter(name="web").admits(foreign)
    assert not ComputeFilter(name="web").admits(attrs.evolve(foreign, name=None))
    assert not ComputeFilter(gpu="l4").admits(attrs.evolve(SEEN, gpu_type=None, gpu_native=None))


@pytest.mark.parametrize(
    ("name", "value"),
    [("status", "runing"), ("status", 1), ("status", []), ("name", ""), ("region", 5), ("gpu", ["l4"])],
)
def test_a_bad_filter(name, value):
    with pytest.raises(ValidationError, match=f"{name}: expected"):
        ComputeFilter(**{name: value})
