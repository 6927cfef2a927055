"""Waiting for machines: until they are good for something, or until it is clear why they will not be."""

import asyncio
import pickle
from types import SimpleNamespace

import pytest
from attrs import evolve

import exatlas
from exatlas import Atlas, ManualClock, NotReadyError, NotReadyReason
from exatlas.providers import builtins
from exatlas.providers.memory import MemoryProvider
from exatlas.providers.runpod.fake import FakeRunPod, Fault
from exatlas.records.compute import ComputeStatus, PortBinding
from exatlas.testing.cases import open_case
from exatlas.testing.clocks import FastClock
from exatlas.transport.inprocess import InProcessTransport

WISH = {"gpu": "l4", "image": "app:1"}


class Watched(MemoryProvider):
    """Remembers when it was read, and does something at a read of that number."""

    def __init__(self, script=None, **options):
        super().__init__(**options)
        self.reads = []
        self.script = script or {}

    async def get_compute(self, compute_id, ctx, /):
        self.reads.append(ctx.clock.monotonic())
        act = self.script.get(len(self.reads))
        if act:
            act(self, compute_id)
        return await super().get_compute(compute_id, ctx)


def client(cloud, clock):
    return Atlas(cloud, clock=clock, env={})


async def waited(cloud, clock, wish=WISH, **options):
    async with client(cloud, clock) as atlas:
        compute = await atlas.spawn_compute(**wish)
        return await atlas.wait_until_ready(compute, **options)


async def failure(cloud, clock, wish=WISH, **options) -> NotReadyError:
    with pytest.raises(NotReadyError) as caught:
        await waited(cloud, clock, wish, **options)
    return caught.value


# ---- running


async def test_it_is_given_as_last_read_with_the_secret_of_the_record(clock):
    cloud = Watched(clock=clock, boot_s=60)
    seen = []
    async with client(cloud, clock) as atlas:
        compute = await atlas.spawn_compute(**WISH, ports=["22/tcp"], auth="bearer")
        ready = await atlas.wait_until_ready(compute, on_look=lambda one: seen.append(str(one.status)))
        assert (ready.status, ready.auth) == ("running", compute.auth)
        assert ready.ports[0].external == 22
        assert (await atlas.wait_until_ready(compute.id)).auth is None
    assert seen == [*["provisioning"] * (len(seen) - 1), "running"]


async def test_looks_are_a_second_apart_at_first_and_fewer_later(clock):
    cloud = Watched(clock=clock, boot_s=600)
    await waited(cloud, clock)
    pauses = [after - before for before, after in zip(cloud.reads, cloud.reads[1:], strict=False)]
    assert pauses[:8] == [1.0] * 8
    assert min(pauses) == 1.0
    assert max(pauses) == 10.0
    assert pauses == sorted(pauses)
    assert cloud.reads[-1] < 611


async def test_a_running_machine_takes_one_look_and_no_time(clock):
    cloud = Watched(clock=clock)
    await waited(cloud, clock)
    assert (len(cloud.reads), clock.monotonic()) == (1, 0)


async def test_the_clouds_advice_is_heeded(clock):
    def refuse(cloud, _):
        cloud.fail_next("get_compute", exatlas.RateLimitedError("slow down", retry_after=45))

    cloud = Watched({1: refuse}, clock=clock)
    await waited(cloud, clock)
    assert cloud.reads == [0, 45]


