"""job run, status, stream and cancel, over handlers in memory."""

import asyncio
import io
import json
import os
import signal
import sys

import pytest

JOB = "job-000001"


async def count(job):
    for number in range(job["input"]["n"]):
        yield {"number": number}


async def broken(job):
    yield "before"
    raise LookupError("no such prompt")


@pytest.fixture(autouse=True)
def _handlers(invoke):
    invoke.cloud.serve("count", count)
    invoke.cloud.serve("broken", broken)


def lines(ended) -> list:
    return [json.loads(line) for line in ended.out.splitlines()]


def test_submitting_tells_the_job(invoke):
    ended = invoke("job", "run", "count", "--input", '{"n": 2}')
    assert ended.code == 0
    assert JOB in ended.out
    [told] = lines(invoke("job", "run", "count", "--input", '{"n": 2}', "--json"))
    assert (told["id"], told["status"]) == ("job-000002", "in_queue")


def test_streaming_shows_each_chunk_on_a_line(invoke):
    ended = invoke("job", "run", "echo", "--input", '{"text": "a sunset", "n": {"x": 1}}', "--stream")
    assert (ended.code, ended.out) == (0, 'a\nsunset\n{"x":1}\n')
    assert ended.err.startswith(f"exatlas: job {JOB} completed after ")


def test_streaming_json_is_the_job_then_the_chunks_then_the_job(invoke):
    first, *chunks, last = lines(invoke("job", "run", "count", "--input", '{"n": 2}', "--stream", "--json"))
    assert first["job"]["status"] == "in_queue"
    assert [(line["chunk"]["index"], line["chunk"]["output"]) for line in chunks] == [
        (0, {"number": 0}),
        (1, {"number": 1}),
    ]
    assert (last["job"]["id"], last["job"]["status"]) == (JOB, "completed")


def test_waiting_shows_the_job_at_its_end(invoke):
    assert "completed" in invoke("job", "run", "count", "--input", '{"n": 2}', "--wait").out
    [told] = lines(invoke("job", "run", "count", "--input", '{"n": 2}', "--wait", "--json"))
    assert told["output"] == [{"number": 0}, {"number": 1}]


@pytest.mark.parametrize("mode", ["--stream", "--wait"])
def test_a_failure_shows_the_workers_traceback_and_one_line(invoke, mode):
    ended = invoke("job", "run", "broken", "--input", '{"n": 2}', mode)
    assert ended.code == 21
    assert ended.out == ("before\n" if mode == "--stream" else "")
    *trace, last = ended.err.splitlines()
    assert trace[0] == "Traceback (most recent call last):"
    assert trace[-1] == "LookupError: no such prompt"
    assert last == f"exatlas: memory stream_job: job {JOB} ended as failed: no such prompt"


def test_a_failure_in_json_ends_with_the_job(invoke):
    ended = invoke("job", "run", "broken", "--input", '{"n": 2}', "--stream", "--json")
    assert ended.code == 21
    assert lines(ended)[-1]["job"]["error"]["message"] == "no such prompt"


def test_input_from_a_file_and_from_the_standard_input(invoke, tmp_path, monkeypatch):
    (tmp_path / "input.json").write_text('{"text": "from file"}')
    ended = invoke("job", "run", "echo", "-i", f"@{tmp_path / 'input.json'}", "--stream")
    assert ended.out == "from\nfile\n"
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"text": "from stdin"}'))
    assert invoke("job", "run", "echo", "--input", "-", "--stream").out == "from\nstdin\n"


def test_policy_and_webhook_reach_the_request_and_the_webhook_is_not_shown(invoke):
    ended = invoke(
        *("job", "run", "count", "--input", '{"n": 1}', "--wait", "--json", "--webhook", "https://me.invalid/?k=shh"),
        *("--execution-timeout", "60", "--ttl", "600", "--low-priority"),
    )
    assert ended.code == 0
    assert [delivery.url for delivery in invoke.cloud.deliveries] == ["https://me.invalid/?k=shh"]
    assert "shh" not in ended.out + ended.err


def test_status_stream_and_cancel_of_a_job_elsewhere(invoke):
    invoke("job", "run", "count", "--input", '{"n": 2}', "--wait")
    [told] = lines(invoke("job", "status", JOB, "--endpoint", "count", "--json"))
    assert told["status"] == "completed"
    assert "completed" in invoke("job", "status", JOB, "-e", "count").out
    assert invoke("job", "stream", JOB, "-e", "count").out == '{"number":0}\n{"number":1}\n'
    assert [*lines(invoke("job", "stream", JOB, "-e", "count", "--json"))[-1]] == ["job"]
    assert invoke("job", "cancel", JOB, "-e", "count").out == f"cancelled {JOB}\n"
    assert lines(invoke("job", "cancel", JOB, "-e", "count", "--json")) == [{"cancelled": JOB}]
    assert invoke("job", "status", "nope", "-e", "count").code == 12


@pytest.fixture
def endless(invoke):
    """An endpoint whose handler presses Ctrl-C after its first chunk, and then goes on for ever."""
    ends = []

    async def handler(job):
        yield "first"
        os.kill(os.getpid(), signal.SIGINT)
        try:
            await asyncio.Event().wait()
        finally:
            ends.append(job["id"])

    invoke.cloud.serve("endless", handler)
    return ends


def test_ctrl_c_says_that_the_job_goes_on(invoke, endless):
    ended = invoke("job", "run", "endless", "--input", '{"n": 1}', "--stream")
    assert (ended.code, ended.out) == (130, "first\n")
    assert ended.err == (
        "exatlas: interrupted; the job goes on; "
        f"cancel it with: exatlas job cancel {JOB} --endpoint endless --provider memory\n"
    )


def test_ctrl_c_cancels_the_job_when_asked_to(invoke, endless):
    ended = invoke("job", "run", "endless", "--input", '{"n": 1}', "--stream", "--cancel-on-exit")
    assert (ended.code, ended.out) == (130, "first\n")
    assert ended.err == f"exatlas: interrupted; cancelling job {JOB}\n"
    assert endless == [JOB]
    [told] = lines(invoke("job", "status", JOB, "-e", "endless", "--json"))
    assert told["status"] == "cancelled"
