"""Signed URLs: the rule that ExAtlas shares, what survives on the way, and what does not pass."""

import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import assume, given, strategies as st

import exatlas
from exatlas.auth import Verdict, sign_url, verify_url
from exatlas.clock import ManualClock

SECRET = "an example secret, not a real one"
START = datetime(2026, 1, 1, tzinfo=UTC)
"""1767225600 in seconds since the epoch."""

VECTORS = [
    # What is signed, the URL it is signed for, the signature by `openssl dgst -sha256 -hmac`, and what comes out:
    # ten minutes from START, by ExAtlas v0.5.0 too.
    (
        "/stream/session-42?exp=1767226200",
        "https://abc-8000.proxy.runpod.net/stream/session-42",
        "weri3VhtRnccVBNqcUqBb28uRx4t4wFVUPb3eWLpYb8",
        "https://abc-8000.proxy.runpod.net/stream/session-42?exp=1767226200&sig={}",
    ),
    (
        "/a?exp=1767226200&user=42",
        "https://x.test/a?user=42",
        "6g1eb6a_GBOXWij87pUuYVJOG2OP_bjo0fa4z_m_mWQ",
        "https://x.test/a?exp=1767226200&sig={}&user=42",
    ),
    (
        "/a?b=2&exp=1767226200&exq=3&s=4&z=1",
        "/a?z=1&b=2&exq=3&s=4",
        "avUx1YFKHJxRZL5yRwua3u6-BzSPGyD17FYSOD2trsw",
        "/a?b=2&exp=1767226200&exq=3&s=4&sig={}&z=1",
    ),
    (
        "/?exp=1767226200",
        "https://x.test",
        "CebERIQmiEB8J9U_P22p8YiHO_U4-A0D0-j8I9-RYs0",
        "https://x.test?exp=1767226200&sig={}",
    ),
    (
        "/?exp=1767226200",
        "https://x.test/",
        "CebERIQmiEB8J9U_P22p8YiHO_U4-A0D0-j8I9-RYs0",
        "https://x.test/?exp=1767226200&sig={}",
    ),
    (
        "/?b=1&exp=1767226200",
        "https://x.test?b=1",
        "f3M1J0Or_x1ksy5PCFRoL6XFosXwh_MzA5SFfHZwEAU",
        "https://x.test?b=1&exp=1767226200&sig={}",
    ),
    (
        "/a?exp=1767226200&p=~%2F%3D&q=a+b+c&t=%2A%21%28%29%27",
        "https://x.test/a?q=a%20b+c&p=%7E%2F%3d&t=*!()'",
        "aaPL_o17NhXJwVK_HS8lu0iyJwbQYtWt_cJ-_LgD21s",
        "https://x.test/a?exp=1767226200&p=~%2F%3D&q=a+b+c&sig={}&t=%2A%21%28%29%27",
    ),
    (
        "/a?emoji=%F0%9F%99%82&exp=1767226200&q=%C3%BC&w=%C3%BC",
        "https://x.test/a?q=%C3%BC&w=ü&emoji=%F0%9F%99%82",
        "6icDg1z_KKmP3uDQ1i4MNTHyGadcsA_-FX78oTydoZI",
        "https://x.test/a?emoji=%F0%9F%99%82&exp=1767226200&q=%C3%BC&sig={}&w=%C3%BC",
    ),
    (
        "/%C3%BC/a%2fb/~u?exp=1767226200&x=",
        "https://x.test/%C3%BC/a%2fb/~u?x=",
        "8G4DpExlXjuTeUDt3jPVc9fYynjEesdjxnLByJHooD4",
        "https://x.test/%C3%BC/a%2fb/~u?exp=1767226200&sig={}&x=",
    ),
    (
        "/ü?exp=1767226200",
        "https://x.test/ü",
        "Eijx2S4AqH6tUy8cwRslgirBq1K8_B7feCMq42T10tk",
        "https://x.test/ü?exp=1767226200&sig={}",
    ),
    (
        "/a?=v&empty=&exp=1767226200&flag=",
        "https://x.test/a?flag&empty=&=v",
        "KFAhPQhbaVLgpwqCf7VU0UaHpb_wDi4LB9C3oQv2cOk",
        "https://x.test/a?=v&empty=&exp=1767226200&flag=&sig={}",
    ),
    (
        "/a?exp=1767226200&t=2",
        "https://x.test/a?t=1&t=2",
        "23wooyqHJvJj9qSl6vgdB3INLU_-IGh6tnhIxtaYOG0",
        "https://x.test/a?exp=1767226200&sig={}&t=2",
    ),
    (
        "/a?=&exp=1767226200&x=1&y=2",
        "https://x.test/a?x=1&&y=2&",
        "88K6KLuvvsZ15lrCPr22Fhthg7CA9MLlgh6MyvdIeXs",
        "https://x.test/a?=&exp=1767226200&sig={}&x=1&y=2",
    ),
    (
        "/a?exp=1767226200&x=%FF%00",
        "https://x.test/a?x=%ff%00",
        "CJNShmZtxpU6FISi_lx34DQCXjgCgUtyJYbc3I_xv8A",
        "https://x.test/a?exp=1767226200&sig={}&x=%FF%00",
    ),
    (
        "/a?exp=1767226200&x=1",
        "https://x.test/a?x=1#frag?not=query",
        "j1eI3UjTwS6RYISa83QwSyIMjAo_6Ehbkg78tOvxg4E",
        "https://x.test/a?exp=1767226200&sig={}&x=1#frag?not=query",
    ),
    (
        "/a?exp=1767226200&x=1",
        "https://x.test/a?exp=1&x=1",
        "j1eI3UjTwS6RYISa83QwSyIMjAo_6Ehbkg78tOvxg4E",
        "https://x.test/a?exp=1767226200&sig={}&x=1",
    ),
    (
        "/ws?a=b%3Dc&exp=1767226200",
        "wss://user:pw@x.test:8443/ws?a=b=c",
        "tblc2VFuKzlEhQDoAVSEWrmqR9IGVmjzSra6avemTVU",
        "wss://user:pw@x.test:8443/ws?a=b%3Dc&exp=1767226200&sig={}",
    ),
]


