"""Streams through the OpenAI-compatible proxy."""

import orjson
import pytest

from exatlas.errors import NotFoundError, UnauthorizedError, UnsupportedError
from exatlas.messages import Repeat
from exatlas.providers.vast import events

CHAT = "v1/chat/completions"


async def read(ctx, endpoint="llm", path=CHAT, body=None):
    stream = events.stream(endpoint, path, body or {"messages": []}, ctx, done="[DONE]", idle_s=5)
    return [event.data async for event in stream]


@pytest.mark.parametrize("path", [CHAT, f"/{CHAT}", f"openai/{CHAT}", "v1/completions"])
async def test_events_come_until_the_end_is_said(fake, ctx, path):
    fake.completions["llm"] = ['{"a":1}', '{"a":2}']
    assert await read(ctx, path=path) == [{"a": 1}, {"a": 2}]
    assert fake.calls == [("POST", f"/llm/{path.strip('/').removeprefix('openai/')}")]


def test_the_one_request(ctx):
    call = events.event_call("my llm/1", CHAT, {"stream": True}, ctx)
    assert call.url == f"https://openai.vast.ai/my%20llm%2F1/{CHAT}"
    assert call.headers["authorization"] == f"Bearer {ctx.api_key}"
    assert orjson.loads(call.body) == {"stream": True}
    assert (call.method, call.repeat) == ("POST", Repeat.NEVER)
    assert ctx.api_key in call.secrets


@pytest.mark.parametrize("path", ["v1/models", "generate", "", "../v1/completions", "https://elsewhere.example/x"])
async def test_other_routes_are_not_offered(fake, ctx, path):
    with pytest.raises(UnsupportedError, match="v1/completions only"):
        await read(ctx, path=path)
    assert fake.calls == []


async def test_an_endpoint_nobody_has(ctx):
    with pytest.raises(NotFoundError):
        await read(ctx)


async def test_a_wrong_key(fake, ctx):
    fake.api_key = "another"
    with pytest.raises(UnauthorizedError):
        await read(ctx)
