"""What travels: one HTTP call as a value, its reply as a value, and records of what happened for those who listen.

Providers build :class:`HttpCall` and read :class:`HttpReply`; neither knows how bytes move. A fake cloud is a function
from the one to the other.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import Enum, StrEnum
from typing import Any

import orjson
from attrs import field, frozen

from exatlas.errors import ErrorKind, ReplyShapeError


class Repeat(Enum):
    """How far a call may be repeated after a failure."""

    SAFE = "safe"
    """Repeating changes nothing: reads, deletes, cancels. Repeat after lost replies, 408, 429 and 5xx."""
    REFUSED = "refused"
    """Repeat only where the cloud said clearly that nothing was done (429): creates, job submits, actions."""
    NEVER = "never"
    """The caller decides: polls that drain, whose lost reply cannot be had again."""


@frozen(kw_only=True)
class HttpCall:
    """One HTTP request, complete but for the socket."""

    provider: str
    operation: str
    """The contract operation this belongs to, for errors and records."""
    method: str
    url: str = field(repr=False)
    """Absolute, with query. May hold ids, so records and logs use `template` instead."""
    template: str
    """The URL with its variable parts named: `/v2/pods/{id}`."""
    headers: Mapping[str, str] = field(factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)
    repeat: Repeat = Repeat.NEVER
    timeout_s: float = 30.0
    """Deadline of one attempt, from the first byte out to the last byte in."""
    max_reply_bytes: int = 32 * 1024 * 1024
    """A longer reply is a TransportError; nothing beyond this is ever buffered."""
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """Strings that must not appear in any error made from this call or its reply."""
    anonymous: bool = False
    """Holds no key and nothing else that is secret, so plain ``http://`` may carry it anywhere."""


@frozen(kw_only=True)
class HttpReply:
    """A complete reply, whatever its status."""

    status: int
    headers: Mapping[str, str] = field(factory=dict, repr=False)
    """Names in lower case."""
    body: bytes = field(default=b"", repr=False)

    def json(self) -> Any:
        """The decoded body, whatever content type it claims (problem documents included).

        Raises:
            ReplyShapeError: the body is not JSON. Provider and operation are filled in by whoever knows them.
        """
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError as error:
            shown = self.headers.get("content-type") or "no content type"
            raise ReplyShapeError(
                f"the reply is not JSON ({shown}, {len(self.body)} bytes): {error}",
                paths=["$"],
                status=self.status,
            ) from error

    @property
    def text(self) -> str:
        """The body as text, undecodable bytes replaced."""
        return self.body.decode("utf-8", "replace")


def encode(body: Any) -> bytes:
    """A JSON body as bytes. Raises TypeError for values JSON does not have."""
    return orjson.dumps(body)


class AttemptEnd(StrEnum):
    """How one attempt ended, for hooks."""

    REPLIED = "replied"
    FAILED = "failed"
    CANCELLED = "cancelled"


@frozen(kw_only=True)
class RequestRecord:
    """One attempt at one HTTP request, as handed to hooks when it is over.

    Holds no ids of jobs or machines, no bodies, no secrets.
    """

    provider: str
    operation: str
    endpoint: str | None = None
    """The serverless endpoint the call was about, or None."""
    method: str
    template: str
    """URL template, such as `/v2/pods/{id}`."""
    scheme: str = "https"
    host: str
    """Host, with the port where the URL names one."""
    attempt: int
    """1 for the first try."""
    end: AttemptEnd
    status: int | None
    """HTTP status, or None when no reply came."""
    duration_s: float
    ended_at: datetime
    """When it was over: aware, UTC, by the client's clock."""
    error: str | None = None
    """Class name of the transport error, or None."""
    request_id: str | None = None
    budget_wait_s: float = 0.0
    """How long the call waited for its share of the request budget before it was sent."""
    bytes_received: int = 0


@frozen(kw_only=True)
class StreamOpened:
    """Somebody began to read a stream, as handed to listeners. Its :class:`StreamRecord` follows when it is closed."""

    provider: str
    operation: str
    """`stream_job`, `stream_events` or `stream_logs`."""
    endpoint: str | None
    """The serverless endpoint, or None for a machine's log."""
    serial: int
    """Pairs it with its end. Unique in the process, and without meaning outside."""
    opened_at: datetime
    """Aware, UTC, by the client's clock."""


class StreamEnd(StrEnum):
    """How the reading of a stream ended, for hooks."""

    COMPLETED = "completed"
    FAILED = "failed"
    """It raised: the job failed, the wire broke, the endpoint said no."""
    LEFT = "left"
    """The reader closed it, or was cancelled, before its end."""


@frozen(kw_only=True)
class StreamRecord:
    """One reading of a stream from open to close, as handed to listeners. Holds no ids, no output."""

    provider: str
    operation: str
    """`stream_job`, `stream_events` or `stream_logs`."""
    endpoint: str | None
    """The serverless endpoint, or None for a machine's log."""
    serial: int
    """That of its :class:`StreamOpened`."""
    end: StreamEnd
    chunks: int
    """How many chunks, events or lines the reader was given."""
    gaps: int
    """How many of them came after chunks that may be lost."""
    duration_s: float
    ended_at: datetime
    """Aware, UTC, by the client's clock."""
    first_chunk_s: float | None = None
    """How long the reader waited for the first chunk, or None when there was none."""
    error: str | None = None
    """Class name of the error it raised, or None."""
    kind: ErrorKind | None = None
    """The error's kind, or None."""


class SpawnEnd(StrEnum):
    """What became of a spawn, for hooks."""

    RENTED = "rented"
    FAILED = "failed"
    CANCELLED = "cancelled"


@frozen(kw_only=True)
class SpawnRecord:
    """One attempt to rent a machine, as handed to listeners when it is settled. Holds no ids, no names, no secrets."""

    provider: str
    end: SpawnEnd
    requests: int
    """HTTP attempts it took: creates over all the GPUs tried, and looks for a machine whose answer was lost."""
    duration_s: float
    ended_at: datetime
    """Aware, UTC, by the client's clock."""
    error: str | None = None
    """Class name of the error it raised, or None."""
    kind: ErrorKind | None = None
    """The error's kind, or None. `outcome_unknown` means that a machine nobody holds may be billing: for a cancelled
    spawn too, when what it had rented could not be given back."""


HookEvent = RequestRecord | StreamOpened | StreamRecord | SpawnRecord
"""Everything a listener can hear. Later versions may add kinds, so pass over what you do not know."""
