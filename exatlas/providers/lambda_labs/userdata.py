"""The cloud-init document that makes a rented machine run a container image. Pure.

It is `#cloud-config` followed by JSON, which is YAML, with every file in base64; nothing is quoted by hand and nothing
is run by a shell. The environment travels in `container.json`, the body that the Docker engine is given.

Source: https://docs.lambda.ai/api/cloud (`user_data`: plain text of at most 1 MB) and
https://cloudinit.readthedocs.io/en/latest/reference/modules.html (write_files, runcmd), read 2026-11-23.
"""

import base64
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from attrs import frozen

from exatlas.errors import ValidationError
from exatlas.messages import encode
from exatlas.protocols import Context
from exatlas.providers.lambda_labs.options import ContainerOptions, read
from exatlas.records.compute import ComputeRequest
from exatlas.transport.calls import as_json, merge

LARGEST_BYTES = 1_000_000
FOLDER = "/opt/exatlas"
VOLUME = f"{FOLDER}/data"
SSH_PORT = 22
"""The machine's own sshd listens there, so this port is never the container's."""

UNIT = f"""\
[Unit]
Description=The container of an exatlas machine
After=docker.service network-online.target
Wants=docker.service network-online.target

[Service]
Type=oneshot
RemainAfterExit=yes
Restart=on-failure
RestartSec=5
TimeoutStartSec=infinity
ExecStart=/usr/bin/python3 {FOLDER}/launcher.py

[Install]
WantedBy=multi-user.target
"""


@frozen(kw_only=True)
class UserData:
    """What a launch sends, and what of it no error may show."""

    text: str
    secrets: tuple[str, ...]


def build(request: ComputeRequest, ctx: Context, *, gpus: bool, filesystem_path: str | None = None) -> UserData:
    """The document for one request.

    Raises:
        ValidationError: it would be larger than Lambda takes, or holds what JSON cannot.
    """
    options = read(request.provider_opts)
    container = as_json(container_body(request, options, gpus, filesystem_path), "spawn_compute", ctx)
    launch = encode(
        {
            "image": tagged(request.image or ""),
            "auth": dict(options.registry_auth) if options.registry_auth else None,
            "gpus": gpus,
            "mounts": [filesystem_path] if filesystem_path else [],
        }
    )
    text = _cloud_config(container, launch)
    if len(text) > LARGEST_BYTES:
        fault = (
            f"env and command: expected a start document of at most {LARGEST_BYTES} bytes, got {len(text)}; "
            "put large values into the image or into storage"
        )
        raise ValidationError("ComputeRequest", [fault], provider=ctx.provider, operation="spawn_compute")
    hidden = [*request.env.values(), *(options.registry_auth or {}).values(), text, _base64(container), _base64(launch)]
    return UserData(text=text, secrets=tuple(hidden))


def container_body(
    request: ComputeRequest, options: ContainerOptions, gpus: bool, filesystem_path: str | None
) -> dict[str, Any]:
    """The body of Docker's "create a container" call."""
    published = [f"{spec.port}/{_transport(spec.protocol)}" for spec in request.ports if spec.port != SSH_PORT]
    host: dict[str, Any] = {
        "PortBindings": {port: [{"HostPort": port.partition("/")[0]}] for port in published},
        "Binds": _binds(request, options, filesystem_path),
        "IpcMode": "host",
        "Ulimits": [{"Name": "memlock", "Soft": -1, "Hard": -1}],
        "LogConfig": {"Type": "journald"},
        "RestartPolicy": {"Name": "on-failure"},
    }
    if gpus:
        host["DeviceRequests"] = [{"Driver": "nvidia", "Count": -1, "Capabilities": [["gpu"]]}]
    body: dict[str, Any] = {
        "Image": tagged(request.image or ""),
        "Env": [f"{name}={value}" for name, value in request.env.items()],
        "ExposedPorts": {port: {} for port in published},
        "HostConfig": host,
    }
    if request.command:
        body["Cmd"] = list(request.command)
    return merge(body, options.create)


def tagged(image: str) -> str:
    """The image with a tag; without one, Docker's engine pulls every tag there is."""
    last = image.rpartition("/")[2]
    return image if ":" in last or "@" in last else f"{image}:latest"


def _transport(protocol: str) -> str:
    return "udp" if protocol == "udp" else "tcp"


def _binds(request: ComputeRequest, options: ContainerOptions, filesystem_path: str | None) -> Sequence[str]:
    source = filesystem_path or (VOLUME if request.volume_gb else None)
    return [f"{source}:{options.mount_path}"] if source else []


def _cloud_config(container: bytes, launch: bytes) -> str:
    document = {
        "write_files": [
            _file(f"{FOLDER}/launch.json", "0600", launch),
            _file(f"{FOLDER}/container.json", "0600", container),
            _file(f"{FOLDER}/launcher.py", "0700", _launcher()),
            _file("/etc/systemd/system/exatlas.service", "0644", UNIT.encode()),
        ],
        # Lists are run as they are, without a shell. Not waiting keeps a long pull from holding up the boot.
        "runcmd": [
            ["systemctl", "daemon-reload"],
            ["systemctl", "enable", "--now", "--no-block", "exatlas.service"],
        ],
    }
    return f"#cloud-config\n{encode(document).decode()}\n"


def _file(path: str, mode: str, content: bytes) -> Mapping[str, str]:
    return {"path": path, "permissions": mode, "owner": "root:root", "encoding": "b64", "content": _base64(content)}


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


@cache
def _launcher() -> bytes:
    return files("exatlas.providers.lambda_labs").joinpath("launcher.py").read_bytes()
