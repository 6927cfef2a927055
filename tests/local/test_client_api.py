import asyncio
from itertools import count

import pytest
from aiohttp import web

from exatlas.clock import ManualClock
from exatlas.local.client_api import ClientApi
from exatlas.local.desk import Desk
from exatlas.local.limits import RUNPOD_LIMITS, Gate, Limit
from exatlas.local.wire import tell_faults
from exatlas.providers.runpod.queue import Queue
from exatlas.providers.runpod.submission import Rules

KEY = "k-1234"


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def desk(clock):
    numbers = count(1)
    return Desk(Queue(new_id=lambda: str(next(numbers)), rules=Rules(run_bytes=2_000, runsync_bytes=4_000)), clock)


@pytest.fixture
async def api(listen, session, desk, clock, client):
    gates = {"purge-queue": Gate(RUNPOD_LIMITS["purge-queue"], clock), "stream": Gate(Limit(100, 1), clock)}
    application = web.Application(middlewares=[tell_faults])
    application.add_routes(ClientApi(desk, "ep", KEY, gates).routes())
    async with listen(application) as url:
        yield client(session, f"{url}/v2/ep", KEY)


def take(desk: Desk) -> str:
    [job] = desk.ask(Queue.take, "w")
    return job["id"]


async def inside(desk: Desk, kind: str) -> None:
    """Wait until a request is held, and its time runs."""
    while not any(topic.kind == kind for topic in desk._waiting) or not desk.clock.sleepers:
        await asyncio.sleep(0)


@pytest.mark.parametrize("given", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic " + KEY}])
@pytest.mark.parametrize(("method", "path"), [("POST", "run"), ("GET", "status/x"), ("GET", "health")])
async def test_no_operation_without_the_key(api, method, path, given):
    assert await api.call(method, path, headers=given) == (401, {"error": "the API key is missing or wrong"})


@pytest.mark.parametrize("form", ["{}", "Bearer {}", "bearer {}"])
async def test_the_key_may_come_with_or_without_its_scheme(api, form):
    status, _ = await api.call("GET", "health", headers={"Authorization": form.format(KEY)})
    assert status == 200


async def test_another_endpoint_is_not_found(api):
    api.root = api.root.replace("/ep", "/other")
    assert await api.call("GET", "health") == (404, {"error": "there is no such endpoint here; this one is ep"})


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "run"),
        ("GET", "runsync"),
        ("POST", "status/x"),
        ("POST", "stream/x"),
        ("GET", "cancel/x"),
        ("GET", "retry/x"),
    ],
)
async def test_the_wrong_verb_is_a_405(api, method, path):
    assert await api.call(method, path) == (405, {"error": "Method Not Allowed"})


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "status/x"), ("GET", "stream/x"), ("POST", "cancel/x"), ("POST", "retry/x")]
)
async def test_an_unknown_job_is_a_404(api, method, path):
    assert await api.call(method, path) == (404, {"error": "job not found: it expired, was purged, or never was"})


async def test_unknown_paths_are_a_404(api):
    assert (await api.call("GET", "requests"))[0] == 404


async def test_run_queues_and_status_follows(api, desk):
    assert await api.call("POST", "run", {"input": {"n": 1}}) == (200, {"id": "1-u1", "status": "IN_QUEUE"})
    assert await api.status("1-u1") == {"id": "1-u1", "status": "IN_QUEUE"}
    take(desk)
    desk.ask(Queue.post_output, "w", "1-u1", {"output": 5})
    assert (await api.status("1-u1"))["output"] == 5


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"{", "the request body is not JSON"),
        (b"", "the request body is not JSON"),
        (b"\xff", "the request body is not JSON"),
        (b'{"input": NaN}', "the request body is not JSON"),
        (b"[]", "the request body must be a JSON object"),
        (b"{}", "input is required"),
        (b'{"input": 5}', "input must be a JSON object"),
        (b'{"input": {}, "policy": {"ttl": 1}}', "policy.ttl must be"),
    ],
)
@pytest.mark.parametrize("operation", ["run", "runsync"])
async def test_bad_bodies_are_a_400_that_says_why(api, operation, body, error):
    status, answer = await api.call("POST", operation, data=body)
    assert status == 400
    assert answer["error"].startswith(error)
    assert (await api.call("GET", "health"))[1]["jobs"]["inQueue"] == 0


@pytest.mark.parametrize(("operation", "limit"), [("run", 2_000), ("runsync", 4_000)])
@pytest.mark.parametrize("is_chunked", [False, True])
async def test_oversized_bodies_are_a_413(api, operation, limit, is_chunked):
    body = b'{"input": {"x": "' + b"x" * limit + b'"}}'

    async def pieces():
        yield body

    status, answer = await api.call("POST", operation, data=pieces() if is_chunked else body)
    assert (status, answer) == (413, {"error": f"the request has {len(body)} bytes; the limit is {limit}"})


async def test_runsync_answers_when_the_job_ends(api, desk):
    asking = asyncio.create_task(api.call("POST", "runsync", {"input": {}}))
    await inside(desk, "job")
    job = take(desk)
    desk.ask(Queue.post_output, "w", job, {"output": "done"})
    status, body = await asking
    assert (status, body["id"], body["status"], body["output"]) == (200, "sync-1-u1", "COMPLETED", "done")


