"""What is refused before anything is sent, every fault at once."""

import logging
from datetime import timedelta

import pytest

from exatlas.errors import UnsupportedError, ValidationError
from exatlas.providers.runpod import rules
from exatlas.records.compute import ComputeRequest
from exatlas.records.job import JobPolicy, JobRequest

KEY = "ssh-ed25519 AAAAC3Nza someone@somewhere"


def request(**fields):
    return ComputeRequest(**{"image": "img", "gpu": "l4", **fields})


FAULTS = [
    ({"gpu": None, "cpus": 3}, "cpus: expected a power of two, at least 2, got 3"),
    ({"gpu": None, "cpus": 1}, "cpus: expected a power of two, at least 2, got 1"),
    ({"gpu": None, "cpus": 4, "memory_gb": 33}, "memory_gb: expected at most 32 with 4 cpus, got 33"),
    ({"volume_gb": 9}, "volume_gb: expected at least 10, got 9"),
    (
        {"volume_gb": 10, "network_volume_id": "v"},
        "volume_gb: expected None, because network_volume_id is set and a pod mounts only one of the two",
    ),
    ({"ports": [f"{8000 + n}/http" for n in range(11)]}, "ports: expected at most 10 http ports, got 11"),
    ({"ports": ["70000/http"]}, "ports: expected http ports up to 65535, got 70000"),
    (
        {"ssh_keys": ["my-laptop"]},
        "ssh_keys: expected public keys, one per entry, such as 'ssh-ed25519 AAAA…' (RunPod holds no keys by name)",
    ),
    (
        {"ssh_keys": [f"{KEY}\n{KEY}"]},
        "ssh_keys: expected public keys, one per entry, such as 'ssh-ed25519 AAAA…' (RunPod holds no keys by name)",
    ),
    (
        {"ssh_keys": [KEY], "env": {"PUBLIC_KEY": "x"}},
        "ssh_keys: expected none, because env sets PUBLIC_KEY, which is how they would be handed over",
    ),
    (
        {"provider_opts": {"name": "mine"}},
        "provider_opts: expected no 'name', which carries the launch id; set the request's own name",
    ),
]
LACKS = [
    ({"spot": True}, "spot: RunPod sells no interruptible pods"),
    ({"ports": ["51820/udp"]}, "ports: RunPod exposes http and tcp only, not 51820/udp"),
    ({"cpus": 8}, "cpus: RunPod sizes them by the GPU"),
    ({"memory_gb": 64}, "memory_gb: RunPod sizes it by the GPU"),
    ({"gpu": None, "volume_gb": 20}, "volume_gb: RunPod's CPU pods take a network volume or none"),
    ({"gpu": None, "cloud_type": "community"}, "cloud_type: RunPod's CPU pods run in the secure cloud only"),
    (
        {"network_volume_id": "v", "cloud_type": "community"},
        "cloud_type: RunPod's network volumes are in the secure cloud only",
    ),
]


@pytest.mark.parametrize(("fields", "fault"), FAULTS)
def test_a_value_runpod_refuses_is_a_fault(fields, fault):
    with pytest.raises(ValidationError) as caught:
        rules.check_spawn(request(**fields), "runpod")
    assert caught.value.faults == (fault,)
    assert (caught.value.provider, caught.value.operation) == ("runpod", "spawn_compute")


@pytest.mark.parametrize(("fields", "lack"), LACKS)
def test_a_field_runpod_cannot_honour_is_unsupported(fields, lack):
    with pytest.raises(UnsupportedError) as caught:
        rules.check_spawn(request(**fields), "runpod")
    assert caught.value.message == lack
    assert caught.value.capability == ("spot" if "spot" in fields else None)


def test_all_lacks_are_told_at_once():
    with pytest.raises(UnsupportedError) as caught:
        rules.check_spawn(request(spot=True, cpus=4, memory_gb=8, ports=["1/udp", "2/udp"]), "runpod")
    assert caught.value.message == (
        "spot: RunPod sells no interruptible pods; ports: RunPod exposes http and tcp only, not 1/udp, 2/udp; "
        "cpus: RunPod sizes them by the GPU; memory_gb: RunPod sizes it by the GPU"
    )


