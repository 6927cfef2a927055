"""HTTP/1.1 on a raw asyncio protocol: as little as a benchmark's server needs, so that it costs as little as it can."""

import asyncio
from collections.abc import Callable
from urllib.parse import parse_qsl

REASONS = {200: b"OK", 404: b"Not Found", 429: b"Too Many Requests"}


class Connection(asyncio.Protocol):
    """One keep-alive connection. Requests come one after the other; pipelining is not for benchmarks."""

    def __init__(self, handle: "Handle") -> None:
        self._handle = handle
        self._received = b""
        self._transport: asyncio.Transport | None = None
        self.on_lost: Callable[[], None] | None = None
        """Called when the peer goes away while it waits for a reply."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        """Tell whoever holds a reply for this peer."""
        self._transport = None
        lost, self.on_lost = self.on_lost, None
        if lost:
            lost()

    def data_received(self, data: bytes) -> None:
        """Collect one request and hand it on."""
        self._received += data
        head, found, rest = self._received.partition(b"\r\n\r\n")
        if not found:
            return
        lines = head.decode("latin-1").split("\r\n")
        method, target, _ = lines[0].split(" ")
        length = 0
        if method != "GET":
            length = next((int(line[15:]) for line in lines if line.lower().startswith("content-length:")), 0)
        if len(rest) < length:
            return
        self._received = b""
        path, _, query = target.partition("?")
        self._handle(self, method, path, dict(parse_qsl(query)), rest)

    def reply(self, body: bytes, status: int = 200, kind: bytes = b"application/json") -> None:
        """Answer with a whole body."""
        self._write(
            b"HTTP/1.1 %d %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n%b"
            % (status, REASONS[status], kind, len(body), body)
        )

    def begin_events(self) -> None:
        """Answer with a stream of server-sent events, as chunks of HTTP."""
        self._write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")

    def send_events(self, events: bytes) -> None:
        """Send some events."""
        self._write(b"%x\r\n%b\r\n" % (len(events), events))

    def end_events(self) -> None:
        """End the stream; the connection stays."""
        self._write(b"0\r\n\r\n")

    def _write(self, data: bytes) -> None:
        if self._transport:
            self._transport.write(data)


Handle = Callable[[Connection, str, str, dict[str, str], bytes], None]