@pytest.fixture
def clock():
    return ManualClock(START)


@pytest.mark.parametrize(("data", "url", "signature", "signed"), VECTORS, ids=[url for _, url, _, _ in VECTORS])
def test_a_plain_url_is_signed_as_exatlas_signs_it(clock, data, url, signature, signed):
    by_hand = base64.urlsafe_b64encode(hmac.new(SECRET.encode(), data.encode(), hashlib.sha256).digest())
    assert by_hand.decode().rstrip("=") == signature
    assert sign_url(url, SECRET, expires_in=600, clock=clock) == signed.format(signature)
    assert verify_url(signed.format(signature), SECRET, clock=clock)


@pytest.mark.parametrize(
    ("bound", "signature"),
    [
        ({"method": "GET"}, "9dD8NY1X2reHfZ64kj-qjR1CQvTQ7S6Hn-CL4WUvt5I"),
        ({"method": "get"}, "9dD8NY1X2reHfZ64kj-qjR1CQvTQ7S6Hn-CL4WUvt5I"),
        ({"client": "203.0.113.9"}, "ej5dkyeOuH68VICPQkGkWXQyBGoxq_z2TM2OJKUSq3o"),
        ({"method": "GET", "client": "203.0.113.9"}, "VO6ZgeHDj05mrVCy9hfjzWyCsonYS8qbTv-6wbesGDA"),
    ],
)
def test_what_a_url_is_bound_to_stands_behind_it_line_by_line(clock, bound, signature):
    signed = sign_url("/a", SECRET, expires_in=600, clock=clock, **bound)
    assert signed == f"/a?exp=1767226200&sig={signature}"
    assert verify_url(signed, SECRET, clock=clock, **bound)
    assert verify_url(signed, SECRET, clock=clock, method="GET", client="203.0.113.9")
    assert verify_url(signed, SECRET, clock=clock) is Verdict.WRONG


def test_a_signature_that_is_there_already_is_replaced(clock):
    once = sign_url("/a?x=1", SECRET, expires_in=1, clock=clock)
    assert sign_url(once, SECRET, expires_in=600, clock=clock) == sign_url(
        "/a?x=1", SECRET, expires_in=600, clock=clock
    )


