"""Whether a server somewhere can be reached: one connection, or the head of one answer. No credential goes along."""

import asyncio
from contextlib import suppress
from urllib.parse import urlsplit

from exatlas.errors import TransportError
from exatlas.messages import HttpCall
from exatlas.protocols import Transport

DEFAULT_PORTS = {"https": 443, "http": 80}
CLOSING_S = 1.0
BROKEN = 500
"""From this status on, whoever answers says that the server is not there yet: proxies do."""


async def tcp_fault(host: str, port: int, seconds: float) -> str | None:
    """Open a connection and close it again; gives why that did not work, or None. Real time, and safe to cancel."""
    try:
        async with asyncio.timeout(seconds):
            _, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        return f"no connection within {seconds:g} s"
    except (OSError, UnicodeError) as error:
        return f"no connection ({type(error).__name__})"
    writer.close()
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(CLOSING_S):
            await writer.wait_closed()
    return None


async def http_fault(transport: Transport, url: str, seconds: float, provider: str) -> str | None:
    """GET the URL and read the head of the answer; gives why that shows no server, or None.

    Any answer below 500 does, a refusal or a redirect as well.
    """
    call = HttpCall(
        provider=provider,
        operation="wait_until_ready",
        method="GET",
        url=url,
        template="a machine's own URL",
        timeout_s=seconds,
        anonymous=True,
    )
    try:
        answer = await transport.open(call)
    except TransportError as error:
        redirected = error.status is not None and error.status < BROKEN
        return None if redirected else f"no answer ({type(error).__name__})"
    try:
        return None if answer.status < BROKEN else f"HTTP {answer.status}"
    finally:
        await answer.aclose()


def address_of(url: str) -> tuple[str, int] | None:
    """Host and port of a URL, or None where it names none."""
    parts = urlsplit(url)
    port = parts.port or DEFAULT_PORTS.get(parts.scheme)
    return (parts.hostname, port) if parts.hostname and port else None
