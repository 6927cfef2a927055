"""What is left to do about a machine that was waited for in vain: hear its last words, and end it if that is wanted."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing

from attrs import frozen

from exatlas.cancellation import Deadline, outlive
from exatlas.capabilities import Capability
from exatlas.client.course import speaks_of_the_image
from exatlas.client.spawning import Terminate, terminate_surely
from exatlas.errors import AtlasError, NotReadyError, NotReadyReason
from exatlas.protocols import Clock, Context, OptionalOperations, Provider
from exatlas.records.compute import Compute
from exatlas.transport.redact import redact_text

LINES, LOGS_S = 20, 10.0

_UNCLEAR = frozenset({NotReadyReason.FAILED, NotReadyReason.DUD_HOST, NotReadyReason.TIMEOUT})
"""Reasons behind which there may be an image that cannot be pulled; the log knows."""

_log = logging.getLogger("exatlas.client")

Contexts = Callable[[], Awaitable[Context]]


@frozen(kw_only=True)
class Machine:
    """Whom is waited for, and how it is reached."""

    id: str
    given: Compute | None
    """The record that the caller has, if it is one."""
    provider: Provider
    contexts: Contexts
    terminate: Terminate


async def explain(error: NotReadyError, machine: Machine, clock: Clock) -> None:
    """Add what it printed last, and see whether that is the reason."""
    error.logs = await _last_lines(machine, clock)
    if error.reason in _UNCLEAR and any(map(speaks_of_the_image, error.logs)):
        error.reason, error.kind = NotReadyReason.IMAGE_PULL, NotReadyError.kind  # type: ignore[misc]
        error.retryable = False
        error.extend(no_image(error.compute))


def no_image(compute: Compute | None) -> str:
    """Says it."""
    return (
        f"its image {compute.image!r} cannot be pulled" if compute and compute.image else "its image cannot be pulled"
    )


async def _last_lines(machine: Machine, clock: Clock) -> tuple[str, ...]:
    """Its last log lines, as far as there are any. The key and its own token are blacked out, and nothing else is."""
    if Capability.LOGS not in machine.provider.capabilities:
        return ()
    provider: OptionalOperations = machine.provider  # type: ignore[assignment]  # it has declared them
    token = machine.given.auth.token if machine.given and machine.given.auth else None
    lines: list[str] = []
    try:
        async with Deadline(clock, LOGS_S):
            ctx = await machine.contexts()
            secrets = [secret for secret in (ctx.api_key, token) if secret]
            async with aclosing(provider.stream_logs(machine.id, ctx, tail=LINES, follow=False)) as found:
                async for line in found:
                    lines.append(redact_text(line.line, secrets))  # noqa: PERF401 - an error loses no line
    except (AtlasError, TimeoutError):
        _log.debug("the logs of compute %s cannot be had", machine.id, exc_info=True)
    return tuple(lines[-LINES:])


async def end(machine: Machine, error: Exception, clock: Clock) -> None:
    """Terminate it, come what may, and say in the error what became of that."""
    ended = await outlive(lambda: terminate_surely(machine.terminate, machine.id, clock))
    said = "it was terminated"
    if ended.value is not None:
        said = f"it could not be terminated and is probably billing: {ended.value}"
        _log.error("compute %s is not ready; %s", machine.id, said, exc_info=ended.value)
    if isinstance(error, AtlasError):
        error.extend(said)
    else:
        error.add_note(f"compute {machine.id!r}: {said}")
    if isinstance(error, NotReadyError):
        error.terminated = ended.value is None
    if ended.interrupted:
        raise asyncio.CancelledError from error
