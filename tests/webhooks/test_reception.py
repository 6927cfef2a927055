"""Callbacks: what is believed, what each is answered, and waiting for them."""

import asyncio
import logging
from datetime import timedelta

import orjson
import pytest

import exatlas
from exatlas.webhooks import Webhooks

BASE = "https://app.example/hooks"
SECRET, OLD_SECRET = "s" * 32, "o" * 32


@pytest.fixture
def heard():
    return []


@pytest.fixture
def make(atlas, clock, heard):
    def make(**options):
        async def on_job(job):
            heard.append(job)

        hooks = Webhooks(BASE, **{"secrets": [SECRET], "clock": clock, "on_job": on_job, **options})
        hooks.use(atlas)
        return hooks

    return make


@pytest.fixture
def hooks(make):
    return make()


def parts(url):
    return url.removeprefix(BASE).split("/")[1:]


def body(job_id="job-000001", status="completed", **fields):
    job = exatlas.Job(
        **{"id": job_id, "provider": "memory", "endpoint": "echo", "status": exatlas.JobStatus(status), **fields}
    )
    return orjson.dumps(exatlas.unstructure(job))


async def post(hooks, url, content=None):
    return await hooks.receive(*parts(url), body() if content is None else content)


async def test_a_callback_is_believed_once(hooks, heard):
    url = hooks.url_for("echo")
    answer = await post(hooks, url)
    assert (answer.status, answer.repeated, answer.job.id) == (200, False, "job-000001")
    again = await post(hooks, url)
    assert (again.status, again.repeated) == (200, True)
    assert len(heard) == 1


async def test_a_url_says_where_it_goes_and_hides_nothing_else(hooks):
    url = hooks.url_for("echo")
    assert url.startswith(f"{BASE}/memory/echo/")
    assert SECRET not in url
    assert SECRET not in repr(hooks)
    assert hooks.path == "/hooks"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda provider, endpoint, token: ("runpod", endpoint, token),
        lambda provider, endpoint, token: (provider, "other", token),
        lambda provider, endpoint, token: (provider, endpoint, token[:-1] + ("A" if token[-1] != "A" else "B")),
        lambda provider, endpoint, token: (provider, endpoint, "f" + token),
        lambda provider, endpoint, token: (provider, endpoint, ""),
        lambda provider, endpoint, token: (provider, endpoint, "x" * 10_000),
    ],
    ids=["provider", "endpoint", "signature", "expiry", "nothing", "garbage"],
)
async def test_a_forged_url_is_refused_without_reading(hooks, heard, caplog, spoil):
    async def unread():
        raise AssertionError("the body was read")
        yield b""

    with caplog.at_level(logging.WARNING, "exatlas.webhooks"):
        answer = await hooks.receive(*spoil(*parts(hooks.url_for("echo"))), unread())
    assert (answer.status, answer.job, heard) == (401, None, [])
    assert "x" * 100 not in caplog.text


async def test_a_url_of_another_service_is_refused(make):
    assert (await post(make(), make(secrets=["x" * 16]).url_for("echo"))).status == 401


async def test_an_expired_url_is_refused(hooks, clock):
    url = hooks.url_for("echo", expires_in=60)
    clock.advance(59)
    assert (await post(hooks, url)).status == 200
    clock.advance(1)
    assert (await post(hooks, url)).status == 401


async def test_secrets_rotate(make):
    before = make(secrets=[OLD_SECRET]).url_for("echo")
    both = make(secrets=[SECRET, OLD_SECRET])
    after = both.url_for("echo")
    assert (await post(both, before)).status == 200
    only_new = make(secrets=[SECRET])
    assert (await post(only_new, before)).status == 401
    assert (await post(only_new, after)).status == 200


async def test_a_url_speaks_for_one_job(hooks, heard):
    url = hooks.url_for("echo")
    assert (await post(hooks, url, body("one"))).status == 200
    assert (await post(hooks, url, body("two"))).status == 401
    assert (await post(hooks, hooks.url_for("echo"), body("one"))).status == 401
    assert [job.id for job in heard] == ["one"]


