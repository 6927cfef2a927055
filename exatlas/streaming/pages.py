"""What a provider supplies to have its jobs polled."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from attrs import field, frozen

from exatlas.messages import HttpCall, HttpReply
from exatlas.records.job import Job, JobRef, JobStatus
from exatlas.transport.budget import Budget
from exatlas.transport.sse import SseEvent

PollItem = tuple[Any, Mapping[str, Any] | None]
"""One chunk as a cloud sends it: the output, and the numbers attached to it or None."""


@frozen(kw_only=True)
class PollPage:
    """One reply of a draining poll, read."""

    status: JobStatus
    items: Sequence[PollItem] = ()


@frozen(kw_only=True)
class PollSource:
    """The pure pieces a provider lends to the stream loop for one job."""

    job: JobRef
    poll_call: Callable[[float, str | None], HttpCall] = field(repr=False)
    """The next poll: seconds the server may hold it (0: do not ask it to), and the last event id seen or None.

    Its `repeat` is `Repeat.NEVER`: a repeated drain would lose chunks in silence.
    """
    read_page: Callable[[HttpReply], PollPage] = field(repr=False)
    """Read a JSON reply. Raises ProviderError for a refusal, ReplyShapeError for what cannot be read."""
    read_events: Callable[[Sequence[SseEvent]], PollPage] = field(repr=False)
    """Read the events of a server that answers `text/event-stream` instead; the last status among them counts."""
    fetch_job: Callable[[], Awaitable[Job]] = field(repr=False)
    """Ask for the job itself: why it failed, and what it put out in total."""
    budget: Budget = field(repr=False)
    """The request budget of this account and endpoint."""
    longest_hold_s: float = 5.0
    shortest_hold_s: float = 1.0
