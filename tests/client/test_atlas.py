"""The client: whom a call is for, whose keys and URLs, and what it leaves behind."""

import asyncio
import gc
import re
from contextlib import aclosing
from datetime import timedelta

import pytest

import exatlas
from exatlas import Atlas
from exatlas.errors import (
    CleanupError,
    ConfigError,
    ForbiddenError,
    NotFoundError,
    TransportError,
    UnsupportedError,
    ValidationError,
)
from exatlas.protocols import ProviderSettings, UrlSetting
from exatlas.providers.memory import MemoryProvider
from exatlas.providers.runpod.fake import FakeRunPod
from exatlas.records.job import JobRef, JobStatus
from exatlas.transport.inprocess import InProcessTransport

KEY = "rpa_FAKEKEY0123456789"


class Keyed(MemoryProvider):
    """A cloud in memory that wants a key and has two URLs."""

    name = "keyed"
    settings = ProviderSettings(
        key_env=("KEYED_KEY", "KEYED_OLD_KEY"),
        urls={"main": UrlSetting(default="https://main.example", env="KEYED_URL"), "side": UrlSetting(default=None)},
    )


class Recorder:
    """A vault that hands out a new key each time, and remembers how often it was asked."""

    def __init__(self, *keys):
        self.keys = list(keys)
        self.asked = 0

    async def __call__(self):
        self.asked += 1
        await asyncio.sleep(0)
        return self.keys.pop(0) if len(self.keys) > 1 else self.keys[0]


async def made_with(atlas, **options):
    return await atlas.spawn_compute(image="img", gpu="l4", **options)


# --- by name, class, and instance ---


async def test_a_provider_by_name_class_and_instance(cloud, clock):
    async with Atlas(clock=clock, env={}) as atlas:
        by_name = await made_with(atlas, provider="memory")
        assert (await atlas.get_compute(by_name.id, provider="mock")).id == by_name.id
        assert (await atlas.get_compute(by_name.id, provider=MemoryProvider)).id == by_name.id
        by_class = await made_with(atlas, provider=Keyed, api_key="k")
        assert by_class.provider == "keyed"
        assert await atlas.list_compute(provider=cloud) == []
        by_instance = await made_with(atlas, provider=cloud)
        assert cloud.rented == [by_instance.id]


@pytest.mark.parametrize("choice", ["memory", "mock", MemoryProvider, MemoryProvider()], ids=str)
async def test_a_default_in_any_form(choice):
    async with Atlas(choice, env={}) as atlas:
        made = await made_with(atlas)
        assert (await atlas.get_compute(made)).id == made.id


async def test_the_environment_names_a_provider_when_nobody_else_does(cloud):
    async with Atlas(env={"EXATLAS_PROVIDER": "memory"}) as atlas:
        await made_with(atlas)
        assert cloud.rented == []
    async with Atlas(cloud, env={"EXATLAS_PROVIDER": "runpod"}) as atlas:
        await made_with(atlas)
    assert len(cloud.rented) == 1


async def test_without_any_the_choices_are_named():
    async with Atlas(env={}) as atlas:
        with pytest.raises(ConfigError, match=r"no provider: pass provider=.*There are .*memory.*runpod"):
            await atlas.list_compute()


async def test_a_record_of_the_default_instance_finds_its_way_home_in_a_new_client(cloud, atlas):
    made = await made_with(atlas)
    job = await atlas.run_job(endpoint="echo", input={"a": "b"})
    async with Atlas(cloud, env={}) as fresh:
        await fresh.terminate(made)
        assert cloud.rented == []
        assert (await fresh.get_job(job)).id == job.id
        assert fresh.provider() is cloud