async def test_after_the_submit_a_url_speaks_for_its_job_alone(hooks, atlas):
    job = await hooks.run_job(endpoint="echo", input={"x": 1})
    [delivery] = await delivered(atlas)
    assert (await post(hooks, delivery.url, body("another"))).status == 401
    assert (await post(hooks, delivery.url, body(job.id))).status == 200


async def delivered(atlas):
    cloud = atlas.provider()
    while not cloud.deliveries:
        await asyncio.sleep(0)
    return cloud.deliveries


async def test_a_body_for_another_endpoint_is_refused(hooks):
    assert (await post(hooks, hooks.url_for("echo"), body(endpoint="other"))).status == 401


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'{"id": 3}', b"\xff", b"[" * 5000])
async def test_a_body_that_cannot_be_read(hooks, content, caplog):
    url = hooks.url_for("echo")
    assert (await post(hooks, url, content)).status == 400
    assert (await post(hooks, url)).status == 200, "nothing was remembered of it"


async def test_a_body_that_is_too_long_is_not_read_to_its_end(make):
    hooks = make(max_body_bytes=1000)
    sent = 0

    async def pieces():
        nonlocal sent
        while True:
            sent += 100
            yield b" " * 100

    assert (await post(hooks, hooks.url_for("echo"), pieces())).status == 413
    assert sent == 1100
    assert (await post(hooks, hooks.url_for("echo"), b" " * 1001)).status == 413


async def test_a_job_that_has_not_ended_is_no_news(hooks, heard):
    url = hooks.url_for("echo")
    assert (await post(hooks, url, body(status="in_progress"))).status == 200
    assert (await post(hooks, url, body(status="unknown"))).status == 200
    assert heard == []
    assert (await post(hooks, url)).repeated is False


async def test_a_listener_that_fails_lets_the_cloud_come_again(make, caplog):
    attempts = []

    async def on_job(job):
        attempts.append(job)
        if len(attempts) == 1:
            raise RuntimeError("the database is down")

    hooks = make(on_job=on_job)
    url = hooks.url_for("echo")
    assert (await post(hooks, url)).status == 500
    assert (await post(hooks, url)).status == 200
    assert (await post(hooks, url)).repeated
    assert len(attempts) == 2


async def test_a_callback_beside_one_that_is_being_taken_has_to_come_again(make):
    free = asyncio.Event()

    async def on_job(job):
        await free.wait()

    hooks = make(on_job=on_job)
    url = hooks.url_for("echo")
    first = asyncio.create_task(post(hooks, url))
    await asyncio.sleep(0)
    assert (await post(hooks, url)).status == 503
    free.set()
    assert (await first).status == 200


async def test_a_callback_that_is_cut_is_new_when_it_comes_again(make, cancel_everywhere):
    async def trial(cut):
        calls = []

        async def on_job(job):
            await asyncio.sleep(0)
            calls.append(job)

        hooks = make(on_job=on_job)
        url = hooks.url_for("echo")
        await cut(post(hooks, url))
        await post(hooks, url)
        assert len(calls) == 1

    assert await cancel_everywhere(trial) >= 2


async def settle():
    """Let whatever is ready run."""
    for _ in range(50):
        await asyncio.sleep(0)


class TestConfirming:
    @pytest.fixture
    def hooks(self, make):
        return make(confirm=True)

    async def test_the_clouds_word_counts(self, hooks, atlas, heard):
        await hooks.run_job(endpoint="echo", input={"x": "real"})
        [delivery] = await delivered(atlas)
        lie = body(delivery.job.id, output="invented")
        assert (await post(hooks, delivery.url, lie)).job.output == ["real"]
        assert heard[0].output == ["real"]

    async def test_a_job_that_the_cloud_does_not_know(self, hooks, heard):
        assert (await post(hooks, hooks.url_for("echo"), body("invented"))).status == 401
        assert heard == []

    async def test_a_job_that_has_not_ended_yet(self, hooks, atlas, cloud, heard):
        never = asyncio.Event()

        async def wait(job):
            await never.wait()

        cloud.serve("slow", wait)
        job = await atlas.run_job(endpoint="slow", input={"x": 1})
        lie = body(job.id, endpoint="slow")
        assert (await post(hooks, hooks.url_for("slow"), lie)).status == 503
        assert heard == []
        never.set()

    @pytest.mark.parametrize("trouble", ["refused", "hangs"])
    async def test_what_cannot_be_confirmed_now_has_to_come_again(self, hooks, atlas, cloud, trouble):
        await hooks.run_job(endpoint="echo", input={"x": 1})
        [delivery] = await delivered(atlas)
        if trouble == "refused":
            cloud.fail_next("get_job", exatlas.RateLimitedError("slow down"))
        else:
            cloud.hold_next("get_job")
        content = body(delivery.job.id)
        assert (await post(hooks, delivery.url, content)).status == 503
        assert (await post(hooks, delivery.url, content)).status == 200


