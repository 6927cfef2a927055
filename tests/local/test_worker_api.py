import asyncio
from itertools import count

import pytest
from aiohttp import web

from exatlas.clock import ManualClock
from exatlas.local.desk import HOLD_S, Desk
from exatlas.local.wire import tell_faults
from exatlas.local.worker_api import WorkerApi
from exatlas.providers.runpod.queue import Queue
from exatlas.providers.runpod.submission import Rules

TOKEN = "t-1234"


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def desk(clock):
    numbers = count(1)
    rules = Rules(run_bytes=1_000, runsync_bytes=2_000, stop_repeat_s=2)
    return Desk(Queue(new_id=lambda: str(next(numbers)), rules=rules), clock)


@pytest.fixture
async def urls(listen, desk):
    """The URLs that a worker named `w` makes of its environment."""
    api = WorkerApi(desk, "ep", TOKEN)
    application = web.Application(middlewares=[tell_faults])
    application.add_routes(api.routes())
    async with listen(application) as url:
        env = api.environment(f"{url}/v2", "w")
        assert env["RUNPOD_POD_ID"] == "w"
        yield {
            "take": env["RUNPOD_WEBHOOK_GET_JOB"].replace("$ID", "w"),
            "batch": env["RUNPOD_WEBHOOK_GET_JOB"].replace("$ID", "w").replace("/job-take/", "/job-take-batch/"),
            "stop": env["RUNPOD_WEBHOOK_GET_JOB"].replace("$ID", "w").replace("/job-take/", "/job-stop/"),
            "done": env["RUNPOD_WEBHOOK_POST_OUTPUT"].replace("$RUNPOD_POD_ID", "w"),
            "stream": env["RUNPOD_WEBHOOK_POST_STREAM"].replace("$RUNPOD_POD_ID", "w"),
            "ping": env["RUNPOD_WEBHOOK_PING"].replace("$RUNPOD_POD_ID", "w"),
        }


@pytest.fixture
def call(session, urls):
    async def call(method, name, query="", job="", **options):
        url = urls[name].replace("$ID", job) + query
        async with session.request(method, url, **options) as response:
            return response.status, await response.json() if response.status != 204 else None

    return call


def submit(desk, **body) -> str:
    return desk.ask(Queue.submit, {"input": {"n": 1}, **body})["id"]


def taken(desk, **body) -> str:
    job = submit(desk, **body)
    desk.ask(Queue.take, "w")
    return job


async def held(desk, kind: str) -> None:
    while not any(topic.kind == kind for topic in desk._waiting) or not desk.clock.sleepers:
        await asyncio.sleep(0)


@pytest.mark.parametrize("name", ["take", "batch", "stop", "ping"])
async def test_nothing_for_a_worker_without_the_token(session, urls, name):
    for url in (urls[name].replace(TOKEN, "other"), urls[name].partition("?")[0]):
        async with session.get(url) as response:
            assert (response.status, await response.json()) == (
                401,
                {"error": "the worker's token is missing or wrong"},
            )


async def test_one_job_is_an_object_and_a_batch_is_a_list(desk, call):
    ids = [submit(desk, webhook="https://a.example/") for _ in range(4)]
    status, job = await call("GET", "take", "&job_in_progress=0")
    assert (status, job) == (200, {"id": ids[0], "input": {"n": 1}, "webhook": "https://a.example/"})
    status, jobs = await call("GET", "batch", "&batch_size=5&job_in_progress=1")
    assert (status, [job["id"] for job in jobs]) == (200, ids[1:])


async def test_a_request_for_work_is_held_and_answered_by_the_next_job(desk, call):
    asking = asyncio.create_task(call("GET", "take", "&job_in_progress=0"))
    await held(desk, "queue")
    job = submit(desk)
    assert (await asking)[1]["id"] == job


@pytest.mark.parametrize(("name", "kind"), [("take", "queue"), ("batch", "queue"), ("stop", "stop")])
async def test_a_held_request_ends_without_content(desk, call, clock, name, kind):
    asking = asyncio.create_task(call("GET", name))
    await held(desk, kind)
    clock.advance(HOLD_S)
    assert await asking == (204, None)


