"""Every error exatlas raises, in one tree.

::

    AtlasError
    ├─ ConfigError               no key, unknown provider, impossible option   ┐
    ├─ ValidationError           a record or argument that cannot be right     │ raised before
    ├─ UnsupportedError          the provider lacks the named capability       ┘ anything is sent
    ├─ TransportError            no usable reply
    │  └─ TransportTimeoutError  (a TimeoutError too)
    ├─ ProviderError             the cloud said no
    │  ├─ UnauthorizedError      ├─ ForbiddenError      ├─ EdgeBlockedError
    │  ├─ NotFoundError          ├─ ConflictError       ├─ InvalidRequestError
    │  │                         │  └─ LeaseLostError   │
    │  ├─ RateLimitedError       ├─ NoCapacityError     ├─ QuotaError
    │  └─ InsufficientFundsError └─ ProviderBrokenError
    ├─ ReplyShapeError           it answered in a shape we do not know
    ├─ OutcomeUnknownError       a create may or may not have rented a machine or queued a job
    ├─ CleanupError              a machine that should be gone could not be terminated
    ├─ NotReadyError             a machine that was waited for is not ready, and why
    ├─ AllFailedError            no provider of first_ok succeeded
    ├─ LedgerError               the ledger cannot be read or written
    ├─ BudgetError               a budget has too little left; nothing was rented
    ├─ StreamError
    │  ├─ StreamGapError         chunks were lost and cannot be recovered
    │  ├─ StreamTruncatedError   the stream ended before it said it was done
    │  └─ StreamFailedError      the server reported an error inside the stream
    └─ JobError                  each holds the Job
       ├─ JobFailedError   ├─ JobCancelledError   └─ JobTimedOutError  (a TimeoutError too)

Catch by class (``except exatlas.NoCapacityError``) or match on ``err.kind``, a word from the closed :class:`ErrorKind`.
``str(err)`` is one line that a person can act on.
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Any, ClassVar


class ErrorKind(StrEnum):
    """What went wrong, in a vocabulary that stays stable across releases and providers."""

    UNAUTHORIZED = "unauthorized"
    """The key is missing, wrong, or not meant for this API."""
    FORBIDDEN = "forbidden"
    """The key is good but may not do this, or an edge in front of the cloud refused the client."""
    NOT_FOUND = "not_found"
    """The id is wrong, expired, deleted, or belongs to another account."""
    CONFLICT = "conflict"
    """The thing is in a state that does not allow this action."""
    RATE_LIMITED = "rate_limited"
    """Too many requests; `retry_after` says how long to wait where the cloud said so."""
    NO_CAPACITY = "no_capacity"
    """Nothing that fits is free right now; another GPU, region or moment may work."""
    INSUFFICIENT_FUNDS = "insufficient_funds"
    """The account's balance does not cover the request."""
    QUOTA = "quota"
    """An account limit other than the rate was reached."""
    TIMEOUT = "timeout"
    """A deadline passed."""
    UNSUPPORTED = "unsupported"
    """The provider cannot do this at all."""
    VALIDATION = "validation"
    """The request is wrong; repeating it will not help."""
    PROVIDER = "provider"
    """The cloud failed or answered something unexpected."""
    TRANSPORT = "transport"
    """The network failed."""
    OUTCOME_UNKNOWN = "outcome_unknown"
    """Something may be running and billing; look for the `launch_id` before trying again."""
    UNKNOWN = "unknown"
    """None of the above."""


class AtlasError(Exception):
    """The root of every error exatlas raises on purpose.

    All attributes but the message are optional facts: ``None`` means not known or not applicable.
    No attribute ever holds a key, a token or an environment value.
    """

    kind: ClassVar[ErrorKind] = ErrorKind.UNKNOWN
    retryable_by_default: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        provider: str | None = None,
        operation: str | None = None,
        status: int | None = None,
        request_id: str | None = None,
        retryable: bool | None = None,
        retry_after: float | None = None,
        raw: Any = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        """What happened and what to do, without the provider's name in front."""
        self.provider = provider
        """The provider's name, such as ``"runpod"``."""
        self.operation = operation
        """The contract operation, such as ``"spawn_compute"``."""
        self.status = status
        """The HTTP status of the reply that said no."""
        self.request_id = request_id
        """The cloud's own id for the request; quote it to its support."""
        self.retryable = self.retryable_by_default if retryable is None else retryable
        """Whether the same call may work later, unchanged, without risk of doing it twice."""
        self.retry_after = retry_after
        """Seconds the cloud asked to wait, or None if it did not say."""
        self.raw = raw
        """The reply's body with secrets removed, for people; its shape is the cloud's."""

    def __str__(self) -> str:
        where = " ".join(part for part in (self.provider, self.operation) if part)
        facts = [f"HTTP {self.status}"] if self.status else []
        facts += [f"request {self.request_id}"] if self.request_id else []
        facts += [f"retry after {self.retry_after:g} s"] if self.retry_after is not None else []
        text = f"{where}: {self.message}" if where else self.message
        line = f"{text} ({', '.join(facts)})" if facts else text
        return " ".join(line.split())

    def extend(self, fact: str) -> None:
        """Add one more fact to the end of the message."""
        self.message = f"{self.message.rstrip('.')}; {fact}"
        self.args = (self.message,)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, self.__dict__.copy())


