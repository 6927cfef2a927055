"""Who wins: argument, client, environment, default. And what cannot be used at all."""

import asyncio

import pytest

from exatlas import config
from exatlas.errors import ConfigError
from exatlas.protocols import ProviderSettings, UrlSetting

SECRET = "sk-do-not-show"
SETTINGS = ProviderSettings(
    key_env=("P_KEY", "P_OLD_KEY"),
    urls={
        "rest": UrlSetting(default="https://rest.p.example/v2/", env="P_REST_URL"),
        "runtime": UrlSetting(default="https://run.p.example", env="P_RUN_URL"),
        "own": UrlSetting(default=None),
    },
)


@pytest.mark.parametrize(
    ("argument", "default", "env", "winner"),
    [
        ("a", "b", {"EXATLAS_PROVIDER": "c"}, "a"),
        (None, "b", {"EXATLAS_PROVIDER": "c"}, "b"),
        (None, None, {"EXATLAS_PROVIDER": "c"}, "c"),
    ],
)
def test_provider_argument_then_client_then_environment(argument, default, env, winner):
    assert config.choose_provider(argument, default, env) == winner


@pytest.mark.parametrize("env", [{}, {"EXATLAS_PROVIDER": ""}])
def test_no_provider_names_the_choices(env):
    with pytest.raises(ConfigError) as caught:
        config.choose_provider(None, None, env)
    for word in ("provider=", "default_provider", "EXATLAS_PROVIDER", "memory", "mock", "runpod"):
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("argument", "client", "env", "winner"),
    [
        ("a", {"p": "b"}, {"P_KEY": "c"}, "a"),
        (None, {"p": "b"}, {"P_KEY": "c"}, "b"),
        (None, {"other": "b"}, {"P_KEY": "c", "P_OLD_KEY": "d"}, "c"),
        (None, {}, {"P_OLD_KEY": "d"}, "d"),
        (None, {}, {"P_KEY": "", "P_OLD_KEY": "d"}, "d"),
        ("", {"p": "b"}, {}, ""),
    ],
)
def test_key_argument_then_client_then_environment(argument, client, env, winner):
    assert config.find_credential("p", SETTINGS, argument, client, env) == winner


def test_no_key_says_where_it_could_have_come_from():
    with pytest.raises(ConfigError) as caught:
        config.find_credential("p", SETTINGS, None, {"q": SECRET}, {})
    text = str(caught.value)
    assert all(word in text for word in ("api_key=", "credentials=", "P_KEY or P_OLD_KEY", "q"))
    assert SECRET not in text


def test_a_provider_that_needs_no_key_gets_none():
    assert config.find_credential("p", ProviderSettings(needs_key=False), None, {}, {}) is None


async def test_a_string_is_its_own_key():
    assert await config.fetch_key("p", SECRET) == SECRET


async def test_a_coroutine_function_is_asked_every_time():
    keys = iter(["one", "two"])

    async def vault():
        return next(keys)

    assert await config.fetch_key("p", vault) == "one"
    assert await config.fetch_key("p", vault) == "two"


async def test_a_failing_vault_is_chained_and_not_quoted():
    async def vault():
        raise RuntimeError(f"denied for {SECRET}")

    with pytest.raises(ConfigError) as caught:
        await config.fetch_key("p", vault)
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert SECRET not in str(caught.value)
    assert "RuntimeError" in str(caught.value)


async def test_a_plain_function_is_told_to_be_a_coroutine_function():
    with pytest.raises(ConfigError, match="TypeError"):
        await config.fetch_key("p", lambda: SECRET)


async def test_cancelling_reaches_the_vault():
    state = []

    async def vault():
        try:
            await asyncio.Event().wait()
        finally:
            state.append("left")

    task = asyncio.create_task(config.fetch_key("p", vault))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert state == ["left"]


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (None, "NoneType"),
        (b"sk-do-not-show", "bytes"),
        (7, "int"),
        ("", "empty"),
        (" \n", "empty"),
        (f"{SECRET}\n", "strip"),
        (f" {SECRET}", "strip"),
        (f"{SECRET}\r\nX: y", "printable ASCII"),
        (f"{SECRET}é", "printable ASCII"),
        (f"{SECRET}\x00x", "printable ASCII"),
    ],
)
async def test_what_cannot_be_a_key_is_refused_without_being_shown(key, said):
    async def vault():
        return key

    for credential in (vault, *([key] if isinstance(key, str) else [])):
        with pytest.raises(ConfigError, match=said) as caught:
            await config.fetch_key("p", credential)
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize("credential", [7, b"x", {"a": 1}])
async def test_a_credential_is_a_string_or_a_coroutine_function(credential):
    with pytest.raises(ConfigError, match=type(credential).__name__):
        await config.fetch_key("p", credential)


