"""Real processes against a fake RunPod on loopback: keys and URLs from the environment, real sockets and signals."""

import asyncio
import json
import os
import pty
import signal

import pytest

from exatlas.providers.runpod.fake import FakeRunPod, Fault, script
from exatlas.testing import clouds


@pytest.fixture
async def fake():
    fake = FakeRunPod()
    async with clouds.serve(fake.handle) as origin:
        urls = fake.base_urls(origin)
        fake.env = {
            "EXATLAS_PROVIDER": "runpod",
            "RUNPOD_API_KEY": fake.api_key,
            "RUNPOD_REST_V2_URL": urls["rest"],
            "RUNPOD_ENDPOINT_BASE_URL": urls["runtime"],
        }
        yield fake


@pytest.fixture
def exatlas(start, fake):
    async def run(*arguments, **options):
        return await (await start(*arguments, env=fake.env, **options)).end()

    return run


async def test_a_machines_life(exatlas, fake):
    ended = await exatlas(
        *("spawn", "--gpu", "l4", "--image", "app:1", "--name", "web", "-p", "8000/http", "--env", "KEY=s3cr3t"),
        *("--auth", "bearer", "--json", "--wait"),
    )
    assert ended.code == 0, ended.err
    machine, running = map(json.loads, ended.out.splitlines())
    assert running["status"] == "running"
    assert machine["auth"]["token"] not in ended.err
    listed = json.loads((await exatlas("ls", "--json")).out)
    assert [one["id"] for one in listed] == [machine["id"]]
    shown, asked = await asyncio.gather(exatlas("get", machine["id"]), exatlas("terminate", machine["id"]))
    assert f"https://{machine['id']}-8000.proxy.runpod.net" in shown.out
    assert asked.code == 2, "there is nobody to ask"
    everything = ended.err + shown.out + shown.err
    assert "s3cr3t" not in everything
    assert fake.api_key not in everything
    assert (await exatlas("terminate", machine["id"], "--yes")).out == f"terminated {machine['id']}\n"
    assert fake.rented() == []


async def test_errors_have_their_codes(start, exatlas, fake):
    fake.stock.left["NVIDIA L4", "SECURE"] = 0
    fake.stock.left["NVIDIA L4", "COMMUNITY"] = 0
    wrong_key = await start("ls", env={**fake.env, "RUNPOD_API_KEY": "rpa_wrong"})
    nobody = await start("ls", env={**fake.env, "RUNPOD_API_KEY": ""})
    full, unauthorized, no_key = await asyncio.gather(
        exatlas("spawn", "--gpu", "l4", "--image", "app:1"), wrong_key.end(), nobody.end()
    )
    assert (full.code, unauthorized.code, no_key.code) == (15, 10, 20)
    for ended in (full, unauthorized, no_key):
        assert ended.out == ""
        assert ended.err.startswith("exatlas: runpod")
        assert ended.err.count("\n") == 1
        assert "rpa_" not in ended.err


async def test_ctrl_c_while_renting_leaves_nothing_rented(start, fake):
    """The answer to the create hangs; the machine is there already."""
    fake.fail(Fault.STALL_AFTER)
    process = await start("spawn", "--gpu", "l4", "--image", "app:1", "--timeout", "1", env=fake.env)
    async with asyncio.timeout(20):
        while not fake.rented():
            await asyncio.sleep(0.02)
    process.send(signal.SIGINT)
    assert "will be terminated first" in await process.error_line()
    ended = await process.end()
    assert (ended.code, ended.out) == (130, "")
    assert "was terminated" in ended.err
    assert fake.rented() == []


async def test_a_job_streams_its_output_as_json_lines(exatlas, fake):
    fake.endpoint("abc123", script(*[{"word": word} for word in ["a", "sunset", "over", "water"]]))
    ended = await exatlas("job", "run", "abc123", "--input", '{"prompt": "a"}', "--stream", "--json")
    assert ended.code == 0, ended.err
    told = [json.loads(line) for line in ended.out.splitlines()]
    assert [line["chunk"]["output"]["word"] for line in told[1:-1]] == ["a", "sunset", "over", "water"]
    assert told[-1]["job"]["status"] == "completed"


async def test_a_reader_that_leaves_is_told_that_the_job_goes_on(start, fake):
    fake.endpoint("abc123", script(*range(50)), step_s=0.3)
    ours, theirs = os.pipe()
    process = await start(*("job", "run", "abc123", "--input", '{"n": 1}', "--stream"), env=fake.env, stdout=theirs)
    os.close(theirs)
    assert await asyncio.to_thread(os.read, ours, 2) == b"0\n"
    os.close(ours)
    ended = await process.end()
    assert ended.code == 141
    assert ended.err.startswith("exatlas: nobody reads the output any more; the job goes on; cancel it with: exatlas ")
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize("cancels", [False, True])
async def test_ctrl_c_while_streaming(start, fake, cancels):
    def handler(job):
        yield job["id"]
        yield from range(1_000)

    fake.endpoint("abc123", handler, step_s=0.5)
    process = await start(
        *("job", "run", "abc123", "--input", '{"prompt": "a"}', "--stream"),
        *(["--cancel-on-exit"] if cancels else []),
        env=fake.env,
    )
    job = await process.line()
    process.send(signal.SIGINT)
    ended = await process.end()
    assert ended.code == 130
    notice = f"cancelling job {job}" if cancels else f"the job goes on; cancel it with: exatlas job cancel {job} "
    assert ended.err.startswith(f"exatlas: interrupted; {notice}")
    state = await (await start("job", "status", job, "-e", "abc123", "--json", env=fake.env)).end()
    assert json.loads(state.out)["status"] == ("cancelled" if cancels else "in_progress")


async def test_a_question_at_a_real_terminal(start, fake):
    created = await (await start("spawn", "--gpu", "l4", "--image", "app:1", "--json", env=fake.env)).end()
    compute = json.loads(created.out)["id"]
    ours, theirs = pty.openpty()
    process = await start("terminate", compute, env=fake.env, stdin=theirs)
    os.close(theirs)
    assert f"going to terminate {compute} (" in await process.error_line()
    os.write(ours, b"y\n")
    ended = await process.end()
    os.close(ours)
    assert (ended.code, ended.out) == (0, f"terminated {compute}\n")
    assert fake.rented() == []
