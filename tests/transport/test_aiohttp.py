import asyncio
import gc
import gzip
import ssl
import traceback
import warnings
from importlib.metadata import version
from math import inf, nan

import pytest

from exatlas.errors import ConfigError, ErrorKind, TransportError, TransportTimeoutError
from exatlas.messages import HttpCall
from exatlas.protocols import Transport
from exatlas.transport.aiohttp import AiohttpTransport, default_user_agent

SOON_S = 10.0
"""Long enough for anything that does happen."""


async def polite(peer):
    while True:
        await peer.request()
        await peer.reply()


async def silent(peer):
    await peer.request()
    await peer.gone()


async def settle():
    """Let everything run that can run without news from the network, and the loopback deliver."""
    for _ in range(50):
        await asyncio.sleep(0)


async def soon(awaitable):
    return await asyncio.wait_for(awaitable, SOON_S)


def test_it_is_a_transport():
    assert isinstance(AiohttpTransport(), Transport)


# What is sent and what comes back


async def test_a_call_and_its_reply(serve, transport):
    async def behave(peer):
        await peer.request()
        await peer.reply(b'{"a":1}', "X-Request-Id: r1", "Content-Type: application/problem+json", status=418)

    server = await serve(behave)
    reply = await transport.send(
        server.call("/v2/a%2Fb?x=%20y", "POST", body=b"payload", headers={"Authorization": "Bearer k"})
    )
    assert (reply.status, reply.body, reply.json()) == (418, b'{"a":1}', {"a": 1})
    assert reply.headers["x-request-id"] == "r1"
    assert reply.headers["content-type"] == "application/problem+json"
    [request] = server.requests
    assert request.startswith(b"POST /v2/a%2Fb?x=%20y HTTP/1.1\r\n")
    assert request.endswith(b"\r\n\r\npayload")
    assert b"Authorization: Bearer k\r\n" in request


async def test_the_own_user_agent_is_sent(serve, transport):
    server = await serve(polite)
    await transport.send(server.call())
    assert f"User-Agent: exatlas/{version('exatlas')}\r\n".encode() in server.requests[0]
    assert default_user_agent() == f"exatlas/{version('exatlas')}"


async def test_a_user_agent_of_the_callers_choice_is_sent(serve):
    server = await serve(polite)
    transport = AiohttpTransport(user_agent="mine/1")
    await transport.send(server.call())
    await transport.aclose()
    assert b"User-Agent: mine/1\r\n" in server.requests[0]


async def test_an_empty_reply_is_a_reply(serve, transport):
    async def behave(peer):
        await peer.request()
        await peer.say(b"HTTP/1.1 204 No Content\r\n\r\n")

    reply = await transport.send((await serve(behave)).call(method="DELETE"))
    assert (reply.status, reply.body) == (204, b"")


async def test_header_lines_of_one_name_are_joined(serve, transport):
    async def behave(peer):
        await peer.request()
        await peer.reply(b"", 'RateLimit: "minute";r=0;t=12', 'ratelimit: "hour";r=1;t=99')

    reply = await transport.send((await serve(behave)).call())
    assert reply.headers["ratelimit"] == '"minute";r=0;t=12, "hour";r=1;t=99'


async def test_a_compressed_reply_is_unpacked(serve, transport):
    async def behave(peer):
        await peer.request()
        await peer.reply(gzip.compress(b"hello"), "Content-Encoding: gzip")

    assert (await transport.send((await serve(behave)).call())).body == b"hello"


async def test_a_reply_in_many_pieces_is_put_together(serve, transport):
    async def behave(peer):
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(50):
            await peer.say(b"3e8\r\n" + b"x" * 1000 + b"\r\n")
        await peer.say(b"0\r\n\r\n")
        await peer.gone()

    assert (await transport.send((await serve(behave)).call())).body == b"x" * 50_000


async def test_cookies_are_forgotten(serve, transport):
    async def behave(peer):
        while True:
            await peer.request()
            await peer.reply(b"{}", "Set-Cookie: a=b; Path=/")

    server = await serve(behave)
    for _ in range(2):
        await transport.send(server.call())
    assert b"ookie" not in server.requests[1]