async def test_held_requests_end_when_the_server_closes(desk, call):
    asking = [asyncio.create_task(call("GET", name)) for name in ("take", "batch", "stop")]
    while len(desk._waiting) < 2:
        await asyncio.sleep(0)
    desk.close()
    assert await asyncio.gather(*asking) == [(204, None)] * 3


async def test_a_worker_with_empty_hands_gets_lost_jobs_again(desk, call):
    job = taken(desk)
    asking = asyncio.create_task(call("GET", "take", "&job_in_progress=1"))
    await held(desk, "queue")
    asking.cancel()
    status, again = await call("GET", "take", "&job_in_progress=0")
    assert (status, again["id"]) == (200, job)
    assert desk.ask(Queue.status, job)["retries"] == 1


async def test_stop_signals(desk, call):
    job = taken(desk)
    asking = asyncio.create_task(call("GET", "stop"))
    await held(desk, "stop")
    desk.ask(Queue.cancel, job)
    assert await asking == (200, {"jobsToStop": [job]})
    await call("GET", "ping", f"&job_id={job}")
    assert desk.queue.next_stop("w") is not None
    await call("GET", "ping")
    assert desk.queue.next_stop("w") is None


async def test_a_repeated_stop_signal_comes_when_it_is_due(desk, call, clock):
    job = taken(desk)
    desk.ask(Queue.cancel, job)
    assert await call("GET", "stop") == (200, {"jobsToStop": [job]})
    asking = asyncio.create_task(call("GET", "stop"))
    await held(desk, "stop")
    clock.advance(2)
    assert await asking == (200, {"jobsToStop": [job]})


async def test_chunks_progress_and_output_reach_the_job(desk, call):
    job = taken(desk)
    form = {"Content-Type": "application/x-www-form-urlencoded", "charset": "utf-8"}
    accepted = (200, {"accepted": True})
    assert await call("POST", "stream", "&isStream=false", job, data='{"output": {"t": "é"}}', headers=form) == accepted
    assert desk.ask(Queue.drain, job)["stream"] == [{"output": {"t": "é"}}]
    progress = '{"status": "IN_PROGRESS", "output": "half"}'
    assert await call("POST", "done", "&isStream=false", job, data=progress, headers=form) == accepted
    assert desk.ask(Queue.status, job)["output"] == "half"
    assert await call("POST", "done", "&isStream=true", job, data='{"output": []}', headers=form) == accepted
    assert desk.ask(Queue.status, job)["status"] == "COMPLETED"
    late = await call("POST", "done", "&isStream=false", job, data='{"output": 2}', headers=form)
    assert late == (200, {"accepted": False})


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"{", "the worker's report is not JSON"),
        (b"[]", "the worker's report is not a JSON object"),
        (b'{"output": NaN}', "the worker's report is not JSON"),
        (b'{"output": "' + b"x" * 1_000 + b'"}', "the result has 1014 bytes; the limit is 1000"),
        (b'{"output": "' + b"x" * 9_000 + b'"}', "the result has 9014 bytes; the limit is 1000"),
    ],
)
async def test_a_result_that_cannot_be_used_fails_the_job_and_says_why(desk, call, data, error):
    job = taken(desk)
    assert (await call("POST", "done", "&isStream=false", job, data=data))[0] == 200
    view = desk.ask(Queue.status, job)
    assert view["status"] == "FAILED"
    assert view["error"].startswith(error)


@pytest.mark.parametrize(
    ("data", "status"),
    [(b"{", 400), (b"5", 400), (b'{"output": "' + b"x" * 1_000 + b'"}', 413), (b"x" * 9_000, 413)],
)
async def test_a_chunk_that_cannot_be_used_is_refused(desk, call, data, status):
    job = taken(desk)
    assert (await call("POST", "stream", "&isStream=false", job, data=data))[0] == status
    assert desk.ask(Queue.drain, job) == {"status": "IN_PROGRESS", "stream": []}


async def test_a_worker_may_call_itself_unhealthy(desk, call):
    await call("GET", "ping", "&status=unhealthy&check=memory&reason=none")
    assert desk.ask(Queue.health)["workers"]["unhealthy"] == 1


async def test_a_malformed_batch_size_is_a_400(call):
    assert (await call("GET", "batch", "&batch_size=many"))[0] == 400
