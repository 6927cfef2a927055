"""A machine's log, which Vast does not stream: it uploads the last lines on demand, and each upload is compared with
the one before.

Source: `logs` of vast-ai/docs and the SDK's `api/instances.py`, which looks thirty times every 0.3 s, read 2026-11-23.
"""

from collections.abc import AsyncGenerator, Sequence

from exatlas.errors import (
    AtlasError,
    NotFoundError,
    ProviderBrokenError,
    RateLimitedError,
    ReplyShapeError,
    TransportError,
)
from exatlas.protocols import Context
from exatlas.providers.vast import rules, translate
from exatlas.providers.vast.exchange import ask
from exatlas.providers.vast.instances import despite_lag
from exatlas.records.job import LogLine
from exatlas.transport.address import origin_of
from exatlas.transport.exchange import send
from exatlas.transport.shape import body_of

DEFAULT_TAIL = 100
WINDOW = 1000
"""Lines of an upload while following: more than this between two of them are lost."""
POLL_S = 5.0
FETCHES = 30
FETCH_EVERY_S = 0.3
"""An upload is not there at once; its address answers 403 or 404 until it is."""
FIRST_PAUSE_S = 1.0
MOST_FAILURES = 5
"""Failures in a row before the trouble is the reader's to know."""
SOURCE = "container"

_OK = 200


async def stream(compute_id: str, ctx: Context, *, tail: int | None, follow: bool) -> AsyncGenerator[LogLine, None]:
    """Yield lines, oldest first: the last `tail` (100 for None), then new ones while `follow`, some seconds late.

    Following ends when the machine is gone. Lines carry neither instant nor cursor. Where the same line is written
    over and over, two uploads may not show how often.
    """
    rules.check_tail(tail, ctx.provider)
    wanted = DEFAULT_TAIL if tail is None else tail
    if not (wanted or follow):
        return
    seen: list[str] | None = None
    failures = 0
    while True:
        try:
            lines = await _upload(compute_id, max(wanted, WINDOW) if follow else wanted, ctx)
        except NotFoundError:
            if seen is not None:
                return
            raise
        except (TransportError, ProviderBrokenError, RateLimitedError) as error:
            failures += 1
            if failures >= MOST_FAILURES:
                raise
            await ctx.clock.sleep(_pause_s(error, failures))
            continue
        failures = 0
        news = lines[max(len(lines) - wanted, 0) :] if seen is None else after(seen, lines)
        seen = lines
        for line in news:
            yield LogLine(line=line, source=SOURCE)
        if not follow:
            return
        await ctx.clock.sleep(POLL_S)


def after(seen: Sequence[str], lines: Sequence[str]) -> list[str]:
    """The lines of an upload that come after those of the one before.

    The longest end of the old that is the beginning of the new is what both have. A last line that has grown since is
    given again, whole. Uploads that have nothing in common are new from the first line to the last.
    """
    for shared in range(min(len(seen), len(lines)), 0, -1):
        if list(seen[-shared:]) == list(lines[:shared]):
            return list(lines[shared:])
    for shared in range(min(len(seen), len(lines)) - 1, -1, -1):
        if lines[shared].startswith(seen[-1]) and list(seen[len(seen) - 1 - shared : -1]) == list(lines[:shared]):
            return list(lines[shared:])
    return list(lines)


def _pause_s(error: AtlasError, failures: int) -> float:
    return max(FIRST_PAUSE_S * 2.0 ** (failures - 1), error.retry_after or 0.0)


async def _upload(compute_id: str, tail: int, ctx: Context) -> list[str]:
    """Have the last lines uploaded, and read them."""
    request = translate.request_logs(compute_id, tail, ctx)
    url = await despite_lag(lambda: ask(ctx, request, lambda reply: body_of(reply).required_text("result_url")), ctx)
    if not url.startswith("https://") and origin_of(url) != origin_of(ctx.base_urls["rest"]):
        raise ReplyShapeError("the log's address is not https", paths=["$.result_url"], provider=ctx.provider)
    call = translate.fetch_log(url, ctx)
    status = 0
    for _ in range(FETCHES):
        reply = await send(ctx, call)
        if reply.status == _OK:
            return reply.text.splitlines()
        status = reply.status
        await ctx.clock.sleep(FETCH_EVERY_S)
    raise ProviderBrokenError(
        f"the log was not uploaded within {FETCHES * FETCH_EVERY_S:g} s",
        provider=ctx.provider,
        operation="stream_logs",
        status=status,
    )
