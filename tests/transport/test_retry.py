from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, strategies as st

from exatlas.errors import TransportError, TransportTimeoutError
from exatlas.messages import HttpCall, HttpReply, Repeat
from exatlas.transport.retry import RetryPolicy, decide, exhausted_for, retry_after_of, worth_repeating

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
LOST = TransportError("lost")
NEVER_SENT = TransportError("refused", delivered=False)
LATE = TransportTimeoutError("late")
HOPELESS = TransportError("a redirect", retryable=False)


def call(repeat):
    return HttpCall(provider="p", operation="o", method="GET", url="https://h/", template="/", repeat=repeat)


def reply(status, **headers):
    return HttpReply(status=status, headers={name.replace("_", "-"): value for name, value in headers.items()})


TABLE = {
    #            SAFE   REFUSED NEVER
    200: (False, False, False),
    204: (False, False, False),
    400: (False, False, False),
    401: (False, False, False),
    402: (False, False, False),
    403: (False, False, False),
    404: (False, False, False),
    408: (True, False, False),
    409: (False, False, False),
    422: (False, False, False),
    429: (True, True, False),
    500: (True, False, False),
    502: (True, False, False),
    503: (True, False, False),
    504: (True, False, False),
    524: (True, False, False),
    LOST: (True, False, False),
    NEVER_SENT: (True, False, False),
    LATE: (True, False, False),
    HOPELESS: (False, False, False),
}


@pytest.mark.parametrize(("outcome", "expected"), TABLE.items())
def test_what_may_be_sent_again(outcome, expected):
    outcome = reply(outcome) if isinstance(outcome, int) else outcome
    for repeat, may in zip((Repeat.SAFE, Repeat.REFUSED, Repeat.NEVER), expected, strict=True):
        assert worth_repeating(call(repeat), outcome) is may
        assert (decide(call(repeat), 1, outcome, now=NOW, jitter=0.5) is not None) is may


def test_three_tries_with_doubling_waits():
    waits = [decide(call(Repeat.SAFE), attempt, LOST, now=NOW, jitter=0.5) for attempt in (1, 2, 3, 4)]
    assert waits == [0.5, 1.0, None, None]


def test_the_policy_can_be_another():
    policy = RetryPolicy(tries=2, base_s=4.0, longest_s=10.0)
    assert decide(call(Repeat.SAFE), 1, LOST, now=NOW, jitter=0.5, policy=policy) == 4.0
    assert decide(call(Repeat.SAFE), 2, LOST, now=NOW, jitter=0.5, policy=policy) is None
    assert decide(call(Repeat.SAFE), 1, reply(429, retry_after="11"), now=NOW, jitter=0.0, policy=policy) is None


@given(st.integers(1, 2), st.floats(0, 1, exclude_max=True), st.sampled_from([LOST, reply(503), reply(429)]))
def test_waits_spread_around_the_backoff(attempt, jitter, outcome):
    wait = decide(call(Repeat.SAFE), attempt, outcome, now=NOW, jitter=jitter)
    backoff = 0.5 * 2 ** (attempt - 1)
    assert wait is not None
    assert backoff * 0.5 <= wait <= backoff * 1.5


@given(st.integers(0, 60), st.floats(0, 1, exclude_max=True), st.sampled_from([408, 429, 503]))
def test_what_the_cloud_asks_for_is_never_undercut(seconds, jitter, status):
    wait = decide(call(Repeat.SAFE), 1, reply(status, retry_after=str(seconds)), now=NOW, jitter=jitter)
    assert wait is not None
    assert max(seconds, 0.25) <= wait <= max(seconds, 0.25) + 0.5


@pytest.mark.parametrize(
    "headers",
    [{"retry_after": "61"}, {"ratelimit": '"day";r=0;t=45012'}, {"retry_after": "Wed, 25 Nov 2026 00:00:00 GMT"}],
)
def test_who_asks_for_too_much_patience_is_not_waited_for(headers):
    assert decide(call(Repeat.SAFE), 1, reply(429, **headers), now=NOW, jitter=0.0) is None


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("12", 12.0),
        (" 12 ", 12.0),
        ("0", 0.0),
        ("1.5", 1.5),
        ("-3", 0.0),
        ("Tue, 24 Nov 2026 12:00:30 GMT", 30.0),
        ("Tue, 24 Nov 2026 12:00:30 -0000", 30.0),
        ("Tue, 24 Nov 2026 11:00:00 GMT", 0.0),
        ("Tuesday, 24-Nov-26 12:00:30 GMT", 30.0),
        ("soon", None),
        ("", None),
        ("nan", None),
        ("inf", None),
        ("9" * 400, None),
        ("1_0", None),
        ("1e3", None),
        ("\u0663", None),
        ("0x10", None),
        ("Tue, 99 Nov 2026 12:00:30 GMT", None),
        ("Tue, 24 Nov 2026 12:00:30 +" + "9" * 400, None),
        ("Mon, 01 Jan 0001 00:00:00 +2359", 0.0),
    ],
)
def test_retry_after(said, seconds):
    assert retry_after_of(reply(429, retry_after=said), NOW) == seconds


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ('"minute";r=0;t=12, "hour";r=2800;t=1812, "day";r=49500;t=45012', 12.0),
        ('"minute";r=0;t=12, "hour";r=0;t=1812, "day";r=49500;t=45012', 1812.0),
        ('"minute";r=1;t=12', None),
        ('"minute";r=10;t=12', None),
        ('"minute"; r=0; t=12', 12.0),
        ('"minute";t=12;r=0', 12.0),
        ('"minute";r=0;t=12;pk=:abc=:', 12.0),
        ('"a, b";r=0;t=3', 3.0),
        ('"minute";r=0', None),
        ('"minute";t=12', None),
        ('"minute"', None),
        ("limit=100, remaining=0, reset=50", None),
        (f'"minute";r=0;t={"9" * 400}', None),
        ('nonsense;;;"', None),
        ("", None),
    ],
)
def test_used_up_windows(said, seconds):
    assert exhausted_for({"ratelimit": said}) == seconds
    assert retry_after_of(reply(429, ratelimit=said), NOW) == seconds


def test_the_longer_of_both_counts():
    window = '"minute";r=0;t=12'
    assert retry_after_of(reply(429, retry_after="5", ratelimit=window), NOW) == 12.0
    assert retry_after_of(reply(429, retry_after="20", ratelimit=window), NOW) == 20.0
    assert retry_after_of(reply(429), NOW) is None


@given(st.text())
def test_nonsense_is_nothing_said_and_no_error(said):
    seconds = retry_after_of(reply(429, retry_after=said, ratelimit=said), NOW)
    assert seconds is None or seconds >= 0


@given(st.integers(1, 10**6))
def test_a_date_is_as_good_as_seconds(seconds):
    said = (NOW + timedelta(seconds=seconds)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    assert retry_after_of(reply(429, retry_after=said), NOW) == seconds