async def test_a_large_body_is_sent_whole_and_without_a_warning(serve, transport):
    body = bytes(range(256)) * 12_000
    server = await serve(polite)
    for _ in range(2):
        await transport.send(server.call(method="POST", body=body))
    for request in server.requests:
        head, _, sent = request.partition(b"\r\n\r\n")
        assert f"Content-Length: {len(body)}".encode() in head
        assert b"chunked" not in head
        assert sent == body
    assert server.connections == 1


async def test_a_reply_before_the_body_was_taken_ends_the_call(serve, transport):
    """A payload limit answers at once; the connection, with half a body on it, must not be used again."""

    async def behave(peer):
        head = await peer.reader.readuntil(b"\r\n\r\n")
        if b"POST" in head:
            await peer.reply(b"too large", status=413)
            await peer.gone()
        else:
            await peer.reply(b"fine")

    server = await serve(behave)
    reply = await soon(transport.send(server.call(method="POST", body=b"x" * 20_000_000)))
    assert (reply.status, reply.body) == (413, b"too large")
    assert (await soon(transport.send(server.call()))).body == b"fine"
    assert server.connections == 2


async def test_interim_replies_are_passed_over(serve, transport):
    async def behave(peer):
        await peer.request()
        await peer.say(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
        await peer.reply(b"{}")

    assert (await transport.send((await serve(behave)).call())).status == 200


async def test_what_follows_a_reply_unasked_is_never_taken_for_the_next_one(serve, transport):
    async def behave(peer):
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nmine")
        await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        await peer.gone()

    server = await serve(behave)
    for _ in range(2):
        assert (await transport.send(server.call())).body == b"mine"


async def test_a_connection_that_stops_speaking_http_is_not_kept(serve, transport):
    async def behave(peer):
        await peer.request()
        await peer.say(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: other\r\nConnection: upgrade\r\n\r\n")
        await peer.gone()

    server = await serve(behave)
    assert (await transport.send(server.call())).status == 101
    await soon(server.closed.wait())


async def test_proxies_of_the_environment_are_not_used(serve, transport, monkeypatch):
    elsewhere, server = await serve(polite), await serve(polite)
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, elsewhere.origin)
    await transport.send(server.call())
    assert (elsewhere.connections, server.connections) == (0, 1)


# The pool


async def test_connections_are_kept_and_used_again(serve, transport):
    server = await serve(polite)
    for _ in range(5):
        await transport.send(server.call())
    assert (server.connections, len(server.requests)) == (1, 5)


async def test_far_more_than_a_hundred_calls_are_under_way_at_once(serve, transport):
    everybody = asyncio.Event()

    async def behave(peer):
        await peer.request()
        if len(peer.server.requests) == 130:
            everybody.set()
        await everybody.wait()
        await peer.reply()

    server = await serve(behave)
    replies = await soon(asyncio.gather(*(transport.send(server.call()) for _ in range(130))))
    assert len(replies) == server.connections == 130


async def test_a_call_that_waits_for_a_connection_keeps_its_deadline(serve):
    transport = AiohttpTransport(connections=1)
    server = await serve(silent)
    first = asyncio.create_task(transport.send(server.call()))
    await soon(server.heard.wait())
    with pytest.raises(TransportTimeoutError) as caught:
        await transport.send(server.call(timeout_s=0.05))
    assert caught.value.delivered is False
    await transport.aclose()
    with pytest.raises(TransportError):
        await first
    assert len(server.requests) == 1


async def test_two_loops_share_nothing_and_leave_nothing_open(serve, transport):
    server = await serve(polite)

    async def elsewhere():
        await transport.send(server.call())
        await transport.send(server.call())

    await transport.send(server.call())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            await asyncio.to_thread(asyncio.run, elsewhere())
        gc.collect()
    assert [str(warning.message) for warning in caught] == []
    await transport.send(server.call())
    assert (server.connections, len(server.requests)) == (3, 6)
    assert server.open == 1
    assert len(transport._pools) <= 2


async def test_a_transport_that_is_just_dropped_closes_its_connections(serve):
    server = await serve(polite)
    transport = AiohttpTransport()
    await transport.send(server.call())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del transport
        gc.collect()
        await soon(server.closed.wait())
    assert [str(warning.message) for warning in caught] == []


async def test_closing_twice_and_calling_afterwards(serve):
    server = await serve(polite)
    transport = AiohttpTransport()
    await transport.send(server.call())
    await transport.aclose()
    await transport.aclose()
    await soon(server.closed.wait())
    for use in (transport.send, transport.open):
        with pytest.raises(ConfigError, match="closed"):
            await use(server.call())
    assert len(server.requests) == 1


async def test_closing_a_transport_that_was_never_used():
    await AiohttpTransport().aclose()


async def stuck_before_the_head(peer):
    await peer.request()
    await peer.gone()


async def stuck_in_a_body_of_known_length(peer):
    await peer.request()
    await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
    await peer.gone()


async def stuck_in_a_chunked_body(peer):
    await peer.request()
    await peer.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
    await peer.gone()


async def stuck_in_a_body_without_an_end(peer):
    await peer.request()
    await peer.say(b"HTTP/1.1 200 OK\r\n\r\nhalf")
    await peer.gone()


IN_A_BODY = [stuck_in_a_body_of_known_length, stuck_in_a_chunked_body, stuck_in_a_body_without_an_end]


@pytest.mark.parametrize("stuck", [stuck_before_the_head, *IN_A_BODY])
async def test_closing_ends_the_calls_under_way(serve, stuck):
    server = await serve(stuck)
    transport = AiohttpTransport()
    call = asyncio.create_task(transport.send(server.call()))
    await soon(server.heard.wait())
    await settle()
    await soon(transport.aclose())
    with pytest.raises(TransportError, match="client was closed") as caught:
        await soon(call)
    assert (caught.value.delivered, caught.value.retryable) == (None, False)
    await soon(server.closed.wait())


@pytest.mark.parametrize("stuck", IN_A_BODY)
@pytest.mark.parametrize("way", ["chunks", "read"])
async def test_closing_ends_the_streams_under_way(serve, stuck, way):
    """An event stream has no deadline: a reader that is not told waits for ever."""
    server = await serve(stuck)
    transport = AiohttpTransport()
    stream = await transport.open(server.call())

    async def read():
        if way == "read":
            return await stream.read()
        return [piece async for piece in stream.chunks()]

    reading = asyncio.create_task(read())
    await settle()
    await soon(transport.aclose())
    with pytest.raises(TransportError, match="client was closed"):
        await soon(reading)
    with pytest.raises(TransportError, match="client was closed"):
        await anext(stream.chunks())
    await stream.aclose()
    await soon(server.closed.wait())


async def test_a_stream_nobody_closed_ends_with_the_loop(serve):
    server = await serve(stuck_in_a_chunked_body)

    async def elsewhere():
        transport = AiohttpTransport()
        stream = await transport.open(server.call())
        assert await anext(stream.chunks()) == b"one"
        return transport, stream

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        held = await asyncio.to_thread(asyncio.run, elsewhere())
        del held
        gc.collect()
    assert [str(warning.message) for warning in caught] == []
    await soon(server.closed.wait())


async def test_an_owner_that_the_loop_closes_closes_its_transport_without_an_error(serve):
    """A loop that shuts down closes all its generators at once, the transport's own among them."""
    server = await serve(polite)
    errors = []

    async def own(transport):
        try:
            yield
        finally:
            try:
                await asyncio.create_task(transport.aclose())
            except RuntimeError as error:
                errors.append(error)

    async def elsewhere():
        asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
        transport = AiohttpTransport()
        owner = own(transport)
        await anext(owner)
        await transport.send(server.call())
        return transport, owner

    held = await asyncio.to_thread(asyncio.run, elsewhere())
    assert errors == []
    await soon(server.closed.wait())
    del held


async def test_a_closed_transport_is_closed_on_every_loop(serve):
    server = await serve(polite)
    transport = AiohttpTransport()
    await transport.send(server.call())

    async def elsewhere():
        await transport.aclose()

    await asyncio.to_thread(asyncio.run, elsewhere())
    with pytest.raises(ConfigError, match="closed"):
        await transport.send(server.call())
    await transport.aclose()


# What goes wrong on the way


async def test_nobody_listens(serve, transport):
    server = await serve(polite)
    call = server.call()
    await server.stop()
    with pytest.raises(TransportError, match=r"no connection to 127\.0\.0\.1") as caught:
        await transport.send(call)
    error = caught.value
    assert (error.delivered, error.retryable, error.kind) == (False, True, ErrorKind.TRANSPORT)
    assert (error.provider, error.operation) == ("runpod", "get_compute")
    assert isinstance(error.__cause__, ConnectionRefusedError | OSError)


async def test_tls_that_fails_is_never_delivered(serve, transport):
    async def behave(peer):
        await peer.reader.read(1)
        await peer.say(b"this is not TLS at all\r\n")

    server = await serve(behave)
    call = server.call()
    with pytest.raises(TransportError, match="no connection") as caught:
        await transport.send(HttpCall(**{**fields(call), "url": call.url.replace("http:", "https:")}))
    assert caught.value.delivered is False


CERTIFICATE = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgQu5yeWwZq5CwP015
3yelgZoz5yPuFDddWgSTwJG8HGChRANCAAQSiJbLQsAaZIV7nVhN8hPzubqNPdlY
O0NyDQyohT4KYnAKLnr1iqtpi3bzHIkVaWJM1Ac1AjjuRHbfDDXB1uco
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBkDCCATagAwIBAgIUJASCyvsdm9wL+xhniuGu+CnvCjswCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJMTI3LjAuMC4xMCAXDTI2MTEyNDA1NDgxM1oYDzIxMjYxMDMx
MDU0ODEzWjAUMRIwEAYDVQQDDAkxMjcuMC4wLjEwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAQSiJbLQsAaZIV7nVhN8hPzubqNPdlYO0NyDQyohT4KYnAKLnr1iqtp
i3bzHIkVaWJM1Ac1AjjuRHbfDDXB1ucoo2QwYjAdBgNVHQ4EFgQUvIb8gvydcxiU
/+X5EVTsCmsoscgwHwYDVR0jBBgwFoAUvIb8gvydcxiU/+X5EVTsCmsoscgwDwYD
VR0TAQH/BAUwAwEB/zAPBgNVHREECDAGhwR/AAABMAoGCCqGSM49BAMCA0gAMEUC
IQCE3B+muR5nZDkmnR1bWQfMlJOLzvu5VadivJTV9mRO/gIgKE4zxRev3/8AgLpy
L41syVdplH7UP8goupaG7ZpYybk=
-----END CERTIFICATE-----
"""
"""Of 127.0.0.1, signed by itself, for a hundred years."""


async def test_a_certificate_nobody_vouches_for_gets_no_key(serve, transport, tmp_path):
    (tmp_path / "tls.pem").write_text(CERTIFICATE)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "tls.pem")
    server = await serve(polite, ssl=context)
    call = server.call(secrets=("k-secret",), headers={"Authorization": "k-secret"})
    with pytest.raises(TransportError, match="certificate verify failed") as caught:
        await transport.send(HttpCall(**{**fields(call), "url": call.url.replace("http:", "https:")}))
    assert (caught.value.delivered, caught.value.retryable) == (False, False)
    assert server.requests == []


@pytest.mark.parametrize("way", ["send", "open"])
@pytest.mark.parametrize("seconds", [0, -1.0, nan])
async def test_a_deadline_that_has_passed_sends_nothing(serve, transport, way, seconds):
    server = await serve(polite)
    with pytest.raises(TransportTimeoutError, match="no time") as caught:
        await getattr(transport, way)(server.call(timeout_s=seconds))
    assert (caught.value.delivered, caught.value.operation) == (False, "get_compute")
    assert server.connections == 0


async def test_no_deadline_at_all(serve, transport):
    server = await serve(polite)
    assert (await transport.send(server.call(timeout_s=inf))).status == 200
    stream = await transport.open(server.call(timeout_s=inf))
    assert await stream.read() == b"{}"
    await stream.aclose()


@pytest.mark.parametrize("way", ["send", "open"])
async def test_a_deadline_before_there_is_a_connection(serve, transport, way):
    async def behave(peer):
        await peer.gone()  # the TLS handshake is never answered

    call = (await serve(behave)).call(timeout_s=0.1)
    with pytest.raises(TransportTimeoutError, match="no connection") as caught:
        await getattr(transport, way)(HttpCall(**{**fields(call), "url": call.url.replace("http:", "https:")}))
    assert caught.value.delivered is False


@pytest.mark.parametrize("way", ["send", "open"])
async def test_a_deadline_without_a_reply(serve, transport, way):
    server = await serve(silent)
    with pytest.raises(TransportTimeoutError, match=r"within 0\.1 s") as caught:
        await getattr(transport, way)(server.call(timeout_s=0.1))
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.delivered is None
    assert caught.value.kind is ErrorKind.TIMEOUT
    await soon(server.closed.wait())
    assert len(server.requests) == 1


async def test_a_reply_that_stalls_half_way(serve, transport):
    async def behave(peer):
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        await peer.gone()

    server = await serve(behave)
    with pytest.raises(TransportTimeoutError) as caught:
        await transport.send(server.call(timeout_s=0.1))
    assert caught.value.delivered is None
    await soon(server.closed.wait())


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT", "POST"])
@pytest.mark.parametrize("manner", ["closes", "resets"])
async def test_a_kept_connection_that_drops_is_an_error_and_one_request(serve, transport, method, manner):
    """aiohttp would send the idempotent ones again by itself; on a draining poll that loses chunks in silence."""

    async def behave(peer):
        await peer.request()
        await peer.reply()
        await peer.request()
        if manner == "resets":
            peer.reset()

    server = await serve(behave)
    await transport.send(server.call())
    with pytest.raises(TransportError) as caught:
        await transport.send(server.call("/v2/pods/drain", method))
    assert caught.value.delivered is None
    assert [b"/v2/pods/drain" in request for request in server.requests] == [False, True]
    assert server.connections == 1


@pytest.mark.parametrize(
    "torn",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly so much",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nonly",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nonly\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Encoding: gzip\r\n\r\nabcd",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_a_torn_or_broken_reply(serve, transport, torn):
    async def behave(peer):
        await peer.request()
        await peer.say(torn)

    with pytest.raises(TransportError) as caught:
        await transport.send((await serve(behave)).call())
    assert caught.value.delivered is None
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
    ],
)
async def test_a_reply_beyond_the_bound_is_not_read_on(serve, transport, head):
    async def behave(peer):
        await peer.request()
        await peer.say(head + b"x" * 50_000)  # less than it announced: a reply that has come whole frees the connection
        await peer.gone()

    server = await serve(behave)
    with pytest.raises(TransportError, match="longer than 5000 bytes") as caught:
        await transport.send(server.call(max_reply_bytes=5000))
    assert caught.value.retryable is False
    await soon(server.closed.wait())


async def test_a_small_reply_that_unpacks_beyond_the_bound(serve, transport):
    async def behave(peer):
        await peer.request()
        await peer.reply(gzip.compress(b"0" * 3_000_000), "Content-Encoding: gzip")
        await peer.gone()

    with pytest.raises(TransportError, match="longer than 1000000 bytes"):
        await transport.send((await serve(behave)).call(max_reply_bytes=1_000_000))


async def test_a_reply_of_exactly_the_bound_is_fine(serve, transport):
    async def behave(peer):
        await peer.request()
        await peer.reply(b"x" * 5000)

    assert len((await transport.send((await serve(behave)).call(max_reply_bytes=5000))).body) == 5000


@pytest.mark.parametrize("way", ["send", "open"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_refused(serve, transport, way, status):
    elsewhere = await serve(polite)

    async def behave(peer):
        await peer.request()
        await peer.reply(b"", f"Location: {elsewhere.origin}/taken?token=abc", status=status)
        await peer.gone()

    server = await serve(behave)
    with pytest.raises(TransportError, match="redirect") as caught:
        await getattr(transport, way)(server.call(headers={"Authorization": "Bearer key"}))
    assert (caught.value.status, caught.value.retryable, caught.value.delivered) == (status, False, None)
    assert "token" not in str(caught.value)
    assert elsewhere.connections == 0
    assert len(server.requests) == 1
    await transport.aclose()
    await soon(server.closed.wait())


# What is never sent


@pytest.mark.parametrize("url", ["http://192.0.2.1/v2", "http://api.runpod.io/v2", "http://0.0.0.0:{port}/v2"])
async def test_a_key_never_travels_unencrypted(serve, transport, url):
    server = await serve(polite)
    call = HttpCall(**{**fields(server.call()), "url": url.format(port=server.port)})
    for use in (transport.send, transport.open):
        with pytest.raises(ConfigError, match="unencrypted"):
            await use(call)
    assert server.connections == 0


async def test_what_holds_no_secret_may_travel_unencrypted_and_opens_the_way_for_nothing_else(serve, transport):
    server = await serve(polite)
    call = fields(server.call()) | {"url": f"http://0.0.0.0:{server.port}/"}
    assert (await transport.send(HttpCall(**call | {"anonymous": True}))).status == 200
    with pytest.raises(ConfigError, match="unencrypted"):
        await transport.send(HttpCall(**call))


async def test_a_key_travels_unencrypted_for_those_who_insist(serve):
    server = await serve(polite)
    transport = AiohttpTransport(allow_insecure=True)
    reply = await transport.send(HttpCall(**{**fields(server.call()), "url": f"http://0.0.0.0:{server.port}/"}))
    await transport.aclose()
    assert reply.status == 200


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/x", "/v2/pods", "", "https:///v2", "file:///etc/passwd"])
async def test_only_absolute_http_urls_are_sent(transport, url):
    with pytest.raises(ConfigError, match="absolute"):
        await transport.send(HttpCall(provider="p", operation="o", method="GET", template="/x", url=url))


@pytest.mark.parametrize("path", ["/a b", "/a\r\nX-Evil: 1", "/a\nb", "/\u00e9", "/\x00"])
async def test_a_url_is_sent_as_built_or_not_at_all(serve, transport, path):
    server = await serve(polite)
    with pytest.raises(ConfigError, match="percent-encoded"):
        await transport.send(server.call(path))
    assert server.requests == []


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:99999/v2",
        "http://127.0.0.1:port/v2",
        "http://[::1/v2",
        "https://[nonsense]/v2",
        "https://api.runpod.io\\@127.0.0.1/v2",
        "http://127.0.0.1\\@api.runpod.io/v2",
        "http://127.0.0.1@api.runpod.io/v2",
        "http://127.0.0.1%2f@api.runpod.io/v2",
        "http://127.0.0.1.api.runpod.io/v2",
    ],
)
async def test_a_url_that_leads_nowhere_or_elsewhere_is_a_config_error(transport, url):
    for use in (transport.send, transport.open):
        with pytest.raises(ConfigError, match="cannot be sent") as caught:
            await use(HttpCall(provider="p", operation="o", method="GET", template="/x", url=url))
        assert (caught.value.provider, caught.value.operation) == ("p", "o")


@pytest.mark.parametrize("value", ["Bearer s-key\n", "Bearer s-key\r\nX-Evil: 1", "s-key\0", None, 5, b"s-key"])
@pytest.mark.parametrize("way", ["send", "open"])
async def test_a_header_that_would_break_the_request_is_a_config_error(serve, way, value):
    transport = AiohttpTransport(connections=1)
    server = await serve(polite)
    with pytest.raises(ConfigError, match="header 'Authorization'") as caught:
        await getattr(transport, way)(server.call(headers={"Authorization": value}))
    assert "s-key" not in everything_said(caught.value)
    assert server.requests == []
    await the_only_connection_is_free(transport, serve)


async def test_a_method_that_would_break_the_request_is_a_config_error(serve, transport):
    server = await serve(polite)
    with pytest.raises(ConfigError, match="method"):
        await transport.send(server.call(method="GET / HTTP/1.1\r\nX-Evil:"))
    assert server.requests == []


async def test_credentials_in_the_url_are_not_mixed_with_a_key(serve, transport):
    server = await serve(polite)
    url = server.origin.replace("//", "//user:pass@") + "/v2"
    with pytest.raises(ConfigError) as caught:
        await transport.send(HttpCall(**{**fields(server.call(headers={"Authorization": "Bearer k"})), "url": url}))
    assert "pass" not in everything_said(caught.value)
    assert server.requests == []


# What errors say


@pytest.mark.parametrize("ending", ["timeout", "closed", "garbage", "torn", "refused"])
@pytest.mark.parametrize("way", ["send", "open"])
async def test_errors_and_their_causes_tell_no_secret(serve, transport, ending, way):
    async def behave(peer):
        await peer.request()
        if ending == "timeout":
            await peer.gone()
        elif ending == "garbage":
            await peer.say(b"HTTP/9.9 k-secret-key\r\n\r\n")
        elif ending == "torn":
            await peer.say(b"HTTP/1.1 200 OK\r\nX-Echo: k-secret-key\r\nContent-Le")

    server = await serve(behave)
    call = server.call(
        "/v2/pods/private-id?signature=abcdef",
        timeout_s=0.1 if ending == "timeout" else 5.0,
        headers={"Authorization": "Bearer k-secret-key"},
        secrets=("k-secret-key",),
    )
    if ending == "refused":
        await server.stop()
    with pytest.raises(TransportError) as caught:
        await getattr(transport, way)(call)
    shown = everything_said(caught.value)
    for secret in ("k-secret-key", "private-id", "abcdef"):
        assert secret not in shown
    assert "GET /v2/pods/{id}" in str(caught.value)
    assert caught.value.__cause__ is not None


# Cancelling


async def test_cancelling_while_connecting(serve, transport):
    async def behave(peer):
        peer.server.heard.set()
        await peer.gone()

    server = await serve(behave)
    call = server.call()
    sending = asyncio.create_task(
        transport.send(HttpCall(**{**fields(call), "url": call.url.replace("http:", "https:")}))
    )
    await soon(server.heard.wait())
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    await soon(server.closed.wait())


@pytest.mark.parametrize("way", ["send", "open"])
async def test_cancelling_while_waiting_for_the_reply(serve, way):
    transport = AiohttpTransport(connections=1)
    server = await serve(silent)
    sending = asyncio.create_task(getattr(transport, way)(server.call()))
    await soon(server.heard.wait())
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    await soon(server.closed.wait())
    await the_only_connection_is_free(transport, serve)


async def test_cancelling_while_reading_the_body(serve):
    transport = AiohttpTransport(connections=1)

    async def behave(peer):
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 1000)
        await peer.gone()

    server = await serve(behave)
    sending = asyncio.create_task(transport.send(server.call()))
    await soon(server.heard.wait())
    for _ in range(20):
        await asyncio.sleep(0)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    await soon(server.closed.wait())
    await the_only_connection_is_free(transport, serve)


async def test_cancelling_while_waiting_for_a_connection(serve):
    transport = AiohttpTransport(connections=1)
    server = await serve(silent)
    first = asyncio.create_task(transport.send(server.call()))
    await soon(server.heard.wait())
    second = asyncio.create_task(transport.send(server.call()))
    for _ in range(5):
        await asyncio.sleep(0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    await soon(server.closed.wait())
    assert len(server.requests) == 1
    await the_only_connection_is_free(transport, serve)


async def test_a_cancelled_close_still_closes(serve):
    server = await serve(polite)
    transport = AiohttpTransport()
    await transport.send(server.call())
    closing = asyncio.create_task(transport.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.gather(closing, return_exceptions=True)
    await soon(server.closed.wait())


async def the_only_connection_is_free(transport, serve):
    other = await serve(polite)
    assert (await soon(transport.send(other.call()))).status == 200
    await transport.aclose()


# Streams


async def dripping(peer):
    """Send one piece of the body for each event the test sets."""
    await peer.request()
    await peer.say(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    for piece in (b"one", b"two"):
        await peer.server.drip.get()
        await peer.say(b"3\r\n" + piece + b"\r\n")
    await peer.server.drip.get()
    await peer.say(b"0\r\n\r\n")
    while True:
        await peer.request()
        await peer.reply()


async def test_a_stream_comes_with_its_head_and_then_piece_by_piece(serve, transport):
    server = await serve(dripping)
    server.drip = asyncio.Queue()
    stream = await soon(transport.open(server.call()))
    assert (stream.status, stream.headers["content-type"]) == (200, "text/event-stream")
    chunks = stream.chunks()
    for piece in (b"one", b"two"):
        server.drip.put_nowait(True)
        assert await soon(anext(chunks)) == piece
    server.drip.put_nowait(True)
    assert await soon(anext(chunks, b"end")) == b"end"
    await stream.aclose()
    await stream.aclose()
    await transport.send(server.call())
    assert server.connections == 1, "a stream read to its end gives its connection back"


async def test_the_deadline_is_for_the_head_not_for_the_body(serve, transport):
    async def behave(peer):
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
        await asyncio.sleep(0.25)
        await peer.say(b"late")

    stream = await transport.open((await serve(behave)).call(timeout_s=0.1))
    assert [piece async for piece in stream.chunks()] == [b"late"]
    await stream.aclose()


async def test_cancelling_a_read_loses_nothing(serve, transport):
    server = await serve(dripping)
    server.drip = asyncio.Queue()
    stream = await transport.open(server.call())
    reading = asyncio.create_task(anext(stream.chunks()))
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    server.drip.put_nowait(True)
    assert await soon(anext(stream.chunks())) == b"one"
    await stream.aclose()


async def test_closing_a_stream_half_way_cuts_the_connection(serve):
    transport = AiohttpTransport(connections=1)
    server = await serve(dripping)
    server.drip = asyncio.Queue()
    stream = await transport.open(server.call())
    server.drip.put_nowait(True)
    assert await soon(anext(stream.chunks())) == b"one"
    await stream.aclose()
    server.drip.put_nowait(True)
    server.drip.put_nowait(True)
    await soon(server.closed.wait())
    with pytest.raises(TransportError):
        await anext(stream.chunks())
    await the_only_connection_is_free(transport, serve)


async def test_a_stream_that_breaks_off_is_an_error_not_an_end(serve, transport):
    async def behave(peer):
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")

    stream = await transport.open((await serve(behave)).call())
    chunks = stream.chunks()
    assert await soon(anext(chunks)) == b"one"
    with pytest.raises(TransportError, match="broke off") as caught:
        await soon(anext(chunks))
    assert caught.value.provider == "runpod"
    await stream.aclose()


async def test_a_whole_stream_is_read_within_bounds(serve, transport):
    async def behave(peer):
        while True:
            await peer.request()
            await peer.reply(b"x" * 5000, status=500)

    server = await serve(behave)
    stream = await transport.open(server.call(max_reply_bytes=5000))
    assert await stream.read() == b"x" * 5000
    await stream.aclose()
    stream = await transport.open(server.call(max_reply_bytes=4999))
    with pytest.raises(TransportError, match="longer than 4999 bytes"):
        await stream.read()
    await stream.aclose()


async def test_reading_a_whole_stream_has_a_deadline(serve, transport):
    async def behave(peer):
        await peer.request()
        await peer.say(b"HTTP/1.1 500 Broken\r\nContent-Length: 100\r\n\r\n")
        await peer.gone()

    server = await serve(behave)
    stream = await transport.open(server.call(timeout_s=0.1))
    with pytest.raises(TransportTimeoutError):
        await stream.read()
    await stream.aclose()
    await soon(server.closed.wait())


def everything_said(error):
    """What a log, a debugger or a reporter of errors could show of it, causes and contexts included."""
    shown = "".join(traceback.format_exception(error))
    while error is not None:
        shown += f"{error!r} {error.args!r} {vars(error)!r}"
        error = error.__cause__ or error.__context__
    return shown


def fields(call):
    return {name: getattr(call, name) for name in HttpCall.__slots__ if not name.startswith("__")}