@pytest.mark.parametrize(
    "trouble",
    [
        exatlas.TransportTimeoutError("no reply"),
        exatlas.TransportError("broken"),
        exatlas.ProviderBrokenError("500"),
        exatlas.ReplyShapeError("odd"),
        exatlas.EdgeBlockedError("403"),
        exatlas.NotFoundError("not yet"),
        exatlas.ConfigError("the vault is down", retryable=True),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_passing_trouble_is_sat_out(clock, trouble):
    cloud = Watched(clock=clock)
    cloud.fail_next("get_compute", trouble, times=5)
    assert (await waited(cloud, clock)).status == "running"
    assert len(cloud.reads) == 6


@pytest.mark.parametrize("error", [exatlas.UnauthorizedError("no"), exatlas.ForbiddenError("no")])
async def test_a_read_that_is_refused_ends_it(clock, error):
    cloud = Watched(clock=clock)
    cloud.fail_next("get_compute", error)
    with pytest.raises(type(error)):
        await waited(cloud, clock)
    assert len(cloud.rented) == 1
    cloud.fail_next("get_compute", error)
    with pytest.raises(type(error), match="it was terminated"):
        await waited(cloud, clock, terminate_on_failure=True)
    assert len(cloud.rented) == 1


# ---- why not


async def test_the_time_is_over(clock):
    error = await failure(MemoryProvider(clock=clock, boot_s=100), clock, timeout=30)
    assert (error.reason, error.kind, error.retryable, error.terminated) == ("timeout", "timeout", True, None)
    assert error.compute.status == "provisioning"
    assert "not running within 30 s, because it is provisioning; it goes on and bills" in str(error)
    assert clock.monotonic() == 30


async def test_the_time_is_over_and_no_look_got_through(clock):
    cloud = MemoryProvider(clock=clock)
    cloud.fail_next("get_compute", exatlas.TransportError("the wire is cut"), times=100)
    error = await failure(cloud, clock, timeout=30)
    assert error.reason is NotReadyReason.TIMEOUT
    assert "it cannot be read: the wire is cut" in str(error)
    assert isinstance(error.__cause__, exatlas.TransportError)


async def test_a_host_that_never_comes_up_is_a_dud(clock):
    error = await failure(MemoryProvider(clock=clock, boot_s=1e6), clock, dud_after=120, timeout=1000)
    assert (error.reason, error.kind) == ("dud_host", "provider")
    assert 120 <= clock.monotonic() <= 130


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ({2: MemoryProvider.break_down}, "failed"),
        ({2: MemoryProvider.lose}, "gone"),
        ({1: MemoryProvider.lose}, "gone"),
    ],
)
async def test_what_the_cloud_says_of_it(clock, script, reason):
    error = await failure(Watched(script, clock=clock, boot_s=60), clock)
    assert (error.reason, error.kind) == (reason, "provider")
    assert ("goes on" in str(error)) is (reason != "gone")


async def test_one_that_was_never_there_is_gone(clock):
    async with client(MemoryProvider(clock=clock), clock) as atlas:
        with pytest.raises(NotReadyError) as caught:
            await atlas.wait_until_ready("mem-000009")
    assert (caught.value.reason, caught.value.compute) == ("gone", None)
    assert isinstance(caught.value.__cause__, exatlas.NotFoundError)


async def test_one_that_crashes_over_and_over(clock):
    class Crashing(Watched):
        async def get_compute(self, compute_id, ctx, /):
            found = await super().get_compute(compute_id, ctx)
            return found if len(self.reads) % 2 else evolve(found, status=ComputeStatus.FAILED)

    error = await failure(Crashing(clock=clock), clock, probe=never)
    assert error.reason is NotReadyReason.CRASH_LOOP
    assert "it has stopped running 3 times" in str(error)


async def never(_):
    return False


async def test_an_error_survives_a_pickle(clock):
    error = await failure(MemoryProvider(clock=clock, boot_s=100), clock, timeout=3)
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.reason, copy.kind, copy.compute, str(copy)) == (error.reason, error.kind, error.compute, str(error))


# ---- logs


class Fake:
    """A fake RunPod and a client for it."""

    def __init__(self, clock, **options):
        self.cloud = FakeRunPod(clock, **options)
        self.atlas = Atlas(
            "runpod",
            credentials={"runpod": self.cloud.api_key},
            transport=InProcessTransport(self.cloud.handle),
            clock=clock,
            env={},
        )


async def test_an_image_that_cannot_be_pulled_at_runpod(clock):
    fake = Fake(clock, boot_s=60)
    fake.cloud.broken_images.add("app:1")
    async with fake.atlas as atlas:
        compute = await atlas.spawn_compute(**WISH, auth="bearer")
        with pytest.raises(NotReadyError) as caught:
            await atlas.wait_until_ready(compute)
        assert (caught.value.reason, caught.value.logs) == ("failed", ())
        assert "its image may not exist" in str(caught.value)
        for number in range(30):
            fake.cloud.log(compute.id, f"line {number}")
        key = f"{fake.cloud.api_key} {compute.auth.token}"
        fake.cloud.log(compute.id, f"error pulling image: manifest unknown ({key})", "system")
        with pytest.raises(NotReadyError) as caught:
            await atlas.wait_until_ready(compute, with_logs=True, terminate_on_failure=True)
    error = caught.value
    assert (error.reason, error.kind, error.terminated) == ("image_pull", "provider", True)
    assert len(error.logs) == 20
    assert error.logs[-1] == "error pulling image: manifest unknown ([redacted] [redacted])"
    assert "its image 'app:1' cannot be pulled; it was terminated" in str(error)
    assert fake.cloud.rented() == []


