"""One unit of serverless work, and what comes out of it."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Literal, TypedDict

from attrs import field, frozen

from exatlas.errors import ValidationError
from exatlas.records import checks
from exatlas.records.checks import rule


class JobStatus(StrEnum):
    """Where a job is in its life. Words a cloud adds later become `unknown`, with one warning."""

    IN_QUEUE = "in_queue"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"
    UNKNOWN = "unknown"

    @property
    def is_terminal(self) -> bool:
        """Whether the job will never change again. An unknown word is not taken for an end."""
        return self in _TERMINAL


_TERMINAL = frozenset({JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.TIMED_OUT})


@frozen(kw_only=True)
class JobPolicy:
    """What the cloud should do with a job that waits or runs too long. None leaves the endpoint's setting."""

    execution_timeout: timedelta | None = field(
        default=None, converter=checks.as_span, metadata=rule(checks.optional(checks.positive_span))
    )
    """Longest time a worker may spend on it (seconds or timedelta)."""
    ttl: timedelta | None = field(
        default=None, converter=checks.as_span, metadata=rule(checks.optional(checks.positive_span))
    )
    """Longest life from submission, queue included; the job is deleted when it ends, running or not."""
    low_priority: bool = field(default=False, metadata=rule(checks.flag))
    """Do not start more workers for this job."""

    def __attrs_post_init__(self) -> None:
        checks.validate(self, *self._faults_between_fields())

    def _faults_between_fields(self) -> list[str]:
        spans = (self.ttl, self.execution_timeout)
        if all(isinstance(span, timedelta) for span in spans) and self.ttl < self.execution_timeout:  # type: ignore[operator]
            return ["ttl: expected at least execution_timeout, or the job is deleted while it runs"]
        return []


def _as_policy(value: Any) -> Any:
    return JobPolicy(**value) if isinstance(value, Mapping) and _policy(value) is None else value


def _policy(value: object) -> str | None:
    """A policy, or a mapping that makes one."""
    if isinstance(value, JobPolicy):
        return None
    if not isinstance(value, Mapping):
        return f"expected a JobPolicy or a mapping, {checks.given(value)}"
    unknown = [name for name in value if name not in _POLICY_FIELDS]
    if unknown:
        return f"expected only {', '.join(_POLICY_FIELDS)}, got {unknown[0]!r}"
    try:
        JobPolicy(**value)
    except ValidationError as error:
        return "; ".join(error.faults)
    return None


_POLICY_FIELDS = ("execution_timeout", "ttl", "low_priority")


class JobFields(TypedDict, total=False):
    """The keyword arguments that `run_job` turns into a :class:`JobRequest`."""

    endpoint: str
    input: Mapping[str, Any]
    mode: Literal["async", "sync"]
    timeout: float | timedelta | None
    webhook: str | None
    policy: JobPolicy | Mapping[str, Any]
    provider_opts: Mapping[str, Any]


@frozen(kw_only=True)
class JobRequest:
    """Work for a serverless endpoint. Submitted once: a second submit would be a second job."""

    endpoint: str = field(metadata=rule(checks.text))
    """The endpoint's id at the provider."""
    input: Mapping[str, Any] = field(
        converter=checks.as_dict, repr=False, hash=False, metadata=rule(checks.json_object)
    )
    """What the handler gets as `job["input"]`: any JSON object with at least one key."""
    mode: Literal["async", "sync"] = field(default="async", metadata=rule(checks.member("async", "sync")))
    """`async` returns as soon as the job is queued; `sync` waits for its end, up to `timeout`."""
    timeout: timedelta | None = field(
        default=None, converter=checks.as_span, metadata=rule(checks.optional(checks.positive_span))
    )
    """How long a sync call waits (seconds or timedelta); None waits as long as it takes. The job goes on regardless."""
    webhook: str | None = field(
        default=None, repr=False, metadata=rule(checks.optional(checks.web_url)) | {"secret": True}
    )
    """Called by the cloud when the job ends. It may carry a secret of yours, so it is not shown."""
    policy: JobPolicy = field(factory=JobPolicy, converter=_as_policy, metadata=rule(_policy))
    provider_opts: Mapping[str, Any] = field(
        factory=dict, converter=checks.as_dict, repr=False, hash=False, metadata=rule(checks.json_object)
    )
    """Merged deeply into the cloud's own request body, last and unchecked."""

    def __attrs_post_init__(self) -> None:
        empty = ["input: expected at least one key; workers refuse an empty input"] if self.input == {} else []
        checks.validate(self, *empty)


@frozen(kw_only=True)
class JobFault:
    """Why a job failed, as far as its worker said."""

    message: str
    type: str | None = None
    """The exception's class, where the worker told it."""
    traceback: str | None = field(default=None, repr=False)
    raw: Any = field(default=None, repr=False, hash=False)
    """What the worker sent, unread."""


@frozen(kw_only=True)
class Job:
    """One job, as last seen. A snapshot: it never fetches by itself."""

    id: str
    provider: str
    endpoint: str
    status: JobStatus
    output: Any = field(default=None, hash=False)
    """Whatever the handler returned; for generators only where the worker aggregates."""
    error: JobFault | None = None
    execution_time: timedelta | None = None
    delay_time: timedelta | None = None
    """Time in the queue before the last attempt."""
    retries: int = 0
    """How often the cloud handed it to a worker again."""
    worker_id: str | None = None
    created_at: datetime | None = None
    """When this process submitted it (aware, UTC); None for jobs found by id."""
    raw: Mapping[str, Any] = field(factory=dict, repr=False, hash=False)


@frozen(kw_only=True)
class JobRef:
    """What names a job: ids are scoped to their endpoint."""

    id: str = field(metadata=rule(checks.text))
    endpoint: str = field(metadata=rule(checks.text))

    def __attrs_post_init__(self) -> None:
        checks.validate(self)


class OpenChunk:
    """A chunk that is still being written; setting its `__class__` to :class:`JobChunk` seals it.

    Streams make one of every token, and this takes a third of the time of a frozen record's own constructor.
    """

    __slots__ = ("__weakref__", "gap", "index", "metrics", "output", "received_at")

    def __init__(
        self, index: int, output: Any, metrics: Mapping[str, Any] | None, received_at: datetime, gap: bool
    ) -> None:
        self.index = index
        self.output = output
        self.metrics = metrics
        self.received_at = received_at
        self.gap = gap


@frozen(kw_only=True)
class JobChunk(OpenChunk):
    """One piece of a job's output, in the order the handler yielded it."""

    index: int
    """0, 1, 2 … in the order received for this job by this process; a stream opened again goes on counting."""
    output: Any = field(hash=False)
    """Exactly what the handler yielded."""
    metrics: Mapping[str, Any] | None = field(default=None, hash=False)
    """Numbers some workers attach to a chunk."""
    received_at: datetime
    """Aware, UTC; chunks of one reply share it."""
    gap: bool = False
    """True when chunks before this one may have been lost on the way."""


@frozen(kw_only=True)
class StreamEvent:
    """One server-sent event of an OpenAI-compatible or load-balanced endpoint."""

    data: Any = field(hash=False)
    """The event's data: decoded where it is JSON, else the text."""
    event: str = "message"
    id: str | None = None


@frozen(kw_only=True)
class LogLine:
    """One line of a machine's output."""

    line: str
    at: datetime | None = None
    """When the cloud recorded it (aware, UTC)."""
    source: str | None = None
    """The cloud's own word for where it came from, such as `container` or `system`."""
    cursor: str | None = None
    """Opaque position, for going on after this line."""
