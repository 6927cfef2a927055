"""What travels: one HTTP call as a value, its reply as a value, and a record of each attempt.

Providers build :class:`HttpCall` and read :class:`HttpReply`; neither knows how bytes move. A fake cloud is a function
from the one to the other.
"""

from collections.abc import Mapping
from enum import Enum, StrEnum
from typing import Any

import orjson
from attrs import field, frozen

from exatlas.errors import ReplyShapeError


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
    """One attempt at one HTTP request, as handed to hooks when it is over. Holds no ids, no bodies, no secrets."""

    provider: str
    operation: str
    method: str
    template: str
    """URL template, such as `/v2/pods/{id}`."""
    host: str
    attempt: int
    """1 for the first try."""
    end: AttemptEnd
    status: int | None
    """HTTP status, or None when no reply came."""
    duration_s: float
    error: str | None = None
    """Class name of the transport error, or None."""
    request_id: str | None = None
    budget_wait_s: float = 0.0
    """How long the call waited for its share of the request budget before it was sent."""
    bytes_received: int = 0
