"""Cancel every public coroutine of a client at every step it takes, over memory and over RunPod's fake in process.

Whatever the step: no machine is left that the caller does not know of, no task, no open stream, no turn of a budget.
"""

import asyncio
from contextlib import aclosing

import pytest

from exatlas import Atlas, ManualClock
from exatlas.errors import AtlasError, CleanupError, OutcomeUnknownError, ProviderBrokenError, TransportError
from exatlas.providers.memory import MemoryProvider
from exatlas.providers.runpod.fake import FakeRunPod, Fault
from exatlas.transport import budget
from exatlas.transport.inprocess import InProcessTransport, StreamingReply

KEY = "rpa_FAKEKEY0123456789"
MACHINE = {"image": "img", "gpu": "l4", "cloud_type": "secure"}
JOB = {"endpoint": "e", "input": {"n": 3}}


@pytest.fixture
def clock():
    """Turns itself although whoever waits for the cut keeps the loop busy: nothing here takes so many steps on end."""
    return ManualClock(auto=True, patience=25)


def count(job):
    yield from range(job["input"]["n"])


class CountingTransport(InProcessTransport):
    """Takes a step before and after each call, as a socket would, and knows which streams are open."""

    def __init__(self, handler):
        super().__init__(handler)
        self.open_streams = 0

    async def send(self, call):
        await asyncio.sleep(0)
        reply = await super().send(call)
        await asyncio.sleep(0)
        return reply

    async def open(self, call):
        await asyncio.sleep(0)
        stream = await super().open(call)
        self.open_streams += 1
        close = stream.aclose
        closed = False

        async def aclose():
            nonlocal closed
            if not closed:
                closed = True
                self.open_streams -= 1
            await close()

        stream.aclose = aclose
        return stream


class Vault:
    """A credential that takes a moment to fetch."""

    async def __call__(self):
        await asyncio.sleep(0)
        return KEY


class Memory:
    name = "memory"

    def __init__(self, clock):
        self.clock = clock
        self.provider = MemoryProvider(clock=clock, handlers={"e": count})
        self.atlas = Atlas(self.provider, credentials={"memory": Vault()}, clock=clock, env={})

    def rented(self):
        return list(self.provider.rented)

    def lose_the_answer(self, error):
        self.provider.fail_next("spawn_compute", error, after_acting=True)

    def log(self, compute_id):
        self.provider.log(compute_id, "hello")

    async def aclose(self):
        await self.atlas.aclose()
        await self.provider.aclose()

    def check(self):
        pass


class RunPod:
    name = "runpod"

    def __init__(self, clock):
        self.clock = clock
        self.fake = FakeRunPod(clock, api_key=KEY, page_size=1)
        self.fake.endpoint("e", count, step_s=1)
        self.transport = CountingTransport(self.fake.handle)
        self.atlas = Atlas("runpod", credentials={"runpod": Vault()}, transport=self.transport, clock=clock, env={})

    def rented(self):
        return [pod.id for pod in self.fake.rented()]

    def log(self, compute_id):
        self.fake.log(compute_id, "hello")

    async def aclose(self):
        await self.atlas.aclose()

    def check(self):
        assert self.transport.open_streams == 0
        shelf = budget._shelves.get(asyncio.get_running_loop())
        budgets = list(shelf.known.values()) if shelf else []
        assert [(one.in_flight, one.waiting) for one in budgets if one.in_flight or one.waiting] == []


@pytest.fixture(params=[Memory, RunPod], ids=lambda cls: cls.name)
def world(request, clock):
    """A fresh cloud and a client of it for every trial."""
    return lambda: request.param(clock)


@pytest.fixture
def cut_everywhere(cancel_everywhere, world):
    """Run ``act(atlas, given)`` with a cut at each of its steps, and ``check(cloud, given, result)`` after each."""

    async def run(act, check, *, prepare=None):
        async def trial(cut):
            cloud = world()
            try:
                given = await prepare(cloud) if prepare else None
                result = await cut(act(cloud.atlas, given))
                await settle()
                check(cloud, given, None if result is cut.CANCELLED else result)
                cloud.check()
            finally:
                await cloud.aclose()

        return await cancel_everywhere(trial)

    return run


async def settle(rounds=100):
    """Let background work, such as a poll that is on its way home, come to its end."""
    for _ in range(rounds):
        await asyncio.sleep(0)


async def a_machine(cloud):
    return await cloud.atlas.spawn_compute(**MACHINE)


async def a_stopped_machine(cloud):
    made = await a_machine(cloud)
    await cloud.atlas.stop(made)
    return made


async def a_talking_machine(cloud):
    made = await a_machine(cloud)
    cloud.log(made.id)
    return made


async def a_job(cloud):
    return await cloud.atlas.run_job(**JOB)


def nothing_rented(cloud, given, result):
    assert cloud.rented() == []


def the_same_rented(cloud, given, result):
    assert cloud.rented() == [given.id]


