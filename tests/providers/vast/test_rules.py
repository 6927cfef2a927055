"""What is refused before anything is sent, each fault and lack by itself and all of them at once."""

import pytest

from exatlas.errors import UnsupportedError, ValidationError
from exatlas.providers.vast import labels, rules
from exatlas.records.compute import ComputeRequest


def check(**fields):
    rules.check_spawn(ComputeRequest(**{"image": "img", "gpu": "rtx_4090", **fields}), "vast")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"env": {"-p 80:80": "1"}}, "env: expected names"),
        ({"env": {"A B": "1"}}, "env: expected names"),
        ({"env": {"1A": "1"}}, "env: expected names"),
        ({"env": {"Ä": "1"}}, "env: expected names"),
        ({"env": {"A" * 257: "1"}}, "env: expected names"),
        ({"env": {"A": "x" * 32768}}, "env: expected at most 32768 characters"),
        ({"command": ["x" * 4000, "y" * 97]}, "command: expected at most 4096 characters"),
        ({"ports": [(port, "tcp") for port in range(1, 66)]}, "ports: expected at most 64"),
        ({"ports": ["66000/tcp"]}, "ports: expected up to 65535, or 70000"),
        ({"name": "n" * 300}, "name: expected at most"),
        ({"region_hints": ["europa"]}, "did you mean 'europe'"),
        ({"region_hints": ["DE", "mars"]}, "got 'mars'"),
        ({"provider_opts": {"search": ["x"]}}, "expected 'search' to be a mapping"),
        ({"provider_opts": {"label": "mine"}}, "expected no 'label'"),
        ({"provider_opts": {"price": 0.2}}, "needs spot=True"),
        ({"provider_opts": {"price": 500}, "spot": True}, "expected a 'price' from 0.001 to 128"),
        ({"provider_opts": {"price": True}, "spot": True}, "expected a 'price'"),
        ({"network_volume_id": "vol-7"}, "network_volume_id: expected the number"),
        ({"provider_opts": {"price": "0.2"}, "spot": True}, "expected a 'price'"),
    ],
)
def test_a_fault(fields, said):
    with pytest.raises(ValidationError) as caught:
        check(**fields)
    assert said in str(caught.value)
    assert (caught.value.provider, caught.value.operation) == ("vast", "spawn_compute")


@pytest.mark.parametrize(
    ("fields", "said", "capability"),
    [
        ({"gpu": None}, "Vast rents no machines without one", "cpu_only"),
        ({"ports": ["8000/http"]}, "ask for 8000/tcp instead", "http_proxy"),
        ({"ssh_keys": ["ssh-ed25519 AAAA"]}, "runtype", None),
        ({"gpu": ["h100", "v100_sxm2_32g"]}, "'v100' can", None),
    ],
)
def test_a_lack(fields, said, capability):
    with pytest.raises(UnsupportedError, match=said) as caught:
        check(**fields)
    assert caught.value.capability == capability


def test_everything_at_once():
    with pytest.raises(ValidationError) as caught:
        check(env={"A B": "1"}, region_hints=["mars"], ports=["8000/http"])
    assert len(caught.value.faults) == 3


def test_several_lacks_name_no_capability():
    with pytest.raises(UnsupportedError) as caught:
        check(ports=["8000/http"], ssh_keys=["ssh-ed25519 AAAA"])
    assert caught.value.capability is None


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"gpu": "v100", "gpu_count": 8, "spot": True, "provider_opts": {"price": 0.2, "search": {"limit": 5}}},
        {"ports": ["22/tcp", "70000/tcp", "53/udp"], "region_hints": ["DE", "europe", "Paris, FR"]},
        {"cpus": 8, "memory_gb": 32, "volume_gb": 10, "container_disk_gb": 10, "template_id": "abc"},
        {"name": "n" * 200, "command": ["x"], "env": {"_A1": ""}},
    ],
)
def test_what_vast_can_rent_passes(fields):
    check(**fields)


def test_the_longest_name_makes_the_longest_label():
    most = next(size for size in range(300) if _too_long(size)) - 1
    assert len(labels.write("n" * most, "0" * 12, "0123456789abcdef")) == labels.LONGEST


def _too_long(size):
    try:
        check(name="n" * (size or 1))
    except ValidationError:
        return True
    return False


@pytest.mark.parametrize("tail", [None, 0, 5, 10_000])
def test_tails(tail):
    rules.check_tail(tail, "vast")


@pytest.mark.parametrize("tail", [-1, 10_001, True, "5", 1.5])
def test_wrong_tails(tail):
    with pytest.raises(ValidationError, match="tail: expected"):
        rules.check_tail(tail, "vast")
