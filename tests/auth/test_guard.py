"""The plain function, the guard that holds its settings, and the memory for one-time URLs."""

import logging
import subprocess
import sys

import pytest

import exatlas
from exatlas.auth import Guard, OneTime, Verdict, check_request, sign_url
from exatlas.auth.guard import is_preflight

SECRET = "the-present-secret-of-the-machine-0123456789"


async def test_the_table_at_the_plain_function(table, walk, now, one_time):
    uses = OneTime(clock=now) if one_time else None
    secrets = [SECRET, "the-secret-before-it-0123456789"]

    async def door(ask):
        verdict = check_request(
            ask.method,
            ask.target,
            ask.authorization,
            secrets=secrets,
            client="127.0.0.1",
            leeway=5,
            uses=uses,
            clock=now,
        )
        return bool(verdict)

    await walk(table, door, one_time=one_time)


async def test_the_table_at_a_guard(table, walk, guard, one_time):
    async def door(ask):
        return bool(guard.check(ask.method, ask.target.encode(), ask.authorization, client="127.0.0.1"))

    await walk(table, door, one_time=one_time)


@pytest.mark.parametrize(
    ("target", "authorization", "verdict"),
    [
        ("/a", None, Verdict.MISSING),
        ("/a", "Basic x", Verdict.MALFORMED),
        ("/a", "Bearer wrong", Verdict.WRONG),
        ("/a?exp=1&sig=x", None, Verdict.EXPIRED),
        ("/a?exp=1&sig=x", "Bearer wrong", Verdict.EXPIRED),
        ("/a?exp=9999999999&sig=x", None, Verdict.WRONG),
        ("/a?exp=9999999999", None, Verdict.MALFORMED),
        ("/a\n?exp=9999999999&sig=x", None, Verdict.MALFORMED),
        ("/\ud800?exp=9999999999&sig=x", None, Verdict.MALFORMED),
        ("*", None, Verdict.MALFORMED),
        ("x.test:443", None, Verdict.MALFORMED),
        ("http://x.test/a?exp=9999999999&sig=x", None, Verdict.MALFORMED),
        ("", None, Verdict.MALFORMED),
        ("/a#b", None, Verdict.MALFORMED),
        ("/a", f"Bearer {SECRET}", Verdict.GOOD),
    ],
)
def test_the_log_of_the_owner_can_say_why(now, caplog, target, authorization, verdict):
    guard = Guard(SECRET, clock=now)
    with caplog.at_level(logging.INFO, logger="exatlas.auth"):
        assert guard.check("GET", target, authorization) is verdict
    said = [entry.getMessage() for entry in caplog.records]
    assert said == ([] if verdict else [f"a request was refused: {verdict.value}"])
    assert [vars(entry)["exatlas.verdict"] for entry in caplog.records] == ([] if verdict else [verdict.value])


def test_a_url_bound_to_a_client_needs_one(now):
    url = sign_url("/a", SECRET, client="somebody", clock=now)
    guard = Guard(SECRET, clock=now)
    assert guard.check("GET", url, client="somebody")
    assert guard.check("GET", url) is Verdict.WRONG
    assert guard.check("GET", url, client="") is Verdict.WRONG


def test_secrets_may_be_bytes(now):
    secret = b"\x00\xffsecret"
    guard = Guard([secret], clock=now)
    assert guard.check("GET", sign_url("/a", secret, clock=now))
    assert not guard.check("GET", "/a", "Bearer secret")


# One-time use


def test_a_url_that_was_refused_is_not_used_up(now):
    guard = Guard(SECRET, one_time=True, clock=now)
    url = sign_url("/a", SECRET, method="GET", clock=now)
    assert guard.check("POST", url) is Verdict.WRONG
    assert guard.check("GET", url) is Verdict.GOOD
    assert guard.check("GET", url) is Verdict.REPLAYED


def test_a_url_is_used_up_in_every_spelling(now):
    guard = Guard(SECRET, one_time=True, clock=now)
    url = sign_url("/~a?b=1&c=2", SECRET, clock=now)
    query = url.partition("?")[2].split("&")
    assert guard.check("GET", url)
    assert guard.check("GET", "/%7Ea?" + "&".join(reversed(query))) is Verdict.REPLAYED