async def test_and_of_a_default_that_has_no_registered_name():
    class Mine(MemoryProvider):
        name = "mine"

    provider = Mine()
    async with Atlas(provider, env={}) as atlas:
        made = await made_with(atlas)
    assert made.provider == "mine"
    async with Atlas(provider, env={}) as fresh:
        assert await fresh.get_compute(made) == made
    async with Atlas(Mine, env={}) as another:
        with pytest.raises(NotFoundError):
            await another.get_compute(made)


async def test_what_is_no_provider_cannot_be_a_default():
    with pytest.raises(ConfigError, match="object is not a provider"):
        Atlas(object())


async def test_a_record_is_not_taken_to_another_provider(atlas, cloud):
    made = await made_with(atlas)
    job = await atlas.run_job(endpoint="echo", input={"a": "b"})
    for call in (atlas.get_compute(made, provider="runpod"), atlas.cancel_job(job, provider="runpod")):
        with pytest.raises(ValidationError, match="provider: the record comes from 'memory', got 'runpod'"):
            await call
    other = MemoryProvider()
    with pytest.raises(NotFoundError):
        await atlas.get_compute(made, provider=other)


async def test_providers_that_share_a_name_are_told_apart_by_instance(cloud):
    other = MemoryProvider()
    async with Atlas(cloud, env={}) as atlas:
        made = await made_with(atlas, provider=other)
        await made_with(atlas)
        with pytest.raises(ConfigError, match="several providers named 'memory'"):
            await atlas.terminate(made)
        await atlas.terminate(made, provider=other)
    assert (len(cloud.rented), other.rented) == (1, [])


# --- keys ---


@pytest.mark.parametrize(
    ("credentials", "env", "argument", "won"),
    [
        ({"keyed": "client"}, {"KEYED_KEY": "env"}, "argument", "argument"),
        ({"keyed": "client"}, {"KEYED_KEY": "env"}, None, "client"),
        ({}, {"KEYED_KEY": "env", "KEYED_OLD_KEY": "old"}, None, "env"),
        ({"other": "x"}, {"KEYED_OLD_KEY": "old"}, None, "old"),
    ],
)
async def test_who_wins(credentials, env, argument, won):
    async with Atlas(Keyed, credentials=credentials, env=env) as atlas:
        assert (await atlas.context(api_key=argument)).api_key == won


async def test_without_a_key_nothing_is_called():
    async with Atlas(Keyed, credentials={"other": "s3cr3t"}, env={}) as atlas:
        with pytest.raises(
            ConfigError, match=r"no API key: .*KEYED_KEY or KEYED_OLD_KEY .*credentials for other"
        ) as caught:
            await made_with(atlas)
        assert "s3cr3t" not in str(caught.value)
        assert atlas.provider(Keyed).rented == []


async def test_a_vault_is_asked_before_every_call_and_never_shown():
    vault = Recorder("key-1", "key-2")
    async with Atlas(Keyed, credentials={"keyed": vault}, env={}) as atlas:
        first = await atlas.context()
        second = await atlas.context()
        assert (first.api_key, second.api_key, vault.asked) == ("key-1", "key-2", 2)
        assert first.account != second.account
        assert "key-1" not in repr(first) + repr(atlas) + repr(vars(atlas)["_roster"])
        await atlas.list_compute()
        assert vault.asked == 3
        await atlas.context(api_key="mine")
        assert vault.asked == 3


async def test_a_vault_that_fails_is_told_without_its_words():
    async def broken():
        raise RuntimeError("token s3cr3t refused")

    async with Atlas(Keyed, credentials={"keyed": broken}, env={}) as atlas:
        with pytest.raises(ConfigError, match="the credential function raised RuntimeError") as caught:
            await atlas.list_compute()
        assert "s3cr3t" not in str(caught.value)
        assert isinstance(caught.value.__cause__, RuntimeError)


async def test_a_vault_that_is_slow_can_be_cancelled():
    async def slow():
        await asyncio.Event().wait()

    async with Atlas(Keyed, credentials={"keyed": slow}, env={}) as atlas:
        spawning = asyncio.create_task(made_with(atlas))
        for _ in range(5):
            await asyncio.sleep(0)
        spawning.cancel()
        await asyncio.wait([spawning])
        assert spawning.cancelled()
        assert atlas.provider().rented == []


