"""What callers pass, turned into records and checked. Every wrong argument is named before anything is sent."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from difflib import get_close_matches
from typing import Any, Literal, TypedDict, TypeVar

import attrs

from exatlas.config import BaseUrls
from exatlas.errors import ValidationError
from exatlas.protocols import Credential
from exatlas.providers import ProviderChoice
from exatlas.records import checks
from exatlas.records.compute import Compute, ComputeFields, ComputeFilter, ComputeRequest, ComputeStatus
from exatlas.records.job import Job, JobFields, JobRef, JobRequest

R = TypeVar("R", bound=attrs.AttrsInstance)


class AccountOptions(TypedDict, total=False):
    """Whom a call is for. Everything left out comes from the client, then from the environment."""

    provider: ProviderChoice | None
    api_key: Credential | None
    base_url: BaseUrls | None


class CallOptions(AccountOptions, total=False):
    """What every call takes."""

    timeout: float | timedelta | None
    """Deadline of each HTTP request (seconds or timedelta)."""


class SpawnOptions(ComputeFields, CallOptions, total=False):
    """What `spawn_compute` and `rent` take: the fields of a :class:`ComputeRequest`, and whom to ask."""


class FilterFields(TypedDict, total=False):
    """The fields of a :class:`ComputeFilter`."""

    status: ComputeStatus | str | None
    name: str | None
    region: str | None
    gpu: str | None


class ListOptions(FilterFields, CallOptions, total=False):
    """What `list_compute` takes."""


class RunOptions(JobFields, AccountOptions, total=False):
    """What `run_job` takes. `timeout` is the request's own: how long a sync call waits."""


class JobOptions(CallOptions, total=False):
    """What calls about one job take."""

    endpoint: str | None
    """Needed with a plain job id."""


class StreamOptions(JobOptions, total=False):
    """What `stream_job` takes."""

    on_exit: Literal["leave", "cancel"]
    """`cancel` cancels the job when its reader leaves before the end."""
    strict: bool
    """Raise StreamGapError where chunks are lost, instead of marking the next one."""


class OpenStreamOptions(StreamOptions, total=False):
    """What `open_job_stream` takes."""

    decode: Literal["sse"] | None
    """`sse` reads the raw server-sent events that some workers yield as text."""


class EventOptions(CallOptions, total=False):
    """What `stream_events` takes."""

    done: str | None
    """The data that announces the end; None for servers that simply close."""
    idle_timeout: float | timedelta
    """Longest silence between two pieces of the answer (seconds or timedelta)."""


class ReadyOptions(AccountOptions, total=False):
    """What `wait_until_ready` takes."""

    level: Literal["running", "ports", "tcp", "http"]
    """What ready means; `running` unless given."""
    port: int | None
    """The port inside the container to try; None is the first of its kind."""
    path: str
    """What to GET at level `http`; `/` unless given."""
    probe: Callable[[Compute], Awaitable[bool]] | None
    """Asked last, and instead of the GET at level `http`."""
    timeout: float | timedelta
    """How long to wait in all (seconds or timedelta); half an hour unless given."""
    dud_after: float | timedelta | None
    """How long it may provision before its host is called a dud; 25 minutes unless given, None for ever."""
    with_logs: bool
    """Put its last log lines into the error, where the cloud has any. Whatever it prints may be in them."""
    terminate_on_failure: bool
    """Terminate it when it does not become ready, for whatever reason but a cancellation."""
    on_look: Callable[[Compute], object] | None
    """Called with the machine after every look."""


class LogOptions(CallOptions, total=False):
    """What `stream_logs` takes."""

    tail: int | None
    """How many past lines to begin with; None is the cloud's default."""
    follow: bool
    """Whether to go on with new lines (the default) or to end after the past ones."""


CALL = "the call"
"""What is not valid, in errors about arguments; the operation stands in front of it."""

ACCOUNT = ("provider", "api_key", "base_url")
"""The keywords that say whom a call is for."""
_CALL = (*ACCOUNT, "timeout")


def split(operation: str, given: Mapping[str, Any], *own: str, call: tuple[str, ...] = _CALL) -> dict[str, Any]:
    """Check that every keyword is known, and give those that are not about the call itself.

    Raises:
        ValidationError: names each unknown keyword and the nearest one that is accepted.
    """
    if not given:
        return {}
    accepted = (*own, *call)
    faults = [f"{name}: not accepted{_nearest(name, accepted)}" for name in given if name not in accepted]
    if faults:
        raise ValidationError(CALL, [*faults, f"accepted are {', '.join(accepted)}"], operation=operation)
    return {name: value for name, value in given.items() if name in own}


