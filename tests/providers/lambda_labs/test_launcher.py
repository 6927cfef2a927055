"""The script on the machine, against a Docker engine that is a function behind a Unix socket."""

import base64
import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingMixIn, UnixStreamServer

import pytest

from exatlas.providers.lambda_labs import launcher


class Engine:
    """What has been asked of it, and what it answers."""

    def __init__(self):
        self.asked = []
        self.bodies = []
        self.headers = []
        self.exists = False
        self.runtimes = {"nvidia": {}, "runc": {}}
        self.pulls = []
        """What pulls answer, one by one; then success."""
        self.create_status = 201

    def answer(self, method, path, body, headers):
        self.asked.append((method, path))
        if path.startswith("/images/create"):
            self.headers.append(headers)
            return self.pulls.pop(0) if self.pulls else (200, b'{"status":"Pulling"}\r\n{"status":"Done"}\r\n')
        if path.endswith("/start"):
            return (204, b"") if self.exists else (404, b'{"message":"No such container"}')
        if path.startswith("/containers/create"):
            self.bodies.append(body)
            self.exists = self.create_status == 201
            return self.create_status, b'{"Id":"c1"}'
        if path.endswith("/json"):
            return (200 if self.exists else 404), b"{}"
        if path == "/info":
            return 200, json.dumps({"Runtimes": self.runtimes}).encode()
        return 200, b"OK"


@pytest.fixture
def engine():
    return Engine()


