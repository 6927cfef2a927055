"""Which port of a machine is tried, and at what address."""

import asyncio

import pytest

from exatlas.client import reach
from exatlas.messages import HttpReply
from exatlas.records.compute import Compute, ComputeStatus, PortBinding, SshAccess
from exatlas.transport.inprocess import InProcessTransport

HTTP = PortBinding(internal=8000, protocol="http", url="https://m-8000.test")
TCP = PortBinding(internal=22, external=40022, protocol="tcp", url="tcp://192.0.2.1:40022")
BARE = PortBinding(internal=5432, external=45432, protocol="tcp")
ABSENT = PortBinding(internal=9, protocol="tcp")
SSH = SshAccess(host="ssh.test", port=2222)


def machine(*ports: PortBinding, **facts) -> Compute:
    return Compute(id="m", provider="p", status=ComputeStatus.RUNNING, public_ip="192.0.2.9", ports=ports, **facts)


@pytest.mark.parametrize(
    ("compute", "port", "address"),
    [
        (machine(HTTP, TCP), None, ("192.0.2.1", 40022)),
        (machine(HTTP, ABSENT, BARE), None, ("192.0.2.9", 45432)),
        (machine(HTTP, ssh=SSH), None, ("ssh.test", 2222)),
        (machine(HTTP), None, ("m-8000.test", 443)),
        (machine(HTTP, TCP), 8000, ("m-8000.test", 443)),
        (machine(HTTP, TCP, BARE), 5432, ("192.0.2.9", 45432)),
    ],
)
async def test_tcp(monkeypatch, compute, port, address):
    tried = []

    async def refuse(host, port):
        tried.append((host, port))
        raise ConnectionRefusedError

    monkeypatch.setattr(asyncio, "open_connection", refuse)
    assert await reach.tcp(compute, port) == f"port {address[1]} gives no connection (ConnectionRefusedError)"
    assert tried == [address]


@pytest.mark.parametrize(
    ("compute", "port", "url"),
    [
        (machine(TCP, HTTP), None, "https://m-8000.test/x"),
        (machine(TCP, HTTP), 22, "http://192.0.2.1:40022/x"),
        (machine(BARE), 5432, "http://192.0.2.9:45432/x"),
        (
            machine(PortBinding(internal=80, protocol="tcp", url="tcp://[2001:db8::1]:80")),
            80,
            "http://[2001:db8::1]:80/x",
        ),
        (machine(PortBinding(internal=1, protocol="http"), HTTP), None, "https://m-8000.test/x"),
    ],
)
async def test_http(compute, port, url):
    asked = []

    async def answer(call):
        asked.append(call.url)
        return HttpReply(status=200)

    assert await reach.http(compute, port, "/x", InProcessTransport(answer)) is None
    assert asked == [url]


async def test_the_port_that_was_tried_is_named():
    async def answer(_):
        return HttpReply(status=502)

    compute = machine(PortBinding(internal=1, protocol="http"), HTTP)
    assert await reach.http(compute, None, "/", InProcessTransport(answer)) == "port 8000 gives HTTP 502"


async def test_nothing_to_try():
    assert await reach.tcp(machine(), None) == "no port of it is mapped"
    assert await reach.tcp(machine(ABSENT, TCP), 9) == "its port 9 is not mapped"
    assert await reach.http(machine(TCP), None, "/", None) == "no http port of it is mapped"
    assert await reach.http(machine(ABSENT), 9, "/", None) == "its port 9 is not mapped"


def test_ports_that_are_not_mapped():
    assert reach.unmapped(machine(HTTP, TCP, BARE), None) is None
    assert reach.unmapped(machine(HTTP, ABSENT), None) == "its ports 9/tcp are not mapped"
    assert reach.unmapped(machine(), machine()) is None
    assert reach.unmapped(machine(HTTP), machine(HTTP, ABSENT)) == "2 ports were asked for, and it has 1"
