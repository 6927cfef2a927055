import asyncio
import logging

import pytest

from exatlas import hooks
from exatlas.clock import ManualClock
from exatlas.errors import ConfigError, TransportError, TransportTimeoutError
from exatlas.messages import AttemptEnd, HttpCall, HttpReply, Repeat
from exatlas.protocols import Context
from exatlas.transport import exchange
from exatlas.transport.budget import Budget, Limits
from exatlas.transport.exchange import PENALTY_S, open_stream, request_id_of, send
from exatlas.transport.inprocess import InProcessTransport, StreamingReply

FINE = HttpReply(status=200, headers={"x-request-id": "r-1", "cf-ray": "ray-1"}, body=b'{"id":"p1"}')
BROKEN = HttpReply(status=503)
TOO_MANY = HttpReply(status=429, headers={"retry-after": "7"})
SECRETS = ("k-secret-key", "private-id", "abcdef", "user:pass")
WAYS = pytest.mark.parametrize("way", [send, open_stream])


def call(repeat=Repeat.SAFE):
    return HttpCall(
        provider="runpod",
        operation="get_compute",
        method="GET",
        url="https://user:pass@api.runpod.io/v2/pods/private-id?signature=abcdef",
        template="/v2/pods/{id}",
        headers={"authorization": "Bearer k-secret-key"},
        repeat=repeat,
        secrets=("k-secret-key",),
    )


class Cloud:
    """Answers with what it was given, one after the other; the last answer stays."""

    def __init__(self, *answers, takes_s=0.0, clock=None):
        self.answers = list(answers)
        self.clock = clock or ManualClock(auto=True)
        self.takes_s = takes_s
        self.calls = []
        self.sent_at = []
        self.busy = 0
        self.records = []

    async def handle(self, call):
        self.calls.append(call)
        self.sent_at.append(self.clock.monotonic())
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        self.busy += 1
        try:
            if self.takes_s:
                await self.clock.sleep(self.takes_s)
        finally:
            self.busy -= 1
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def ctx(self, *hooks):
        return Context(
            provider="runpod",
            transport=InProcessTransport(self.handle),
            clock=self.clock,
            hooks=hooks,
            api_key="k",
            endpoint="ep-1",
        )

    @property
    def heard(self):
        return self.ctx(self.records.append)


@pytest.fixture(autouse=True)
def dice(monkeypatch):
    """Jitter in the middle: waits are the backoff itself."""
    monkeypatch.setattr(exchange.random, "random", lambda: 0.5)


async def settle():
    for _ in range(20):
        await asyncio.sleep(0)


def budget_of(clock, **facts):
    return Budget(Limits(**{"requests": 1000, "per_s": 1.0, "concurrent": 10, **facts}), clock)


# Attempts


async def test_the_reply_comes_out():
    cloud = Cloud(FINE)
    sent = call()
    assert await send(cloud.ctx(), sent) is FINE
    assert cloud.calls == [sent]
    assert cloud.clock.monotonic() == 0.0


@pytest.mark.parametrize("status", [200, 204, 302, 400, 401, 404, 409, 422])
async def test_no_status_is_an_error(status):
    cloud = Cloud(HttpReply(status=status))
    assert (await send(cloud.ctx(), call())).status == status
    assert len(cloud.calls) == 1


async def test_it_is_sent_again_until_it_works():
    cloud = Cloud(TransportError("lost"), BROKEN, FINE)
    assert await send(cloud.heard, call()) is FINE
    assert cloud.sent_at == pytest.approx([0.0, 0.5, 1.5])
    assert [(record.attempt, record.end, record.status) for record in cloud.records] == [
        (1, AttemptEnd.FAILED, None),
        (2, AttemptEnd.REPLIED, 503),
        (3, AttemptEnd.REPLIED, 200),
    ]


async def test_the_last_refusal_comes_out():
    cloud = Cloud(BROKEN)
    assert await send(cloud.ctx(), call()) is BROKEN
    assert len(cloud.calls) == 3


async def test_the_last_error_comes_out():
    errors = [TransportError("first"), TransportError("second"), TransportTimeoutError("third")]
    cloud = Cloud(*errors)
    with pytest.raises(TransportTimeoutError) as caught:
        await send(cloud.ctx(), call())
    assert caught.value is errors[-1]
    assert len(cloud.calls) == 3


