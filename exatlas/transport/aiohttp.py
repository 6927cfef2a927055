"""The one module that speaks aiohttp: sockets, deadlines, bounds, and foreign errors turned into ours at the border."""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import suppress
from functools import lru_cache
from importlib.metadata import version
from io import BytesIO
from math import inf
from typing import Any
from weakref import WeakSet

import aiohttp
from aiohttp import ClientResponse, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector
from attrs import define, field
from yarl import URL

from exatlas.errors import AtlasError, ConfigError, TransportError, TransportTimeoutError
from exatlas.messages import HttpCall, HttpReply
from exatlas.transport.address import host_of, is_loopback, origin_of
from exatlas.transport.inprocess import too_long
from exatlas.transport.redact import redact_text

MOST_CONNECTIONS = 4096
"""Far above what the clouds' own limits let anybody use; aiohttp's own 100 would starve streams."""
CONNECT_TIMEOUT_S = 15.0
"""Longest wait for a socket, TLS included; a shorter deadline of the call wins."""
KEEP_ALIVE_S = 15.0
"""Idle connections are dropped well before common edges do it, so that a create seldom meets one that is closing."""
CLOSE_TIMEOUT_S = 5.0
LARGE_BODY = 1024 * 1024
"""A longer request body goes out in pieces, so that writing it does not hold up the event loop."""