def test_host_and_scheme_are_not_signed_but_a_path_cannot_pass_for_them(clock):
    signed = sign_url("https://x.test/a", SECRET, clock=clock)
    rest = signed.removeprefix("https://x.test")
    for same in (f"wss://other:1{rest}", f"HTTP://{rest}", rest):
        assert verify_url(same, SECRET, clock=clock)
    for other in (f"//x.test{rest}", f"/{rest}", rest[1:]):
        assert verify_url(other, SECRET, clock=clock) is Verdict.WRONG


def test_a_url_without_a_scheme_is_signed_without_its_host(clock):
    signed = sign_url("//x.test/a", SECRET, clock=clock)
    assert signed.startswith("//x.test/a?exp=")
    assert verify_url(signed.removeprefix("//x.test"), SECRET, clock=clock)


# Time


@pytest.mark.parametrize(
    ("expires_in", "exp"),
    [(600, 1767226200), (timedelta(minutes=10), 1767226200), (0.25, 1767225601), (599.5, 1767226200)],
)
def test_how_long_it_counts(clock, expires_in, exp):
    clock.advance(0.75)
    assert f"exp={exp}&" in sign_url("/a", SECRET, expires_in=expires_in, clock=clock)


def test_an_hour_unless_said_otherwise(clock):
    assert "exp=1767229200&" in sign_url("/a", SECRET, clock=clock)


def test_it_counts_to_the_end_of_its_last_second(clock):
    url = sign_url("/a", SECRET, expires_in=10, clock=clock)
    clock.advance(10.99)
    assert verify_url(url, SECRET, clock=clock)
    clock.advance(0.01)
    assert verify_url(url, SECRET, clock=clock) is Verdict.EXPIRED
    assert verify_url(url, SECRET, leeway=1, clock=clock)
    clock.advance(1)
    assert verify_url(url, SECRET, leeway=timedelta(seconds=1), clock=clock) is Verdict.EXPIRED


def test_the_clock_is_the_real_one_unless_given():
    assert verify_url(sign_url("/a", SECRET), SECRET)
    assert verify_url(sign_url("/a", SECRET, clock=ManualClock(START)), SECRET) is Verdict.EXPIRED


# Secrets


def test_while_secrets_are_rotated_several_count(clock):
    old, new = (sign_url("/a", secret, clock=clock) for secret in ("old", "new"))
    for url in (old, new):
        assert verify_url(url, ["new", "old"], clock=clock)
        assert verify_url(url, ["other", b"another"], clock=clock) is Verdict.WRONG
    assert verify_url(old, ["new"], clock=clock) is Verdict.WRONG


@pytest.mark.parametrize("secrets", ["", b"", [], [""]])
def test_no_secret_opens_nothing(clock, secrets):
    empty = base64.urlsafe_b64encode(hmac.new(b"", b"/a?exp=1767226200", hashlib.sha256).digest()).decode().rstrip("=")
    assert verify_url(f"/a?exp=1767226200&sig={empty}", secrets, clock=clock) is Verdict.WRONG


def test_text_is_its_utf_8_bytes(clock):
    assert sign_url("/a", "grüße", clock=clock) == sign_url("/a", "grüße".encode(), clock=clock)


# Arguments


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"url": "/a\n"}, "url: expected text without control characters"),
        ({"url": "/\ud800"}, "url: expected text without control characters"),
        ({"secret": ""}, "secret: expected at least one character"),
        ({"expires_in": 0}, "expires_in: expected a positive"),
        ({"expires_in": -1}, "expires_in: expected a positive"),
        ({"expires_in": "60"}, "expires_in: expected a positive"),
        ({"expires_in": float("inf")}, "expires_in: expected a positive"),
        ({"method": "GET POST"}, "method: expected the name"),
        ({"method": "GET\nclient=x"}, "method: expected the name"),
        ({"method": ""}, "method: expected the name"),
        ({"client": ""}, "client: expected None or"),
    ],
)
def test_what_cannot_be_signed_is_refused_by_name(arguments, fault):
    with pytest.raises(exatlas.ValidationError, match=fault):
        sign_url(**{"url": "/a", "secret": SECRET, **arguments})