@pytest.mark.parametrize(
    ("repeat", "answer", "times"),
    [
        (Repeat.SAFE, TransportError("lost"), 3),
        (Repeat.SAFE, TransportError("a redirect", retryable=False), 1),
        (Repeat.SAFE, BROKEN, 3),
        (Repeat.SAFE, TOO_MANY, 3),
        (Repeat.SAFE, HttpReply(status=429, headers={"retry-after": "61"}), 1),
        (Repeat.REFUSED, TransportError("lost"), 1),
        (Repeat.REFUSED, TransportTimeoutError("late"), 1),
        (Repeat.REFUSED, BROKEN, 1),
        (Repeat.REFUSED, HttpReply(status=408), 1),
        (Repeat.REFUSED, TOO_MANY, 3),
        (Repeat.NEVER, TransportError("lost"), 1),
        (Repeat.NEVER, BROKEN, 1),
        (Repeat.NEVER, TOO_MANY, 1),
    ],
)
async def test_only_what_may_be_repeated_is(repeat, answer, times):
    cloud = Cloud(answer)
    if isinstance(answer, TransportError):
        with pytest.raises(type(answer)):
            await send(cloud.ctx(), call(repeat))
    else:
        assert await send(cloud.ctx(), call(repeat)) is answer
    assert len(cloud.calls) == times


async def test_the_clouds_advice_is_waited_for():
    cloud = Cloud(TOO_MANY, HttpReply(status=429, headers={"ratelimit": '"minute";r=0;t=12'}), FINE)
    assert await send(cloud.ctx(), call(Repeat.REFUSED)) is FINE
    assert cloud.sent_at == pytest.approx([0.0, 7.25, 19.75])


@WAYS
async def test_errors_learn_where_they_happened(way):
    for error in (TransportError("lost"), TransportTimeoutError("late")):
        with pytest.raises(TransportError) as caught:
            await way(Cloud(error).ctx(), call(Repeat.NEVER))
        assert (caught.value.provider, caught.value.operation) == ("runpod", "get_compute")


@WAYS
async def test_what_an_error_knows_already_stays(way):
    error = TransportError("lost", provider="mine", operation="other")
    with pytest.raises(TransportError) as caught:
        await way(Cloud(error).ctx(), call(Repeat.NEVER))
    assert (caught.value.provider, caught.value.operation) == ("mine", "other")


@WAYS
@pytest.mark.parametrize("error", [ConfigError("no"), ValueError("a bug")])
async def test_other_errors_come_out_at_once_and_are_told(way, error):
    cloud = Cloud(error)
    with pytest.raises(type(error)) as caught:
        await way(cloud.heard, call())
    assert caught.value is error
    [record] = cloud.records
    assert (record.end, record.error) == (AttemptEnd.FAILED, type(error).__name__)


async def test_a_stream_is_opened_once_whatever_comes():
    for answer in (BROKEN, TOO_MANY, HttpReply(status=404)):
        cloud = Cloud(answer)
        stream = await open_stream(cloud.ctx(), call())
        assert stream.status == answer.status
        await stream.aclose()
        assert len(cloud.calls) == 1
    cloud = Cloud(TransportError("lost"))
    with pytest.raises(TransportError):
        await open_stream(cloud.ctx(), call())
    assert len(cloud.calls) == 1


async def test_a_stream_is_the_transports_own():
    async def body():
        yield b"a"
        yield b"b"

    cloud = Cloud(StreamingReply(status=206, headers={"a": "b"}, body=body()))
    stream = await open_stream(cloud.ctx(), call())
    assert (stream.status, stream.headers) == (206, {"a": "b"})
    assert [piece async for piece in stream.chunks()] == [b"a", b"b"]
    await stream.aclose()


# Records