async def test_wrong_arguments_are_told_before_a_key_is_asked_for():
    vault = Recorder("k")
    async with Atlas(Keyed, credentials={"keyed": vault}, env={}) as atlas:
        for wrong in (
            atlas.spawn_compute(image=5),
            atlas.spawn_compute(image="img", timeout=0),
            atlas.spawn_compute(image="img", auth="bearer", env={"EXATLAS_PRESHARED_KEY": "x"}),
            atlas.terminate(None),
            atlas.get_job("j"),
            atlas.run_job(endpoint="e", input={}),
            atlas.context(base_url="http://far.example"),
        ):
            with pytest.raises((ValidationError, ConfigError)):
                await wrong
    assert vault.asked == 0


async def test_many_accounts_in_one_client():
    async with Atlas(Keyed, env={}) as atlas:
        mine = await made_with(atlas, api_key="a")
        theirs = await made_with(atlas, api_key="b")
        assert [one.id for one in await atlas.list_compute(api_key="a")] == [mine.id]
        assert [one.id for one in await atlas.list_compute(api_key="b")] == [theirs.id]
        with pytest.raises(NotFoundError):
            await atlas.get_compute(mine.id, api_key="b")


async def test_many_accounts_in_as_many_clients(cloud):
    clients = [Atlas(cloud, credentials={"memory": key}, env={}) for key in ("a", "b")]
    made = [await made_with(client) for client in clients]
    for client, one in zip(clients, made, strict=True):
        assert [found.id for found in await client.list_compute()] == [one.id]
        await client.aclose()


# --- URLs and the rest of a context ---


@pytest.mark.parametrize(
    ("client", "env", "argument", "urls"),
    [
        (None, {}, None, {"main": "https://main.example"}),
        (None, {"KEYED_URL": "https://env.example/"}, None, {"main": "https://env.example"}),
        ({"keyed": "https://c.example"}, {"KEYED_URL": "https://env.example"}, None, dict.fromkeys(["main", "side"], "https://c.example")),
        ({"keyed": {"side": "https://c.example"}}, {}, None, {"main": "https://main.example", "side": "https://c.example"}),
        ({"keyed": "https://c.example"}, {}, {"main": "http://127.0.0.1:9"}, {"main": "http://127.0.0.1:9", "side": "https://c.example"}),
        ({"other": "https://c.example"}, {}, "https://a.example", dict.fromkeys(["main", "side"], "https://a.example")),
    ],
)  # fmt: skip
async def test_base_urls(client, env, argument, urls):
    async with Atlas(Keyed, base_urls=client, env={"KEYED_KEY": "k", **env}) as atlas:
        assert dict((await atlas.context(base_url=argument)).base_urls) == urls


async def test_plain_http_is_for_this_machine_unless_insisted_on():
    for insist in (False, True):
        async with Atlas(
            Keyed, base_urls={"keyed": "http://far.example"}, allow_insecure=insist, env={"KEYED_KEY": "k"}
        ) as atlas:
            if insist:
                assert (await atlas.context()).base_url == "http://far.example"
            else:
                with pytest.raises(ConfigError, match=r"base_urls: plain http:// to far\.example"):
                    await atlas.context()


async def test_a_context_has_what_a_call_needs(clock):
    heard = []
    async with Atlas(Keyed, clock=clock, hooks=[heard.append], timeout=9, env={"KEYED_KEY": "k"}) as atlas:
        ctx = await atlas.context()
        assert (ctx.provider, ctx.api_key, ctx.timeout_s, ctx.clock) == ("keyed", "k", 9.0, clock)
        assert ctx.hooks == (heard.append,)
        assert (ctx.launch_id, ctx.strict_stream) == (None, False)
        assert (await atlas.context(timeout=timedelta(seconds=3))).timeout_s == 3.0
        assert (await atlas.context("memory")).provider == "memory"
        assert (await atlas.context(MemoryProvider, provider="runpod")).provider == "memory"
        assert (await atlas.context(provider="memory")).api_key is None
        with pytest.raises(ValidationError, match="tail: not accepted"):
            await atlas.context(tail=5)