def test_faults_and_lacks_together_are_one_validation_error():
    with pytest.raises(ValidationError) as caught:
        rules.check_spawn(request(spot=True, volume_gb=3, network_volume_id="v"), "runpod")
    assert [fault.partition(":")[0] for fault in caught.value.faults] == ["volume_gb", "volume_gb", "spot"]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"gpu": None},
        {"gpu": None, "cpus": 4, "memory_gb": 32, "network_volume_id": "v", "cloud_type": "secure"},
        {"ports": ["70000/tcp", *(f"{8000 + n}/http" for n in range(10))]},
        {"image": None, "template_id": "t", "command": ["x"]},
        {"volume_gb": 10, "gpu_count": 8, "cloud_type": "community", "region_hints": ["EU-RO-1"]},
        {"ssh_keys": [KEY, "ecdsa-sha2-nistp256 AAAA", "sk-ssh-ed25519@openssh.com AAAA"]},
    ],
)
def test_what_runpod_can_do_passes(fields):
    rules.check_spawn(request(**fields), "runpod")


def test_many_variables_are_a_warning_without_their_values(caplog):
    env = {f"V{number}": f"value-{number}" for number in range(51)}
    with caplog.at_level(logging.WARNING, logger="exatlas.providers.runpod"):
        rules.check_spawn(request(env=env), "runpod")
    assert [record.getMessage() for record in caplog.records] == [
        "the request sets 51 variables; RunPod documents at most 50"
    ]


def job(**fields):
    return JobRequest(endpoint="ep", input={"x": 1}, **fields)


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"policy": {"execution_timeout": 4.999}}, "policy.execution_timeout: expected 5 s to 7 days, got 4.999 s"),
        (
            {"policy": {"execution_timeout": timedelta(days=7, seconds=1)}},
            "policy.execution_timeout: expected 5 s to 7 days, got 604801 s",
        ),
        ({"policy": {"ttl": 9}}, "policy.ttl: expected 10 s to 7 days, got 9 s"),
        ({"policy": {"ttl": timedelta(days=8)}}, "policy.ttl: expected 10 s to 7 days, got 691200 s"),
    ],
)
def test_a_job_runpod_would_refuse(fields, fault):
    with pytest.raises(ValidationError) as caught:
        rules.check_job(job(**fields), "runpod")
    assert caught.value.faults == (fault,)


def test_all_faults_of_a_job_are_told_at_once():
    with pytest.raises(ValidationError) as caught:
        rules.check_job(job(policy={"execution_timeout": 1, "ttl": 2}), "runpod")
    assert len(caught.value.faults) == 2


def test_a_ttl_below_the_execution_timeout_is_refused_with_the_record():
    with pytest.raises(ValidationError, match="ttl"):
        JobPolicy(execution_timeout=60, ttl=30)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"policy": {"execution_timeout": 5, "ttl": 10, "low_priority": True}},
        {"policy": {"execution_timeout": timedelta(days=7), "ttl": timedelta(days=7)}},
        {"webhook": "https://app.example/hook?k=s3cr3t"},
        {"webhook": "http://127.0.0.1:8000/hook"},
    ],
)
def test_a_job_runpod_takes_passes(fields):
    rules.check_job(job(**fields), "runpod")


@pytest.mark.parametrize(("mode", "most"), [("async", 10 * 1024**2), ("sync", 20 * 1024**2)])
def test_a_payload_may_reach_the_limit_and_not_pass_it(mode, most):
    rules.check_submit_size(b"x" * most, mode, "runpod")
    with pytest.raises(ValidationError, match="object storage"):
        rules.check_submit_size(b"x" * (most + 1), mode, "runpod")


@pytest.mark.parametrize("tail", [None, 0, 1, 5000])
def test_a_tail_runpod_gives(tail):
    rules.check_tail(tail, "runpod")


@pytest.mark.parametrize("tail", [-1, 5001, True, 2.0, "9"])
def test_a_tail_runpod_does_not_give(tail):
    with pytest.raises(ValidationError, match="tail"):
        rules.check_tail(tail, "runpod")