@WAYS
async def test_a_record_says_all_there_is_to_say(way):
    cloud = Cloud(FINE, takes_s=2.0)
    budget = budget_of(cloud.clock)
    budget.slow_down(3.0)
    await way(cloud.heard, call(), budget=budget)
    [record] = cloud.records
    assert (record.provider, record.operation) == ("runpod", "get_compute")
    assert (record.method, record.template, record.host) == ("GET", "/v2/pods/{id}", "api.runpod.io")
    assert (record.attempt, record.end, record.status, record.error) == (1, AttemptEnd.REPLIED, 200, None)
    assert (record.scheme, record.endpoint) == ("https", "ep-1")
    assert record.request_id == "r-1"
    assert record.duration_s == pytest.approx(2.0)
    assert record.ended_at == cloud.clock.now()
    assert record.budget_wait_s == pytest.approx(3.0)
    assert record.bytes_received == (len(FINE.body) if way is send else 0)


@WAYS
async def test_the_record_of_a_failure(way):
    cloud = Cloud(TransportTimeoutError("late"), takes_s=2.0)
    with pytest.raises(TransportError):
        await way(cloud.heard, call(Repeat.NEVER))
    [record] = cloud.records
    assert (record.end, record.error, record.status) == (AttemptEnd.FAILED, "TransportTimeoutError", None)
    assert (record.duration_s, record.budget_wait_s) == (2.0, 0.0)
    assert (record.request_id, record.bytes_received) == (None, 0)


@WAYS
async def test_the_record_of_a_cancellation(way):
    cloud = Cloud(FINE, takes_s=60.0, clock=ManualClock())
    sending = asyncio.create_task(way(cloud.heard, call()))
    await settle()
    cloud.clock.advance(5.0)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    [record] = cloud.records
    assert (record.end, record.error, record.status) == (AttemptEnd.CANCELLED, None, None)
    assert record.duration_s == 5.0
    assert cloud.busy == 0


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ({"x-request-id": "r", "cf-ray": "c"}, "r"),
        ({"cf-ray": "c"}, "c"),
        ({"x-request-id": "", "cf-ray": "c"}, "c"),
        ({}, None),
    ],
)
def test_the_clouds_own_id_of_a_request(headers, found):
    assert request_id_of(headers) == found


async def test_every_hook_hears_every_attempt():
    cloud = Cloud(BROKEN, FINE)
    first, second = [], []
    await send(cloud.ctx(first.append, second.append), call())
    assert [record.attempt for record in first] == [1, 2]
    assert first == second


@WAYS
async def test_a_hook_that_raises_breaks_nothing_and_is_told_once(way, caplog, monkeypatch):
    monkeypatch.setattr(hooks, "_failed_hooks", set())

    def bad(record):
        raise RuntimeError("the hook's own")

    for answer in (FINE, TransportError("lost")):
        cloud = Cloud(answer)
        ctx = cloud.ctx(bad, cloud.records.append)
        if answer is FINE:
            assert (await way(ctx, call(Repeat.NEVER))).status == 200
        else:
            with pytest.raises(TransportError, match="lost"):
                await way(ctx, call(Repeat.NEVER))
        assert len(cloud.records) == 1
    told = [entry for entry in caplog.records if "hook" in entry.getMessage()]
    assert len(told) == 1
    assert "bad" in told[0].getMessage()
    assert told[0].exc_info is not None


# The log


@WAYS
async def test_nothing_said_holds_an_id_a_key_or_a_url(way, caplog):
    caplog.set_level(logging.DEBUG, logger="exatlas.transport")
    cloud = Cloud(TransportError("lost"), TOO_MANY, FINE)
    ctx = cloud.heard
    outcomes = await asyncio.gather(*(way(ctx, call()) for _ in range(3)), return_exceptions=True)
    assert len(cloud.records) >= 3
    said = "\n".join(entry.getMessage() for entry in caplog.records) + repr((cloud.records, ctx, outcomes))
    assert "GET /v2/pods/{id} at api.runpod.io" in said
    for secret in SECRETS:
        assert secret not in said


async def test_the_log_tells_each_attempt_and_each_repetition(caplog):
    caplog.set_level(logging.DEBUG, logger="exatlas.transport")
    await send(Cloud(TransportError("lost"), BROKEN, FINE).ctx(), call())
    assert [(entry.levelname, entry.getMessage()) for entry in caplog.records] == [
        ("DEBUG", "runpod get_compute: GET /v2/pods/{id} at api.runpod.io: TransportError in 0.000 s (attempt 1)"),
        ("WARNING", "runpod get_compute: attempt 1 failed (lost), trying again in 0.5 s"),
        ("DEBUG", "runpod get_compute: GET /v2/pods/{id} at api.runpod.io: 503 in 0.000 s (attempt 2)"),
        ("WARNING", "runpod get_compute: attempt 2 failed (HTTP 503), trying again in 1.0 s"),
        ("DEBUG", "runpod get_compute: GET /v2/pods/{id} at api.runpod.io: 200 in 0.000 s (attempt 3)"),
    ]


