"""The module functions: one client per event loop, closed with it, leaving nothing."""

import asyncio
import inspect
import os
import subprocess
import sys
import textwrap
import typing

import pytest

import exatlas
from exatlas import Atlas
from exatlas.client import default
from exatlas.client.default import default_client
from exatlas.providers.runpod.fake import FakeRunPod
from exatlas.testing.clouds import serve

KEY = "rpa_FAKEKEY0123456789"


@pytest.fixture(autouse=True)
def _memory(monkeypatch):
    monkeypatch.setenv("EXATLAS_PROVIDER", "memory")


OPERATIONS = [
    name
    for name, thing in vars(default).items()
    if inspect.isfunction(thing) and thing.__module__ == default.__name__ and name != "default_client"
]


def test_there_is_a_function_for_every_operation_of_a_client():
    own = {"aclose", "context", "provider", "fan_out", "first_ok", "recover", "settle", "spawn_tagged", "keep_books"}
    methods = {name for name, thing in vars(Atlas).items() if inspect.isfunction(thing) and not name.startswith("_")}
    assert set(OPERATIONS) == methods - own


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_function_takes_what_its_method_takes(name):
    def shape(function):
        parameters = list(inspect.signature(function).parameters.values())
        return [(one.name, one.kind, one.default) for one in parameters if one.name != "self"]

    assert shape(getattr(default, name)) == shape(getattr(Atlas, name))
    ours, theirs = (typing.get_type_hints(function) for function in (getattr(default, name), getattr(Atlas, name)))
    assert ours == theirs


async def test_one_client_per_loop_for_as_long_as_it_is_open():
    first = default_client()
    assert default_client() is first
    await first.list_compute()
    await first.aclose()
    second = default_client()
    assert second is not first
    assert not second.closed


async def test_two_loops_never_share():
    mine = default_client()

    async def elsewhere():
        theirs = default_client()
        await exatlas.spawn_compute(image="img")
        return theirs, await exatlas.list_compute()

    theirs, machines = await asyncio.to_thread(asyncio.run, elsewhere())
    assert theirs is not mine
    assert theirs.closed
    assert len(machines) == 1
    assert await exatlas.list_compute() == []
    assert default_client() is mine


def test_clients_of_loops_that_ended_are_forgotten():
    async def main():
        await exatlas.list_compute()

    asyncio.run(main())
    asyncio.run(main())
    assert len(default._clients) <= 1


def test_outside_of_a_loop_there_is_none():
    with pytest.raises(RuntimeError, match="no running event loop"):
        default_client()


async def test_every_function_reaches_the_same_cloud():
    async with exatlas.rent(image="img", gpu="l4") as rented:
        assert [one.id for one in await exatlas.list_compute()] == [rented.id]
    made = await exatlas.spawn_compute(image="img", gpu="l4")
    await exatlas.stop(made)
    await exatlas.start(made)
    assert (await exatlas.get_compute(made)).status == "running"
    assert (await exatlas.wait_until_ready(made)).id == made.id
    assert [line.line async for line in exatlas.stream_logs(made, follow=False)] == ["pulled img"]
    assert len(await exatlas.list_gpu_types()) > 1
    job = await exatlas.run_job(endpoint="echo", input={"text": "a b"})
    assert [chunk.output async for chunk in exatlas.stream_job(job)] == ["a", "b"]
    assert (await exatlas.get_job(job)).output == ["a", "b"]
    async with exatlas.open_job_stream(job) as stream:
        assert await stream.text() == "ab"
    await exatlas.cancel_job(job)
    with pytest.raises(exatlas.UnsupportedError):
        exatlas.stream_events("echo", "v1/x", {})
    await exatlas.terminate(made)


# --- in a process of its own, where every warning is an error ---


PROLOGUE = """
import asyncio, gc, os, sys, tracemalloc

def sockets():
    found = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue
        if target.startswith("socket:"):
            found.append(target)
    return found

before = sockets()
policy = asyncio.get_event_loop_policy()
new_loop = asyncio.new_event_loop
"""
EPILOGUE = """
asyncio.run(main())
gc.collect()
assert sockets() == before, sockets()
assert asyncio.get_event_loop_policy() is policy
assert asyncio.new_event_loop is new_loop
print("done")
"""


async def run(program: str, **env: str) -> str:
    """What a program prints, under ``-W error``. It must say nothing else."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-c", PROLOGUE + textwrap.dedent(program) + EPILOGUE),
        env={**os.environ, **env},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert (process.returncode, err.decode()) == (0, ""), err.decode()
    return out.decode()


RENTING = """
import exatlas

async def main():
    async with exatlas.rent(gpu="l4", image="img", auth="bearer") as compute:
        print(compute.status, bool(compute.auth.token))
    made = await exatlas.spawn_compute(gpu="l4", image="img")
    await exatlas.terminate(made)
    print(len(await exatlas.list_compute()))
"""

needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="counts sockets in /proc")


@needs_proc
async def test_a_script_over_memory_ends_clean():
    program = (
        RENTING
        + """
    job = await exatlas.run_job(endpoint="echo", input={"text": "a b"})
    async for chunk in exatlas.stream_job(job):
        print(chunk.output)
        break
    await exatlas.run_job(endpoint="echo", input={"text": "never read"})
"""
    )
    assert (await run(program)).split() == ["running", "True", "0", "a", "done"]


@needs_proc
@pytest.mark.parametrize("is_left_open", [False, True])
async def test_a_script_over_sockets_ends_clean(is_left_open):
    def words(job):
        yield from job["input"]["text"].split()

    fake = FakeRunPod(api_key=KEY)
    fake.endpoint("words", words)
    fake.endpoint("slow", words, start_s=3600)
    program = (
        RENTING
        + """
    job = await exatlas.run_job(endpoint="words", input={"text": "a b"})
    print([chunk.output async for chunk in exatlas.stream_job(job)])
"""
    )
    if is_left_open:
        program += """
    job = await exatlas.run_job(endpoint="slow", input={"text": "a b"})
    reading = asyncio.ensure_future(anext(exatlas.stream_job(job)))
    await asyncio.sleep(0.2)
    print(reading.done())
"""
    async with serve(fake.handle) as origin:
        said = await run(
            program,
            EXATLAS_PROVIDER="runpod",
            RUNPOD_API_KEY=KEY,
            RUNPOD_REST_V2_URL=f"{origin}/v2",
            RUNPOD_ENDPOINT_BASE_URL=f"{origin}/v2",
        )
    expected = ["running True", "0", "['a', 'b']", *(["False"] if is_left_open else []), "done"]
    assert said.splitlines() == expected
    assert fake.rented() == []


def test_importing_loads_no_http_client_and_no_provider():
    done = subprocess.run(
        [
            *(sys.executable, "-W", "error", "-c"),
            "import sys, exatlas; print('\\n'.join(sys.modules))",
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    loaded = done.stdout.split()
    assert not [name for name in loaded if name.startswith(("aiohttp", "exatlas.providers", "exatlas.transport"))]
    assert done.stderr == ""