# --- machines ---


async def test_a_machine_is_rented_found_stopped_started_and_terminated(atlas, cloud):
    made = await made_with(atlas, name="web")
    assert re.fullmatch("[0-9a-f]{12}", made.launch_id)
    assert made.name == f"web-{made.launch_id}"
    for thing in (made, made.id):
        await atlas.stop(thing)
        assert (await atlas.get_compute(thing)).status is exatlas.ComputeStatus.STOPPED
        await atlas.start(thing)
        assert [one.id for one in await atlas.list_compute(status="running")] == [made.id]
    assert await atlas.list_compute(exatlas.ComputeFilter(gpu="h100")) == []
    assert {kind.canonical for kind in await atlas.list_gpu_types()} > {"l4", "h100"}
    await atlas.terminate(made)
    await atlas.terminate(made.id)
    assert cloud.rented == []


async def test_a_request_and_keywords_over_it(atlas, cloud):
    request = exatlas.ComputeRequest(image="img", gpu="l4")
    made = await atlas.spawn_compute(request, gpu="h100", timeout=5)
    assert made.gpu_type == "h100"
    assert request.gpu == ("l4",)


async def test_every_launch_has_an_id_of_its_own(atlas):
    made = [await made_with(atlas) for _ in range(3)]
    assert len({one.launch_id for one in made}) == 3


@pytest.mark.parametrize("scheme", ["bearer", "signed_url"])
async def test_the_secret_reaches_the_machine_and_the_caller_and_nobody_else(atlas, cloud, scheme):
    made = await made_with(atlas, auth=scheme, env={"A": "b"})
    env = cloud.request_of(made.id).env
    assert env["EXATLAS_PRESHARED_KEY"] == env["ATLAS_PRESHARED_KEY"] == made.auth.token
    assert env["A"] == "b"
    assert made.auth.token not in repr(made) + str(exatlas.unstructure(made)) + str(made.raw)
    assert (made.auth.header == {}) is (scheme == "signed_url")
    assert (await atlas.get_compute(made)).auth is None


async def test_without_auth_there_is_no_secret(atlas, cloud):
    made = await made_with(atlas)
    assert made.auth is None
    assert cloud.request_of(made.id).env == {}


async def test_a_rental_ends_with_its_block_and_knows_its_provider(cloud, clock):
    async with Atlas(clock=clock, env={}) as atlas:
        async with atlas.rent(image="img", gpu="l4", provider=cloud, auth="bearer") as made:
            assert cloud.rented == [made.id]
            assert made.auth.token
        assert cloud.rented == []


async def test_wrong_arguments_of_a_rental_do_not_wait_for_the_block(atlas):
    with pytest.raises(ValidationError, match="gpuu: not accepted"):
        atlas.rent(gpuu="l4")
    with pytest.raises(ConfigError, match="no provider is named"):
        atlas.rent(image="img", provider="runpdo")


async def test_a_rental_asks_for_the_key_again_when_it_ends():
    vault = Recorder("key")
    async with Atlas(Keyed, credentials={"keyed": vault}, env={}) as atlas:
        async with atlas.rent(image="img", gpu="l4"):
            assert vault.asked == 1
        assert vault.asked == 2
        assert atlas.provider().rented == []


