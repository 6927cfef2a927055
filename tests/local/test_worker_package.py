"""The published `runpod` worker package, unmodified, under the local runtime and driven through the client."""

import asyncio
import gc
import importlib.util
import os
import re
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web

import exatlas
from exatlas import local

pytestmark = [
    pytest.mark.worker,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(importlib.util.find_spec("runpod") is None, reason="needs the runpod package"),
    pytest.mark.skipif(os.name != "posix", reason="supervised processes need POSIX"),
]

AGENT = """
import asyncio, os
from pathlib import Path

import runpod

meeting = asyncio.Barrier(3)

async def handler(job):
    given = job["input"]
    match given["do"]:
        case "count":
            for number in range(given["n"]):
                yield {"number": number}
        case "fail":
            yield "before"
            raise LookupError("no such prompt")
        case "hang":
            yield os.getpid()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                Path(given["file"]).write_text(job["id"])
                raise
        case "meet":
            await meeting.wait()
            yield "met"
        case "crash":
            yield os.getpid()
            deaths = Path(given["file"])
            seen = deaths.read_text() if deaths.exists() else ""
            if len(seen) < given["times"]:
                deaths.write_text(seen + "x")
                os._exit(13)

runpod.serverless.start(
    {"handler": handler, "return_aggregate_stream": True, "concurrency_modifier": lambda current: 3}
)
"""
"""An async generator, three jobs at once."""

GENERATOR = """
import runpod

def handler(job):
    for word in job["input"]["text"].split():
        yield word

runpod.serverless.start({"handler": handler})
"""
"""A plain generator, whose chunks are kept nowhere else."""

FUNCTION = """
import asyncio
from pathlib import Path

from runpod import serverless

async def handler(job):
    given = job["input"]
    if given["do"] == "fail":
        raise LookupError("no such prompt")
    if given["do"] == "refuse":
        return {"error": "not today"}
    if given["do"] == "report":
        serverless.progress_update(job, {"done": "half"})
        while not Path(given["file"]).exists():
            await asyncio.sleep(0.02)
    return {"did": given["do"]}

serverless.start({"handler": handler})
"""
"""A function that returns."""


class Endpoint:
    """One handler file at work, and a client for it."""

    def __init__(self, runtime: local.Runtime, atlas: exatlas.Atlas, lines: list[str]) -> None:
        self.runtime = runtime
        self.atlas = atlas
        self.lines = lines

    async def run(self, **given) -> exatlas.Job:
        return await self.atlas.run_job(endpoint=self.runtime.endpoint, input=given)

    async def outputs(self, job) -> list:
        return [chunk.output async for chunk in self.atlas.stream_job(job)]


def handler_file(path: Path, source: str) -> Path:
    path.write_text(source)
    return path


@asynccontextmanager
async def working(path: Path, **options):
    lines = []
    rules = local.Rules(webhook_gap_s=0.05)
    async with (
        local.serve(path, endpoint=path.stem, rules=rules, on_line=lines.append, **options) as runtime,
        exatlas.Atlas(
            default_provider=runtime.provider,
            base_urls={runtime.provider: runtime.base_url},
            credentials={runtime.provider: runtime.api_key},
            env={},
        ) as atlas,
    ):
        yield Endpoint(runtime, atlas, lines)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def endpoints(tmp_path_factory):
    """All three kinds, started and ended at the same time: either takes a second or two."""
    folder = tmp_path_factory.mktemp("handlers")
    kinds = [
        working(handler_file(folder / "agent.py", AGENT), env={"RUNPOD_LOG_LEVEL": "DEBUG"}),
        working(handler_file(folder / "generator.py", GENERATOR)),
        working(handler_file(folder / "function.py", FUNCTION)),
    ]
    over = asyncio.Event()

    async def hold(kind, ready):
        async with kind as endpoint:
            ready.set_result(endpoint)
            await over.wait()

    async with asyncio.TaskGroup() as group:
        starts = [asyncio.get_running_loop().create_future() for _ in kinds]
        for kind, ready in zip(kinds, starts, strict=True):
            group.create_task(hold(kind, ready))
        yield await asyncio.gather(*starts)
        over.set()


@pytest.fixture
def agent(endpoints):
    return endpoints[0]


@pytest.fixture
def generator(endpoints):
    return endpoints[1]


@pytest.fixture
def function(endpoints):
    return endpoints[2]


def text_of(path: Path) -> str:
    return path.read_text() if path.exists() else ""


async def appears(path: Path) -> str:
    async with asyncio.timeout(20):
        while not (text := text_of(path)):
            await asyncio.sleep(0.02)
    return text


async def test_an_async_generator_streams_in_order_and_its_chunks_are_its_output(agent):
    job = await agent.run(do="count", n=25)
    assert await agent.outputs(job) == [{"number": number} for number in range(25)]
    done = await agent.atlas.get_job(job)
    assert done.status is exatlas.JobStatus.COMPLETED
    assert done.output == [{"number": number} for number in range(25)]
    assert done.worker_id.startswith("agent-1-")


async def test_a_plain_generator_streams_and_has_no_output_of_its_own(generator):
    job = await generator.run(text="one two three")
    assert await generator.outputs(job) == ["one", "two", "three"]
    assert (await generator.atlas.get_job(job)).output in (None, [])


async def test_chunks_arrive_while_the_handler_still_runs(agent, tmp_path):
    job = await agent.run(do="hang", file=str(tmp_path / "stopped"))
    async with asyncio.timeout(20), aclosing(agent.atlas.stream_job(job)) as stream:
        assert (await anext(stream)).index == 0
    assert (await agent.atlas.get_job(job)).status is exatlas.JobStatus.IN_PROGRESS
    await agent.atlas.cancel_job(job)
    await appears(tmp_path / "stopped")