def test_every_fault_is_told_and_no_secret():
    with pytest.raises(exatlas.ValidationError) as caught:
        sign_url(f"/{SECRET}\0", SECRET, expires_in=0, method="")
    assert len(caught.value.faults) == 3
    assert SECRET not in str(caught.value)


def test_only_good_is_true():
    assert [verdict for verdict in Verdict if verdict] == [Verdict.GOOD]


# Whatever the URL


TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]))
WORD = st.text("abcXYZ0123456789-._~", min_size=1, max_size=8)
PAIRS = st.dictionaries(WORD.filter(lambda name: name not in {"exp", "sig"}), WORD, max_size=4)


@given(path=TEXT, query=TEXT, fragment=TEXT, secret=TEXT.filter(bool), method=st.sampled_from([None, "GET", "PUT"]))
def test_what_was_signed_is_good(path, query, fragment, secret, method):
    clock = ManualClock(START)
    url = f"https://x.test/{path}?{query}#{fragment}"
    signed = sign_url(url, secret, method=method, clock=clock)
    assert verify_url(signed, secret, method=method or "GET", clock=clock)
    assert verify_url(signed.partition("#")[0], secret, method=method, clock=clock)
    assert sign_url(signed, secret, method=method, clock=clock) == signed


@given(path=WORD, pairs=PAIRS, place=st.integers(min_value=0), bit=st.integers(0, 7))
def test_one_flipped_bit_fails(path, pairs, place, bit):
    clock = ManualClock(START)
    url = f"/{path}?" + "&".join(f"{name}={value}" for name, value in pairs.items())
    flipped = bytearray(sign_url(url, SECRET, clock=clock).encode())
    flipped[place % len(flipped)] ^= 1 << bit
    assert not verify_url(bytes(flipped), SECRET, clock=clock)


@given(path=WORD, pairs=PAIRS, secret=st.binary(min_size=1), place=st.integers(min_value=0), bit=st.integers(0, 7))
def test_one_flipped_bit_of_the_secret_fails(path, pairs, secret, place, bit):
    clock = ManualClock(START)
    url = f"/{path}?" + "&".join(f"{name}={value}" for name, value in pairs.items())
    flipped = bytearray(secret)
    flipped[place % len(flipped)] ^= 1 << bit
    # HMAC fills a key up with zeros: one that ends in them is the same key with fewer.
    assume(bytes(flipped).rstrip(b"\0") != secret.rstrip(b"\0"))
    assert not verify_url(sign_url(url, secret, clock=clock), bytes(flipped), clock=clock)


@given(pairs=PAIRS, data=st.data())
def test_order_and_spelling_of_the_query_do_not_matter(pairs, data):
    clock = ManualClock(START)
    url = "/a?" + "&".join(f"{name}={value}" for name, value in pairs.items())
    path, _, query = sign_url(url, SECRET, clock=clock).partition("?")
    shuffled = data.draw(st.permutations(query.split("&")))
    escaped = "&".join("=".join(_escape_some(part, data) for part in pair.split("=")) for pair in shuffled)
    assert verify_url(f"{path}?{escaped}", SECRET, clock=clock)


def _escape_some(text, data):
    which = data.draw(st.lists(st.booleans(), min_size=len(text), max_size=len(text)))
    return "".join(f"%{ord(character):02x}" if yes else character for character, yes in zip(text, which, strict=True))


@given(target=st.one_of(TEXT, st.text(), st.binary()))
def test_any_bytes_can_be_asked_about(target):
    assert not verify_url(target, SECRET, clock=ManualClock(START))


@given(client=st.text(min_size=1), other=st.text(min_size=1))
def test_a_url_is_for_one_client_only(client, other):
    assume(client != other)
    clock = ManualClock(START)
    signed = sign_url("/a", SECRET, client=client, clock=clock)
    assert verify_url(signed, SECRET, client=client, clock=clock)
    assert not verify_url(signed, SECRET, client=other, clock=clock)
    assert not verify_url(signed, SECRET, method=client, client=other, clock=clock)