def compute_request(operation: str, request: object, given: Mapping[str, Any]) -> ComputeRequest:
    """The request that a caller means: a record, keywords, or a record with keywords over it."""
    return _record(operation, ComputeRequest, request, split(operation, given, *_fields(ComputeRequest)))


def compute_filter(filters: object, given: Mapping[str, Any]) -> ComputeFilter:
    """The filter that a caller means."""
    return _record("list_compute", ComputeFilter, filters, split("list_compute", given, *_fields(ComputeFilter)))


def job_request(request: object, given: Mapping[str, Any]) -> JobRequest:
    """The job that a caller means."""
    fields = split("run_job", given, *_fields(JobRequest), call=ACCOUNT)
    return _record("run_job", JobRequest, request, fields)


def of_many(operation: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options that hold for several providers at once.

    Raises:
        ValidationError: a provider, a key or a base URL was given, which is one provider's business.
    """
    own = [name for name in ACCOUNT if given.get(name) is not None]
    if own:
        faults = [f"{name}: goes with one provider, and several are asked through providers" for name in own]
        raise ValidationError(CALL, faults, operation=operation)
    return {name: value for name, value in given.items() if name == "timeout"}


def compute_id(operation: str, compute: object) -> tuple[str, str | None]:
    """The id of a machine given by id or record, and the provider that a record names."""
    if isinstance(compute, Compute):
        return compute.id, compute.provider
    if isinstance(compute, str) and compute.strip():
        return compute, None
    raise _wrong(operation, f"compute: expected a Compute or its id, {checks.given(compute)}")


def job_ref(operation: str, job: object, endpoint: object) -> tuple[JobRef, str | None]:
    """What names a job given by id or record, and the provider that a record names."""
    if endpoint is not None and (not isinstance(endpoint, str) or not endpoint.strip()):
        raise _wrong(operation, f"endpoint: expected a non-empty string, {checks.given(endpoint)}")
    if isinstance(job, Job | JobRef):
        if endpoint is not None and endpoint != job.endpoint:
            raise _wrong(operation, f"endpoint: the job belongs to {job.endpoint!r}, got {endpoint!r}")
        provider = job.provider if isinstance(job, Job) else None
        return JobRef(id=job.id, endpoint=job.endpoint), provider
    if not isinstance(job, str) or not job.strip():
        raise _wrong(operation, f"job: expected a Job, a JobRef or a job id, {checks.given(job)}")
    if endpoint is None:
        raise _wrong(operation, "endpoint: needed with a plain job id, because ids are scoped to their endpoint")
    return JobRef(id=job, endpoint=str(endpoint)), None


def seconds(subject: str, timeout: object, field: str = "timeout") -> float | None:
    """A deadline in seconds."""
    if timeout is None:
        return None
    span = checks.as_span(timeout)
    fault = checks.optional(checks.positive_span)(span)
    if fault:
        raise _wrong(subject, f"{field}: {fault}")
    return None if span is None else float(span.total_seconds())


def check(operation: str, **faults: str | None) -> None:
    """Raise for the faults that are not None, each named after its argument."""
    found = [f"{name}: {fault}" for name, fault in faults.items() if fault]
    if found:
        raise ValidationError(CALL, found, operation=operation)


def _record(operation: str, cls: type[R], given: object, fields: Mapping[str, Any]) -> R:
    if given is None:
        missing = [
            f"{field.name}: missing"
            for field in attrs.fields(cls)
            if field.default is attrs.NOTHING and field.name not in fields
        ]
        if missing:
            raise ValidationError(CALL, missing, operation=operation)
        return cls(**fields)
    if not isinstance(given, cls):
        raise _wrong(operation, f"expected a {cls.__name__} or keyword arguments, {checks.given(given)}")
    evolved: R = attrs.evolve(given, **fields)  # type: ignore[misc]  # a type variable bound to attrs classes
    return evolved


def _fields(cls: type[attrs.AttrsInstance]) -> tuple[str, ...]:
    return tuple(field.name for field in attrs.fields(cls))


def _nearest(name: str, accepted: tuple[str, ...]) -> str:
    close = get_close_matches(name.lower(), accepted, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _wrong(operation: str, fault: str) -> ValidationError:
    return ValidationError(CALL, [fault], operation=operation)