async def test_a_vault_that_is_away_when_a_rental_ends_is_asked_again(clock):
    failures = [RuntimeError("away"), RuntimeError("away")]

    async def vault():
        if inside and failures:
            raise failures.pop()
        return "key"

    inside = False
    async with Atlas(Keyed, credentials={"keyed": vault}, clock=clock, env={}) as atlas:
        async with atlas.rent(image="img", gpu="l4"):
            inside = True
        assert atlas.provider().rented == []
        assert failures == []


async def test_a_rental_that_cannot_end_says_so(atlas, cloud, caplog):
    cloud.fail_next("terminate", ForbiddenError("no"))
    with pytest.raises(CleanupError, match="still billing"):
        async with atlas.rent(image="img", gpu="l4"):
            pass
    assert "still billing" in caplog.text


async def test_logs(atlas, cloud):
    made = await made_with(atlas)
    cloud.log(made.id, "hello")
    assert [line.line async for line in atlas.stream_logs(made, follow=False)] == ["pulled img", "hello"]
    assert [line.line async for line in atlas.stream_logs(made.id, follow=False, tail=1)] == ["hello"]


# --- jobs ---


async def test_a_job_is_submitted_read_streamed_and_cancelled(atlas, cloud):
    job = await atlas.run_job(endpoint="echo", input={"text": "one two"})
    ref = JobRef(id=job.id, endpoint="echo")
    for thing, options in ((job, {}), (ref, {}), (job.id, {"endpoint": "echo"})):
        assert [chunk.output async for chunk in atlas.stream_job(thing, **options)] == ["one", "two"]
        assert (await atlas.get_job(thing, **options)).status is JobStatus.COMPLETED
        await atlas.cancel_job(thing, **options)
        async with atlas.open_job_stream(thing, **options) as stream:
            assert await stream.result() == ["one", "two"]
            assert stream.cursor == 2


async def test_a_timeout_of_a_job_is_how_long_it_waits(atlas, cloud, clock):
    async def slow(job):
        await clock.sleep(100)

    cloud.serve("slow", slow)
    job = await atlas.run_job(endpoint="slow", input={"a": 1}, mode="sync", timeout=5)
    assert job.status is JobStatus.IN_PROGRESS


async def endless(job):
    yield 1
    await asyncio.Event().wait()


@pytest.mark.parametrize("way", ["stream_job", "open_job_stream"])
@pytest.mark.parametrize(("on_exit", "status"), [("leave", "in_progress"), ("cancel", "cancelled")])
async def test_a_reader_that_leaves_may_take_the_job_along(atlas, cloud, way, on_exit, status):
    cloud.serve("endless", endless)
    job = await atlas.run_job(endpoint="endless", input={"a": 1})
    async with aclosing(getattr(atlas, way)(job, on_exit=on_exit)) as stream:
        assert (await anext(stream)).output == 1
    assert (await atlas.get_job(job)).status == status
    await atlas.cancel_job(job)


@pytest.mark.parametrize(
    ("way", "options"), [("stream_job", {}), ("open_job_stream", {}), ("open_job_stream", {"decode": "sse"})]
)
@pytest.mark.parametrize(("on_exit", "status"), [("leave", "in_progress"), ("cancel", "cancelled")])
async def test_and_so_may_one_that_leaves_its_block_without_having_read(atlas, cloud, way, options, on_exit, status):
    cloud.serve("endless", endless)
    job = await atlas.run_job(endpoint="endless", input={"a": 1})
    for _ in range(5):
        await asyncio.sleep(0)
    with pytest.raises(KeyError):
        async with aclosing(getattr(atlas, way)(job, on_exit=on_exit, **options)):
            raise KeyError
    assert (await atlas.get_job(job)).status == status
    await atlas.cancel_job(job)


async def test_events_need_a_cloud_that_has_them(atlas):
    with pytest.raises(UnsupportedError, match="runpod"):
        atlas.stream_events("e", "v1/chat", {})


# --- life ---


