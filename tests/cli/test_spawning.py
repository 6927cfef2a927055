"""spawn: the request it makes, what it tells, and what an interruption leaves."""

import json
import os
import signal

import pytest

import exatlas
from exatlas.providers.memory import MemoryProvider

SECRET = "s3cr3t-value"


class Interrupted(MemoryProvider):
    """Ctrl-C is pressed when an operation is called for the first time."""

    def __init__(self, operation: str, number: signal.Signals = signal.SIGINT, **options) -> None:
        super().__init__(**options)
        self.operation = operation
        self.number = number

    def press(self, operation: str) -> None:
        if operation == self.operation:
            self.operation = ""
            os.kill(os.getpid(), self.number)

    async def spawn_compute(self, request, ctx, /):
        self.press("spawn_compute")
        return await super().spawn_compute(request, ctx)

    async def get_compute(self, compute_id, ctx, /):
        self.press("get_compute")
        return await super().get_compute(compute_id, ctx)


def test_every_option_reaches_the_request(invoke, tmp_path, monkeypatch):
    (tmp_path / "env").write_text("# comment\nA=1\n\nexport B=two words # kept\nC=3\n")
    (tmp_path / "key.pub").write_text("ssh-ed25519 AAAA me\n")
    monkeypatch.setenv("FROM_HERE", SECRET)
    ended = invoke(
        "spawn",
        *("--gpu", "l4", "--gpu", "h100", "--gpu-count", "2", "--image", "app:1", "--name", "web"),
        *("-p", "8000/http", "--port", "22/tcp", "--env", "C=4=5", "-e", "FROM_HERE", "--env-file", tmp_path / "env"),
        *("--cpus", "8", "--memory-gb", "32", "--volume-gb", "10", "--container-disk-gb", "20"),
        *("--network-volume-id", "vol", "--region", "mem-us-1", "--region", "mem-us-2", "--cloud-type", "secure"),
        *("--spot", "--ssh-key", f"@{tmp_path / 'key.pub'}", "--ssh-key", "mine", "--provider-opts", '{"x": {"y": 1}}'),
        *("--", "python", "-m", "app", "--flag"),
    )
    assert ended.code == 0, ended.err
    asked = invoke.cloud.request_of("mem-000001")
    assert asked == exatlas.ComputeRequest(
        gpu=["l4", "h100"],
        gpu_count=2,
        image="app:1",
        name="web",
        ports=["8000/http", "22/tcp"],
        env={"A": "1", "B": "two words # kept", "C": "4=5", "FROM_HERE": SECRET},
        cpus=8,
        memory_gb=32,
        volume_gb=10,
        container_disk_gb=20,
        network_volume_id="vol",
        region_hints=["mem-us-1", "mem-us-2"],
        cloud_type="secure",
        spot=True,
        ssh_keys=["ssh-ed25519 AAAA me", "mine"],
        provider_opts={"x": {"y": 1}},
        command=["python", "-m", "app", "--flag"],
    )
    assert SECRET not in ended.out + ended.err
    assert "mem-000001" in ended.out


def test_the_token_is_told_once_in_json_and_nowhere_else(invoke):
    ended = invoke("spawn", "--gpu", "l4", "--image", "app:1", "--auth", "bearer", "--json", "--wait")
    first, second = map(json.loads, ended.out.splitlines())
    token = first["auth"]["token"]
    assert invoke.cloud.request_of("mem-000001").env["EXATLAS_PRESHARED_KEY"] == token
    assert second["status"] == "running"
    everything = ended.err + json.dumps(second)
    for command in (("get", "mem-000001"), ("get", "mem-000001", "--json"), ("ls", "--json"), ("logs", "mem-000001")):
        later = invoke(*command)
        everything += later.out + later.err
    assert token not in everything


def test_auth_without_json_is_refused_before_anything_is_rented(invoke):
    ended = invoke("spawn", "--gpu", "l4", "--image", "app:1", "--auth", "bearer")
    assert ended.code == 2
    assert "--auth needs --json" in ended.err
    assert invoke.cloud.rented == []