# --- machines ---


async def test_spawn_compute(cut_everywhere):
    def check(cloud, given, made):
        assert cloud.rented() == ([made.id] if made else [])

    assert await cut_everywhere(lambda atlas, _: atlas.spawn_compute(**MACHINE, auth="bearer"), check) > 2


async def test_rent(cut_everywhere):
    async def use(atlas, _):
        async with atlas.rent(**MACHINE) as made:
            await asyncio.sleep(0)
            return made

    assert await cut_everywhere(use, nothing_rented) > 5


@pytest.mark.parametrize("operation", ["get_compute", "stop"])
async def test_a_machine_in_hand(cut_everywhere, operation):
    def check(cloud, given, result):
        assert cloud.rented() in ([given.id], [])
        if operation == "get_compute":
            assert cloud.rented() == [given.id]

    assert await cut_everywhere(lambda atlas, made: getattr(atlas, operation)(made), check, prepare=a_machine) > 1


async def test_start(cut_everywhere):
    def check(cloud, given, result):
        assert set(cloud.rented()) <= {given.id}

    assert await cut_everywhere(lambda atlas, made: atlas.start(made), check, prepare=a_stopped_machine) > 1


async def test_terminate(cut_everywhere, world):
    ended = []

    def check(cloud, given, result):
        ended.append(cloud.rented())
        assert cloud.rented() in ([given.id], [])

    assert await cut_everywhere(lambda atlas, made: atlas.terminate(made), check, prepare=a_machine) > 1
    assert ended[-1] == []


@pytest.mark.parametrize("operation", ["list_compute", "list_gpu_types", "context"])
async def test_a_read(cut_everywhere, operation):
    await cut_everywhere(lambda atlas, _: getattr(atlas, operation)(), the_same_rented, prepare=a_machine)


@pytest.mark.parametrize("follow", [False, True])
async def test_stream_logs(cut_everywhere, follow):
    async def read(atlas, made):
        async with aclosing(atlas.stream_logs(made, follow=follow)) as lines:
            async for line in lines:
                await asyncio.sleep(0)
                if line.line == "hello":
                    return True
        return False

    def check(cloud, given, found):
        assert found in (None, True)

    assert await cut_everywhere(read, check, prepare=a_talking_machine) > 1


# --- jobs ---


@pytest.mark.parametrize("mode", ["async", "sync"])
async def test_run_job(cut_everywhere, mode):
    def check(cloud, given, job):
        assert job is None or job.endpoint == "e"

    assert await cut_everywhere(lambda atlas, _: atlas.run_job(**JOB, mode=mode), check) > 1


@pytest.mark.parametrize("operation", ["get_job", "cancel_job"])
async def test_a_job_in_hand(cut_everywhere, operation):
    await cut_everywhere(lambda atlas, job: getattr(atlas, operation)(job), nothing_rented, prepare=a_job)


def whole(cloud, given, outputs):
    assert outputs is None or outputs == [0, 1, 2]


@pytest.mark.parametrize("on_exit", ["leave", "cancel"])
async def test_stream_job(cut_everywhere, on_exit):
    async def read(atlas, job):
        seen = []
        async with aclosing(atlas.stream_job(job, on_exit=on_exit)) as chunks:
            async for chunk in chunks:
                await asyncio.sleep(0)
                seen.append(chunk.output)
        return seen

    assert await cut_everywhere(read, whole, prepare=a_job) > 2


async def test_a_stream_that_was_cut_goes_on_from_there(cancel_everywhere, world):
    async def trial(cut):
        cloud = world()
        seen = []

        async def read(job):
            async with aclosing(cloud.atlas.stream_job(job)) as chunks:
                async for chunk in chunks:
                    seen.append(chunk.output)

        try:
            job = await a_job(cloud)
            await cut(read(job))
            if cloud.name == "memory":
                seen.clear()  # it keeps every chunk, so a reader that comes later begins at the first
            await read(job)
            assert seen == [0, 1, 2] if not cut.late else seen[:3] == [0, 1, 2]
            await settle()
            cloud.check()
        finally:
            await cloud.aclose()

    assert await cancel_everywhere(trial) > 2


@pytest.mark.parametrize("ask", ["result", "text"])
async def test_open_job_stream(cut_everywhere, ask):
    async def prepare(cloud):
        if ask == "result":
            return await a_job(cloud)
        words = lambda job: iter(job["input"]["text"].split())  # noqa: E731
        if cloud.name == "memory":
            cloud.provider.serve("w", lambda job: (word for word in words(job)))
        else:
            cloud.fake.endpoint("w", lambda job: (word for word in words(job)))
        return await cloud.atlas.run_job(endpoint="w", input={"text": "a b"})

    async def read(atlas, job):
        async with atlas.open_job_stream(job) as stream:
            return await getattr(stream, ask)()

    def check(cloud, given, result):
        assert result in (None, [0, 1, 2], "ab")

    assert await cut_everywhere(read, check, prepare=prepare) > 2


