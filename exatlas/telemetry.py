"""What the client does, as OpenTelemetry spans and metrics. Needs ``pip install 'exatlas[otel]'``.

Only the API is used: what becomes of spans and metrics, and where they go, is up to the SDK that the application sets
up. Names follow the semantic conventions for HTTP clients where there is one.
Source: https://opentelemetry.io/docs/specs/semconv/http/ (read 2026-11)
"""

from datetime import UTC, datetime, timedelta
from importlib.metadata import version

from exatlas.errors import ErrorKind
from exatlas.hooks import Fields, fields_of
from exatlas.messages import (
    HookEvent,
    RequestRecord,
    SpawnEnd,
    SpawnRecord,
    StreamEnd,
    StreamOpened,
    StreamRecord,
)

try:
    from opentelemetry.metrics import Meter, MeterProvider, get_meter
    from opentelemetry.trace import Span, SpanKind, Status, StatusCode, TracerProvider, get_tracer
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "exatlas.telemetry needs an extra: pip install 'exatlas[otel]'", name=error.name
    ) from error

SCOPE = "exatlas"
"""The instrumentation scope of every span and metric."""

_REQUEST_DIMENSIONS = (
    "exatlas.provider",
    "exatlas.operation",
    "exatlas.endpoint",
    "exatlas.end",
    "http.request.method",
    "http.response.status_code",
    "url.scheme",
    "url.template",
    "server.address",
    "server.port",
    "error.type",
)
_OWN_DIMENSIONS = ("exatlas.provider", "exatlas.operation", "exatlas.endpoint")
_END_DIMENSIONS = (*_OWN_DIMENSIONS, "exatlas.end", "error.type", "exatlas.error.kind")
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
"""Buckets that the conventions ask for."""
_LONG_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class OpenTelemetryHook:
    """Turns records into spans and metrics: ``Atlas(hooks=[OpenTelemetryHook()])``.

    Every attempt at a request is a CLIENT span, every stream and every spawn an INTERNAL one, each a child of the span
    that was current where the call was made (a stream: where its first chunk was asked for). Spans of attempts and
    spawns are made when they are over, with the times they had. Nothing holds output, input, environment, keys, ids of
    machines or jobs, or a URL beyond its template, scheme and host. One hook may serve any number of clients.

    Where the instrumentation for aiohttp's client is on as well, each request is told twice.

    Args:
        tracer_provider: None is the application's global one, also where that is set later.
        meter_provider: The same for metrics.
    """

    def __init__(
        self, *, tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None
    ) -> None:
        self._tracer = get_tracer(SCOPE, version("exatlas"), tracer_provider)
        self._meters = _Meters(get_meter(SCOPE, version("exatlas"), meter_provider))
        self._open: dict[int, Span] = {}

    def on_event(self, event: HookEvent, /) -> None:
        """Take one record."""
        match event:
            case RequestRecord():
                self._request(event)
            case StreamOpened():
                self._opened(event)
            case StreamRecord():
                self._closed(event)
            case SpawnRecord():
                self._spawned(event)

    def _request(self, record: RequestRecord) -> None:
        fields = fields_of(record)
        ended_at = _nanoseconds(record.ended_at)
        span = self._tracer.start_span(
            f"{record.method} {record.template}",
            kind=SpanKind.CLIENT,
            attributes=fields,
            start_time=ended_at - _as_nanoseconds(record.duration_s),
        )
        if "error.type" in fields:
            span.set_status(Status(StatusCode.ERROR))
        span.end(ended_at)
        self._meters.request(record, fields)

    def _opened(self, event: StreamOpened) -> None:
        fields = fields_of(event)
        self._open[event.serial] = self._tracer.start_span(
            f"{event.operation} {event.provider}",
            attributes=fields,
            start_time=_nanoseconds(event.opened_at),
        )
        self._meters.opened(fields)

    def _closed(self, record: StreamRecord) -> None:
        fields = fields_of(record)
        span = self._open.pop(record.serial, None)
        if span is not None:  # else the hook failed when it was opened
            span.set_attributes(fields)
            if record.end is StreamEnd.FAILED:
                span.set_status(Status(StatusCode.ERROR))
            span.end(_nanoseconds(record.ended_at))
        self._meters.closed(record, fields)

    def _spawned(self, record: SpawnRecord) -> None:
        fields = fields_of(record)
        ended_at = _nanoseconds(record.ended_at)
        span = self._tracer.start_span(
            f"spawn_compute {record.provider}",
            attributes=fields,
            start_time=ended_at - _as_nanoseconds(record.duration_s),
        )
        if record.end is SpawnEnd.FAILED or record.kind is ErrorKind.OUTCOME_UNKNOWN:
            span.set_status(Status(StatusCode.ERROR))
        span.end(ended_at)
        self._meters.spawned(record, fields)


