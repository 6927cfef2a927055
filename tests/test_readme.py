"""The README's examples run, and its table of capabilities is what the providers say."""

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from exatlas.auth import verify_url
from exatlas.capabilities import Capability
from exatlas.providers import builtins
from exatlas.providers.runpod.fake import FakeRunPod, script
from exatlas.testing import clouds

README = Path(__file__).parent.parent / "README.md"
NOT_RUN = "<!-- not run: needs an account -->\n"
SERVED = r"<!-- served by: (?P<server>.*?) -->\n"


BY_PYTEST = "<!-- run by: pytest -->\n"
SESSIONS = "<!-- sessions by: uvicorn app:app -->\n"
FILE = r"<!-- file: (?P<file>.*?) -->\n"
INTERRUPTED = "<!-- ended by Ctrl-C -->\n"


def examples() -> list[str]:
    text = README.read_text()
    skip = "|".join([re.escape(NOT_RUN), re.escape(BY_PYTEST), re.escape(SESSIONS), SERVED, FILE])
    blocks = re.finditer(rf"(?P<skip>{skip})?```python\n(?P<code>.*?)```", text, re.DOTALL)
    return [block["code"] for block in blocks if not block["skip"]]


@pytest.mark.parametrize("code", examples(), ids=lambda code: code.strip().splitlines()[-1][:40])
def test_an_example_runs_without_warnings(code, tmp_path):
    script = tmp_path / "example.py"
    script.write_text(code)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("RUNPOD_", "EXATLAS_"))}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        capture_output=True,
        text=True,
        timeout=60,
        env=clean,
        check=False,
        cwd=tmp_path,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_examples_for_pytest_pass(tmp_path):
    examples = re.findall(rf"{re.escape(BY_PYTEST)}```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert examples
    for number, code in enumerate(examples):
        (tmp_path / f"test_example_{number}.py").write_text(code)
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def sessions(before: str = "") -> list[tuple[str, str]]:
    """Every command at a prompt in the README with the output that stands below it."""
    wanted = rf"{re.escape(before)}" if before else rf"(?<!{re.escape(INTERRUPTED)})"
    blocks = re.findall(rf"{wanted}```console\n\$ (.*?)```", README.read_text(), re.DOTALL)
    entries = [entry for block in blocks for entry in re.split(r"^\$ ", block, flags=re.MULTILINE)]
    return [(command, shown) for command, _, shown in (entry.partition("\n") for entry in entries)]


def matches(shown: str, printed: str) -> bool:
    """Whether a program printed what is shown, where … stands for anything, and blanks of any number are alike."""
    pieces = [re.escape(" ".join(piece.split())) for piece in shown.split("…")]
    return re.fullmatch(".*".join(pieces), " ".join(printed.split())) is not None


async def test_commands_at_a_prompt_print_what_is_shown_below_them(tmp_path):
    """All in a row, against a fake RunPod that serves one endpoint, where the README's files are."""
    for found in re.finditer(rf"{FILE}```python\n(?P<code>.*?)```", README.read_text(), re.DOTALL):
        (tmp_path / found["file"]).write_text(found["code"])
    fake = FakeRunPod()
    fake.endpoint("abc123", script("a", "sunset", "over", "water"), aggregate=True)
    async with clouds.serve(fake.handle) as origin:
        urls = fake.base_urls(origin)
        env = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "RUNPOD_API_KEY": fake.api_key,
            "RUNPOD_REST_V2_URL": urls["rest"],
            "RUNPOD_ENDPOINT_BASE_URL": urls["runtime"],
        }
        for command, shown in sessions():
            if command.startswith("export "):
                name, _, value = command.removeprefix("export ").partition("=")
                env[name] = value
                continue
            process = await asyncio.create_subprocess_shell(
                command, env=env, cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
            )
            out, err = await process.communicate()
            assert process.returncode == 0, (command, err.decode())
            assert matches(shown, out.decode()), (command, out.decode())
    assert fake.rented() == []
    assert fake.invoice(), "a machine was rented on the way"