_NOT_CONNECTED = "cancelled before there was a connection"
_FOREIGN = (aiohttp.ClientError, OSError, TimeoutError, ValueError, TypeError)
"""What aiohttp raises. The last two are how it refuses headers that cannot be sent."""
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class AiohttpTransport:
    """A keep-alive pool of connections for each event loop it is used from, opened at the first call.

    Loops never share a connection. A pool is closed by `aclose` on its loop, or else when its loop shuts down (as
    `asyncio.run` does at its end), so nothing is left open by a program that never closes its transport.

    Plain `http://` goes to loopback addresses only, unless `allow_insecure` insists. Redirects are never followed, and
    proxies and credentials of the environment are never used.

    Args:
        user_agent: What to call ourselves; None is `exatlas/<version>`. Some edges refuse the names of HTTP libraries.
        connections: Most connections open at once, in each pool. Calls beyond that wait, inside their deadline.
        allow_insecure: Let `http://` go anywhere, with whatever key the call carries.
    """

    def __init__(
        self,
        *,
        user_agent: str | None = None,
        connections: int = MOST_CONNECTIONS,
        allow_insecure: bool = False,
    ) -> None:
        self._user_agent = user_agent
        self._connections = connections
        self._allow_insecure = allow_insecure
        self._pools: dict[asyncio.AbstractEventLoop, _Pool] = {}
        self._keepers: dict[asyncio.AbstractEventLoop, AsyncGenerator[None, None]] = {}
        self._admitted: set[str] = set()
        self._closed = False

    async def send(self, call: HttpCall, /) -> HttpReply:
        """Send and read the whole reply within `timeout_s`.

        Cancelling cuts the connection; whether the cloud acted cannot be known then.

        Raises:
            TransportError: no usable reply, a redirect, or a reply beyond `max_reply_bytes`.
            ConfigError: the transport is closed, or the call can never be sent as it is. Nothing was sent.
        """
        url = self._url(call)
        pool = self._pools.get(asyncio.get_running_loop()) or await self._open_pool(call)
        try:
            response = await pool.session.request(
                call.method,
                url,
                data=_payload(call.body),
                headers=call.headers,
                timeout=_whole_call(call.timeout_s),
                allow_redirects=False,
            )
            try:
                _refuse_redirect(response, call)
                body = await _read(response, call, pool)
            except BaseException:
                response.close()
                raise
        except _FOREIGN as error:
            fault = _ours(error, call, pool)
        else:
            if not response.closed:  # a reply that ends HTTP on its connection
                response.close()
            return HttpReply(status=response.status, headers=_headers(response), body=body)
        raise fault  # out here, the foreign error is no implicit context, and only its safe form is the cause

    async def open(self, call: HttpCall, /) -> "AiohttpStream":
        """Send and return with the head of the reply, which must come within `timeout_s`; the body may take for ever.

        Cancelling cuts the connection. Errors are as for `send`.
        """
        url = self._url(call)
        pool = self._pools.get(asyncio.get_running_loop()) or await self._open_pool(call)
        try:
            async with asyncio.timeout(call.timeout_s):
                response = await pool.session.request(
                    call.method,
                    url,
                    data=_payload(call.body),
                    headers=call.headers,
                    timeout=_HEAD_ONLY,
                    allow_redirects=False,
                )
            try:
                _refuse_redirect(response, call)
            except TransportError:
                response.close()
                raise
        except _FOREIGN as error:
            fault = _ours(error, call, pool)
        else:
            pool.under_way.add(response)
            return AiohttpStream(response, call, pool)
        raise fault

    async def aclose(self) -> None:
        """Cut every connection of the running loop, those of calls and streams under way too. Safe to repeat.

        Further calls are refused, on any loop. Takes at most `CLOSE_TIMEOUT_S`. Pools of other loops close with them.
        """
        self._closed = True
        loop = asyncio.get_running_loop()
        pool = self._pools.pop(loop, None)
        keeper = self._keepers.pop(loop, None)
        if pool is None or keeper is None:
            return
        if pool.closed:  # by a loop that shuts down: it closes all its generators at once, this one and its owner's
            await pool.aclose()
        else:
            await keeper.aclose()

    async def _open_pool(self, call: HttpCall) -> "_Pool":
        for gone in [loop for loop in self._pools if loop.is_closed()]:
            del self._pools[gone], self._keepers[gone]
        session = ClientSession(
            connector=_Connector(limit=self._connections, keepalive_timeout=KEEP_ALIVE_S),
            cookie_jar=DummyCookieJar(),
            headers={"User-Agent": self._user_agent or default_user_agent()},
            auto_decompress=True,
        )
        # aiohttp repeats a GET by itself when a kept-alive connection drops. On a poll that drains, the repeat would
        # lose chunks without anybody knowing; repeating is the retry policy's business.
        session._retry_connection = False
        loop = asyncio.get_running_loop()
        pool = self._pools[loop] = _Pool(session)
        keeper = self._keepers[loop] = _close_with_loop(pool)
        await anext(keeper)  # runs without pause, and makes the loop aware of the generator
        return pool

    def _url(self, call: HttpCall) -> URL:
        """Check what can be checked before sending, and take the URL as it is: it was encoded by whoever built it."""
        if self._closed:
            raise ConfigError("the client is closed", provider=call.provider, operation=call.operation)
        if not call.timeout_s > 0:
            raise TransportTimeoutError(
                f"{call.method} {call.template}: no time was left to send it",
                delivered=False,
                provider=call.provider,
                operation=call.operation,
            )
        url = call.url
        if not (url.isascii() and url.isprintable()) or " " in url:
            raise _unsendable(call, "its URL holds characters that must be percent-encoded")
        origin = origin_of(url)
        if origin not in self._admitted:
            self._admit(origin, call)
        return URL(url, encoded=True)

    def _admit(self, origin: str, call: HttpCall) -> None:
        try:
            parsed = URL(origin, encoded=True)
            host, known = parsed.host, parsed.scheme in ("https", "http") and parsed.port
        except ValueError as error:
            raise _unsendable(call, f"its URL is wrong: {error}") from None
        if not host or not known:
            raise _unsendable(call, "its URL is not an absolute http:// or https:// one")
        if parsed.scheme == "http" and not self._allow_insecure and not is_loopback(host):
            if call.anonymous:
                return  # this call only
            raise _unsendable(call, f"it would travel unencrypted to {host}: use https://, or allow_insecure=True")
        if len(self._admitted) > MOST_CONNECTIONS:
            self._admitted.clear()
        self._admitted.add(origin)


