"""The start document: every value arrives as it is, and no shell ever sees one."""

import ast
import base64
import shlex
from importlib.resources import files
from typing import Any

import orjson
import pytest
import yaml
from hypothesis import given, settings, strategies as st

from exatlas.clock import ManualClock
from exatlas.errors import ValidationError
from exatlas.protocols import Context
from exatlas.providers.lambda_labs import userdata
from exatlas.records.compute import ComputeRequest
from exatlas.transport.inprocess import InProcessTransport

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,20}", fullmatch=True)
VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The safe loader that cloud-init uses, in C where there is one."""
NASTY = {
    "QUOTES": "'\"`",
    "LINES": "a\nb\r\nc\n",
    "SHELL": "$(touch /tmp/x); `id` && ${HOME} | > & \\ !",
    "YAML": "}]: - # &a *a !!python/object\n...\n---\n",
    "CLOUD": "#cloud-config\n## template: jinja\n{{ v1.region }} {% if x %}",
    "UNICODE": "ünï\u2028\u2029\ufeff😀",
    "EQUALS": "=a=b=",
    "EMPTY": "",
    "SPACES": "  both ends\t ",
    "CONTROL": "\x01\x1b[31m\x7f",
}

no_network = InProcessTransport(lambda _: None)  # type: ignore[arg-type, return-value]
ctx = Context(provider="lambda_labs", transport=no_network, clock=ManualClock(), launch_id="0123456789ab")


def document(**fields: Any) -> dict[str, Any]:
    """The document as cloud-init's YAML parser reads it."""
    gpus, path = fields.pop("gpus", True), fields.pop("path", None)
    text = userdata.build(ComputeRequest(**{"image": "img", **fields}), ctx, gpus=gpus, filesystem_path=path).text
    first, rest = text.split("\n", 1)
    assert first == "#cloud-config"
    found = yaml.load(text, Loader=LOADER)
    assert found == orjson.loads(rest)
    return found


def written(found: dict[str, Any]) -> dict[str, bytes]:
    """Path → content, as write_files puts it on the disk."""
    assert all(each["encoding"] == "b64" for each in found["write_files"])
    return {each["path"]: base64.b64decode(each["content"], validate=True) for each in found["write_files"]}


def container(**fields: Any) -> dict[str, Any]:
    return orjson.loads(written(document(**fields))["/opt/exatlas/container.json"])


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(NAMES, VALUES, max_size=5), st.lists(VALUES.filter(str.strip), max_size=4))
def test_every_value_arrives_byte_for_byte_and_nothing_else_of_the_document_changes(env, command):
    found = document(env=env, command=command)
    body = orjson.loads(written(found)["/opt/exatlas/container.json"])
    assert body["Env"] == [f"{name}={value}" for name, value in env.items()]
    assert [entry.encode() for entry in body["Env"]] == [
        name.encode() + b"=" + value.encode() for name, value in env.items()
    ]
    assert body.get("Cmd", []) == command
    plain = document()
    assert found["runcmd"] == plain["runcmd"]
    theirs, ours = written(found), written(plain)
    assert {path for path in ours if theirs[path] != ours[path]} <= {"/opt/exatlas/container.json"}


def test_nasty_values_arrive_too():
    assert container(env=NASTY)["Env"] == [f"{name}={value}" for name, value in NASTY.items()]


def test_nothing_is_run_by_a_shell():
    found = document(env=NASTY, command=["$(id)"])
    assert set(found) == {"write_files", "runcmd"}
    assert found["runcmd"] == [
        ["systemctl", "daemon-reload"],
        ["systemctl", "enable", "--now", "--no-block", "exatlas.service"],
    ], "lists are run without a shell, and hold nothing of the request"
    unit = written(found)["/etc/systemd/system/exatlas.service"].decode()
    (start,) = [line for line in unit.splitlines() if line.startswith("Exec")]
    assert shlex.split(start.partition("=")[2]) == ["/usr/bin/python3", "/opt/exatlas/launcher.py"]
    assert "Environment" not in unit


def test_the_launcher_never_calls_a_shell_and_its_commands_are_constants():
    source = files("exatlas.providers.lambda_labs").joinpath("launcher.py").read_text()
    assert written(document())["/opt/exatlas/launcher.py"].decode() == source
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    runs = [call for call in calls if ast.unparse(call.func) == "subprocess.run"]
    assert runs
    for call in runs:
        assert isinstance(call.args[0], ast.List)
        assert all(isinstance(word, ast.Constant) for word in call.args[0].elts)
        assert "shell" not in {keyword.arg for keyword in call.keywords}
    names = {ast.unparse(call.func) for call in calls}
    assert not {"os.system", "os.popen", "eval", "exec", "subprocess.Popen", "subprocess.getoutput"} & names