async def test_logs_that_cannot_be_had_are_no_error_of_their_own(clock):
    cloud = Watched({2: MemoryProvider.break_down}, clock=clock, boot_s=60)
    cloud.fail_next("stream_logs", exatlas.TransportError("no"))
    error = await failure(cloud, clock, with_logs=True)
    assert (error.reason, error.logs) == ("failed", ())


async def test_logs_are_bounded_in_time(clock):
    cloud = Watched({2: MemoryProvider.break_down}, clock=clock, boot_s=60)
    cloud.hold_next("stream_logs")
    error = await failure(cloud, clock, with_logs=True)
    assert (error.reason, error.logs) == ("failed", ())


async def test_trouble_at_the_fake_is_sat_out(clock):
    fake = Fake(clock, boot_s=120)
    async with fake.atlas as atlas:
        compute = await atlas.spawn_compute(**WISH, ports=["22/tcp"])
        for fault in (Fault.GARBAGE_AFTER, Fault.EDGE, Fault.STALL_BEFORE, Fault.LIMITED, Fault.WRONG_TYPES_AFTER):
            fake.cloud.fail(fault, "GET", compute.id)
        ready = await atlas.wait_until_ready(compute, level="ports")
    assert [port.url for port in ready.ports] == ["tcp://203.0.113.7:30000"]


@pytest.mark.parametrize("name", sorted(cls.name for cls in builtins()))
async def test_every_cloud_gets_its_machines_ready(name):
    async with open_case(name)() as case, Atlas(case.provider, env={}, **case.options) as atlas:
        compute = await atlas.spawn_compute(**case.request)
        ready = await atlas.wait_until_ready(compute, level="ports")
        assert (ready.id, ready.status) == (compute.id, "running")
        await atlas.terminate(compute)
        with pytest.raises(NotReadyError) as caught:
            await atlas.wait_until_ready(compute)
        assert caught.value.reason is NotReadyReason.GONE


# ---- giving up


async def test_it_is_terminated_for_sure_and_the_error_says_so(clock):
    cloud = MemoryProvider(clock=clock, boot_s=1000)
    cloud.fail_next("terminate", exatlas.TransportError("lost"), times=3)
    error = await failure(cloud, clock, timeout=30, terminate_on_failure=True)
    assert (error.terminated, error.retryable) == (True, False)
    assert str(error).endswith("; it was terminated")
    assert cloud.rented == []


async def test_one_that_cannot_be_terminated_is_said_loudly(clock, caplog):
    cloud = MemoryProvider(clock=clock, boot_s=1000)
    cloud.fail_next("terminate", exatlas.ForbiddenError("no"))
    error = await failure(cloud, clock, timeout=30, terminate_on_failure=True)
    assert error.terminated is False
    assert "it could not be terminated and is probably billing: no" in str(error)
    assert [record.levelname for record in caplog.records] == ["ERROR"]


async def test_a_probe_that_breaks_gives_the_machine_back_too(clock):
    async def broken(_):
        raise ZeroDivisionError

    cloud = MemoryProvider(clock=clock)
    with pytest.raises(ZeroDivisionError) as caught:
        await waited(cloud, clock, probe=broken, terminate_on_failure=True)
    assert caught.value.__notes__ == ["compute 'mem-000001': it was terminated"]
    assert cloud.rented == []


# ---- more than running


@pytest.mark.parametrize("level", ["running", "ports", "http"])
async def test_a_probe_has_the_last_word(clock, level):
    asked_at = []
    answers = [ConnectionRefusedError(), TimeoutError(), exatlas.TransportError("no"), False, True]

    async def probe(compute):
        assert compute.status == "running"
        asked_at.append(clock.monotonic())
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    wish = WISH | {"ports": ["8000/http"]}
    await waited(MemoryProvider(clock=clock, boot_s=60), clock, wish, level=level, probe=probe)
    assert answers == []
    assert [at - asked_at[0] for at in asked_at] == pytest.approx([0, 1, 2, 3, 4])


async def test_a_probe_that_hangs_is_cut_by_the_timeout(clock):
    async def hangs(_):
        await asyncio.Event().wait()

    error = await failure(MemoryProvider(clock=clock), clock, probe=hangs, timeout=30)
    assert error.reason is NotReadyReason.TIMEOUT