def test_a_fingerprint_tells_accounts_apart_and_nothing_else():
    marks = {config.fingerprint(p, k) for p in "pq" for k in ("a", "b", None)}
    assert len(marks) == 6
    assert config.fingerprint("p", SECRET) == config.fingerprint("p", SECRET)
    assert SECRET not in config.fingerprint("p", SECRET)


def urls(argument=None, client=None, env=None, **options):
    return config.resolve_urls("p", SETTINGS, argument, client, env or {}, **options)


def test_urls_default_to_the_clouds_own_without_trailing_slashes():
    assert urls() == {"rest": "https://rest.p.example/v2", "runtime": "https://run.p.example"}


def test_each_url_has_its_own_winner():
    assert urls(
        argument={"rest": "https://argument/"},
        client={"rest": "https://client", "own": "https://client/own//"},
        env={"P_REST_URL": "https://env", "P_RUN_URL": "https://env/run/"},
    ) == {"rest": "https://argument", "runtime": "https://env/run", "own": "https://client/own"}


def test_one_string_stands_for_every_url():
    assert set(urls(client="https://c").values()) == {"https://c"}
    assert set(urls(argument="https://a", client="https://c").values()) == {"https://a"}
    assert list(urls(argument="https://a")) == ["rest", "runtime", "own"]


def test_an_empty_variable_is_no_variable():
    assert urls(env={"P_REST_URL": ""})["rest"] == "https://rest.p.example/v2"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ftp://host", "absolute URL"),
        ("host/path", "absolute URL"),
        ("https://", "absolute URL"),
        ("", "absolute URL"),
        ("https://host:port", "not a URL"),
        ("https://[::1", "not a URL"),
        ("https://user:sk-do-not-show@host", "user name"),
        ("https://sk-do-not-show@host", "user name"),
        ("https://host/?key=sk-do-not-show", "query"),
        ("https://host/#x", "query or fragment"),
        ("https://host/?", "query"),
        ("https://host/a b", "blanks"),
        ("https://host\r\nX: sk-do-not-show", "blanks"),
        ("http://example.com", "clear text"),
        ("http://10.0.0.1:8000", "clear text"),
        ("http://localhost.example.com", "clear text"),
        (7, "int"),
        (None, "NoneType"),
    ],
)
def test_a_url_that_cannot_be_used_is_named_by_where_it_came_from(url, said):
    with pytest.raises(ConfigError, match=said) as caught:
        urls(argument={"rest": url})
    assert "base_url" in str(caught.value)
    assert SECRET not in str(caught.value)


def test_the_error_names_the_variable_too():
    with pytest.raises(ConfigError, match="P_RUN_URL"):
        urls(env={"P_RUN_URL": "nonsense"})


@pytest.mark.parametrize(
    "url",
    ["http://localhost:1", "http://127.0.0.1", "http://127.8.9.1:80/x", "http://[::1]:8000", "http://a.localhost"],
)
def test_plain_http_may_stay_on_this_machine(url):
    assert urls(argument=url)["rest"] == url


def test_plain_http_may_leave_it_when_the_caller_insists():
    assert urls(argument="http://example.com/", allow_insecure=True)["rest"] == "http://example.com"


def test_an_unknown_url_name_is_answered_with_the_nearest():
    with pytest.raises(ConfigError, match=r"did you mean 'runtime'.*rest, runtime, own"):
        urls(client={"runtimes": "https://x"})


@pytest.mark.parametrize("given", [7, ["https://x"]])
def test_urls_are_a_string_or_a_mapping(given):
    with pytest.raises(ConfigError, match=type(given).__name__):
        urls(client=given)