@pytest.fixture
def machine(engine, tmp_path, monkeypatch):
    """The machine's folder; its Docker engine answers on a socket of its own, its commands only leave a trace."""

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self):
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            status, content = engine.answer(self.command, self.path, body, dict(self.headers))
            self.send_response(status)
            if status != 204:
                self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = handle_any  # noqa: N815 - the names http.server looks for

        def log_message(self, *_):
            pass

        def address_string(self):
            return "unix"

    class Server(ThreadingMixIn, UnixStreamServer):
        daemon_threads = True

    monkeypatch.chdir(tmp_path)  # a socket's path may have no more than about 100 characters
    server = Server("docker.sock", Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    ran = []

    def run(words, **_):
        ran.append(words)
        return subprocess.CompletedProcess(words, 0)

    monkeypatch.setattr(launcher, "DOCKER_SOCKET", "docker.sock")
    monkeypatch.setattr(launcher, "HERE", tmp_path)
    monkeypatch.setattr(launcher, "DAEMON_SETTINGS", tmp_path / "etc" / "daemon.json")
    monkeypatch.setattr(launcher.subprocess, "run", run)
    monkeypatch.setattr(launcher.time, "sleep", lambda _: None)
    tmp_path.joinpath("container.json").write_bytes(b'{"Image":"i:1","Env":["A=\xc3\xbc\\n$(id)"]}')
    spec(tmp_path)
    yield tmp_path, ran
    server.shutdown()
    thread.join()
    server.server_close()


def spec(folder, **changes):
    told = {"image": "org/app:1", "auth": None, "gpus": False, "mounts": [], **changes}
    folder.joinpath("launch.json").write_text(json.dumps(told))


def test_the_container_is_created_from_the_file_byte_for_byte_and_started(engine, machine):
    folder, ran = machine
    launcher.main()
    assert engine.bodies == [folder.joinpath("container.json").read_bytes()]
    assert engine.asked == [
        ("GET", "/_ping"),
        ("GET", "/containers/exatlas/json"),
        ("POST", "/images/create?fromImage=org%2Fapp%3A1"),
        ("POST", "/containers/exatlas/start"),
        ("POST", "/containers/create?name=exatlas"),
        ("POST", "/containers/exatlas/start"),
    ]
    assert ran == []


def test_after_a_reboot_the_same_container_is_started_and_nothing_is_pulled(engine, machine):
    launcher.main()
    engine.asked.clear()
    launcher.main()
    assert [path for _, path in engine.asked] == ["/_ping", "/containers/exatlas/json", "/containers/exatlas/start"]


def test_gpus_are_waited_for_and_dockers_settings_are_completed_once(engine, machine):
    folder, ran = machine
    settings = folder / "etc" / "daemon.json"
    settings.parent.mkdir()
    settings.write_text('{"runtimes": {"nvidia": {"path": "nvidia-container-runtime"}}}')
    spec(folder, gpus=True)
    launcher.main()
    assert ran == [["nvidia-smi"], ["systemctl", "restart", "docker"]]
    assert json.loads(settings.read_text()) == {
        "runtimes": {"nvidia": {"path": "nvidia-container-runtime"}},
        "exec-opts": ["native.cgroupdriver=cgroupfs"],
    }
    ran.clear()
    launcher.main()
    assert ran == [["nvidia-smi"]]


def test_a_docker_without_the_nvidia_runtime_gets_it(engine, machine):
    folder, ran = machine
    engine.runtimes = {"runc": {}}
    spec(folder, gpus=True)
    launcher.main()
    assert ["nvidia-ctk", "runtime", "configure", "--runtime=docker"] in ran
    assert ran[-1] == ["systemctl", "restart", "docker"]


def test_a_registry_is_told_who_pulls(engine, machine):
    folder, _ = machine
    auth = {"username": "u", "password": "p/+ü", "serveraddress": "ghcr.io"}
    spec(folder, auth=auth)
    launcher.main()
    (headers,) = engine.headers
    assert json.loads(base64.urlsafe_b64decode(headers["X-Registry-Auth"])) == auth


def test_a_pull_that_fails_is_tried_again_and_then_told(engine, machine):
    engine.pulls = [(500, b""), (200, b'{"status":"x"}\n{"error":"toomanyrequests"}\n')]
    launcher.main()
    assert len(engine.headers) == 3
    engine.exists = False
    engine.pulls = [(200, b'{"error":"manifest unknown"}')] * 5
    with pytest.raises(RuntimeError, match="org/app:1 cannot be pulled: manifest unknown"):
        launcher.main()
    assert engine.exists is False


def test_a_container_docker_refuses_is_told(engine, machine):
    engine.create_status = 400
    with pytest.raises(RuntimeError, match="cannot be created"):
        launcher.main()


def test_a_mount_is_waited_for_and_given_up(machine, monkeypatch):
    folder, _ = machine
    spec(folder, mounts=[str(folder)])
    monkeypatch.setattr(launcher, "MOUNT_PATIENCE_S", -1)
    with pytest.raises(RuntimeError, match=r"the mount .* not ready"):
        launcher.main()
    spec(folder, mounts=["/"])
    launcher.main()


def test_without_docker_or_driver_it_gives_up_for_systemd_to_try_again(machine, monkeypatch):
    folder, _ = machine
    monkeypatch.setattr(launcher, "DOCKER_SOCKET", "nowhere.sock")
    monkeypatch.setattr(launcher, "DOCKER_PATIENCE_S", -1)
    with pytest.raises(RuntimeError, match="docker: not ready"):
        launcher.main()

    def missing(*_, **__):
        raise FileNotFoundError

    monkeypatch.setattr(launcher, "DOCKER_SOCKET", "docker.sock")
    monkeypatch.setattr(launcher, "DOCKER_PATIENCE_S", 1)
    monkeypatch.setattr(launcher, "GPU_PATIENCE_S", -1)
    monkeypatch.setattr(launcher.subprocess, "run", missing)
    spec(folder, gpus=True)
    with pytest.raises(RuntimeError, match="the GPU driver: not ready"):
        launcher.main()


def test_it_needs_nothing_but_the_standard_library():
    """As on the machine: isolated, without site packages, started as a file."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", launcher.__file__], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 1
    assert "FileNotFoundError" in done.stderr
    assert "launch.json" in done.stderr
