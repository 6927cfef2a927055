"""Records as spans: names, attributes, times, parents, and what they must not say."""

import asyncio
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

import pytest
from opentelemetry.trace import SpanKind, StatusCode

import exatlas
from exatlas.fakes.faults import Fault
from exatlas.messages import AttemptEnd, RequestRecord
from exatlas.transport import exchange

SECRET = "s3cret-content"
STARTED = datetime(2026, 3, 4, 5, 6, 7, 123457, tzinfo=UTC)


def nanoseconds(instant):
    return (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000


def request(**facts):
    return RequestRecord(
        **{
            "provider": "runpod",
            "operation": "get_job",
            "endpoint": "ep",
            "method": "GET",
            "template": "/v2/{endpoint}/status/{id}",
            "host": "api.runpod.ai",
            "attempt": 1,
            "end": AttemptEnd.REPLIED,
            "status": 200,
            "duration_s": 0.25,
            "ended_at": STARTED + timedelta(seconds=0.25),
            **facts,
        }
    )


def test_an_attempt_is_a_client_span_with_the_times_it_had(collected):
    collected.hook.on_event(request())
    [span] = collected.spans
    assert (span.name, span.kind) == ("GET /v2/{endpoint}/status/{id}", SpanKind.CLIENT)
    assert (span.start_time, span.end_time) == (nanoseconds(STARTED), nanoseconds(STARTED) + 250_000_000)
    assert dict(span.attributes) == {
        "exatlas.provider": "runpod",
        "exatlas.operation": "get_job",
        "exatlas.endpoint": "ep",
        "exatlas.end": "replied",
        "exatlas.attempt": 1,
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "url.scheme": "https",
        "url.template": "/v2/{endpoint}/status/{id}",
        "server.address": "api.runpod.ai",
        "server.port": 443,
    }
    assert span.status.status_code is StatusCode.UNSET
    assert (span.instrumentation_scope.name, span.instrumentation_scope.version) == ("exatlas", exatlas.__version__)


@pytest.mark.parametrize(
    ("facts", "status", "error_type"),
    [
        ({"status": 302}, StatusCode.UNSET, None),
        ({"status": 404}, StatusCode.ERROR, "404"),
        ({"status": 503}, StatusCode.ERROR, "503"),
        ({"status": None, "end": AttemptEnd.FAILED, "error": "TransportError"}, StatusCode.ERROR, "TransportError"),
        ({"status": None, "end": AttemptEnd.CANCELLED}, StatusCode.UNSET, None),
    ],
)
def test_what_went_wrong_is_on_the_span(collected, facts, status, error_type):
    collected.hook.on_event(request(**facts))
    [span] = collected.spans
    assert (span.status.status_code, span.status.description) == (status, None)
    assert span.attributes.get("error.type") == error_type
    assert span.attributes.get("http.response.status_code") == facts["status"]


async def test_each_attempt_has_its_span_under_the_callers(atlas, fake, clock, collected, monkeypatch):
    monkeypatch.setattr(exchange.random, "random", lambda: 0.5)
    fake.fail(Fault.ERROR_BEFORE, "GET", "/pods")
    before = clock.now()
    with collected.tracers.get_tracer("app").start_as_current_span("request") as mine:
        await atlas.list_compute()
    first, second = collected.named("GET /v2/pods")
    for span in (first, second):
        assert span.parent == mine.get_span_context()
    assert "http.request.resend_count" not in first.attributes
    assert second.attributes["http.request.resend_count"] == 1
    assert (first.attributes["exatlas.attempt"], second.attributes["exatlas.attempt"]) == (1, 2)
    assert first.start_time == nanoseconds(before)
    assert second.start_time == first.end_time + 500_000_000
    assert second.end_time == nanoseconds(clock.now())


async def test_callers_at_once_each_have_their_own(atlas, collected):
    tracer = collected.tracers.get_tracer("app")

    async def call(name):
        with tracer.start_as_current_span(name) as span:
            await asyncio.sleep(0)
            await atlas.list_compute()
            return span.get_span_context().span_id

    mine = await asyncio.gather(*(call(f"caller {number}") for number in range(5)))
    assert {span.parent.span_id for span in collected.named("GET /v2/pods")} == set(mine)


async def test_without_a_span_of_the_caller_it_is_a_root(atlas, collected):
    await atlas.list_compute()
    assert [span.parent for span in collected.spans] == [None]


async def test_a_spawn_and_its_requests_are_under_the_callers_span(atlas, fake, clock, collected):
    fake.fail(Fault.DROP_AFTER)
    before = clock.now()
    with collected.tracers.get_tracer("app").start_as_current_span("request") as mine:
        await atlas.spawn_compute(gpu="h100", image="x", name=SECRET, env={"TOKEN": SECRET}, auth="bearer")
    after = clock.now()
    [spawn] = collected.named("spawn_compute runpod")
    assert spawn.kind is SpanKind.INTERNAL
    assert dict(spawn.attributes) == {
        "exatlas.provider": "runpod",
        "exatlas.operation": "spawn_compute",
        "exatlas.end": "rented",
        "exatlas.spawn.requests": 2,
    }
    assert (spawn.start_time, spawn.end_time) == (nanoseconds(before), nanoseconds(after))
    assert after > before
    requests = collected.named("POST /v2/pods", "GET /v2/pods")
    assert [span.attributes["exatlas.operation"] for span in requests] == ["spawn_compute"] * 2
    assert {span.parent.span_id for span in (spawn, *requests)} == {mine.get_span_context().span_id}


@pytest.mark.parametrize(
    ("fault", "error", "kind"),
    [(Fault.DROP_BEFORE, "OutcomeUnknownError", "outcome_unknown"), (Fault.EDGE, "EdgeBlockedError", "forbidden")],
)
async def test_a_spawn_that_failed_is_an_error(atlas, fake, collected, fault, error, kind):
    fake.fail(fault)
    with pytest.raises(exatlas.AtlasError):
        await atlas.spawn_compute(gpu="h100", image="x")
    [spawn] = collected.named("spawn_compute runpod")
    assert spawn.status.status_code is StatusCode.ERROR
    assert (spawn.attributes["error.type"], spawn.attributes["exatlas.error.kind"]) == (error, kind)


async def words(job):
    for number in range(3):
        yield f"{job['prompt']}-{number}" if "prompt" in job else SECRET


async def test_a_stream_is_under_the_span_that_was_current_when_it_opened(atlas, fake, clock, collected):
    fake.endpoint("ep", words, step_s=3)
    tracer = collected.tracers.get_tracer("app")
    job = await atlas.run_job(endpoint="ep", input={"prompt": SECRET})
    opened_at = clock.now()
    with tracer.start_as_current_span("opens") as mine:
        stream = atlas.stream_job(job)
        await anext(stream)
    assert collected.named("stream_job runpod") == []
    with tracer.start_as_current_span("goes on"):
        async for _ in stream:
            pass
    [span] = collected.named("stream_job runpod")
    assert span.parent == mine.get_span_context()
    assert (span.start_time, span.end_time) == (nanoseconds(opened_at), nanoseconds(clock.now()))
    assert span.status.status_code is StatusCode.UNSET
    assert span.attributes["exatlas.endpoint"] == "ep"
    assert span.attributes["exatlas.end"] == "completed"
    assert span.attributes["exatlas.stream.chunks"] == 3
    polls = [each for each in collected.spans if each.name == "GET /v2/{endpoint}/stream/{id}"]
    assert {each.attributes["exatlas.endpoint"] for each in polls} == {"ep"}


async def test_a_stream_that_failed_is_an_error_and_one_that_was_left_is_not(atlas, fake, collected):
    async def fail(_job):
        yield 1
        raise RuntimeError(SECRET)

    fake.endpoint("bad", fail)
    fake.endpoint("good", words)
    job = await atlas.run_job(endpoint="bad", input={"n": 1})
    with pytest.raises(exatlas.JobFailedError):
        _ = [chunk async for chunk in atlas.stream_job(job)]
    async with aclosing(atlas.stream_job(await atlas.run_job(endpoint="good", input={"n": 1}))) as stream:
        await anext(stream)
    failed, left = collected.named("stream_job runpod")
    assert (failed.status.status_code, failed.attributes["error.type"]) == (StatusCode.ERROR, "JobFailedError")
    assert (left.status.status_code, left.attributes["exatlas.end"]) == (StatusCode.UNSET, "left")


async def test_nothing_that_leaves_says_what_nobody_must_know(atlas, fake, collected):
    fake.endpoint("ep", words)
    fake.fail(Fault.LIMITED)
    compute = await atlas.spawn_compute(gpu="h100", image=f"x/{SECRET}", name=SECRET, env={"A": SECRET}, auth="bearer")
    await atlas.get_compute(compute)
    await atlas.list_compute(name=SECRET)
    fake.log(compute.id, SECRET)
    assert [line async for line in atlas.stream_logs(compute, follow=False)]
    job = await atlas.run_job(endpoint="ep", input={"prompt": SECRET}, webhook=f"https://{SECRET}.example/?k={SECRET}")
    assert [chunk async for chunk in atlas.stream_job(job)]
    await atlas.terminate(compute)
    said = collected.everything()
    assert "spawn_compute runpod" in said
    for word in (SECRET, exatlas.unstructure(compute)["id"], job.id, compute.auth.token, "rpa_DONOTTELL", "?"):
        assert word not in said
