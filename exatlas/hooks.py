"""How what happened reaches those who listen: as records for hooks, and as flat fields with stable names for logs.

The names are those of OpenTelemetry's semantic conventions for HTTP clients where there is one, and begin with
`exatlas.` where there is none. Spans, metrics and log records use the same.
Source: https://opentelemetry.io/docs/specs/semconv/http/http-spans/ (read 2026-11)
"""

import logging
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import cast
from urllib.parse import urlsplit

from exatlas.messages import HookEvent, RequestRecord, SpawnRecord, StreamOpened, StreamRecord
from exatlas.protocols import Hook

log = logging.getLogger("exatlas.hooks")

Fields = dict[str, str | int | float]

_FIRST_ERROR_STATUS = 400
_USUAL_PORTS = {"https": 443, "http": 80}
_failed_hooks: set[str] = set()
"""Hooks whose failure is in the log already: one that always fails must not flood it."""


def tell(hooks: Iterable[Hook], event: HookEvent) -> None:
    """Hand the record to every hook: all of them to listeners, those of requests to plain functions."""
    for hook in hooks:
        try:
            on_event = getattr(hook, "on_event", None)  # isinstance() of a protocol takes microseconds
            if on_event is not None:
                on_event(event)
            elif isinstance(event, RequestRecord):
                cast(Callable[[RequestRecord], None], hook)(event)
        except Exception:  # supervised: a listener's fault must not become the caller's
            name = getattr(hook, "__qualname__", type(hook).__qualname__)
            if name not in _failed_hooks:
                _failed_hooks.add(name)
                log.exception("the hook %s failed; this is told once, and the hook is called on", name)


def fields_of(event: HookEvent) -> Fields:
    """The record's facts by name, without those that are None. Values that may be many (durations) are not among them.

    Nothing in it is an id, except the cloud's own of the request, `exatlas.request_id`.
    """
    match event:
        case RequestRecord():
            return _request(event)
        case StreamOpened():
            return _present({**_whose(event), "exatlas.endpoint": event.endpoint})
        case StreamRecord():
            return _stream(event)
        case SpawnRecord():
            return _spawn(event)


def log_fields(event: RequestRecord | StreamRecord | SpawnRecord) -> Fields:
    """The same for `extra=`, with the duration that a span has by nature."""
    return {**fields_of(event), "exatlas.duration_s": event.duration_s}


def error_type(record: RequestRecord) -> str | None:
    """What the conventions call the error: the status of a refusal, or the error's class. Being cancelled is none."""
    if record.status is not None and record.status >= _FIRST_ERROR_STATUS:
        return str(record.status)
    return record.error


def _request(record: RequestRecord) -> Fields:
    address, port = _server(record.scheme, record.host)
    return _present(
        {
            **_whose(record),
            "exatlas.endpoint": record.endpoint,
            "exatlas.end": record.end.value,
            "exatlas.attempt": record.attempt,
            "exatlas.budget_wait_s": record.budget_wait_s or None,
            "exatlas.request_id": record.request_id,
            "http.request.method": record.method,
            "http.request.resend_count": record.attempt - 1 or None,
            "http.response.status_code": record.status,
            "http.response.body.size": record.bytes_received or None,
            "url.scheme": record.scheme,
            "url.template": record.template,
            "server.address": address,
            "server.port": port,
            "error.type": error_type(record),
        }
    )


def _stream(record: StreamRecord) -> Fields:
    return _present(
        {
            **_whose(record),
            "exatlas.endpoint": record.endpoint,
            "exatlas.end": record.end.value,
            "exatlas.stream.chunks": record.chunks,
            "exatlas.stream.gaps": record.gaps,
            "exatlas.stream.first_chunk_s": record.first_chunk_s,
            **_failure(record),
        }
    )


def _spawn(record: SpawnRecord) -> Fields:
    return _present(
        {
            "exatlas.provider": record.provider,
            "exatlas.operation": "spawn_compute",
            "exatlas.end": record.end.value,
            "exatlas.spawn.requests": record.requests,
            **_failure(record),
        }
    )


def _whose(event: RequestRecord | StreamOpened | StreamRecord) -> Fields:
    return {"exatlas.provider": event.provider, "exatlas.operation": event.operation}


def _failure(record: StreamRecord | SpawnRecord) -> dict[str, str | None]:
    return {"error.type": record.error, "exatlas.error.kind": record.kind.value if record.kind else None}


def _present(fields: dict[str, str | int | float | None]) -> Fields:
    return {name: value for name, value in fields.items() if value is not None}


@lru_cache(256)
def _server(scheme: str, host: str) -> tuple[str, int | None]:
    """Address and port apart. A host that cannot be read is shown as it is: its call failed for just that."""
    try:
        parts = urlsplit(f"//{host}")
        return parts.hostname or host, parts.port or _USUAL_PORTS.get(scheme)
    except ValueError:
        return host, None