class Mapping(MemoryProvider):
    """Maps its ports later than it runs, to where a test says."""

    def __init__(self, ports, after=3, **options):
        super().__init__(**options)
        self.ports = ports
        self.after = after

    async def get_compute(self, compute_id, ctx, /):
        found = await super().get_compute(compute_id, ctx)
        self.after -= 1
        bare = tuple(PortBinding(internal=port.internal, protocol=port.protocol) for port in self.ports)
        return evolve(found, public_ip="127.0.0.1", ports=bare if self.after > 0 else self.ports)


TCP = PortBinding(internal=22, external=40022, protocol="tcp", url="tcp://127.0.0.1:40022")


async def test_every_port_has_to_be_mapped(clock):
    ready = await waited(Mapping((TCP,), clock=clock), clock, level="ports")
    assert ready.ports == (TCP,)
    assert clock.monotonic() == 2
    error = await failure(Mapping((TCP,), after=99, clock=clock), clock, level="ports", timeout=10)
    assert "because its ports 22/tcp are not mapped" in str(error)
    wish = WISH | {"ports": ["22/tcp", "80/http"]}
    error = await failure(Mapping((TCP,), clock=clock), clock, wish, level="ports", timeout=10)
    assert "because 2 ports were asked for, and it has 1" in str(error)


@pytest.fixture
async def server():
    """A server on loopback that answers with the statuses it is given, and counts who came."""

    made = SimpleNamespace(statuses=[], heads=[])

    async def serve(reader, writer):
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as partial:
            head = partial.partial
        made.heads.append(head.decode())
        if head:
            status = made.statuses.pop(0) if len(made.statuses) > 1 else made.statuses[0]
            location = b"location: /elsewhere\r\n" if 300 <= status < 400 else b""
            writer.write(b"HTTP/1.1 %d X\r\n%scontent-length: 1\r\nconnection: close\r\n\r\nx" % (status, location))
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    made.port = listening.sockets[0].getsockname()[1]
    async with listening:
        yield made


@pytest.mark.parametrize("status", [200, 302, 401, 404])
async def test_any_answer_below_500_is_a_server(server, status):
    server.statuses = [502, 503, status]
    port = PortBinding(internal=8000, protocol="http", url=f"http://127.0.0.1:{server.port}/base/")
    clock = FastClock(50)
    wish = WISH | {"ports": ["8000/http"], "auth": "bearer"}
    async with Atlas(
        Mapping((port,), clock=clock), clock=clock, credentials={"memory": "k3y-of-ours"}, env={}
    ) as atlas:
        compute = await atlas.spawn_compute(**wish)
        await atlas.wait_until_ready(compute, level="http", path="/health?x=1", timeout=600)
    assert len(server.heads) == 3
    assert server.heads[0].startswith("GET /base/health?x=1 HTTP/1.1\r\n")
    heads = "".join(server.heads).lower()
    assert "authorization" not in heads
    assert "k3y-of-ours" not in heads
    assert compute.auth.token.lower() not in heads


async def test_http_over_a_port_that_is_mapped_as_tcp(server):
    server.statuses = [200]
    port = PortBinding(internal=8000, external=server.port, protocol="tcp")
    clock = FastClock(50)
    await waited(Mapping((port,), clock=clock), clock, level="http", port=8000, timeout=600)
    assert len(server.heads) == 1


async def test_a_server_that_says_502_is_not_there(server):
    server.statuses = [502]
    port = PortBinding(internal=8000, protocol="http", url=f"http://127.0.0.1:{server.port}")
    clock = FastClock(50)
    error = await failure(Mapping((port,), clock=clock), clock, level="http", timeout=20)
    assert "because port 8000 gives HTTP 502" in str(error)


async def test_tcp_waits_for_a_connection(server, unused_tcp_port):
    clock = FastClock(50)
    closed = PortBinding(internal=22, external=unused_tcp_port, protocol="tcp")
    error = await failure(Mapping((closed,), clock=clock), clock, level="tcp", timeout=20)
    assert f"because port {unused_tcp_port} gives no connection" in str(error)
    opened = PortBinding(internal=22, protocol="tcp", url=f"tcp://127.0.0.1:{server.port}")
    await waited(Mapping((opened,), clock=clock), clock, level="tcp", timeout=600)
    async with asyncio.timeout(5):
        while server.heads != [""]:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("level", ["tcp", "http"])
async def test_ports_that_are_not_there(clock, level):
    error = await failure(MemoryProvider(clock=clock), clock, level=level, timeout=10)
    assert "port of it is mapped" in str(error)
    error = await failure(MemoryProvider(clock=clock), clock, level=level, port=99, timeout=10)
    assert "because its port 99 is not mapped" in str(error)


