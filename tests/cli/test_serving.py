"""`exatlas serve` as a process: what it prints, what it answers, and what it leaves behind."""

import importlib.util
import json
import signal
import socket
import sys
import urllib.request

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")

HANDLER = """
import subprocess, sys

helper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
print("handler loaded", flush=True)

def handler(job):
    yield from range(job["input"]["n"])
"""
"""A handler that starts a process of its own, as model servers do."""

WORKER = """
import runpod

def handler(job):
    return job["input"]["n"] + 1

runpod.serverless.start({"handler": handler})
"""

VALIDATION = 20


@pytest.fixture
def handler(tmp_path):
    path = tmp_path / "handler.py"
    path.write_text(HANDLER)
    return path


def post(url: str, key: str, body: dict) -> dict:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Authorization": f"Bearer {key}"})
    with urllib.request.urlopen(request, timeout=20) as response:
        return json.load(response)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_a_signal_ends_it_and_leaves_no_process_behind(start, handler, family_of, all_gone, number, code):
    process = await start("serve", handler)
    first, second = await process.line(), await process.line()
    assert first.startswith(f"serving {handler} at http://127.0.0.1:")
    assert second.startswith("curl -H 'Authorization: Bearer ")
    family = family_of(process.pid)
    assert len(family) >= 4, "the command, the guardian, the worker, and what the worker started"
    process.send(number)
    ended = await process.end()
    assert ended.code == code
    assert "exatlas: ending the workers" in ended.err
    assert "Traceback" not in ended.err
    await all_gone(family)


async def test_a_second_ctrl_c_does_not_wait_for_a_deaf_worker(start, handler, family_of, all_gone):
    handler.write_text("import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + HANDLER)
    process = await start("serve", handler)
    await process.line()
    family = family_of(process.pid)
    heard = []
    for _ in range(2):
        process.send(signal.SIGINT)
        while not (line := await process.error_line()).startswith("exatlas: "):
            pass  # what the worker prints
        heard.append(line)
    ended = await process.end()
    assert heard == ["exatlas: ending the workers"] * 2
    assert ended.code == 130
    assert "Traceback" not in ended.err
    await all_gone(family)


async def test_killing_it_leaves_no_process_behind_either(start, handler, family_of, all_gone):
    process = await start("serve", handler)
    await process.line()
    family = family_of(process.pid)
    process.send(signal.SIGKILL)
    await process.end()
    await all_gone(family)


async def test_json_says_where_and_with_which_key_and_workers_print_elsewhere(start, handler):
    process = await start("serve", handler, "--json", "--endpoint", "mine", "--api-key", "k1")
    told = json.loads(await process.line())
    assert told["endpoint"] == "mine"
    assert told["api_key"] == "k1"
    assert told["url"].endswith("/v2/mine")
    answer = post(f"{told['url']}/runsync", "k1", {"input": {"n": 2}})
    assert answer["status"] == "COMPLETED"
    process.send(signal.SIGINT)
    ended = await process.end()
    assert (ended.code, ended.out) == (130, "")
    assert "handler loaded" in ended.err


@pytest.mark.worker
@pytest.mark.skipif(importlib.util.find_spec("runpod") is None, reason="needs the runpod package")
async def test_a_worker_script_runs_unmodified(start, tmp_path, family_of, all_gone):
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    process = await start("serve", script, "--json")
    told = json.loads(await process.line())
    family = family_of(process.pid)
    assert post(f"{told['url']}/runsync", told["api_key"], {"input": {"n": 2}})["output"] == 3
    process.send(signal.SIGINT)
    assert (await process.end()).code == 130
    await all_gone(family)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (None, "cannot read the handler file"),
        ("def handler(:\n", "is not Python: "),
        ("print('hello')\n", "neither calls runpod.serverless.start nor defines `handler`"),
        ("def handler(job): ...\nimport no_such_module\n", "No module named 'no_such_module'"),
    ],
    ids=["missing", "syntax", "no handler", "broken import"],
)
async def test_a_file_that_cannot_be_served_is_one_clear_line(start, tmp_path, source, words):
    path = tmp_path / "handler.py"
    if source is not None:
        path.write_text(source)
    ended = await (await start("serve", path)).end()
    assert (ended.code, ended.out) == (VALIDATION, "")
    *printed, last = ended.err.splitlines()
    assert last.startswith("exatlas: ")
    assert words in last
    assert not [line for line in printed if line.startswith("exatlas: ")]


async def test_a_port_that_is_taken_is_one_clear_line(start, handler):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = await (await start("serve", handler, "--port", str(port))).end()
    assert (ended.code, ended.out) == (VALIDATION, "")
    assert ended.err.startswith(f"exatlas: cannot listen on 127.0.0.1:{port}: ")
    assert ended.err.count("\n") == 1