async def test_a_function_returns_its_output(function):
    job = await function.atlas.run_job(endpoint="function", input={"do": "work"}, mode="sync", timeout=20)
    assert job.status is exatlas.JobStatus.COMPLETED
    assert job.output == {"did": "work"}
    assert job.retries == 0


async def test_a_function_that_raises_fails_its_job_with_type_message_and_traceback(function):
    with pytest.raises(exatlas.JobFailedError, match="no such prompt") as error:
        await function.outputs(await function.run(do="fail"))
    fault = error.value.job.error
    assert fault.message == "no such prompt"
    assert "LookupError" in fault.type
    assert "in handler" in fault.traceback
    assert fault.traceback.rstrip().endswith("LookupError: no such prompt")


async def test_a_generator_that_raises_delivers_its_chunks_first(agent):
    job = await agent.run(do="fail")
    outputs = []
    with pytest.raises(exatlas.JobFailedError, match="no such prompt") as error:
        async for chunk in agent.atlas.stream_job(job):
            outputs.append(chunk.output)
    assert outputs == ["before"]
    fault = error.value.job.error
    assert (fault.message, fault.type) == ("no such prompt", "LookupError")
    assert "in handler" in fault.traceback


async def test_a_returned_error_fails_the_job(function):
    with pytest.raises(exatlas.JobFailedError, match="not today"):
        await function.outputs(await function.run(do="refuse"))


async def test_a_cancel_reaches_the_handler_and_its_process_lives_on(agent, tmp_path):
    job = await agent.run(do="hang", file=str(tmp_path / "stopped"))
    outputs = []
    with pytest.raises(exatlas.JobCancelledError) as error:
        async for chunk in agent.atlas.stream_job(job):
            outputs.append(chunk.output)
            await agent.atlas.cancel_job(job)
    assert error.value.job.status is exatlas.JobStatus.CANCELLED
    assert await appears(tmp_path / "stopped") == job.id
    os.kill(outputs[0], 0)  # the process is there
    assert await agent.outputs(await agent.run(do="count", n=1)) == [{"number": 0}]


async def test_leaving_a_stream_cancels_the_handler_when_asked_to(agent, tmp_path):
    job = await agent.run(do="hang", file=str(tmp_path / "stopped"))
    async with agent.atlas.open_job_stream(job, on_exit="cancel") as stream:
        await anext(stream)
    assert await appears(tmp_path / "stopped") == job.id
    assert (await agent.atlas.get_job(job)).status is exatlas.JobStatus.CANCELLED


async def test_jobs_run_at_once_as_the_worker_says_and_are_taken_in_batches(agent):
    agent.lines.clear()
    async with asyncio.timeout(30):
        jobs = [await agent.run(do="meet") for _ in range(6)]
        assert await asyncio.gather(*(agent.outputs(job) for job in jobs)) == [["met"]] * 6
    assert any(re.search(r"/job-take-batch/.*batch_size=[23]", line) for line in agent.lines)
    assert any(re.search(r"Jobs in queue: [23]", line) for line in agent.lines)


async def test_a_job_whose_worker_dies_goes_to_the_next_process(agent, tmp_path):
    job = await agent.run(do="crash", file=str(tmp_path / "deaths"), times=1)
    async with asyncio.timeout(30):
        first, second = await agent.outputs(job)
    assert first != second
    done = await agent.atlas.get_job(job)
    assert (done.status, done.retries) == (exatlas.JobStatus.COMPLETED, 1)


async def test_a_job_that_kills_two_processes_fails_and_the_endpoint_goes_on(agent, tmp_path):
    job = await agent.run(do="crash", file=str(tmp_path / "deaths"), times=9)
    async with asyncio.timeout(30):
        with pytest.raises(exatlas.JobFailedError) as error:
            await agent.outputs(job)
        assert text_of(tmp_path / "deaths") == "xx"
        assert error.value.job.retries == 1
        assert await agent.outputs(await agent.run(do="count", n=1)) == [{"number": 0}]


async def test_progress_shows_while_the_job_runs(function, tmp_path):
    job = await function.run(do="report", file=str(tmp_path / "go"))
    async with asyncio.timeout(20):
        while (seen := await function.atlas.get_job(job)).output is None:
            await asyncio.sleep(0.02)
        assert (seen.status, seen.output) == (exatlas.JobStatus.IN_PROGRESS, {"done": "half"})
        (tmp_path / "go").touch()
        await function.outputs(job)
    assert (await function.atlas.get_job(job)).output == {"did": "report"}


async def test_a_webhook_is_called_until_it_is_answered(function, listen):
    calls = asyncio.Queue()
    answers = [500, 503, 200]

    async def receive(request):
        calls.put_nowait(await request.json())
        return web.Response(status=answers.pop(0))

    application = web.Application()
    application.router.add_post("/hook", receive)
    async with asyncio.timeout(20), listen(application) as origin:
        job = await function.atlas.run_job(endpoint="function", input={"do": "work"}, webhook=f"{origin}/hook")
        bodies = [await calls.get() for _ in range(3)]
    assert answers == []
    assert {(body["id"], body["status"]) for body in bodies} == {(job.id, "COMPLETED")}
    assert bodies[0]["output"] == {"did": "work"}


async def test_a_file_that_cannot_start_says_why(tmp_path, caplog):
    broken = handler_file(tmp_path / "broken.py", "import runpod\n1 / 0\nrunpod.serverless.start({})\n")
    with pytest.raises(exatlas.ConfigError, match="ZeroDivisionError") as error:
        async with working(broken):
            pass
    assert "Traceback" in error.value.raw
    del error
    gc.collect()
    assert not [record for record in caplog.records if record.name == "asyncio"], "nothing was left unheard"