@pytest.mark.parametrize(("command", "shown"), sessions(INTERRUPTED))
async def test_a_command_that_goes_on_until_ctrl_c(command, shown):
    before, after = shown.split("^C\n")
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    process = await asyncio.create_subprocess_exec(
        *command.split(), env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(30):
        printed = ""
        while not matches(before, printed) and (line := await process.stdout.readline()):
            printed += line.decode()
        process.send_signal(signal.SIGINT)
        out, _ = await process.communicate()
    assert matches(before, printed), printed
    assert matches(after, out.decode()), out.decode()
    assert process.returncode == 130


def applications() -> list[tuple[str, str]]:
    """The server's command line and the code of each example that is an application."""
    blocks = re.finditer(rf"{SERVED}```python\n(?P<code>.*?)```", README.read_text(), re.DOTALL)
    return [(block["server"], block["code"]) for block in blocks]


@pytest.mark.parametrize(("server", "code"), applications(), ids=["fastapi", "aiohttp", "webhooks"])
async def test_an_application_serves(server, code, tmp_path, unused_tcp_port):
    (tmp_path / "app.py").write_text(code)
    module, target = server.split()
    where = {"uvicorn": ["--host", "127.0.0.1", "--port"], "aiohttp.web": ["-H", "127.0.0.1", "-P"]}[module]
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-W", "error", "-m", module, *where, str(unused_tcp_port), target],
        cwd=tmp_path,
        stderr=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(30), aiohttp.ClientSession(f"http://127.0.0.1:{unused_tcp_port}") as session:
            answer = await posted(session, process)
            if "id" in answer:
                async with session.get(f"/jobs/{answer['id']}") as response:
                    events = (await response.read()).decode()
                assert [f'"output":"{word}"' in events for word in ("a", "sunset")] == [True, True]
                assert events.endswith('data: {"chunks":2}\n\n')
            else:
                assert answer == {"status": "completed", "output": ["a", "sunset"]}
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
        _, said = await asyncio.wait_for(process.communicate(), 30)
    assert "Traceback" not in said.decode()
    assert "Warning" not in said.decode()


async def posted(session: aiohttp.ClientSession, process: asyncio.subprocess.Process) -> Any:
    """Submit a job as soon as the server listens."""
    while process.returncode is None:
        try:
            async with session.post("/jobs", params={"prompt": "a sunset"}) as response:
                assert response.status == 200
                return await response.json()
        except aiohttp.ClientConnectorError:
            await asyncio.sleep(0.05)
    raise AssertionError("the server ended")


def session_example() -> str:
    (code,) = re.findall(rf"{re.escape(SESSIONS)}```python\n(.*?)```", README.read_text(), re.DOTALL)
    return code


def test_a_gpu_for_each_user_takes_under_forty_lines():
    assert len([line for line in session_example().splitlines() if line]) < 40


@contextlib.asynccontextmanager
async def serving(folder: Path, port: int, env: dict[str, str]) -> AsyncIterator[aiohttp.ClientSession]:
    """One uvicorn with the application of a folder; a client of it as soon as it listens."""
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-m", "uvicorn", "--host", "127.0.0.1", "--port", str(port), "app:app"],
        cwd=folder,
        env=env,
        stderr=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client, asyncio.timeout(30):
            while process.returncode is None:
                with contextlib.suppress(aiohttp.ClientConnectorError):
                    await (await client.get("/")).read()
                    break
                await asyncio.sleep(0.05)
            yield client
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
        _, said = await asyncio.wait_for(process.communicate(), 30)
    assert "Traceback" not in said.decode(), said.decode()


async def test_a_gpu_for_each_user(tmp_path, unused_tcp_port_factory):
    """Two processes on one ledger, in front of a fake RunPod. Its fifteen minutes are two seconds here."""
    code = session_example()
    assert '"idle_ttl": 900' in code
    (tmp_path / "app.py").write_text(code.replace('"idle_ttl": 900', '"idle_ttl": 2'))
    fake = FakeRunPod()
    async with clouds.serve(fake.handle) as origin:
        urls = fake.base_urls(origin)
        env = {**os.environ, "EXATLAS_PROVIDER": "runpod", "RUNPOD_API_KEY": fake.api_key}
        env |= {"RUNPOD_REST_V2_URL": urls["rest"], "RUNPOD_ENDPOINT_BASE_URL": urls["runtime"]}
        ports = [unused_tcp_port_factory() for _ in range(2)]
        async with serving(tmp_path, ports[0], env) as one, serving(tmp_path, ports[1], env) as other:
            await lives_of_two_users(one, other, fake)
    assert fake.rented() == []


async def lives_of_two_users(one: aiohttp.ClientSession, other: aiohttp.ClientSession, fake: FakeRunPod) -> None:
    ada, bob = {"X-User": "ada"}, {"X-User": "bob"}
    async with one.post("/gpus", headers=ada) as answer:
        assert answer.status == 200, await answer.text()
        hers = await answer.json()
    token = fake.rented()[0].body["env"]["EXATLAS_PRESHARED_KEY"]
    assert verify_url(hers["url"], token)
    async with other.post("/gpus", headers=bob) as answer:
        his = await answer.json()
    async with other.post(f"/gpus/{hers['session']}/touch", headers=bob) as answer:
        assert answer.status == 404
    for _ in range(4):  # she is there for longer than an idle time, at the other worker; he is not
        await asyncio.sleep(1)
        async with other.post(f"/gpus/{hers['session']}/touch", headers=ada) as answer:
            assert answer.status == 204
    assert [line.launch_id for line in fake.invoice() if line.open] == [hers["session"]]
    async with one.post(f"/gpus/{his['session']}/touch", headers=bob) as answer:
        assert answer.status == 404
    async with one.delete(f"/gpus/{hers['session']}", headers=ada) as answer:
        assert answer.status == 204
    spawned = [await one.post("/gpus", headers=ada) for _ in range(3)]
    assert [answer.status for answer in spawned] == [200, 200, 402]
    assert "user ada" in await spawned[2].text()
    for answer in spawned[:2]:
        async with other.delete(f"/gpus/{(await answer.json())['session']}", headers=ada) as gone:
            assert gone.status == 204


def test_skipped_examples_at_least_compile():
    text = README.read_text()
    skipped = re.findall(rf"{re.escape(NOT_RUN)}```python\n(.*?)```", text, re.DOTALL)
    assert skipped
    for code in skipped:
        compile(f"async def example(atlas):\n{'    '.join(['', *code.splitlines(keepends=True)])}", "README.md", "exec")


def capability_table() -> str:
    """The table as it must stand in the README; paste this when the test fails."""
    columns = sorted(builtins(), key=lambda provider: provider.name)
    rows = [
        "| capability | " + " | ".join(provider.name for provider in columns) + " |",
        "|---|" + "---|" * len(columns),
    ]
    for capability in Capability:
        marks = ("yes" if capability in provider.capabilities else "no" for provider in columns)
        rows.append(f"| `{capability.value}` | {' | '.join(marks)} |")
    return "\n".join(rows)


def test_the_capability_table_is_what_the_providers_declare():
    text = README.read_text()
    found = re.search(r"<!-- capabilities: begin -->\n(.*?)\n?<!-- capabilities: end -->", text, re.DOTALL)
    assert found
    assert found[1] == capability_table()
