"""Server-sent events, decoded without I/O: bytes in, events out, by the rules of the WHATWG HTML standard.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation

Lines end in LF, CRLF or CR, also where a chunk ends between the two bytes of a CRLF. An event is dispatched the moment
its blank line is in: a CR is taken as the end of a line at once, and an LF right behind it is swallowed later.
UTF-8 is decoded line by line, which equals decoding the stream: no byte of a longer sequence looks like a line end.
"""

from typing import Any

from attrs import frozen

from exatlas.errors import StreamError

_BOM = b"\xef\xbb\xbf"
_LONGEST_RETRY = 15
"""Digits of the longest `retry` value that is believed."""


class OpenEvent:
    """A plain event that is still being written; setting its `__class__` to :class:`SseEvent` seals it.

    Most events are plain, and this takes half the time of a frozen record's own constructor.
    """

    __slots__ = ("__weakref__", "data", "event", "id", "retry_ms")

    def __init__(self, data: str, last_id: str) -> None:
        self.event = "message"
        self.data = data
        self.id = last_id
        self.retry_ms: int | None = None


@frozen
class SseEvent(OpenEvent):
    """One dispatched event."""

    event: str
    """The event's type; "message" where the server names none."""
    data: str
    """The data lines, joined by line feeds. May be empty."""
    id: str = ""
    """The last event id at this point of the stream: set by this event or by an earlier one."""
    retry_ms: int | None = None
    """The reconnection time sent with this event, or None."""


class SseDecoder:
    """Decodes one stream. Feed it chunks cut anywhere; it never holds much more than `max_event_bytes` and one chunk.

    An event, or a line, beyond `max_event_bytes` raises StreamError, after the events before it have been handed out.
    The decoder is of no use afterwards.
    """

    def __init__(self, max_event_bytes: int = 8 * 1024 * 1024) -> None:
        self._max = max_event_bytes
        self._tail: list[bytes] = []
        self._tail_bytes = 0
        self._at_start = True
        self._swallow_lf = False
        self._oversized = False
        self._fresh = True
        self._data: list[str] = []
        self._kept = 0
        self._event = ""
        self._id = ""
        self._retry: int | None = None
        self.last_event_id = ""
        """What to send as `Last-Event-ID` when connecting again; empty means not to send it."""
        self.retry_ms: int | None = None
        """How long the server asks to wait before connecting again, or None if it never said."""

    def feed(self, chunk: bytes) -> list[SseEvent]:
        """Take the next bytes and return the events they complete.

        Raises:
            StreamError: an event or a line is longer than `max_event_bytes`.
        """
        if self._oversized:
            raise self._too_long()
        if self._swallow_lf and chunk:
            self._swallow_lf = False
            if chunk[0] == 0x0A:
                chunk = chunk[1:]
        if self._at_start:
            chunk = self._without_bom(chunk)
        if not chunk:
            return []
        if b"\r" in chunk:
            self._swallow_lf = chunk[-1] == 0x0D
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        end = chunk.rfind(b"\n") + 1
        if not end:
            self._keep(chunk)
            return self._checked([])
        whole = self._taken(chunk[:end])
        events = self._read_blocks(whole) if self._fresh and len(whole) <= self._max else self._read_lines(whole)
        if end < len(chunk):
            self._keep(chunk[end:])
        return self._checked(events)

    def finish(self) -> list[SseEvent]:
        """End the stream and return the event that was never finished by a blank line, if there is one.

        The standard discards such an event. It is offered here for callers that know it to be complete, such as
        readers of servers that leave the last blank line out.

        Raises:
            StreamError: as for `feed`.
        """
        if self._oversized:
            raise self._too_long()
        last_line = self._taken(b"\n")
        last_id = self.last_event_id
        events = self._checked(self._read_lines(last_line if last_line == b"\n" else last_line + b"\n"))
        if not events:
            self.last_event_id = last_id  # the id of an event that never came must not be asked to continue after
        return events

    def _without_bom(self, chunk: bytes) -> bytes:
        """Drop a byte order mark, which may come split, from the very start of the stream."""
        start = self._taken(chunk)
        if len(start) < len(_BOM) and _BOM.startswith(start):
            self._keep(start)
            return b""
        self._at_start = False
        return start.removeprefix(_BOM)

    def _keep(self, piece: bytes) -> None:
        """Put aside a piece of a line; pieces are joined only once, however many crumbs the line comes in."""
        self._tail.append(piece)
        self._tail_bytes += len(piece)
        self._oversized = self._oversized or self._tail_bytes + self._kept > self._max

    def _taken(self, piece: bytes) -> bytes:
        """What was put aside, and this."""
        if not self._tail:
            return piece
        self._tail.append(piece)
        whole = b"".join(self._tail)
        self._tail.clear()
        self._tail_bytes = 0
        return whole

    def _read_blocks(self, whole: bytes) -> list[SseEvent]:
        """Read whole lines where no event is half read. Most servers send one data line per event, and nothing else."""
        cut = whole.rfind(b"\n\n") + 2
        if cut == 1:
            return self._read_lines(whole)
        events: list[SseEvent] = []
        for block in whole[: cut - 2].decode("utf-8", "replace").split("\n\n"):
            if block[:6] == "data: " and "\n" not in block:
                event: Any = OpenEvent(block[6:], self._id)
                event.__class__ = SseEvent
                events.append(event)
            else:
                events += self._read(block + "\n\n")
        return events + self._read_lines(whole[cut:]) if cut < len(whole) else events

    def _read_lines(self, whole: bytes) -> list[SseEvent]:
        return self._read(whole.decode("utf-8", "replace"))

    def _read(self, lines: str) -> list[SseEvent]:
        """Read lines, each of them ended by a line feed."""
        events: list[SseEvent] = []
        for line in lines[:-1].split("\n"):
            if not line:
                if self._data:
                    events.append(self._dispatch())
                self._start_event()
                continue
            self._fresh = False
            self._field(line)
            if self._kept > self._max or len(line) > self._max:
                self._oversized = True
                break
        return events

    def _field(self, line: str) -> None:
        name, _, value = line.partition(":")
        if value[:1] == " ":
            value = value[1:]
        if name == "data":
            self._data.append(value)
            self._kept += len(line)
        elif name == "event":
            self._kept += len(value) - len(self._event)
            self._event = value
        elif name == "id":
            if "\0" not in value:
                self._id = value
        elif name == "retry" and value.isascii() and value.isdigit() and len(value) <= _LONGEST_RETRY:
            self._retry = self.retry_ms = int(value)

    def _dispatch(self) -> SseEvent:
        data = self._data
        return SseEvent(self._event or "message", data[0] if len(data) == 1 else "\n".join(data), self._id, self._retry)

    def _start_event(self) -> None:
        """Forget what belonged to one event. The id counts from here, even where the event had no data."""
        self.last_event_id = self._id
        self._data.clear()
        self._kept = 0
        self._event = ""
        self._retry = None
        self._fresh = True

    def _checked(self, events: list[SseEvent]) -> list[SseEvent]:
        if self._oversized and not events:
            raise self._too_long()
        return events

    def _too_long(self) -> StreamError:
        self._tail.clear()
        self._data.clear()
        return StreamError(f"the server sent an event of more than {self._max} bytes")