class _Meters:
    """The instruments, and which fields each is split by: those of few values only."""

    def __init__(self, meter: Meter) -> None:
        self._duration = meter.create_histogram(
            "http.client.request.duration",
            "s",
            "Duration of HTTP client requests; of streams, the time to the head of the reply.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._retries = meter.create_counter(
            "exatlas.client.retries", "{attempt}", "Attempts that were not the first of their request."
        )
        self._budget_wait = meter.create_histogram(
            "exatlas.client.budget.wait",
            "s",
            "How long requests that had to wait for their share of the request budget waited.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._open_streams = meter.create_up_down_counter(
            "exatlas.client.open_streams", "{stream}", "Streams that are being read."
        )
        self._stream_duration = meter.create_histogram(
            "exatlas.client.stream.duration",
            "s",
            "Time from opening a stream to closing it.",
            explicit_bucket_boundaries_advisory=_LONG_SECONDS,
        )
        self._first_chunk = meter.create_histogram(
            "exatlas.client.stream.first_chunk",
            "s",
            "Time from opening a stream to its first chunk.",
            explicit_bucket_boundaries_advisory=_LONG_SECONDS,
        )
        self._chunks = meter.create_counter(
            "exatlas.client.stream.chunks", "{chunk}", "Chunks handed to readers, counted when a stream is closed."
        )
        self._gaps = meter.create_counter(
            "exatlas.client.stream.gaps", "{gap}", "Places where chunks may have been lost, counted likewise."
        )
        self._spawns = meter.create_counter("exatlas.client.spawns", "{spawn}", "Spawns, by how they ended.")
        self._spawn_duration = meter.create_histogram(
            "exatlas.client.spawn.duration",
            "s",
            "Time that spawns took, looking for lost machines and giving them back included.",
            explicit_bucket_boundaries_advisory=_LONG_SECONDS,
        )

    def request(self, record: RequestRecord, fields: Fields) -> None:
        self._duration.record(record.duration_s, _only(_REQUEST_DIMENSIONS, fields))
        own = _only(_OWN_DIMENSIONS, fields)
        if record.attempt > 1:
            self._retries.add(1, own)
        if record.budget_wait_s:
            self._budget_wait.record(record.budget_wait_s, own)

    def opened(self, fields: Fields) -> None:
        self._open_streams.add(1, _only(_OWN_DIMENSIONS, fields))

    def closed(self, record: StreamRecord, fields: Fields) -> None:
        own = _only(_OWN_DIMENSIONS, fields)
        self._open_streams.add(-1, own)
        self._chunks.add(record.chunks, own)
        if record.gaps:
            self._gaps.add(record.gaps, own)
        if record.first_chunk_s is not None:
            self._first_chunk.record(record.first_chunk_s, own)
        self._stream_duration.record(record.duration_s, _only(_END_DIMENSIONS, fields))

    def spawned(self, record: SpawnRecord, fields: Fields) -> None:
        split = _only(_END_DIMENSIONS, fields)
        self._spawns.add(1, split)
        self._spawn_duration.record(record.duration_s, split)


def _only(names: tuple[str, ...], fields: Fields) -> Fields:
    return {name: fields[name] for name in names if name in fields}


def _nanoseconds(instant: datetime) -> int:
    """Since the epoch, exact to the microsecond, which floating point is not."""
    return (instant - _EPOCH) // _MICROSECOND * 1000


def _as_nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)