def test_a_refusal_is_one_line_and_its_code(invoke):
    invoke.cloud.set_capacity("h100", 0)
    ended = invoke("spawn", "--gpu", "h100", "--image", "app:1")
    assert (ended.code, ended.out) == (15, "")
    assert ended.err == "exatlas: memory spawn_compute: nothing is free of h100 (1 at once, any cloud)\n"


@pytest.mark.parametrize("json_too", [False, True])
def test_waiting_ends_when_it_runs(invoke, clock, json_too):
    invoke.cloud = MemoryProvider(clock=clock, boot_s=60)
    ended = invoke("spawn", "--gpu", "l4", "--image", "app:1", "--wait", *(["--json"] if json_too else []))
    assert ended.code == 0
    assert clock.monotonic() >= 60
    if json_too:
        assert [json.loads(line)["status"] for line in ended.out.splitlines()] == ["provisioning", "running"]
    else:
        assert "running" in ended.out
        assert ended.err.startswith("exatlas: rented mem-000001 (")


def test_waiting_in_vain_says_that_the_machine_exists(invoke, clock):
    invoke.cloud = MemoryProvider(clock=clock, boot_s=3600)
    ended = invoke("spawn", "--gpu", "l4", "--image", "app:1", "--wait", "--wait-timeout", "30")
    assert ended.code == 18
    goes_on, why = ended.err.splitlines()[-2:]
    assert goes_on.startswith(
        "exatlas: compute mem-000001 goes on and bills; end it with: exatlas terminate mem-000001"
    )
    assert why == (
        "exatlas: memory wait_until_ready: compute 'mem-000001' is not ready: not running within 30 s, because it is "
        "provisioning; it goes on and bills"
    )
    assert invoke.cloud.rented == ["mem-000001"]


def test_a_machine_that_fails_while_it_is_waited_for(invoke, clock):
    class Failing(MemoryProvider):
        async def get_compute(self, compute_id, ctx, /):
            self.break_down(compute_id)
            return await super().get_compute(compute_id, ctx)

    invoke.cloud = Failing(clock=clock, boot_s=60)
    ended = invoke("spawn", "--gpu", "l4", "--image", "app:1", "--wait")
    assert ended.code == 21
    assert "compute mem-000001 goes on and bills; end it with: " in ended.err
    assert "compute 'mem-000001' is not ready: it has failed" in ended.err.splitlines()[-1]


def test_a_machine_that_is_gone_is_not_said_to_go_on(invoke, clock):
    class Losing(MemoryProvider):
        async def get_compute(self, compute_id, ctx, /):
            self.lose(compute_id)
            return await super().get_compute(compute_id, ctx)

    invoke.cloud = Losing(clock=clock, boot_s=60)
    ended = invoke("spawn", "--gpu", "l4", "--image", "app:1", "--wait")
    assert ended.code == 21
    assert ended.err.endswith("compute 'mem-000001' is not ready: it is gone\n")
    assert "goes on" not in ended.err


def test_waiting_for_more_than_the_container(invoke, clock):
    ended = invoke("spawn", "--gpu", "l4", "--image", "app:1", "-p", "22/tcp", "--wait-for", "ports", "--json")
    assert ended.code == 0
    assert json.loads(ended.out.splitlines()[-1])["ports"][0]["external"] == 22
    ended = invoke("spawn", "--gpu", "l4", "--image", "app:1", "--wait-for", "tcp", "--wait-timeout", "5")
    assert ended.code == 18
    assert "not tcp within 5 s, because no port of it is mapped" in ended.err


def test_a_look_that_fails_is_repeated_where_that_may_help(invoke, clock):
    invoke.cloud.fail_next("get_compute", exatlas.RateLimitedError("slow down", provider="memory", retry_after=60))
    invoke.cloud.fail_next("get_compute", exatlas.TransportTimeoutError("no reply", provider="memory"))
    assert invoke("spawn", "--gpu", "l4", "--image", "app:1", "--wait").code == 0
    assert clock.monotonic() >= 60