class TestWaiting:
    @pytest.fixture
    def clock(self):
        return exatlas.ManualClock()

    @pytest.fixture
    async def job(self, hooks, cloud, asked):
        """A job that goes on until the test lets it end, and its URL."""
        self.end = asyncio.Event()

        async def slow(job):
            await self.end.wait()
            return "result"

        cloud.serve("slow", slow)
        job = await hooks.run_job(endpoint="slow", input={"x": 1})
        asked.clear()
        yield job
        self.end.set()
        await settle()

    @pytest.fixture
    def asked(self, atlas, monkeypatch):
        """The status requests that were made."""
        asked, get_job = [], atlas.get_job

        async def counting(job, **options):
            asked.append(job)
            return await get_job(job, **options)

        monkeypatch.setattr(atlas, "get_job", counting)
        return asked

    async def called_back(self, hooks, atlas):
        self.end.set()
        [delivery] = await delivered(atlas)
        return await post(hooks, delivery.url, orjson.dumps(exatlas.unstructure(delivery.job)))

    async def test_a_callback_ends_the_wait_without_a_request(self, hooks, atlas, job, clock, asked):
        waits = [asyncio.create_task(hooks.await_webhook(job)) for _ in range(3)]
        while not clock.sleepers:
            await asyncio.sleep(0)
        assert (await self.called_back(hooks, atlas)).status == 200
        assert [(await wait).output for wait in waits] == ["result"] * 3
        assert asked == []

    async def test_a_callback_that_came_before(self, hooks, atlas, job, asked):
        await self.called_back(hooks, atlas)
        await self.called_back(hooks, atlas)
        assert (await hooks.await_webhook(job)).output == "result"
        assert asked == []

    async def test_a_callback_that_never_comes(self, hooks, job, clock, asked):
        wait = asyncio.create_task(hooks.await_webhook(job, poll_every=30))
        for looks in (1, 2):
            await settle()
            clock.advance(29)
            await settle()
            assert len(asked) == looks - 1
            clock.advance(1)
            await settle()
            assert len(asked) == looks
            self.end.set()
        assert (await wait).output == "result"

    async def test_a_forged_callback_ends_nothing(self, hooks, job, clock):
        wait = asyncio.create_task(hooks.await_webhook(job))
        while not clock.sleepers:
            await asyncio.sleep(0)
        assert (await post(hooks, hooks.url_for("slow"), body(job.id, endpoint="slow"))).status == 401
        forged = hooks.url_for("slow").replace("slow", "slew")
        assert (await post(hooks, forged, body(job.id, endpoint="slow"))).status == 401
        await asyncio.sleep(0)
        assert not wait.done()
        wait.cancel()

    async def test_a_job_submitted_elsewhere_is_asked_for_at_once(self, make, job, asked):
        self.end.set()
        other = make()
        assert (await other.await_webhook(job.id, endpoint="slow")).output == "result"
        assert len(asked) == 1

    async def test_when_the_time_is_up_the_job_is_given_as_it_is(self, hooks, job, clock):
        wait = asyncio.create_task(hooks.await_webhook(job, timeout=timedelta(seconds=10)))
        while not clock.sleepers:
            await asyncio.sleep(0)
        clock.advance(10)
        assert (await wait) == job

    async def test_a_job_that_could_never_be_read(self, make, cloud, job, clock):
        hold = cloud.hold_next("get_job")
        wait = asyncio.create_task(make().await_webhook(job.id, endpoint="slow", timeout=10))
        while not clock.sleepers:
            await asyncio.sleep(0)
        clock.advance(10)
        with pytest.raises(exatlas.TransportTimeoutError):
            await wait
        hold.release()

    async def test_trouble_with_asking_is_sat_out_if_it_will_pass(self, make, cloud, clock, job, caplog):
        self.end.set()
        cloud.fail_next("get_job", exatlas.TransportError("down"))
        wait = asyncio.create_task(make().await_webhook(job, poll_every=5))
        while not clock.sleepers:
            await asyncio.sleep(0)
        clock.advance(5)
        assert (await wait).output == "result"

    async def test_a_job_that_is_gone(self, make):
        with pytest.raises(exatlas.NotFoundError):
            await make().await_webhook("nothing", endpoint="echo")

    async def test_a_job_that_has_ended_is_given_back(self, make, atlas, job, asked):
        self.end.set()
        ended = await atlas.get_job(job)
        while not ended.status.is_terminal:
            ended = await atlas.get_job(job)
        asked.clear()
        assert await make().await_webhook(ended) is ended
        assert asked == []

    async def test_cancelling_a_wait_leaves_nothing(self, make, hooks, clock, job, cancel_everywhere):
        pausing = asyncio.create_task(hooks.await_webhook(job))
        await settle()
        pausing.cancel()
        await settle()
        assert (pausing.cancelled(), clock.sleepers, hooks._arrivals._waiting) == (True, 0, {})
        self.end.set()
        await settle()

        async def trial(cut):
            elsewhere = make()
            await cut(elsewhere.await_webhook(job.id, endpoint="slow"))
            assert not elsewhere._arrivals._waiting

        assert await cancel_everywhere(trial) > 1