async def test_stream_events(cancel_everywhere, clock):
    async def events():
        for number in range(3):
            await asyncio.sleep(0)
            yield f"data: {number}\n\n".encode()
        yield b"data: [DONE]\n\n"

    async def answer(call):
        await asyncio.sleep(0)
        return StreamingReply(headers={"content-type": "text/event-stream"}, body=events())

    async def trial(cut):
        transport = CountingTransport(answer)
        async with Atlas("runpod", credentials={"runpod": Vault()}, transport=transport, clock=clock, env={}) as atlas:

            async def read():
                seen = []
                async with aclosing(atlas.stream_events("e", "openai/v1/chat/completions", {})) as stream:
                    async for event in stream:
                        await asyncio.sleep(0)
                        seen.append(event.data)
                return seen

            seen = await cut(read())
            assert seen is cut.CANCELLED or seen == [0, 1, 2]
            assert transport.open_streams == 0

    assert await cancel_everywhere(trial) > 5


# --- the client itself, and many at once ---


async def test_aclose(cut_everywhere):
    begun = []

    async def close(atlas, _):
        begun.append(atlas)
        await atlas.aclose()

    def check(cloud, made, result):
        assert cloud.atlas.closed is (cloud.atlas in begun)
        assert cloud.rented() == [made.id]

    await cut_everywhere(close, check, prepare=a_machine)


async def test_a_whole_block(cut_everywhere):
    async def live(atlas, _):
        async with atlas, atlas.rent(**MACHINE) as made:
            return made

    def check(cloud, given, made):
        assert cloud.rented() == []
        assert made is None or cloud.atlas.closed

    assert await cut_everywhere(live, check) > 5


@pytest.mark.parametrize("race", ["fan_out", "first_ok"])
async def test_many_at_once(cut_everywhere, race):
    async def go(atlas, _):
        return await getattr(atlas, race)(lambda _: atlas.spawn_compute(**MACHINE), [1, 2, 3])

    def check(cloud, given, result):
        if result is None:
            assert cloud.rented() == []
        elif race == "fan_out":
            assert sorted(cloud.rented()) == sorted(one.value.id for one in result)
        else:
            assert cloud.rented() == [result.id]

    assert await cut_everywhere(go, check) > 2


# --- with the reply lost as well ---


async def spawned_with_trouble(cut, cloud):
    """What a spawn gave: the machine, the error that it ended in, or None where it was cut."""
    try:
        made = await cut(cloud.atlas.spawn_compute(**MACHINE))
    except AtlasError as error:
        return error
    return None if made is cut.CANCELLED else made


@pytest.mark.parametrize("error", [TransportError("cut"), ProviderBrokenError("oops")])
async def test_a_spawn_in_memory_whose_reply_is_lost(cancel_everywhere, clock, error):
    async def trial(cut):
        cloud = Memory(clock)
        cloud.lose_the_answer(error)
        made = await spawned_with_trouble(cut, cloud)
        assert cloud.rented() == ([made.id] if made else [])
        await cloud.aclose()

    assert await cancel_everywhere(trial) > 5


@pytest.mark.parametrize("lag_s", [0, 3])
@pytest.mark.parametrize("fault", sorted({*Fault} - {Fault.TWICE}))  # delivered twice, it rents two, marked alike
async def test_a_spawn_at_runpod_with_every_fault(cancel_everywhere, clock, fault, lag_s):
    async def trial(cut):
        cloud = RunPod(clock)
        cloud.fake.listing_lag_s = lag_s
        cloud.fake.fail(fault, "POST", "/pods")
        made = await spawned_with_trouble(cut, cloud)
        if isinstance(made, AtlasError):
            assert cloud.rented() == [], made
            acted = fault in {Fault.DROP_BEFORE, Fault.ERROR_BEFORE, Fault.STALL_BEFORE}
            assert isinstance(made, OutcomeUnknownError) is acted
        else:
            assert cloud.rented() == ([made.id] if made else [])
        await settle()
        cloud.check()
        await cloud.aclose()

    assert await cancel_everywhere(trial) > 5


@pytest.mark.parametrize("fault", [Fault.DROP_AFTER, Fault.STALL_AFTER, Fault.ERROR_AFTER, Fault.GARBAGE_AFTER])
async def test_a_rental_at_runpod_whose_end_is_lost_too(cancel_everywhere, clock, fault):
    async def trial(cut):
        cloud = RunPod(clock)
        cloud.fake.fail(fault, "POST", "/pods")
        cloud.fake.fail(fault, "DELETE", "")

        async def use():
            async with cloud.atlas.rent(**MACHINE):
                await asyncio.sleep(0)

        try:
            await cut(use())
        except CleanupError as error:
            raise AssertionError("the machine could have been terminated") from error
        assert cloud.rented() == []
        await settle()
        cloud.check()
        await cloud.aclose()

    assert await cancel_everywhere(trial) > 5
