"""What Fly cannot take is said at once, and all of it."""

import pytest

from exatlas.errors import UnsupportedError, ValidationError
from exatlas.providers.fly.options import Settings, options_of
from exatlas.providers.fly.rules import check_spawn, check_tail
from exatlas.records.compute import ComputeRequest


def check(settings=None, **fields):
    request = ComputeRequest(**{"image": "img", **fields})
    return check_spawn(request, options_of(request, settings or Settings()), "fly")


def with_services(services):
    return {"provider_opts": {"config": {"services": services}}}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"cpus": 3}, r"cpus: expected one of 1, 2, 4, 6, 8, 10, 12, 14, 16, got 3"),
        ({"cpus": 1, "memory_gb": 9}, r"memory_gb: Fly has no machine with 9 GB and 1 cpus"),
        ({"memory_gb": 129}, r"memory_gb: Fly has no machine with 129 GB and any number of cpus"),
        ({"memory_gb": 5, "provider_opts": {"size": "shared-cpu-2x"}}, r"no machine with 5 GB and shared-cpu-2x"),
        ({"provider_opts": {"size": "huge"}}, r"expected a size out of shared-cpu-1x, .*performance-16x; got 'huge'"),
        ({"cpus": 2, "provider_opts": {"size": "shared-cpu-2x"}}, r"cpus: expected None, because"),
        ({"provider_opts": {"size": 7}}, r"expected 'size' to be a non-empty string, got int"),
        ({"provider_opts": {"app": ""}}, r"expected 'app' to be a non-empty string, got str"),
        ({"provider_opts": {"ipv4": True}}, r"expected 'ipv4' to be 'dedicated'"),
        ({"provider_opts": {"config": []}}, r"expected 'config', and its 'metadata', to be mappings"),
        ({"provider_opts": {"config": {"metadata": 1}}}, r"expected 'config', and its 'metadata', to be mappings"),
        ({"provider_opts": {"app": "My_App"}}, r"an app of lower-case letters, digits and dashes, got 'My_App'"),
        ({"provider_opts": {"app": "exatlas-0123456789ab"}}, r"has the name of one that goes with its machine"),
        ({"ports": [(70000, "tcp")]}, r"ports: expected numbers up to 65535, got 70000"),
        ({"ports": ["8000/http", "443/tcp"]}, r"ports: 8000 and 443 would both be reached at 443"),
        ({"ports": ["8000/http", "80/http"]}, r"ports: 8000 and 80 would both be reached at 80"),
        ({"volume_gb": 501}, r"volume_gb: expected at most 500, got 501"),
        ({"volume_gb": 1, "network_volume_id": "a/vol_1"}, r"volume_gb: expected None, because network_volume_id"),
        ({"network_volume_id": "vol_1"}, r"a volume belongs to an app; expected 'app/vol_…'"),
        ({"network_volume_id": "app/"}, r"a volume belongs to an app"),
        ({"volume_gb": 1, "region_hints": ["eu"]}, r"a volume needs a single region such as 'iad', got 'eu'"),
        ({"volume_gb": 1, "region_hints": ["iad,ewr"]}, r"a volume needs a single region"),
        (with_services({}), r"config.services cannot be a service of Fly's"),
        (with_services([7]), r"config.services\[0\] cannot be a service"),
        (with_services([{"internal_port": "80"}]), r"config.services\[0\].internal_port cannot be"),
        (with_services([{"internal_port": 80, "ports": [{"port": "443"}]}]), r"ports\[0\].port cannot be"),
        ({"name": "n" * 51}, r"name: expected at most 50 characters, because the launch id follows, got 51"),
        ({"provider_opts": {"name": "x"}}, r"expected no 'name' \(the launch id is in it"),
        ({"provider_opts": {"region": "iad"}}, r"expected no 'region' \(set region_hints\)"),
        ({"provider_opts": {"lease_ttl": 9}}, r"expected no 'lease_ttl'"),
        ({"provider_opts": {"config": {"metadata": {"exatlas_x": "1"}}}}, r"metadata 'exatlas_x' \(it is ours\)"),
    ],
)
def test_a_fault_is_named(fields, said):
    with pytest.raises(ValidationError, match=said):
        check(**fields)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"gpu": "h100"}, r"gpu: Fly.io ended its GPU machines on 2026-08-01"),
        ({"template_id": "t"}, r"template_id: Fly has no templates"),
        ({"spot": True}, r"spot: undocumented at Fly"),
        ({"cloud_type": "community"}, r"cloud_type: Fly runs on its own hosts only"),
        ({"ssh_keys": ["ssh-ed25519 AAAA"]}, r"ssh_keys: Fly signs its own certificates"),
        ({"container_disk_gb": 9}, r"container_disk_gb: Fly's root file system has 8 GB"),
        ({"ports": ["53/udp"]}, r"53/udp needs a dedicated IPv4 address \(\$2 a month\)"),
    ],
)
def test_a_lack_is_unsupported(fields, said):
    with pytest.raises(UnsupportedError, match=said):
        check(**fields)


def test_everything_wrong_is_said_at_once():
    with pytest.raises(ValidationError) as caught:
        check(gpu="h100", cpus=3, volume_gb=501, name="n" * 60, spot=True)
    assert [fault.partition(":")[0] for fault in caught.value.faults] == ["cpus", "volume_gb", "name", "gpu", "spot"]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"cpus": 16, "memory_gb": 128},
        {"container_disk_gb": 8},
        {"ports": ["53/udp"], "provider_opts": {"ipv4": "dedicated"}},
        {"ports": ["8000/http", "9000/http", "22/tcp", "443/udp"], "provider_opts": {"ipv4": "dedicated"}},
        {"ports": ["443/http", "80/tcp"]} | {"ports": ["443/http"]},
        {"network_volume_id": "app/vol_1", "region_hints": ["eu"]},
        {"network_volume_id": "vol_1", "provider_opts": {"app": "workers"}},
        {"region_hints": ["eu", "iad,ewr"], "cloud_type": "secure"},
        {"memory_gb": 4, "provider_opts": {"size": "performance-1x"}},
        {"provider_opts": {"config": {"spot": {"max_price_fraction": 0.5}}}},
    ],
)
def test_what_fly_can_take_passes(fields):
    assert check(**fields).memory_mb >= 256


def test_an_instances_app_is_where_volumes_are_looked_for():
    assert check(Settings(app="workers"), network_volume_id="vol_1")


@pytest.mark.parametrize("tail", [None, 0, 100])
def test_a_tail_that_fly_gives(tail):
    assert check_tail(tail, "fly") is None


@pytest.mark.parametrize("tail", [-1, 101, True, "5", 1.5])
def test_a_tail_that_fly_does_not_give(tail):
    with pytest.raises(ValidationError, match="tail: expected a whole number from 0 to 100"):
        check_tail(tail, "fly")