async def test_what_the_log_says_in_words_it_has_as_fields_too(caplog):
    caplog.set_level(logging.DEBUG, logger="exatlas.transport")
    await send(Cloud(BROKEN, FINE, takes_s=2.0).ctx(), call())
    first, again, second = caplog.records
    assert vars(first) | {
        "exatlas.provider": "runpod",
        "exatlas.operation": "get_compute",
        "exatlas.endpoint": "ep-1",
        "exatlas.end": "replied",
        "exatlas.attempt": 1,
        "exatlas.duration_s": 2.0,
        "http.request.method": "GET",
        "http.response.status_code": 503,
        "url.template": "/v2/pods/{id}",
        "server.address": "api.runpod.io",
        "server.port": 443,
        "error.type": "503",
    } == vars(first)
    assert vars(again) | {"exatlas.provider": "runpod", "exatlas.attempt": 1, "exatlas.wait_s": 0.5} == vars(again)
    assert vars(second)["http.request.resend_count"] == 1
    assert "error.type" not in vars(second)
    for entry in caplog.records:
        assert not any(secret in repr(vars(entry)) for secret in SECRETS)


@WAYS
async def test_no_record_is_made_where_nobody_listens(way, monkeypatch, caplog):
    caplog.set_level(logging.INFO, logger="exatlas.transport")

    def made(*args, **kwargs):
        raise AssertionError("a record was made")

    monkeypatch.setattr(exchange, "RequestRecord", made)
    await way(Cloud(FINE).ctx(), call())
    with pytest.raises(TransportError):
        await way(Cloud(TransportError("lost")).ctx(), call(Repeat.NEVER))
    with pytest.raises(AssertionError, match="a record was made"):
        await way(Cloud(FINE).heard, call())


# The budget


@WAYS
async def test_calls_keep_to_the_budget(way):
    cloud = Cloud(FINE)
    budget = budget_of(cloud.clock, requests=1, per_s=2.0)
    await asyncio.gather(*(way(cloud.heard, call(), budget=budget) for _ in range(3)))
    assert cloud.sent_at == pytest.approx([0.0, 2.0, 4.0], rel=1e-5)
    assert [record.budget_wait_s for record in cloud.records] == pytest.approx([0.0, 2.0, 4.0], rel=1e-5)
    assert (budget.in_flight, budget.waiting) == (0, 0)


async def test_a_turn_lasts_as_long_as_its_attempt():
    cloud = Cloud(BROKEN, FINE, takes_s=3.0, clock=ManualClock())
    budget = budget_of(cloud.clock)
    sending = asyncio.create_task(send(cloud.ctx(), call(), budget=budget))
    await settle()
    assert budget.in_flight == 1
    cloud.clock.advance(3.0)
    await settle()
    assert budget.in_flight == 0, "nothing is held while waiting for the next attempt"
    cloud.clock.advance(0.5)
    await settle()
    assert budget.in_flight == 1
    cloud.clock.advance(3.0)
    assert await sending is FINE
    assert budget.in_flight == 0


async def test_a_turn_for_a_stream_ends_with_its_head():
    cloud = Cloud(FINE)
    budget = budget_of(cloud.clock)
    stream = await open_stream(cloud.ctx(), call(), budget=budget)
    assert budget.in_flight == 0
    await stream.aclose()


@WAYS
@pytest.mark.parametrize("error", [TransportError("lost"), ValueError("a bug")])
async def test_a_failed_attempt_gives_its_turn_back(way, error):
    cloud = Cloud(error)
    budget = budget_of(cloud.clock)
    with pytest.raises(type(error)):
        await way(cloud.ctx(), call(Repeat.NEVER), budget=budget)
    assert (budget.in_flight, budget.waiting) == (0, 0)


