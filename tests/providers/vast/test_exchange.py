"""One call, its advice, and the transport behind it."""

import pytest
from attrs import evolve

from exatlas.clock import ManualClock
from exatlas.errors import RateLimitedError
from exatlas.fakes.replies import json_reply, text_reply
from exatlas.providers.vast import translate
from exatlas.providers.vast.exchange import Advised, ask
from exatlas.transport.asking import done
from exatlas.transport.inprocess import InProcessTransport


def answering(*replies):
    left = list(replies)

    async def handle(_call):
        return left.pop(0)

    return InProcessTransport(handle)


async def test_a_threshold_is_waited_for(ctx, clock):
    busy = text_reply(429, "API requests too frequent: endpoint threshold=7.5")
    changed = evolve(ctx, transport=answering(busy, json_reply(200, {"instances": None})))
    await ask(changed, translate.get_instance("7", ctx), done)
    assert 7.5 <= clock.monotonic() < 10


async def test_a_threshold_beyond_patience_is_the_callers(ctx, clock):
    changed = evolve(ctx, transport=answering(text_reply(429, "threshold=3600")))
    with pytest.raises(RateLimitedError) as caught:
        await ask(changed, translate.get_instance("7", ctx), done)
    assert caught.value.retry_after == 3600
    assert clock.monotonic() == 0


async def test_a_refusal_slows_the_others_down_too(ctx, clock):
    busy = text_reply(429, "threshold=7.5")
    fine = json_reply(200, {"instances": None})
    changed = evolve(ctx, transport=answering(busy, fine, fine))
    for _ in range(2):
        await ask(changed, translate.get_instance("7", ctx), done)
    assert clock.monotonic() >= 9.5


async def test_streams_pass_and_the_clients_transport_stays_open():
    closed = []

    class Inner:
        async def send(self, call):
            raise AssertionError(call)

        async def open(self, call):
            return call

        async def aclose(self):
            closed.append(True)

    advised = Advised(Inner(), ManualClock())
    assert await advised.open("call") == "call"
    await advised.aclose()
    assert closed == []
