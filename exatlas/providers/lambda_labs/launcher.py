"""Runs on the rented machine, at every boot: waits for Docker and the GPUs, pulls the image, starts the container.

Sent as it stands; the machine has Python 3.10 or later and nothing of exatlas. What to run comes from two files beside
this one: `launch.json` says what to wait for and to pull, `container.json` is the body of Docker's own "create a
container" call and goes to the Docker engine byte for byte. No shell takes part, and no value becomes an argument.

Whatever raises here makes systemd start it again after a few seconds; every step may be repeated.

Source: https://docs.docker.com/reference/api/engine/ (images/create, containers/create), read 2026-11-23. The cgroup
driver keeps containers from losing their GPUs when systemd reloads: NVIDIA/nvidia-container-toolkit issue 48.
"""

import base64
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

HERE = Path("/opt/exatlas")
DOCKER_SOCKET = "/var/run/docker.sock"
DAEMON_SETTINGS = Path("/etc/docker/daemon.json")
CGROUP_OPTION = "native.cgroupdriver=cgroupfs"
CONTAINER = "exatlas"
DOCKER_PATIENCE_S = 600
GPU_PATIENCE_S = 900
MOUNT_PATIENCE_S = 600
PULL_WAITS_S = (5, 15, 45, 120)


class Docker(http.client.HTTPConnection):
    """One request to the Docker engine on this machine."""

    def __init__(self, path: str = DOCKER_SOCKET) -> None:
        super().__init__("docker")
        self._path = path

    def connect(self) -> None:
        """Connect to the engine's socket."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)


def ask(method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    """Send one request to the engine and give status and body."""
    connection = Docker(DOCKER_SOCKET)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json", **(headers or {})})
        reply = connection.getresponse()
        return reply.status, reply.read()
    finally:
        connection.close()


def wait_for(what: str, ready: Callable[[], bool], patience_s: float) -> None:
    """Ask every two seconds until it is so."""
    until = time.monotonic() + patience_s
    while not ready():
        if time.monotonic() > until:
            raise RuntimeError(f"{what}: not ready after {patience_s:g} s")
        time.sleep(2)


def docker_is_up() -> bool:
    """Whether the engine answers."""
    try:
        return ask("GET", "/_ping")[0] == 200
    except OSError:
        return False


def gpus_are_up() -> bool:
    """Whether the driver answers; right after boot it may take minutes."""
    try:
        return subprocess.run(["nvidia-smi"], stdout=subprocess.DEVNULL, check=False).returncode == 0  # noqa: S607 - on the machine's own PATH
    except OSError:
        return False


def prepare_docker() -> None:
    """Give Docker the NVIDIA runtime where it lacks it, and the cgroup driver that keeps GPUs attached."""
    before = daemon_settings()
    runtimes = json.loads(ask("GET", "/info")[1]).get("Runtimes") or {}
    if "nvidia" not in runtimes:
        subprocess.run(["nvidia-ctk", "runtime", "configure", "--runtime=docker"], check=True)  # noqa: S607 - see above
    settings = json.loads(daemon_settings() or "{}")
    options = settings.setdefault("exec-opts", [])
    if not any(option.startswith("native.cgroupdriver=") for option in options):
        options.append(CGROUP_OPTION)
        DAEMON_SETTINGS.parent.mkdir(parents=True, exist_ok=True)
        DAEMON_SETTINGS.write_text(json.dumps(settings, indent=4))
    if daemon_settings() != before:
        subprocess.run(["systemctl", "restart", "docker"], check=True)  # noqa: S607 - see above
        wait_for("docker", docker_is_up, DOCKER_PATIENCE_S)


def daemon_settings() -> str:
    """What the engine is configured with, as text."""
    return DAEMON_SETTINGS.read_text() if DAEMON_SETTINGS.exists() else ""


def pull(image: str, auth: dict[str, str] | None) -> None:
    """Pull the image, several times if need be. Progress comes as lines, and failures among them."""
    headers = {}
    if auth:
        headers["X-Registry-Auth"] = base64.urlsafe_b64encode(json.dumps(auth).encode()).decode()
    for wait_s in (*PULL_WAITS_S, None):
        status, body = ask("POST", f"/images/create?fromImage={quote(image, safe='')}", headers=headers)
        lines = [json.loads(line) for line in body.splitlines() if line.strip()]
        faults = [line["error"] for line in lines if "error" in line] or ([] if status == 200 else [f"HTTP {status}"])
        if not faults:
            return
        if wait_s is None:
            raise RuntimeError(f"{image} cannot be pulled: {faults[-1]}")
        time.sleep(wait_s)


def start(body: bytes) -> None:
    """Create the container if it is not there yet, and start it."""
    status, told = ask("POST", f"/containers/{CONTAINER}/start")
    if status == 404:
        status, told = ask("POST", f"/containers/create?name={CONTAINER}", body)
        if status != 201:
            raise RuntimeError(f"the container cannot be created: {told.decode(errors='replace')}")
        status, told = ask("POST", f"/containers/{CONTAINER}/start")
    if status not in (204, 304):
        raise RuntimeError(f"the container cannot be started: {told.decode(errors='replace')}")


def exists() -> bool:
    """Whether an earlier boot has created the container."""
    return ask("GET", f"/containers/{CONTAINER}/json")[0] == 200


def main() -> None:
    """Do all of it."""
    spec: dict[str, Any] = json.loads((HERE / "launch.json").read_bytes())
    wait_for("docker", docker_is_up, DOCKER_PATIENCE_S)
    if spec["gpus"]:
        wait_for("the GPU driver", gpus_are_up, GPU_PATIENCE_S)
        prepare_docker()
    for mount in spec["mounts"]:
        wait_for(f"the mount {mount}", partial(os.path.ismount, mount), MOUNT_PATIENCE_S)
    if not exists():
        pull(spec["image"], spec["auth"])
    start((HERE / "container.json").read_bytes())
    sys.stderr.write("the container runs\n")


if __name__ == "__main__":
    main()