@WAYS
@pytest.mark.parametrize(
    ("refusal", "pause_s"),
    [
        (TOO_MANY, 7.0),
        (HttpReply(status=429), PENALTY_S),
        (HttpReply(status=429, headers={"retry-after": "0"}), PENALTY_S),
        (HttpReply(status=429, headers={"retry-after": "86400"}), 60.0),
        (HttpReply(status=429, headers={"ratelimit": '"minute";r=0;t=12'}), 12.0),
        (HttpReply(status=200, headers={"ratelimit": '"minute";r=0;t=12, "hour";r=5;t=1812'}), 12.0),
        (HttpReply(status=200, headers={"ratelimit": '"day";r=0;t=45012'}), 60.0),
        (HttpReply(status=200, headers={"ratelimit": '"minute";r=1;t=12'}), 0.0),
        (HttpReply(status=200), 0.0),
        (HttpReply(status=503), 0.0),
    ],
)
async def test_a_refusal_for_the_rate_holds_everybody(way, refusal, pause_s):
    cloud = Cloud(refusal, FINE)
    budget = budget_of(cloud.clock, burst=10)
    await way(cloud.ctx(), call(Repeat.NEVER), budget=budget)
    await send(cloud.ctx(), call(), budget=budget)
    assert cloud.sent_at == pytest.approx([0.0, pause_s])


async def test_a_refusal_holds_those_who_wait_already():
    cloud = Cloud(TOO_MANY, FINE)
    budget = budget_of(cloud.clock, requests=1, per_s=1.0)
    await asyncio.gather(*(send(cloud.ctx(), call(Repeat.NEVER), budget=budget) for _ in range(3)))
    assert cloud.sent_at == pytest.approx([0.0, 7.0, 8.0], rel=1e-5)


async def test_a_refused_call_queues_up_again():
    cloud = Cloud(TOO_MANY, FINE)
    budget = budget_of(cloud.clock, requests=1, per_s=1.0)
    assert (await send(cloud.heard, call(Repeat.REFUSED), budget=budget)).status == 200
    assert cloud.sent_at == pytest.approx([0.0, 7.25])
    assert [record.attempt for record in cloud.records] == [1, 2]


# Cancelling


@WAYS
async def test_cancelled_while_waiting_for_the_budget(way):
    cloud = Cloud(FINE, clock=ManualClock())
    budget = budget_of(cloud.clock)
    budget.slow_down(10.0)
    sending = [asyncio.create_task(way(cloud.heard, call(), budget=budget)) for _ in range(2)]
    await settle()
    assert budget.waiting == 2
    for task in sending:
        task.cancel()
    await asyncio.gather(*sending, return_exceptions=True)
    assert all(task.cancelled() for task in sending)
    assert cloud.calls == cloud.records == []
    assert (budget.in_flight, budget.waiting, cloud.clock.sleepers) == (0, 0, 0)


@WAYS
async def test_cancelled_while_the_call_is_under_way(way):
    cloud = Cloud(FINE, takes_s=10.0, clock=ManualClock())
    budget = budget_of(cloud.clock, concurrent=1)
    sending = asyncio.create_task(way(cloud.ctx(), call(), budget=budget))
    behind = asyncio.create_task(way(cloud.ctx(), call(), budget=budget))
    await settle()
    assert (cloud.busy, budget.waiting) == (1, 1)
    sending.cancel()
    await settle()
    assert sending.cancelled()
    assert (len(cloud.calls), cloud.busy, budget.in_flight, budget.waiting) == (2, 1, 1, 0)
    cloud.clock.advance(10.0)
    assert (await behind).status == 200
    assert (cloud.busy, budget.in_flight, budget.waiting) == (0, 0, 0)


async def test_cancelled_between_two_attempts():
    cloud = Cloud(BROKEN, clock=ManualClock())
    budget = budget_of(cloud.clock)
    sending = asyncio.create_task(send(cloud.heard, call(), budget=budget))
    await settle()
    assert (len(cloud.calls), cloud.clock.sleepers) == (1, 1)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert len(cloud.calls) == len(cloud.records) == 1
    assert (budget.in_flight, budget.waiting, cloud.clock.sleepers) == (0, 0, 0)