@pytest.mark.parametrize(("query", "hold_s"), [("", 90), ("?wait=2000", 2), ("?wait=1", 1), ("?wait=99999999", 300)])
async def test_runsync_answers_with_an_unfinished_job_when_the_wait_is_over(api, desk, clock, query, hold_s):
    asking = asyncio.create_task(api.call("POST", f"runsync{query}", {"input": {}}))
    await inside(desk, "job")
    clock.advance(hold_s - 0.1)
    take(desk)  # a change that is no end
    for _ in range(5):
        await asyncio.sleep(0)
    assert not asking.done()
    clock.advance(0.1)
    status, body = await asking
    assert (status, body["status"]) == (200, "IN_PROGRESS")


async def test_a_client_that_hangs_up_leaves_its_job_running(api, desk):
    asking = asyncio.create_task(api.call("POST", "runsync", {"input": {}}))
    await inside(desk, "job")
    job = take(desk)
    asking.cancel()
    await asyncio.wait([asking])
    while desk._waiting:
        await asyncio.sleep(0)
    assert (await api.status(job))["status"] == "IN_PROGRESS"


async def test_a_stream_is_drained_by_who_reads_it(api, desk):
    job = await api.run()
    take(desk)
    for i in range(2):
        desk.ask(Queue.post_stream, "w", job, {"output": i})
    page = {"status": "IN_PROGRESS", "stream": [{"output": 0}, {"output": 1}]}
    assert await api.call("GET", f"stream/{job}") == (200, page)
    desk.ask(Queue.post_output, "w", job, {"error": "boom"})
    assert await api.call("GET", f"stream/{job}") == (200, {"status": "FAILED", "stream": []})


async def test_a_held_stream_answers_with_the_first_chunk(api, desk):
    job = await api.run()
    take(desk)
    asking = asyncio.create_task(api.call("GET", f"stream/{job}"))
    await inside(desk, "job")
    desk.ask(Queue.post_stream, "w", job, {"output": "first", "metrics": {"tokens": 3}})
    page = {"status": "IN_PROGRESS", "stream": [{"output": "first", "metrics": {"tokens": 3}}]}
    assert await asking == (200, page)


@pytest.mark.parametrize(("query", "hold_s"), [("", 10), ("?wait=1500", 1.5)])
async def test_a_held_stream_answers_empty_when_the_wait_is_over(api, desk, clock, query, hold_s):
    job = await api.run()
    asking = asyncio.create_task(api.call("GET", f"stream/{job}{query}"))
    await inside(desk, "job")
    clock.advance(hold_s)
    assert await asking == (200, {"status": "IN_QUEUE", "stream": []})


async def test_a_reader_that_hangs_up_loses_no_chunk(api, desk):
    job = await api.run()
    take(desk)
    asking = asyncio.create_task(api.call("GET", f"stream/{job}"))
    await inside(desk, "job")
    asking.cancel()
    await asyncio.wait([asking])
    while desk._waiting:
        await asyncio.sleep(0)
    desk.ask(Queue.post_stream, "w", job, {"output": 1})
    assert (await api.call("GET", f"stream/{job}"))[1]["stream"] == [{"output": 1}]


async def test_a_malformed_wait_is_a_400(api):
    job = await api.run()
    assert await api.call("GET", f"stream/{job}?wait=soon") == (400, {"error": "wait must be a whole number"})
    assert (await api.call("POST", "runsync?wait=soon", {"input": {}}))[0] == 400
    assert (await api.call("GET", "health"))[1]["jobs"]["inQueue"] == 1


async def test_cancel_retry_purge_and_health(api, desk):
    first, second, third = await api.run(), await api.run(), await api.run()
    assert await api.call("POST", f"cancel/{third}") == (200, {"id": third, "status": "CANCELLED"})
    take(desk)
    desk.ask(Queue.post_output, "w", first, {"error": "boom"})
    status, body = await api.call("POST", f"retry/{second}")
    assert (status, body["error"]) == (400, "only a FAILED or TIMED_OUT job can be retried; this one is IN_QUEUE")
    assert await api.call("POST", f"retry/{first}") == (200, {"id": first, "status": "IN_QUEUE"})
    assert await api.call("POST", "purge-queue") == (200, {"removed": 2, "status": "completed"})
    status, health = await api.call("GET", "health")
    assert health["jobs"] == {"completed": 0, "failed": 1, "inProgress": 0, "inQueue": 0, "retried": 1}
    assert set(health["workers"]) == {"idle", "initializing", "ready", "running", "throttled", "unhealthy"}


async def test_requests_beyond_the_limits_are_a_429(api, desk, clock):
    for _ in range(2):
        assert (await api.call("POST", "purge-queue"))[0] == 200
    limit = {"error": "too many requests: the limit is 2 in 10 s"}
    assert await api.call("POST", "purge-queue") == (429, limit)
    clock.advance(10)
    assert (await api.call("POST", "purge-queue"))[0] == 200


async def test_held_requests_count_towards_the_limit_at_once(api, desk):
    job = await api.run()
    asking = asyncio.create_task(api.call("GET", f"stream/{job}"))
    await inside(desk, "job")
    assert (await api.call("GET", f"stream/{job}"))[0] == 429
    desk.ask(Queue.cancel, job)
    assert (await asking)[0] == 200
    assert (await api.call("GET", f"stream/{job}"))[0] == 200


async def test_a_refused_key_does_not_use_up_the_limit(api):
    for _ in range(3):
        assert (await api.call("POST", "purge-queue", headers={}))[0] == 401
    assert (await api.call("POST", "purge-queue"))[0] == 200


async def test_finished_jobs_are_gone_after_their_retention(api, desk, clock):
    job = await api.run()
    take(desk)
    desk.ask(Queue.post_output, "w", job, {})
    clock.advance(1800)
    assert (await api.call("GET", f"status/{job}"))[0] == 404