def test_a_used_url_stays_used_to_its_last_moment_and_is_forgotten_then(now):
    uses = OneTime(clock=now)
    guard = Guard(SECRET, one_time=uses, leeway=5, clock=now)
    url = sign_url("/a", SECRET, expires_in=10, clock=now)
    assert guard.check("GET", url)
    now.advance(15.4)
    assert guard.check("GET", url) is Verdict.REPLAYED
    now.advance(0.1)
    assert guard.check("GET", url) is Verdict.EXPIRED
    now.advance(1.0)
    assert uses.first("another", now.now().timestamp())
    assert uses._used == {"another"}


def test_a_full_memory_lets_nobody_in(now):
    guard = Guard(SECRET, one_time=OneTime(most=2, clock=now), clock=now)
    verdicts = [guard.check("GET", sign_url(f"/{number}", SECRET, expires_in=10, clock=now)) for number in range(3)]
    assert verdicts == [Verdict.GOOD, Verdict.GOOD, Verdict.REPLAYED]
    now.advance(12)
    assert guard.check("GET", sign_url("/4", SECRET, clock=now))


def test_the_memory_may_be_somebody_elses(now):
    class Shared:
        def __init__(self):
            self.asked = []

        def first(self, signature, until, /):
            self.asked.append((signature, until))
            return len(self.asked) == 1

    shared = Shared()
    url = sign_url("/a", SECRET, expires_in=10, clock=now)
    guards = [Guard(SECRET, one_time=shared, leeway=2, clock=now) for _ in range(2)]
    assert [guard.check("GET", url) for guard in guards] == [Verdict.GOOD, Verdict.REPLAYED]
    signature, until = shared.asked[0]
    assert f"sig={signature}" in url
    assert f"exp={until - 2:.0f}&" in url


# Where the secret comes from


def test_the_secret_comes_from_the_machines_environment(monkeypatch, now):
    monkeypatch.setenv("EXATLAS_PRESHARED_KEY", SECRET)
    guard = Guard(clock=now)
    monkeypatch.delenv("EXATLAS_PRESHARED_KEY")
    assert guard.check("GET", "/a", f"Bearer {SECRET}")
    assert Guard(env={"EXATLAS_PRESHARED_KEY": SECRET}).check("GET", "/a", f"Bearer {SECRET}")


def test_a_machine_that_was_rented_finds_what_its_caller_has(now):
    handle = exatlas.auth.mint("signed_url")
    guard = Guard(env=exatlas.auth.machine_env(handle), clock=now)
    assert guard.check("GET", sign_url("/a", handle.token, clock=now))


@pytest.mark.parametrize("env", [{}, {"EXATLAS_PRESHARED_KEY": ""}])
def test_without_a_secret_there_is_no_guard(env):
    with pytest.raises(exatlas.ConfigError, match="EXATLAS_PRESHARED_KEY is not set"):
        Guard(env=env)


@pytest.mark.parametrize("secrets", ["", b"", [], ["a", ""], [1], {"a": 1}, 7])
def test_a_secret_that_is_none_is_refused(secrets):
    with pytest.raises(exatlas.ValidationError, match="secrets: expected a non-empty string"):
        Guard(secrets)


@pytest.mark.parametrize("leeway", [-1, "5", True, float("nan")])
def test_a_leeway_that_is_none_is_refused(leeway):
    with pytest.raises(exatlas.ValidationError, match="leeway: expected"):
        Guard(SECRET, leeway=leeway)


def test_a_guard_shows_nobody_its_secret():
    assert SECRET not in repr(Guard(SECRET))


# Preflights, and what is loaded


@pytest.mark.parametrize(
    ("method", "headers", "found"),
    [
        ("OPTIONS", {"origin": "x", "access-control-request-method": "GET"}, True),
        ("GET", {"origin": "x", "access-control-request-method": "GET"}, False),
        ("OPTIONS", {"origin": "x"}, False),
        ("OPTIONS", {"access-control-request-method": "GET"}, False),
    ],
)
def test_what_a_preflight_is(method, headers, found):
    assert is_preflight(method, headers) is found


def test_the_machine_needs_no_http_library_for_it():
    code = (
        "import sys, exatlas.auth, exatlas.auth.asgi\n"
        "print({name.partition('.')[0] for name in sys.modules} & {'aiohttp', 'starlette', 'fastapi', 'uvicorn'})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "set()\n"
