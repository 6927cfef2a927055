"""What is refused before anything is sent, every fault at once."""

import pytest

from exatlas.errors import UnsupportedError, ValidationError
from exatlas.providers.lambda_labs import rules
from exatlas.records.compute import ComputeRequest

KEY = "ssh-ed25519 AAAAC3Nza someone@somewhere"
TAGS = (
    "provider_opts: expected tags as a list of {'key', 'value'}, with lower-case keys of at most 55 characters that do "
    "not begin with 'exatlas:' or 'lambda-ai-', and values of at most 128"
)


def request(**fields):
    return ComputeRequest(**{"image": "img", "gpu": "a10", **fields})


def container(**options):
    return {"provider_opts": {"container": options}}


FAULTS = [
    ({"name": "n" * 52}, "name: expected at most 51 characters, because a launch id follows, got 52"),
    ({"image": "-v/:/x"}, "image: expected an image reference of at most 255 characters"),
    ({"image": "a b"}, "image: expected an image reference of at most 255 characters"),
    ({"image": "i" * 256}, "image: expected an image reference of at most 255 characters"),
    ({"env": {"A-B": "x"}}, "env: expected names of letters, digits and underscores, got 'A-B'"),
    ({"env": {"1A": "x"}}, "env: expected names of letters, digits and underscores, got '1A'"),
    ({"command": ["a\0b"]}, "command: expected no null characters"),
    ({"ports": ["70000/tcp"]}, "ports: expected numbers up to 65535, got 70000"),
    ({"ports": ["80/tcp", "80/http"]}, "ports: 80 is asked for both as http and as tcp, which is one port here"),
    ({"ports": [f"{n}/tcp" for n in range(100, 120)]}, "ports: expected at most 19 besides 22/tcp, got 20"),
    ({"ssh_keys": ["a", "b"]}, "ssh_keys: Lambda takes exactly one key per machine, got 2"),
    ({"ssh_keys": [f"{KEY}\n{KEY}"]}, "ssh_keys: expected one line of at most 4096 characters"),
    ({"ssh_keys": [f"ssh-rsa {'A' * 4096}"]}, "ssh_keys: expected one line of at most 4096 characters"),
    (
        {"ssh_keys": ["a"], "provider_opts": {"ssh_key_names": ["b"]}},
        "ssh_keys: expected none, because provider_opts has ssh_key_names",
    ),
    (
        {"volume_gb": 1, "network_volume_id": "v"},
        "volume_gb: expected None, because network_volume_id is set and takes the same place in the container",
    ),
    (
        {"provider_opts": {"name": "x", "user_data": "#!/bin/sh"}},
        (
            "provider_opts: expected no 'name' (carries the launch id; set the request's own name), "
            "'user_data' (starts the container)"
        ),
    ),
    (
        {"provider_opts": {"region_name": "x", "instance_type_name": "y"}},
        (
            "provider_opts: expected no 'region_name' (is chosen from region_hints), 'instance_type_name' "
            "(is chosen from gpu, which takes the names of instance types too)"
        ),
    ),
    *(
        ({"provider_opts": {"tags": tags}}, TAGS)
        for tags in (
            {"a": "b"},
            [{"key": "exatlas:x", "value": "y"}],
            [{"key": "lambda-ai-x", "value": "y"}],
            [{"key": "A", "value": "y"}],
            [{"key": "a", "value": "y"}],
            [{"key": "k" * 56, "value": "y"}],
            [{"key": "kk", "value": "y" * 129}],
            [{"key": "kk"}],
            ["kk"],
        )
    ),
    (
        container(docker="x"),
        (
            "provider_opts.container: nothing is named 'docker'; there are create, mount_path, registry_auth, "
            "source_network"
        ),
    ),
    ({"provider_opts": {"container": "x"}}, "provider_opts.container: expected an object, got str"),
    (container(create=[]), "provider_opts.container: create: expected an object"),
    (container(mount_path="data"), "provider_opts.container: mount_path: expected an absolute path"),
    (container(mount_path="/da:ta"), "provider_opts.container: mount_path: expected an absolute path"),
    (
        container(registry_auth={"username": "u"}),
        (
            "provider_opts.container: registry_auth: expected an object with 'username' and 'password', and "
            "'serveraddress' at most"
        ),
    ),
    (
        container(source_network="2001:db8::/32"),
        "provider_opts.container: source_network: expected an IPv4 network such as 203.0.113.0/24",
    ),
    (
        container(source_network="10.0.0.1/8"),
        "provider_opts.container: source_network: expected an IPv4 network such as 203.0.113.0/24",
    ),
]
LACKS = [
    ({"spot": True}, "spot: Lambda sells no spot machines"),
    ({"template_id": "t"}, "template_id: Lambda has no templates"),
    ({"template_id": "t", "image": None}, "template_id: Lambda has no templates"),
    ({"cloud_type": "community"}, "cloud_type: all machines are Lambda's own (secure)"),
]


@pytest.mark.parametrize(("fields", "fault"), FAULTS)
def test_a_value_lambda_refuses_is_a_fault(fields, fault):
    with pytest.raises(ValidationError) as caught:
        rules.check_spawn(request(**fields), "lambda_labs")
    assert caught.value.faults == (fault,)
    assert (caught.value.provider, caught.value.operation) == ("lambda_labs", "spawn_compute")


@pytest.mark.parametrize(("fields", "lack"), LACKS)
def test_a_field_lambda_cannot_honour_is_unsupported(fields, lack):
    with pytest.raises(UnsupportedError) as caught:
        rules.check_spawn(request(**fields), "lambda_labs")
    assert caught.value.message == lack
    assert caught.value.capability == ("spot" if "spot" in fields else None)


def test_faults_and_lacks_together_are_one_validation_error():
    with pytest.raises(ValidationError) as caught:
        rules.check_spawn(request(spot=True, template_id="t", name="n" * 60, ssh_keys=["a", "b"]), "lambda_labs")
    assert [fault.partition(":")[0] for fault in caught.value.faults] == ["name", "ssh_keys", "template_id", "spot"]


def test_no_fault_shows_a_password():
    fields = container(registry_auth={"username": "u", "password": "s3cr3t", "more": "s3cr3t"})
    with pytest.raises(ValidationError) as caught:
        rules.check_spawn(request(**fields), "lambda_labs")
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"gpu": None},
        {"name": "n" * 51, "image": "ghcr.io/org/app:1.0@sha256:abc", "env": {"_a1": "any\n'$`\"\\ ünï"}},
        {"ports": ["22/tcp", "80/udp", "80/tcp", *(f"{n}/tcp" for n in range(100, 117))]},
        {"ssh_keys": ["my laptop"]},
        {"ssh_keys": [f"{KEY}\n"]},
        {"provider_opts": {"hostname": "a", "image": {"family": "f"}, "tags": [{"key": "kk", "value": "v"}]}},
        container(create={"Tty": True}, mount_path="/data", source_network="203.0.113.0/24"),
        container(registry_auth={"username": "u", "password": "p", "serveraddress": "ghcr.io"}),
        {"network_volume_id": "v", "cloud_type": "secure"},
    ],
)
def test_what_lambda_can_do_passes(fields):
    rules.check_spawn(request(**fields), "lambda_labs")


@pytest.mark.parametrize(
    ("text", "is_key"),
    [
        (KEY, True),
        ("ecdsa-sha2-nistp256 AAAA", True),
        ("sk-ssh-ed25519@openssh.com AAAA", True),
        ("my-laptop", False),
        ("ssh-of-jane", False),
    ],
)
def test_a_key_is_told_from_a_name(text, is_key):
    assert rules.is_public_key(text) is is_key
