"""One table of requests for every door: the plain function, ASGI under uvicorn, and an aiohttp server."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from attrs import field, frozen

from exatlas.auth import Guard, sign_url
from exatlas.clock import ManualClock

SECRET = "the-present-secret-of-the-machine-0123456789"
OLD = "the-secret-before-it-0123456789"
NOW = datetime(2026, 5, 6, 7, 8, 9, 500_000, tzinfo=UTC)
LEEWAY_S = 5
HOME = "127.0.0.1"


@frozen
class Ask:
    """One request."""

    target: str
    good: bool = False
    method: str = "GET"
    authorization: str | None = None
    if_one_time: bool | None = None
    """What is expected instead where URLs are good for one use."""

    def expected(self, *, one_time: bool) -> bool:
        return self.good if self.if_one_time is None or not one_time else self.if_one_time


@frozen
class Case:
    name: str
    asks: list[Ask] = field(converter=lambda asks: asks if isinstance(asks, list) else [asks])

    @property
    def for_websockets(self) -> bool:
        """Whether a WebSocket client can send it."""
        return all(ask.method == "GET" and "#" not in ask.target for ask in self.asks)


@pytest.fixture
def now() -> ManualClock:
    return ManualClock(NOW)


def signed(target: str, *, secret: str = SECRET, at_s: float = 0, expires_in: float = 60, **bound) -> str:
    clock = ManualClock(NOW + timedelta(seconds=at_s))
    return sign_url(target, secret, expires_in=expires_in, clock=clock, **bound)


def _cut(url: str, name: str) -> str:
    path, _, query = url.partition("?")
    return path + "?" + "&".join(pair for pair in query.split("&") if not pair.startswith(f"{name}="))


def _good() -> Iterator[Case]:
    yield Case("bearer", Ask("/a", True, authorization=f"Bearer {SECRET}"))
    yield Case("bearer in small letters", Ask("/a", True, authorization=f"bearer {SECRET}"))
    yield Case("bearer, the old secret", Ask("/a", True, authorization=f"Bearer {OLD}"))
    yield Case("bearer, again", [Ask("/a", True, authorization=f"Bearer {SECRET}")] * 2)
    yield Case("bearer, any method", Ask("/a", True, method="DELETE", authorization=f"Bearer {SECRET}"))
    yield Case("bearer and a bad URL", Ask("/a?exp=1&sig=x", True, authorization=f"Bearer {SECRET}"))
    yield Case("signed", Ask(signed("/a?case=signed"), True))
    yield Case("signed with the old secret", Ask(signed("/a?case=old", secret=OLD), True))
    yield Case("signed, with somebody's own header", Ask(signed("/a?case=basic"), True, authorization="Basic eDp5"))
    yield Case("signed, with another bearer", Ask(signed("/a?case=other"), True, authorization="Bearer of-the-app"))
    yield Case("signed as a whole URL", Ask(signed("https://x.test/a?case=url").removeprefix("https://x.test"), True))
    yield Case("signed, any method", Ask(signed("/a?case=post"), True, method="POST"))
    yield Case("signed with nothing in the query", Ask(signed("/bare"), True))
    url = signed("/a?z=1&case=order&b=2")
    path, query = url.split("?")
    yield Case("query reordered", Ask(path + "?" + "&".join(reversed(query.split("&"))), True))
    yield Case("query escaped otherwise", Ask(signed("/a?case=esc&q=a b~/").replace("a+b~%2F", "a%20b%7e/"), True))
    yield Case("query in unicode", Ask(signed("/a?case=uni&q=grüße"), True))
    yield Case("empty values", Ask(signed("/a?case=empty&flag&none="), True))
    yield Case("an empty value written as none", Ask(signed("/a?case=flag&flag").replace("flag=&", "flag&"), True))
    yield Case("path signed raw, sent escaped", Ask(signed("/ü b?case=raw").replace("/ü b", "/%C3%BC%20b"), True))
    yield Case("path with more escapes", Ask(signed("/~u/a?case=tilde").replace("/~u", "/%7eu"), True))
    yield Case("signed twice", Ask(signed(signed("/a?case=twice", expires_in=1)), True))
    yield Case("in its last second", Ask(signed("/a?case=last", at_s=-60), True))
    yield Case("within the leeway", Ask(signed("/a?case=leeway", at_s=-60 - LEEWAY_S), True))
    yield Case("bound to GET", Ask(signed("/a?case=get", method="get"), True))
    yield Case("bound to GET, asked for the head", Ask(signed("/a?case=head", method="GET"), True, method="HEAD"))
    yield Case("bound to POST", Ask(signed("/a?case=bpost", method="POST"), True, method="POST"))
    yield Case("bound to the client", Ask(signed("/a?case=client", client=HOME), True))
    yield Case("bound to both", Ask(signed("/a?case=both", method="GET", client=HOME), True))
    yield Case(
        "replayed", [Ask(signed("/a?case=replay"), True), Ask(signed("/a?case=replay"), True, if_one_time=False)]
    )


def _bad() -> Iterator[Case]:
    yield Case("nothing", Ask("/a", False))
    yield Case("nothing, but a query", Ask("/a?b=1", False))
    yield Case("nothing, and no such route", Ask("/no/such/route", False))
    yield Case("OPTIONS", Ask("/a", False, method="OPTIONS"))
    yield Case("HEAD", Ask("/a", False, method="HEAD"))
    yield Case("wrong bearer", Ask("/a", False, authorization="Bearer wrong"))
    yield Case("longer bearer", Ask("/a", False, authorization=f"Bearer {SECRET}x"))
    yield Case("bearer without a token", Ask("/a", False, authorization="Bearer"))
    yield Case("another scheme", Ask("/a", False, authorization=f"Basic {SECRET}"))
    yield Case("no scheme", Ask("/a", False, authorization=SECRET))
    yield Case("the secret in the query", Ask(f"/a?token={SECRET}", False))
    yield Case("expired", Ask(signed("/a?case=expired", at_s=-61 - LEEWAY_S), False))
    yield Case("another secret", Ask(signed("/a?case=secret", secret="x"), False))
    yield Case("wrong path", Ask(signed("/a?case=path").replace("/a?", "/b?"), False))
    yield Case("one slash more at the end", Ask(signed("/a?case=slash").replace("/a?", "/a/?"), False))
    yield Case("a path that looks like a host", Ask("//x.test" + signed("/a?case=host"), False))
    yield Case("an escaped slash", Ask(signed("/a/b?case=esc").replace("/a/b", "/a%2Fb"), False))
    url = signed("/a?case=tampered&user=1")
    yield Case("value changed", Ask(url.replace("user=1", "user=2"), False))
    yield Case("name changed", Ask(url.replace("user=1", "User=1"), False))
    yield Case("value added", Ask(url + "&more=1", False))
    yield Case("value removed", Ask(_cut(url, "user"), False))
    yield Case("value repeated in front", Ask(url.replace("?", "?user=2&"), False))
    yield Case("value repeated behind", Ask(url + "&user=1", False))
    yield Case("value repeated under an escaped name", Ask(url + "&%75ser=1", False))
    yield Case("more behind a hash sign", Ask(url + "#&more=1", False))
    exp = int(url.partition("exp=")[2].partition("&")[0])
    yield Case("a later exp", Ask(url.replace(f"exp={exp}", f"exp={exp + 1}"), False))
    yield Case("exp spelled otherwise", Ask(url.replace(f"exp={exp}", f"exp=0{exp}"), False))
    yield Case("exp with a sign", Ask(url.replace(f"exp={exp}", f"exp=%2B{exp}"), False))
    yield Case("no number for exp", Ask(url.replace(f"exp={exp}", "exp=never"), False))
    yield Case("endless exp", Ask(url.replace(f"exp={exp}", "exp=" + "9" * 400), False))
    sig = url.partition("sig=")[2].partition("&")[0]
    yield Case("another sig", Ask(url.replace(sig, "A" + sig[1:] if sig[0] != "A" else "B" + sig[1:]), False))
    yield Case("a shorter sig", Ask(url.replace(sig, sig[:-1]), False))
    yield Case("a padded sig", Ask(url.replace(sig, sig + "%3D"), False))
    yield Case("sig of bytes", Ask(url.replace(sig, "%ff%00"), False))
    yield Case("empty sig", Ask(url.replace(sig, ""), False))
    yield Case("no sig", Ask(_cut(url, "sig"), False))
    yield Case("no exp", Ask(_cut(url, "exp"), False))
    yield Case("two sigs", Ask(url + "&sig=" + sig, False))
    yield Case("bound to POST, used to GET", Ask(signed("/a?case=wm", method="POST"), False))
    yield Case("bound to HEAD, used to GET", Ask(signed("/a?case=wh", method="HEAD"), False))
    yield Case("bound to GET, used to POST", Ask(signed("/a?case=wg", method="GET"), False, method="POST"))
    yield Case("bound to another client", Ask(signed("/a?case=wc", client="127.0.0.2"), False))
    yield Case("bound to both, one wrong", Ask(signed("/a?case=wb", method="GET", client="x"), False))


CASES = [*_good(), *_bad()]


@pytest.fixture
def table() -> list[Case]:
    return CASES


@pytest.fixture(params=[False, True], ids=["many uses", "one time"])
def one_time(request) -> bool:
    return request.param


@pytest.fixture
def guard(now: ManualClock, one_time: bool) -> Guard:
    return Guard([SECRET, OLD], one_time=one_time, leeway=LEEWAY_S, clock=now)


Door = Callable[[Ask], Awaitable[bool]]


async def _walk(table: list[Case], door: Door, *, one_time: bool) -> None:
    let_in = {case.name: [await door(ask) for ask in case.asks] for case in table}
    assert let_in == {case.name: [ask.expected(one_time=one_time) for ask in case.asks] for case in table}


@pytest.fixture
def walk() -> Callable[..., Awaitable[None]]:
    """Send every request of the table through a door, and compare who got in with who should."""
    return _walk


@frozen
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes


async def _send(port: int, ask: Ask, **headers: str) -> Reply:
    """A request with exactly these bytes, which HTTP clients would tidy up."""
    reader, writer = await asyncio.open_connection(HOME, port)
    try:
        lines = [f"{ask.method} {ask.target} HTTP/1.1", "Host: x.test", "Connection: close", "Content-Length: 0"]
        lines += [f"Authorization: {ask.authorization}"] if ask.authorization is not None else []
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    finally:
        writer.close()
        await writer.wait_closed()
    status, *fields = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in fields)
    return Reply(int(status.split()[1]), {name.lower(): value.strip() for name, _, value in pairs}, body)


@pytest.fixture
def send() -> Callable[..., Awaitable[Reply]]:
    return _send


@pytest.fixture
def ask() -> type[Ask]:
    return Ask


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A loopback socket with a free port."""
    with socket.create_server((HOME, 0)) as made:
        yield made


@pytest.fixture
def refusal() -> Callable[[Reply], tuple[object, ...]]:
    """What of a refusal could give a hint: all of it, but for what the moment decides."""
    return lambda reply: (
        reply.status,
        sorted((name, value) for name, value in reply.headers.items() if name not in {"date", "connection"}),
    )
