"""One logical call: its attempts, the waits between them, and the record of each for hooks and the log.

Neither `send` nor `open_stream` raises for a status; the provider's normalise decides what a reply means.
"""

import asyncio
import logging
import random
from collections.abc import Mapping

from exatlas.errors import TransportError
from exatlas.hooks import log_fields, tell
from exatlas.messages import AttemptEnd, HttpCall, HttpReply, RequestRecord
from exatlas.protocols import ByteStream, Context
from exatlas.transport.address import host_of, scheme_of
from exatlas.transport.budget import Budget
from exatlas.transport.retry import DEFAULT_POLICY, TOO_MANY, decide, exhausted_for, retry_after_of

log = logging.getLogger("exatlas.transport")

PENALTY_S = 1.0
"""How long everybody under a budget pauses after a 429 that gives no advice."""
REQUEST_ID_HEADERS = ("x-request-id", "fly-request-id", "cf-ray")


async def send(ctx: Context, call: HttpCall, *, budget: Budget | None = None) -> HttpReply:
    """Send the call, again where its `repeat` allows it, and return the last reply, whatever its status.

    With a budget, each attempt waits for its turn and holds it until the reply is in; a 429 slows everybody down.
    Cancelling cuts the connection of the attempt in progress, and whether the cloud acted cannot be known then.

    Raises:
        TransportError: no usable reply came, and the call may not be repeated or was repeated enough.
    """
    attempt = 1
    while True:
        try:
            if budget is None:
                reply = await _attempt(ctx, call, attempt, 0.0)
            else:
                waited_s = await budget.acquire()
                try:
                    reply = await _attempt(ctx, call, attempt, waited_s)
                finally:
                    budget.release()
                _heed(budget, reply, ctx)
        except TransportError as error:
            wait_s = _wait_after(ctx, call, attempt, error)
            if wait_s is None:
                raise
        else:
            if reply.status < 400:
                return reply
            wait_s = _wait_after(ctx, call, attempt, reply)
            if wait_s is None:
                return reply
        await ctx.clock.sleep(wait_s)
        attempt += 1


async def open_stream(ctx: Context, call: HttpCall, *, budget: Budget | None = None) -> ByteStream:
    """Send the call once and return as soon as the head of the reply is in. The caller closes the stream.

    A stream that breaks is opened again by its reader, who knows where it stood; so nothing is repeated here. A turn of
    the budget ends with the head, or streams that wait for the status call that ends them would block each other.
    The attempt's `duration_s` is the time to the head of the reply.

    Raises:
        TransportError: no head of a reply came.
    """
    if budget is None:
        return await _open_attempt(ctx, call, 0.0)
    async with budget.turn() as waited_s:
        stream = await _open_attempt(ctx, call, waited_s)
    _heed(budget, HttpReply(status=stream.status, headers=stream.headers), ctx)
    return stream


def request_id_of(headers: Mapping[str, str]) -> str | None:
    """Find the cloud's own id for the request, or else its edge's."""
    for name in REQUEST_ID_HEADERS:
        if found := headers.get(name):
            return found
    return None


async def _attempt(ctx: Context, call: HttpCall, attempt: int, waited_s: float) -> HttpReply:
    heard = bool(ctx.hooks) or log.isEnabledFor(logging.DEBUG)
    started = ctx.clock.monotonic() if heard else 0.0
    try:
        reply = await ctx.transport.send(call)
    except BaseException as error:
        _fail(ctx, call, attempt, waited_s, started, error, heard=heard)
        raise
    if heard:
        _tell(ctx, _record(ctx, call, attempt, waited_s, started, reply=reply, size=len(reply.body)))
    return reply


async def _open_attempt(ctx: Context, call: HttpCall, waited_s: float) -> ByteStream:
    heard = bool(ctx.hooks) or log.isEnabledFor(logging.DEBUG)
    started = ctx.clock.monotonic() if heard else 0.0
    try:
        stream = await ctx.transport.open(call)
    except BaseException as error:
        _fail(ctx, call, 1, waited_s, started, error, heard=heard)
        raise
    if heard:
        _tell(ctx, _record(ctx, call, 1, waited_s, started, reply=stream))
    return stream


def _fail(
    ctx: Context, call: HttpCall, attempt: int, waited_s: float, started: float, error: BaseException, *, heard: bool
) -> None:
    """Fill in what the error does not know about itself, and tell of the attempt."""
    if isinstance(error, TransportError):
        error.provider = error.provider or call.provider
        error.operation = error.operation or call.operation
    if heard:
        _tell(ctx, _record(ctx, call, attempt, waited_s, started, error=error))


def _record(
    ctx: Context,
    call: HttpCall,
    attempt: int,
    waited_s: float,
    started: float,
    *,
    reply: HttpReply | ByteStream | None = None,
    error: BaseException | None = None,
    size: int = 0,
) -> RequestRecord:
    end = AttemptEnd.REPLIED
    if error is not None:
        end = AttemptEnd.CANCELLED if isinstance(error, asyncio.CancelledError) else AttemptEnd.FAILED
    return RequestRecord(
        provider=call.provider,
        operation=call.operation,
        endpoint=ctx.endpoint,
        method=call.method,
        template=call.template,
        scheme=scheme_of(call.url),
        host=host_of(call.url),
        attempt=attempt,
        end=end,
        status=None if reply is None else reply.status,
        duration_s=ctx.clock.monotonic() - started,
        ended_at=ctx.clock.now(),
        error=type(error).__name__ if end is AttemptEnd.FAILED else None,
        request_id=None if reply is None else request_id_of(reply.headers),
        budget_wait_s=waited_s,
        bytes_received=size,
    )


def _tell(ctx: Context, record: RequestRecord) -> None:
    if log.isEnabledFor(logging.DEBUG):
        log.debug(
            "%s %s: %s %s at %s: %s in %.3f s (attempt %d)",
            record.provider,
            record.operation,
            record.method,
            record.template,
            record.host,
            record.status or record.error or record.end,
            record.duration_s,
            record.attempt,
            extra=log_fields(record),
        )
    tell(ctx.hooks, record)


def _wait_after(ctx: Context, call: HttpCall, attempt: int, outcome: HttpReply | TransportError) -> float | None:
    wait_s = decide(call, attempt, outcome, now=ctx.clock.now(), jitter=random.random())  # noqa: S311 spreads load only
    if wait_s is not None:
        log.warning(
            "%s %s: attempt %d failed (%s), trying again in %.1f s",
            call.provider,
            call.operation,
            attempt,
            f"HTTP {outcome.status}" if isinstance(outcome, HttpReply) else outcome.message,
            wait_s,
            extra={
                "exatlas.provider": call.provider,
                "exatlas.operation": call.operation,
                "exatlas.attempt": attempt,
                "exatlas.wait_s": wait_s,
            },
        )
    return wait_s


def _heed(budget: Budget, reply: HttpReply, ctx: Context) -> None:
    """Let the whole budget pause when the cloud refused for the rate, or says that the next call would be refused."""
    if reply.status == TOO_MANY:
        pause_s = retry_after_of(reply, ctx.clock.now()) or PENALTY_S
    else:
        pause_s = exhausted_for(reply.headers) or 0.0
    if pause_s:
        budget.slow_down(min(pause_s, DEFAULT_POLICY.longest_s))