def test_a_look_that_cannot_help_ends_the_wait_and_says_that_the_machine_exists(invoke):
    invoke.cloud.fail_next("get_compute", exatlas.ForbiddenError("not any more", provider="memory"))
    ended = invoke("spawn", "--gpu", "l4", "--image", "app:1", "--wait")
    assert ended.code == 11
    assert ended.err.splitlines()[-2].startswith("exatlas: compute mem-000001 goes on and bills; end it with: ")
    assert ended.err.splitlines()[-1] == "exatlas: memory: not any more"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_ctrl_c_while_renting_terminates_what_came(invoke, clock, number, code):
    invoke.cloud = Interrupted("spawn_compute", number, clock=clock)
    ended = invoke("spawn", "--gpu", "l4", "--image", "app:1")
    assert (ended.code, ended.out) == (code, "")
    assert ended.err.splitlines() == [
        "exatlas: interrupted; the machine that is being rented will be terminated first",
        "exatlas: a spawn was cancelled, and its machine mem-000001 was terminated",
    ]
    assert invoke.cloud.rented == []
    assert len(invoke.cloud.invoice()) == 1, "it was rented, and given back"


def test_under_nohup_a_hang_up_is_nothing(invoke, clock):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        invoke.cloud = Interrupted("spawn_compute", signal.SIGHUP, clock=clock)
        ended = invoke("spawn", "--gpu", "l4", "--image", "app:1")
    finally:
        signal.signal(signal.SIGHUP, before)
    assert (ended.code, ended.err) == (0, "")
    assert invoke.cloud.rented == ["mem-000001"]


def test_ctrl_c_while_waiting_says_that_the_machine_goes_on_and_how_to_end_it(invoke, clock):
    invoke.cloud = Interrupted("get_compute", clock=clock, boot_s=60)
    ended = invoke("spawn", "--gpu", "l4", "--image", "app:1", "--wait")
    assert ended.code == 130
    assert ended.err.splitlines()[-1] == (
        "exatlas: interrupted; compute mem-000001 goes on and bills; "
        "end it with: exatlas terminate mem-000001 --provider memory --yes"
    )
    assert invoke.cloud.rented == ["mem-000001"]


def test_ctrl_c_while_waiting_terminates_when_asked_to(invoke, clock):
    invoke.cloud = Interrupted("get_compute", clock=clock, boot_s=60)
    ended = invoke("spawn", "--gpu", "l4", "--image", "app:1", "--wait", "--terminate-on-interrupt")
    assert ended.code == 130
    assert ended.err.splitlines()[-2:] == [
        "exatlas: interrupted; terminating compute mem-000001",
        "exatlas: compute mem-000001 is terminated",
    ]
    assert invoke.cloud.rented == []


def test_a_termination_that_fails_is_said_loudly(invoke, clock):
    invoke.cloud = Interrupted("get_compute", clock=clock, boot_s=60)
    invoke.cloud.fail_next("terminate", exatlas.ForbiddenError("no", provider="memory"))
    ended = invoke("spawn", "--gpu", "l4", "--image", "app:1", "--wait", "--terminate-on-interrupt")
    assert ended.code == 130
    assert "compute mem-000001 could not be terminated and is probably billing: memory: no" in ended.err


def test_an_output_that_is_gone_does_not_lose_the_id(invoke, monkeypatch):
    class Gone:
        encoding = "utf-8"

        def isatty(self):
            return False

        def write(self, _):
            raise BrokenPipeError

        def flush(self):
            raise BrokenPipeError

    monkeypatch.setattr("sys.stdout", Gone())
    monkeypatch.setattr("os.dup2", lambda *_: None)
    ended = invoke("spawn", "--gpu", "l4", "--image", "app:1", "--json")
    assert ended.code == 141
    assert "rented mem-000001 (" in ended.err
    assert "end it with: exatlas terminate mem-000001" in ended.err