async def test_a_callback_that_lied_before_the_submit_returned_is_dropped(hooks, atlas, caplog):
    url = hooks.url_for("echo")
    assert (await post(hooks, url, body("lie"))).status == 200
    job = await atlas.run_job(endpoint="echo", input={"x": "truth"}, webhook=url)
    with caplog.at_level(logging.WARNING, "exatlas.webhooks"):
        hooks.bind(url, job)
    assert "had named job lie falsely" in caplog.text
    assert (await hooks.await_webhook(job)).output == ["truth"]


async def test_binding_to_the_wrong_thing(hooks, atlas):
    job = await atlas.run_job(endpoint="echo", input={"x": 1})
    for url in (hooks.url_for("other"), "https://elsewhere.example/x", hooks.url_for("echo")[:-1]):
        with pytest.raises(exatlas.ValidationError, match="url_for"):
            hooks.bind(url, job)


async def test_a_long_lived_job_gets_a_long_lived_url(hooks, atlas, clock):
    await hooks.run_job(endpoint="echo", input={"x": 1}, policy=exatlas.JobPolicy(ttl=timedelta(days=7)))
    [delivery] = await delivered(atlas)
    clock.advance(timedelta(days=7).total_seconds())
    assert (await post(hooks, delivery.url)).status == 200


async def test_the_url_is_made_here(hooks):
    with pytest.raises(exatlas.ValidationError, match="webhook: expected None"):
        await hooks.run_job(endpoint="echo", input={"x": 1}, webhook="https://x.example/")


@pytest.mark.parametrize(
    ("base_url", "options", "fault"),
    [
        ("app.example", {}, "base_url"),
        ("https://app.example/?a=1", {}, "base_url"),
        (BASE, {"secrets": []}, "secrets"),
        (BASE, {"secrets": "s" * 32}, "secrets"),
        (BASE, {"secrets": ["short-secret"]}, "secrets"),
        (BASE, {"expires_in": 0}, "expires_in"),
        (BASE, {"confirm": "yes"}, "confirm"),
        (BASE, {"max_body_bytes": 0}, "max_body_bytes"),
    ],
)
def test_arguments_that_cannot_work(base_url, options, fault):
    with pytest.raises(exatlas.ValidationError, match=fault) as caught:
        Webhooks(base_url, **{"secrets": [SECRET], **options})
    assert "short-secret" not in str(caught.value)


async def test_without_a_client_the_default_one_is_used(monkeypatch):
    monkeypatch.setenv("EXATLAS_PROVIDER", "memory")
    hooks = Webhooks(BASE, secrets=[SECRET])
    job = await hooks.run_job(endpoint="echo", input={"x": 1})
    assert (await hooks.await_webhook(job, poll_every=0.01)).output == [1]
    await exatlas.default_client().aclose()
