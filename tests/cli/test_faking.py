"""`exatlas fake`: a served fake cloud, how to reach it, and its bill."""

import asyncio
import json
import shlex
import signal
import socket

import aiohttp
import pytest

import exatlas

KEY = "rpa_KEYOFMINE0123456789"


async def told(process) -> dict:
    return json.loads(await process.line())


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
async def test_a_machines_life_and_its_bill(start, number, code):
    process = await start("fake", "runpod", "--json", "--speed", "1000", "--boot-s", "30", "--api-key", KEY)
    where = await told(process)
    assert where["api_key"] == KEY
    assert where["env"]["RUNPOD_API_KEY"] == KEY
    assert where["env"]["RUNPOD_REST_V2_URL"].startswith(where["url"])
    async with exatlas.Atlas(env=where["env"]) as atlas:
        compute = await atlas.spawn_compute(gpu="l4", image="app:1")
        assert compute.status == "provisioning"
        async with asyncio.timeout(20):
            while (await atlas.get_compute(compute)).status != "running":
                await asyncio.sleep(0.01)
    process.send(number)
    ended = await process.end()
    (line,) = json.loads(ended.out)["invoice"]
    assert (line["compute_id"], line["open"]) == (compute.id, True)
    assert line["seconds"] >= 30
    assert float(line["usd"]) > 0
    assert (ended.code, ended.err) == (code, "exatlas: closing the cloud\n")


async def test_it_says_how_to_point_exatlas_and_curl_at_it(start):
    process = await start("fake", "runpod", "--api-key", KEY)
    first, *exports, curl, job = [await process.line() for _ in range(7)]
    assert first.startswith("serving a fake runpod at http://127.0.0.1:")
    env = dict(line.removeprefix("export ").split("=", 1) for line in exports)
    assert env["EXATLAS_PROVIDER"] == "runpod"
    words = shlex.split(curl)
    assert words[0] == "curl"
    assert f"authorization: Bearer {KEY}" in words
    assert words[-1].startswith(f"{env['RUNPOD_REST_V2_URL']}/pods")
    streamed = await (await start(*shlex.split(job)[1:], env=env)).end()
    assert streamed.code == 0, streamed.err
    assert len(streamed.out.splitlines()) == 3
    rented = await (await start("spawn", "--gpu", "l4", "--image", "app:1", "--name", "web", env=env)).end()
    assert rented.code == 0, rented.err
    process.send(signal.SIGINT)
    ended = await process.end()
    heading, machine, total = ended.out.splitlines()
    assert heading.split() == ["ID", "NAME", "STATUS", "HOURS", "$"]
    assert machine.endswith("still bills")
    assert total.startswith("invoice: ")
    assert total.endswith("1 of 1 still bill")


async def test_faults_come_by_the_rate_and_the_seed(start):
    first, again, other = [await answers(start, seed) for seed in (1, 1, 2)]
    assert first == again
    assert first != other
    assert set(first) > {404}, "some answers are what they should be, and some are not"


async def answers(start, seed: int) -> list[object]:
    """What a dozen reads of a machine that is not there are answered with."""
    process = await start("fake", "runpod", "--json", "--fault-rate", "0.5", "--seed", seed, "--speed", "1000")
    where = await told(process)
    headers = {"authorization": f"Bearer {where['api_key']}"}
    limit = aiohttp.ClientTimeout(total=1)
    found: list[object] = []
    async with aiohttp.ClientSession(headers=headers, timeout=limit) as session:
        for _ in range(12):
            try:
                async with session.get(f"{where['url']}/v2/pods/nopod00000") as response:
                    await response.read()
                    found.append(response.status)
            except (aiohttp.ClientError, TimeoutError) as error:
                found.append(type(error).__name__)
    process.send(signal.SIGINT)
    await process.end()
    return found


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["no-such"], "no provider is named 'no-such'"),
        (["memory"], "brings no fake that can be served"),
        (["runpod", "--speed", "0"], "Must be > 0"),
        (["runpod", "--boot-s", "-1"], "Must be >= 0"),
        (["runpod", "--fault-rate", "1.5"], "Must be <= 1"),
    ],
)
def test_wrong_usage(invoke, arguments, words):
    ended = invoke("fake", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert words in ended.err


def test_a_port_that_is_taken_is_one_clear_line(invoke):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = invoke("fake", "runpod", "--port", port)
    assert (ended.code, ended.out) == (20, "")
    assert ended.err.startswith(f"exatlas: cannot listen on 127.0.0.1:{port}: ")
    assert ended.err.count("\n") == 1