@define(eq=False)
class _Pool:
    """What belongs to one event loop."""

    session: ClientSession
    under_way: "WeakSet[ClientResponse]" = field(factory=WeakSet)
    """Replies not yet read to their end. aiohttp would leave their readers waiting for ever when it closes."""
    closed: bool = False

    async def aclose(self) -> None:
        """Cut every connection. Safe to repeat."""
        self.closed = True
        for response in list(self.under_way):
            response.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self.session.close()


async def _close_with_loop(pool: _Pool) -> AsyncGenerator[None, None]:
    """Wait for the event loop to shut its generators down, or for `aclose`, and close everything."""
    try:
        yield
    finally:
        await pool.aclose()


class AiohttpStream:
    """A reply whose body is read as it arrives. Cancelling a read loses nothing: the next one goes on from there."""

    def __init__(self, response: ClientResponse, call: HttpCall, pool: _Pool) -> None:
        self._response = response
        self._call = call
        self._pool = pool
        self.status = response.status
        self.headers = _headers(response)

    def chunks(self) -> AsyncIterator[bytes]:
        """The body from where it was read to, in pieces of any size. Raises TransportError when it breaks off."""
        return self

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            piece = await self._response.content.readany()
        except _FOREIGN as error:
            fault = _ours(error, self._call, self._pool)
        else:
            if piece:
                return piece
            raise StopAsyncIteration
        raise fault

    async def read(self) -> bytes:
        """The whole body, bounded by `max_reply_bytes`, and by `timeout_s` from now."""
        try:
            async with asyncio.timeout(self._call.timeout_s):
                return await _read(self._response, self._call, self._pool)
        except _FOREIGN as error:
            fault = _ours(error, self._call, self._pool)
        raise fault

    async def aclose(self) -> None:
        """Give the connection back if the body was read to its end, else cut it. Safe to repeat; never waits."""
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()


class _Connector(TCPConnector):
    """Lets a deadline that ends the wait for a connection be told from one that ends the wait for a reply."""

    async def connect(self, *args: Any, **kwargs: Any) -> aiohttp.connector.Connection:
        try:
            return await super().connect(*args, **kwargs)
        except asyncio.CancelledError as error:
            error.add_note(_NOT_CONNECTED)
            raise


_HEAD_ONLY = ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, ceil_threshold=inf)


@lru_cache(256)
def _whole_call(seconds: float) -> ClientTimeout:
    # The threshold: aiohttp rounds deadlines above it up to the next full second.
    return ClientTimeout(total=seconds if seconds < inf else None, sock_connect=CONNECT_TIMEOUT_S, ceil_threshold=inf)


@lru_cache(1)
def default_user_agent() -> str:
    """What we call ourselves."""
    return f"exatlas/{version('exatlas')}"


def _headers(response: ClientResponse) -> dict[str, str]:
    """Names in lower case; lines of the same name are joined, as HTTP allows for all that are read here."""
    headers: dict[str, str] = {}
    for name, value in response.headers.items():
        name = name.lower()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _payload(body: bytes | None) -> bytes | BytesIO | None:
    return BytesIO(body) if body is not None and len(body) > LARGE_BODY else body


async def _read(response: ClientResponse, call: HttpCall, pool: _Pool) -> bytes:
    content = response.content
    if not content.is_eof():
        pool.under_way.add(response)
    piece = await content.readany()
    size = len(piece)
    if content.at_eof() and size <= call.max_reply_bytes:
        return piece
    announced = response.headers.get("Content-Length", "0")
    pieces = [piece]
    while piece:
        if max(size, int(announced)) > call.max_reply_bytes:
            response.close()
            raise too_long(call)
        piece = await content.readany()
        size += len(piece)
        pieces.append(piece)
    return b"".join(pieces)


