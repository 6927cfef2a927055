"""A transport of the client's own, made when it is needed."""

import sys
from typing import ClassVar

import pytest

from exatlas.client import connection
from exatlas.client.connection import OwnTransport
from exatlas.errors import TransportError
from exatlas.messages import HttpCall, HttpReply

CALL = HttpCall(provider="p", operation="get_compute", method="GET", url="https://x.invalid", template="/")


class Fake:
    made: ClassVar[list]

    def __init__(self, *, allow_insecure):
        self.allow_insecure = allow_insecure
        self.closed = 0
        self.made.append(self)

    async def send(self, call):
        return HttpReply(status=200)

    async def open(self, call):
        return "stream"

    async def aclose(self):
        self.closed += 1


@pytest.fixture
def made(monkeypatch):
    monkeypatch.setattr(Fake, "made", [], raising=False)
    monkeypatch.setattr(connection, "MODULE", __name__)
    monkeypatch.setitem(sys.modules, __name__, type(sys)(__name__))
    sys.modules[__name__].AiohttpTransport = Fake
    return Fake.made


async def test_it_is_made_by_the_first_request_and_kept(made):
    transport = OwnTransport(allow_insecure=True)
    assert made == []
    assert (await transport.send(CALL)).status == 200
    assert await transport.open(CALL) == "stream"
    assert [one.allow_insecure for one in made] == [True]


async def test_closing_before_any_request_makes_nothing(made):
    await OwnTransport().aclose()
    assert made == []


@pytest.mark.parametrize("way", ["send", "open"])
async def test_a_closed_one_refuses_and_says_that_nothing_was_sent(made, way):
    transport = OwnTransport()
    await transport.send(CALL)
    await transport.aclose()
    await transport.aclose()
    assert made[0].closed == 1
    with pytest.raises(TransportError, match="the client was closed") as caught:
        await getattr(transport, way)(CALL)
    assert (caught.value.delivered, caught.value.retryable) == (False, False)
    assert (caught.value.provider, caught.value.operation) == ("p", "get_compute")
    assert len(made) == 1


def test_the_real_one_is_where_it_is_looked_for():
    from exatlas.transport.aiohttp import AiohttpTransport  # noqa: PLC0415 - it is what must be found

    assert AiohttpTransport.__module__ == connection.MODULE