# ---- arguments


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"level": "up"}, "level: "),
        ({"port": 0}, "port: "),
        ({"path": "health"}, "path: expected a path such as '/health'"),
        ({"path": "/a b"}, "path: "),
        ({"probe": 7}, "probe: expected a function"),
        ({"timeout": 0}, "timeout: "),
        ({"timeout": None}, "nothing waits for ever"),
        ({"dud_after": -1}, "dud_after: "),
        ({"with_logs": 1}, "with_logs: "),
        ({"terminate_on_failure": "yes"}, "terminate_on_failure: "),
        ({"on_look": "x"}, "on_look: "),
        ({"probes": never}, "did you mean 'probe'"),
    ],
)
async def test_wrong_arguments_are_told_before_anything_is_read(clock, options, words):
    cloud = Watched(clock=clock)
    async with client(cloud, clock) as atlas:
        with pytest.raises(exatlas.ValidationError, match=words):
            await atlas.wait_until_ready("mem-000001", **options)
    assert cloud.reads == []


async def test_the_module_function(monkeypatch):
    monkeypatch.setenv("EXATLAS_PROVIDER", "memory")
    compute = await exatlas.spawn_compute(**WISH)
    assert (await exatlas.wait_until_ready(compute)).status == "running"


# ---- cancellation


@pytest.fixture
def stepping():
    """Turns itself although whoever waits for the cut keeps the loop busy."""
    return ManualClock(auto=True, patience=25)


async def test_a_cancelled_wait_leaves_nothing_but_the_machine(stepping, cancel_everywhere):
    cloud = MemoryProvider(clock=stepping, boot_s=5)

    async def probe(_):
        await asyncio.sleep(0)
        return True

    async def trial(cut):
        async with client(cloud, stepping) as atlas:
            compute = await atlas.spawn_compute(**WISH)
            ended = await cut(atlas.wait_until_ready(compute, probe=probe, terminate_on_failure=True))
            assert ended is cut.CANCELLED or ended.status == "running"
            assert compute.id in cloud.rented
            await atlas.terminate(compute)

    assert await cancel_everywhere(trial) > 5


async def test_a_termination_under_way_is_finished_all_the_same(stepping, cancel_everywhere):
    begun = []

    class Slow(MemoryProvider):
        async def terminate(self, compute_id, ctx, /):
            begun.append(compute_id)
            for _ in range(5):
                await asyncio.sleep(0)
            await super().terminate(compute_id, ctx)

    cloud = Slow(clock=stepping, boot_s=1000)
    ends = []

    async def wait(atlas, compute):
        try:
            await atlas.wait_until_ready(compute, timeout=0.5, terminate_on_failure=True, with_logs=True)
        except NotReadyError as error:
            return error

    async def trial(cut):
        async with client(cloud, stepping) as atlas:
            compute = await atlas.spawn_compute(**WISH)
            ended = await cut(wait(atlas, compute))
            ends.append((ended is cut.CANCELLED, compute.id in cloud.rented))
            assert (compute.id in begun) is (compute.id not in cloud.rented), "what was begun is finished"
            await atlas.terminate(compute)

    assert await cancel_everywhere(trial) > 5
    assert ends[0] == (True, True), "a wait that is cut leaves the machine"
    assert (True, False) in ends, "a termination that is cut is finished first"
    assert ends[-1] == (False, False)


async def test_a_cancelled_probe_over_sockets_leaves_nothing(server):
    server.statuses = [200]
    clock = FastClock(50)
    port = PortBinding(internal=8000, external=server.port, protocol="tcp")
    async with client(Mapping((port,), after=0, clock=clock), clock) as atlas:
        compute = await atlas.spawn_compute(**WISH)
        await atlas.wait_until_ready(compute, level="http", port=8000)  # opens the pool, which stays
        before = asyncio.all_tasks()
        for level in ("tcp", "http"):
            for steps in range(15):
                task = asyncio.ensure_future(atlas.wait_until_ready(compute, level=level, port=8000))
                for _ in range(steps):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                async with asyncio.timeout(5):
                    while not {one for one in asyncio.all_tasks() if is_ours(one)} <= before:
                        await asyncio.sleep(0.01)
        assert (await atlas.wait_until_ready(compute, level="http", port=8000)).status == "running"


def is_ours(task: asyncio.Task) -> bool:
    """Whether it is not the server's, which answers in this loop."""
    return "serve" not in task.get_coro().__qualname__
