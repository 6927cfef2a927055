"""The transport that a client owns, made when the first request needs it."""

from collections.abc import Coroutine
from importlib import import_module
from typing import Any

from exatlas.errors import TransportError
from exatlas.messages import HttpCall, HttpReply
from exatlas.protocols import ByteStream, Transport

MODULE = "exatlas.transport.aiohttp"
"""Imported late: it takes a third of a second, and whoever uses only the memory provider never needs it."""


class OwnTransport:
    """aiohttp behind a door that opens at the first request. Belongs to one event loop, as its client does."""

    def __init__(self, *, allow_insecure: bool = False) -> None:
        self._allow_insecure = allow_insecure
        self._inner: Transport | None = None
        self._closed = False

    def send(self, call: HttpCall, /) -> Coroutine[Any, Any, HttpReply]:
        """See :class:`exatlas.Transport`."""
        return self._opened(call).send(call)

    def open(self, call: HttpCall, /) -> Coroutine[Any, Any, ByteStream]:
        """See :class:`exatlas.Transport`."""
        return self._opened(call).open(call)

    async def aclose(self) -> None:
        """Cut every connection, and refuse new requests. Safe to repeat."""
        self._closed = True
        inner, self._inner = self._inner, None
        if inner is not None:
            await inner.aclose()

    def _opened(self, call: HttpCall) -> Transport:
        if self._closed:
            raise TransportError(
                "the client was closed",
                delivered=False,
                retryable=False,
                provider=call.provider,
                operation=call.operation,
            )
        if self._inner is None:
            made: Transport = import_module(MODULE).AiohttpTransport(allow_insecure=self._allow_insecure)
            self._inner = made
        return self._inner