def _refuse_redirect(response: ClientResponse, call: HttpCall) -> None:
    if 300 <= response.status < 400 and response.status != 304:
        raise TransportError(
            f"{host_of(call.url)} answered {call.method} {call.template} with a redirect, which is refused because a "
            "credential would go with it; check the base URL",
            status=response.status,
            retryable=False,
            provider=call.provider,
            operation=call.operation,
        )


def _unsendable(call: HttpCall, why: str) -> ConfigError:
    return ConfigError(
        f"{call.method} {call.template} cannot be sent: {why}", provider=call.provider, operation=call.operation
    )


def _fault_of(call: HttpCall) -> str | None:
    """What makes the call impossible to write down as HTTP, if anything. No value is shown: it may be a key."""
    if not _TOKEN.fullmatch(call.method):
        return "its method is not a word"
    headers: Mapping[str, object] = call.headers
    for name, value in headers.items():
        if not isinstance(value, str):
            return f"its header {name!r} is not text"
        if not _TOKEN.fullmatch(name) or _CONTROL.search(value):
            return f"its header {name!r} holds a line break or another character that no header may hold"
    if "@" in origin_of(call.url):
        return "its URL holds one credential and its headers another"
    return None


def _ours(error: Exception, call: HttpCall, pool: _Pool) -> AtlasError:
    """Turn what aiohttp raised into one of our errors, its cause chained."""
    if isinstance(error, ValueError | TypeError) and (why := _fault_of(call)):
        return _unsendable(call, why)
    fault = _classified(error, call, pool)
    fault.provider, fault.operation = call.provider, call.operation
    fault.__cause__ = _presentable(error, call)
    return fault


def _classified(error: Exception, call: HttpCall, pool: _Pool) -> TransportError:
    host = host_of(call.url)
    what = f"{call.method} {call.template}"
    if isinstance(error, TimeoutError):
        if isinstance(error, aiohttp.ConnectionTimeoutError) or _NOT_CONNECTED in getattr(
            error.__cause__, "__notes__", ()
        ):
            return TransportTimeoutError(f"{what}: no connection to {host} in time", delivered=False)
        return TransportTimeoutError(f"{what}: no complete reply from {host} within {call.timeout_s:g} s")
    if isinstance(error, aiohttp.ClientConnectorError):
        return TransportError(
            f"{what}: no connection to {host}: {_detail(error.os_error, call)}",
            delivered=False,
            retryable=not isinstance(error, aiohttp.ClientConnectorCertificateError),
        )
    if pool.closed:
        return TransportError(f"{what}: the client was closed before the reply was complete", retryable=False)
    if isinstance(error, aiohttp.ClientPayloadError):
        return TransportError(f"{what}: the reply from {host} broke off or cannot be decoded")
    if isinstance(error, aiohttp.ClientResponseError):
        return TransportError(f"{what}: the reply from {host} is not HTTP")
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return TransportError(f"{what}: {host} closed the connection before its reply")
    return TransportError(f"{what}: the connection to {host} broke: {_detail(error, call)}")


def _detail(error: Exception, call: HttpCall) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return redact_text(text, _unspeakable(call))


def _unspeakable(call: HttpCall) -> list[str]:
    """What an error may not say: secrets, and the path and query, which hold ids and sometimes signatures."""
    return [*call.secrets, call.url, call.url.removeprefix(origin_of(call.url))]


def _presentable(error: BaseException, call: HttpCall) -> BaseException:
    """The error itself, or a likeness of it where its text, or that of what it came from, says too much."""
    texts = []
    link: BaseException | None = error
    while link is not None:
        texts.append(str(link))
        link = link.__cause__ or link.__context__
    said = "\n".join(texts)
    if redact_text(said, _unspeakable(call)) == said:
        return error
    return ConnectionError(f"{type(error).__name__}: {redact_text(str(error), _unspeakable(call))}")