def _rebuild(cls: type[AtlasError], args: tuple[Any, ...], state: dict[str, Any]) -> AtlasError:
    """Unpickle an error without calling its constructor, whose arguments differ from class to class."""
    error = cls.__new__(cls, *args)
    error.__dict__.update(state)
    return error


class ConfigError(AtlasError):
    """No key, unknown provider, or an option that cannot work. Nothing was sent."""

    kind = ErrorKind.VALIDATION


class ValidationError(AtlasError, ValueError):
    """An argument or record that cannot be right; ``faults`` lists every one of them. Nothing was sent."""

    kind = ErrorKind.VALIDATION

    def __init__(self, subject: str, faults: Iterable[str], **facts: Any) -> None:
        self.faults = tuple(faults)
        """One sentence per fault: the field, what was given, and what is accepted."""
        super().__init__(f"{subject} is not valid: {'; '.join(self.faults)}", **facts)


class UnsupportedError(AtlasError):
    """The provider does not have the capability this call needs. Nothing was sent."""

    kind = ErrorKind.UNSUPPORTED

    def __init__(self, message: str, *, capability: str | None = None, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.capability = capability
        """The missing capability's name, or None when a request field (not an operation) is unsupported."""


class TransportError(AtlasError):
    """The network gave no usable reply."""

    kind = ErrorKind.TRANSPORT
    retryable_by_default = True

    def __init__(self, message: str, *, delivered: bool | None = None, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.delivered = delivered
        """False when the request surely never reached the cloud, None when that cannot be known."""


class TransportTimeoutError(TransportError, TimeoutError):
    """The deadline of one request passed without a reply."""

    kind = ErrorKind.TIMEOUT


class ProviderError(AtlasError):
    """The cloud answered, and the answer was no."""

    kind = ErrorKind.PROVIDER


class UnauthorizedError(ProviderError):
    """The key is missing, wrong, or not allowed on this family of calls."""

    kind = ErrorKind.UNAUTHORIZED


class ForbiddenError(ProviderError):
    """The key is valid but may not do this."""

    kind = ErrorKind.FORBIDDEN


class EdgeBlockedError(ProviderError):
    """A proxy in front of the cloud refused the client; the key was never looked at."""

    kind = ErrorKind.FORBIDDEN


class NotFoundError(ProviderError):
    """No such thing: wrong id, expired, deleted, or somebody else's."""

    kind = ErrorKind.NOT_FOUND


class ConflictError(ProviderError):
    """The thing's present state does not allow the action."""

    kind = ErrorKind.CONFLICT


class LeaseLostError(ConflictError):
    """Another worker looks after this now. Whoever gets this must leave it alone."""


class InvalidRequestError(ProviderError):
    """The cloud calls the request wrong; sending it again will not help."""

    kind = ErrorKind.VALIDATION


class RateLimitedError(ProviderError):
    """Too many requests. ``retry_after`` is the cloud's own advice, or None if it gave none."""

    kind = ErrorKind.RATE_LIMITED
    retryable_by_default = True


class NoCapacityError(ProviderError):
    """Nothing that fits is free right now. Nothing was rented."""

    kind = ErrorKind.NO_CAPACITY
    retryable_by_default = True


class QuotaError(ProviderError):
    """An account limit was reached. Nothing was rented."""

    kind = ErrorKind.QUOTA


class InsufficientFundsError(ProviderError):
    """The account's balance does not cover this. Nothing was rented."""

    kind = ErrorKind.INSUFFICIENT_FUNDS


class ProviderBrokenError(ProviderError):
    """The cloud failed on its own side (5xx)."""

    kind = ErrorKind.PROVIDER
    retryable_by_default = True


class ReplyShapeError(AtlasError):
    """The cloud answered with a body that cannot be read; ``paths`` says where.

    A create or submit never ends in this error but in :class:`OutcomeUnknownError`: the cloud may have acted.
    """

    kind = ErrorKind.PROVIDER

    def __init__(self, message: str, *, paths: Iterable[str] = (), **facts: Any) -> None:
        super().__init__(message, **facts)
        self.paths = tuple(paths)
        """JSON paths of the faults, such as ``$.pods[3].id``."""


class OutcomeUnknownError(AtlasError):
    """The cloud may or may not have done it, and looking did not settle the question.

    For a spawn, ``launch_id`` is written on the machine if there is one: search for it before spawning again.
    For a job submit there is nothing to search by, and ``launch_id`` is None.
    """

    kind = ErrorKind.OUTCOME_UNKNOWN

    def __init__(self, message: str, *, launch_id: str | None = None, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.launch_id = launch_id


class CleanupError(AtlasError):
    """A machine that should be gone could not be terminated, and is probably still billing.

    Raised by ``rent`` on the way out. ``compute_id`` names the machine; the failure is chained as the cause.
    """

    kind = ErrorKind.OUTCOME_UNKNOWN

    def __init__(self, message: str, *, compute_id: str, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.compute_id = compute_id


class NotReadyReason(StrEnum):
    """Why a machine did not become ready."""

    IMAGE_PULL = "image_pull"
    """The cloud says that the image cannot be pulled: its name is wrong, or it is private."""
    CRASH_LOOP = "crash_loop"
    """The container starts and ends, over and over."""
    DUD_HOST = "dud_host"
    """It never left provisioning; another host may well do."""
    FAILED = "failed"
    """The cloud gave up on it."""
    GONE = "gone"
    """It was terminated, by somebody or by the cloud, or it was never there."""
    STOPPED = "stopped"
    """It is paused, and will not run unless it is started."""
    TIMEOUT = "timeout"
    """The time was over; the message says what was still missing."""


class NotReadyError(AtlasError):
    """A machine that was waited for did not become ready. Unless ``terminated``, it goes on and bills."""

    kind = ErrorKind.PROVIDER

    def __init__(
        self,
        message: str,
        *,
        reason: NotReadyReason,
        compute: Any = None,
        logs: Iterable[str] = (),
        terminated: bool | None = None,
        **facts: Any,
    ) -> None:
        super().__init__(message, **facts)
        self.reason = reason
        """Why."""
        self.compute = compute
        """The :class:`exatlas.Compute` as it was last seen, or None if it never was."""
        self.logs = tuple(logs)
        """Its last log lines, where they were asked for; whatever it prints may be in them."""
        self.terminated = terminated
        """Whether the machine was terminated; None where that was not asked for."""
        if reason is NotReadyReason.TIMEOUT:
            self.kind = ErrorKind.TIMEOUT  # type: ignore[misc]


class AllFailedError(AtlasError):
    """Every provider of a :func:`exatlas.first_ok` failed; an ExceptionGroup of their errors is the cause.

    ``kind`` is the kind that all the errors share, or `unknown`. ``retryable`` if any of them is.
    """

    def __init__(self, message: str, *, outcomes: Sequence[Any], **facts: Any) -> None:
        errors = [outcome.error for outcome in outcomes]
        reasons = "; ".join(str(error) or type(error).__name__ for error in errors)
        retryable = any(getattr(error, "retryable", False) for error in errors)
        super().__init__(f"{message}: {reasons}", retryable=retryable, **facts)
        self.outcomes = tuple(outcomes)
        """One :class:`exatlas.Outcome` per provider, in input order."""
        kinds = {getattr(error, "kind", ErrorKind.UNKNOWN) for error in errors}
        self.kind = kinds.pop() if len(kinds) == 1 else ErrorKind.UNKNOWN  # type: ignore[misc]


class LedgerError(AtlasError):
    """The ledger cannot be read or written. A spawn that meets it before its create has sent nothing."""

    retryable_by_default = True


class BudgetError(AtlasError):
    """A budget has too little left for this. Nothing was rented; a later day or month, or a smaller session, may do."""

    kind = ErrorKind.QUOTA

    def __init__(self, message: str, *, budget: str, left_usd: Decimal, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.budget = budget
        """Which one, in words, such as ``tenant acme, day 2026-01-31``."""
        self.left_usd = left_usd
        """What it has left for others."""


class StreamError(AtlasError):
    """Something is wrong with a stream, as opposed to the job or the machine behind it."""

    kind = ErrorKind.TRANSPORT


class StreamGapError(StreamError):
    """Chunks were lost on the way and cannot be recovered (strict streams only)."""


class StreamTruncatedError(StreamError):
    """The connection closed before the stream said it was complete."""

    retryable_by_default = False


class StreamFailedError(StreamError):
    """The server reported an error as an event of the stream; ``raw`` holds its payload."""

    kind = ErrorKind.PROVIDER


class JobError(AtlasError):
    """A job ended without completing. ``job`` is its last known record."""

    kind = ErrorKind.PROVIDER

    def __init__(self, message: str, *, job: Any, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.job = job
        """The :class:`exatlas.Job`, with ``error`` filled in where the worker said why."""


class JobFailedError(JobError):
    """The handler raised, returned an error, or its worker died."""


class JobCancelledError(JobError):
    """The job was cancelled, by this process or by anybody else."""


class JobTimedOutError(JobError, TimeoutError):
    """The job ran into its execution timeout."""

    kind = ErrorKind.TIMEOUT


def faults_of(values: Mapping[str, str | None]) -> list[str]:
    """Keep the faults that are not None, each prefixed with its field."""
    return [f"{name}: {fault}" for name, fault in values.items() if fault]