def test_files_with_values_are_for_root_only():
    modes = {each["path"]: (each["permissions"], each["owner"]) for each in document()["write_files"]}
    assert modes == {
        "/opt/exatlas/launch.json": ("0600", "root:root"),
        "/opt/exatlas/container.json": ("0600", "root:root"),
        "/opt/exatlas/launcher.py": ("0700", "root:root"),
        "/etc/systemd/system/exatlas.service": ("0644", "root:root"),
    }


def test_a_null_character_is_refused():
    with pytest.raises(ValidationError, match="null characters"):
        document(env={"A": "a\0b"})


def test_half_a_character_is_refused_without_showing_the_value():
    with pytest.raises(ValidationError) as caught:
        document(env={"A": "s3cr3t\ud800"})
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize(("size", "fits"), [(700_000, True), (800_000, False)])
def test_a_document_beyond_lambdas_limit_is_refused(size, fits):
    fields = {"env": {"A": "x" * size}}
    if fits:
        assert len(userdata.build(ComputeRequest(image="i", **fields), ctx, gpus=True).text) <= 1_000_000
        return
    with pytest.raises(ValidationError, match="at most 1000000 bytes, got 10"):
        document(**fields)


def test_what_docker_is_asked_for():
    assert container(image="org/app", ports=["22/tcp", "80/tcp", "81/http", "53/udp"], gpu="a10") == {
        "Image": "org/app:latest",
        "Env": [],
        "ExposedPorts": {"80/tcp": {}, "81/tcp": {}, "53/udp": {}},
        "HostConfig": {
            "PortBindings": {
                "80/tcp": [{"HostPort": "80"}],
                "81/tcp": [{"HostPort": "81"}],
                "53/udp": [{"HostPort": "53"}],
            },
            "Binds": [],
            "IpcMode": "host",
            "Ulimits": [{"Name": "memlock", "Soft": -1, "Hard": -1}],
            "LogConfig": {"Type": "journald"},
            "RestartPolicy": {"Name": "on-failure"},
            "DeviceRequests": [{"Driver": "nvidia", "Count": -1, "Capabilities": [["gpu"]]}],
        },
    }


@pytest.mark.parametrize(
    ("fields", "binds"),
    [
        ({"volume_gb": 10}, ["/opt/exatlas/data:/workspace"]),
        ({"path": "/lambda/nfs/models"}, ["/lambda/nfs/models:/workspace"]),
        ({"volume_gb": 10, "provider_opts": {"container": {"mount_path": "/data"}}}, ["/opt/exatlas/data:/data"]),
        ({"container_disk_gb": 10}, []),
    ],
)
def test_volumes(fields, binds):
    assert container(**fields)["HostConfig"]["Binds"] == binds


def test_a_cpu_machine_asks_for_no_gpus():
    assert "DeviceRequests" not in container(gpus=False)["HostConfig"]


def test_the_callers_own_settings_for_docker_come_last():
    create = {"Tty": True, "HostConfig": {"IpcMode": "private"}}
    body = container(provider_opts={"container": {"create": create}})
    assert (body["Tty"], body["HostConfig"]["IpcMode"], body["HostConfig"]["Binds"]) == (True, "private", [])


def test_what_the_launcher_is_told():
    auth = {"username": "u", "password": "p", "serveraddress": "ghcr.io"}
    found = document(image="ghcr.io/o/a:1", path="/lambda/nfs/m", provider_opts={"container": {"registry_auth": auth}})
    assert orjson.loads(written(found)["/opt/exatlas/launch.json"]) == {
        "image": "ghcr.io/o/a:1",
        "auth": auth,
        "gpus": True,
        "mounts": ["/lambda/nfs/m"],
    }


@pytest.mark.parametrize(
    ("image", "full"),
    [
        ("app", "app:latest"),
        ("org/app", "org/app:latest"),
        ("localhost:5000/app", "localhost:5000/app:latest"),
        ("localhost:5000/app:1", "localhost:5000/app:1"),
        ("app@sha256:abc", "app@sha256:abc"),
    ],
)
def test_an_image_without_a_tag_is_not_pulled_with_all_its_tags(image, full):
    assert userdata.tagged(image) == full


def test_everything_that_holds_a_secret_is_named_as_one():
    auth = {"username": "user", "password": "pa55word"}
    request = ComputeRequest(image="i", env={"A": "s3cr3t"}, provider_opts={"container": {"registry_auth": auth}})
    built = userdata.build(request, ctx, gpus=True)
    contents = [each["content"] for each in yaml.safe_load(built.text)["write_files"][:2]]
    assert {"s3cr3t", "pa55word", built.text, *contents} <= set(built.secrets)
