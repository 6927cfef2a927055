"""Whether a server can be reached: by a connection, by the head of an answer."""

import asyncio

import pytest

from exatlas.errors import TransportError
from exatlas.messages import HttpReply
from exatlas.transport.inprocess import InProcessTransport, StreamingReply
from exatlas.transport.reaching import address_of, http_fault, tcp_fault


@pytest.fixture
async def listening():
    came = asyncio.Event()

    async def take(reader, writer):
        came.set()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], came


async def test_a_connection_that_opens_is_closed_again(listening):
    port, came = listening
    assert await tcp_fault("127.0.0.1", port, 5) is None
    await asyncio.wait_for(came.wait(), 5)


async def test_a_connection_that_does_not_open(unused_tcp_port):
    assert "no connection (" in await tcp_fault("127.0.0.1", unused_tcp_port, 5)
    assert "no connection (" in await tcp_fault("no-such-host.invalid", 80, 5)
    assert "no connection (" in await tcp_fault("a" * 70, 80, 5), "no host name is that long"


async def test_a_connection_takes_so_long_at_most(monkeypatch):
    async def never(*_):
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio, "open_connection", never)
    assert await tcp_fault("127.0.0.1", 1, 0.01) == "no connection within 0.01 s"


@pytest.mark.parametrize(
    ("status", "fault"), [(200, None), (302, None), (404, None), (499, None), (500, "HTTP 500"), (503, "HTTP 503")]
)
async def test_an_answer_is_judged_by_its_status(status, fault):
    calls = []

    async def answer(call):
        calls.append(call)
        return HttpReply(status=status)

    assert await http_fault(InProcessTransport(answer), "http://h/x", 7, "p") == fault
    (call,) = calls
    assert (call.method, call.url, call.timeout_s, call.headers, call.anonymous) == ("GET", "http://h/x", 7, {}, True)


async def test_only_the_head_is_read_and_the_rest_is_cut():
    closed = []

    async def endless():
        try:
            while True:
                yield b"x"
        finally:
            closed.append(True)

    body = endless()
    await anext(body)

    async def answer(_):
        return StreamingReply(body=body)

    assert await http_fault(InProcessTransport(answer), "http://h/", 7, "p") is None
    assert closed == [True]


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (TransportError("broken"), "no answer (TransportError)"),
        (TransportError("a redirect", status=301), None),
        (TransportError("odd", status=502), "no answer (TransportError)"),
    ],
)
async def test_no_answer(error, fault):
    async def answer(_):
        raise error

    assert await http_fault(InProcessTransport(answer), "http://h/", 7, "p") == fault


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("tcp://1.2.3.4:5", ("1.2.3.4", 5)),
        ("tcp://[::1]:5", ("::1", 5)),
        ("https://h/x", ("h", 443)),
        ("http://h:8080", ("h", 8080)),
        ("http://h", ("h", 80)),
        ("tcp://h", None),
        ("nothing", None),
    ],
)
def test_addresses(url, address):
    assert address_of(url) == address