async def test_a_closed_client_refuses(cloud):
    atlas = Atlas(cloud, env={})
    await atlas.list_compute()
    assert not atlas.closed
    await atlas.aclose()
    await atlas.aclose()
    assert atlas.closed
    with pytest.raises(ConfigError, match="the client is closed"):
        await atlas.list_compute()
    with pytest.raises(ConfigError, match="the client is closed"):
        async with atlas:
            pass


class Closing(MemoryProvider):
    name = "closing"
    closed = 0

    async def aclose(self):
        await asyncio.sleep(0)
        self.closed += 1


async def test_it_closes_what_it_made_and_leaves_what_it_was_given():
    mine = Closing()
    async with Atlas(env={}) as atlas:
        await atlas.list_compute(provider=mine)
        made = atlas.provider(type("Other", (Closing,), {"name": "other"}))
    assert (mine.closed, made.closed) == (0, 1)


async def test_closing_is_finished_before_a_cancellation_goes_on():
    atlas = Atlas(Closing, env={})
    await atlas.list_compute()
    closing = asyncio.create_task(atlas.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert atlas.provider().closed == 1


def test_a_forgotten_client_closes_with_its_loop():
    kept = []

    async def main():
        atlas = Atlas(Closing, env={})
        await atlas.list_compute()
        kept.append(atlas)

    asyncio.run(main())
    assert kept[0].closed
    assert kept[0].provider().closed == 1


async def test_a_client_that_nobody_holds_any_more_closes_too():
    provider = []

    async def use():
        atlas = Atlas(Closing, env={})
        await atlas.list_compute()
        provider.append(atlas.provider())

    await use()
    gc.collect()
    for _ in range(50):
        await asyncio.sleep(0)
    assert provider[0].closed == 1


def test_a_client_belongs_to_one_loop():
    atlas = Atlas("memory", env={})

    async def main():
        await atlas.list_compute()

    async def other():
        with pytest.raises(ConfigError, match="belongs to another event loop"):
            await atlas.list_compute()

    async def both():
        await main()
        await asyncio.to_thread(asyncio.run, other())
        await main()

    asyncio.run(both())


def test_a_transport_that_was_passed_in_stays_open():
    class Mine(InProcessTransport):
        closed = False

        async def aclose(self):
            self.closed = True

    async def main():
        transport = Mine(FakeRunPod(api_key=KEY).handle)
        async with Atlas("runpod", transport=transport, credentials={"runpod": KEY}, env={}) as atlas:
            assert await atlas.list_compute() == []
        assert not transport.closed

    asyncio.run(main())


async def test_a_hook_hears_of_every_attempt(clock):
    heard = []
    fake = FakeRunPod(clock, api_key=KEY)
    async with Atlas(
        "runpod",
        transport=InProcessTransport(fake.handle),
        credentials={"runpod": KEY},
        hooks=[heard.append],
        clock=clock,
        env={},
    ) as atlas:
        await atlas.list_compute()
    assert [(one.provider, one.operation, one.status) for one in heard] == [("runpod", "list_compute", 200)]
    assert KEY not in repr(heard)


# --- many at once ---


async def test_fan_out_and_first_ok_by_the_clients_clock(atlas, cloud, clock):
    async def slow(seconds):
        await clock.sleep(seconds)
        return seconds

    outcomes = await atlas.fan_out(slow, [3, 1], timeout=2)
    assert [one.ok for one in outcomes] == [False, True]
    assert [one.elapsed for one in outcomes] == [timedelta(seconds=2), timedelta(seconds=1)]
    assert await atlas.first_ok(slow, [3, 1]) == 1


async def test_nothing_is_hidden_in_a_repr_of_an_error(atlas, cloud):
    cloud.fail_next("spawn_compute", TransportError("cut", delivered=False))
    with pytest.raises(TransportError) as caught:
        await made_with(atlas, env={"TOKEN": "s3cr3t"}, auth="bearer")
    assert "s3cr3t" not in repr(caught.value) + str(caught.value)
