"""Who hears what, and what the facts are called."""

import logging
from datetime import UTC, datetime

import pytest

from exatlas import hooks
from exatlas.errors import ErrorKind
from exatlas.hooks import fields_of, log_fields, tell
from exatlas.messages import (
    AttemptEnd,
    RequestRecord,
    SpawnEnd,
    SpawnRecord,
    StreamEnd,
    StreamOpened,
    StreamRecord,
)

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def request(**facts):
    return RequestRecord(
        **{
            "provider": "p",
            "operation": "get_compute",
            "method": "GET",
            "template": "/pods/{id}",
            "host": "api.example",
            "attempt": 1,
            "end": AttemptEnd.REPLIED,
            "status": 200,
            "duration_s": 0.5,
            "ended_at": NOW,
            **facts,
        }
    )


OPENED = StreamOpened(provider="p", operation="stream_job", endpoint="ep", serial=7, opened_at=NOW)
CLOSED = StreamRecord(
    provider="p",
    operation="stream_job",
    endpoint="ep",
    serial=7,
    end=StreamEnd.FAILED,
    chunks=3,
    gaps=1,
    duration_s=9.0,
    ended_at=NOW,
    first_chunk_s=0.25,
    error="StreamGapError",
    kind=ErrorKind.TRANSPORT,
)
SPAWN = SpawnRecord(provider="p", end=SpawnEnd.RENTED, requests=2, duration_s=4.0, ended_at=NOW)
EVENTS = [request(), OPENED, CLOSED, SPAWN]


class Everything:
    def __init__(self):
        self.heard = []

    def on_event(self, event, /):
        self.heard.append(event)


class Both(Everything):
    def __call__(self, record):
        raise AssertionError("a listener is not called as a function")


@pytest.mark.parametrize("kind", [Everything, Both])
def test_a_listener_hears_everything(kind):
    listener = kind()
    for event in EVENTS:
        tell([listener], event)
    assert listener.heard == EVENTS


def test_a_function_hears_of_requests_only():
    heard = []
    for event in EVENTS:
        tell([heard.append], event)
    assert heard == EVENTS[:1]


@pytest.mark.parametrize("event", EVENTS)
def test_a_hook_that_raises_keeps_nobody_from_hearing_and_is_told_once(event, caplog, monkeypatch):
    monkeypatch.setattr(hooks, "_failed_hooks", set())

    class Bad:
        def on_event(self, event, /):
            raise RuntimeError("its own")

    good = Everything()
    with caplog.at_level(logging.ERROR, logger="exatlas.hooks"):
        tell([Bad(), good], event)
        tell([Bad(), good], event)
    assert good.heard == [event, event]
    assert ["Bad" in entry.getMessage() for entry in caplog.records] == [True]


def test_the_least_that_is_said_of_a_request():
    assert fields_of(request()) == {
        "exatlas.provider": "p",
        "exatlas.operation": "get_compute",
        "exatlas.end": "replied",
        "exatlas.attempt": 1,
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "url.scheme": "https",
        "url.template": "/pods/{id}",
        "server.address": "api.example",
        "server.port": 443,
    }


def test_the_most_that_is_said_of_a_request():
    record = request(endpoint="ep", attempt=3, budget_wait_s=1.5, request_id="r", bytes_received=9, status=429)
    assert fields_of(record) | {
        "exatlas.endpoint": "ep",
        "exatlas.attempt": 3,
        "exatlas.budget_wait_s": 1.5,
        "exatlas.request_id": "r",
        "http.request.resend_count": 2,
        "http.response.body.size": 9,
        "error.type": "429",
    } == fields_of(record)


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"status": 399}, None),
        ({"status": 400}, "400"),
        ({"status": None, "end": AttemptEnd.FAILED, "error": "TransportError"}, "TransportError"),
        ({"status": None, "end": AttemptEnd.CANCELLED}, None),
    ],
)
def test_the_type_of_an_error(facts, said):
    assert fields_of(request(**facts)).get("error.type") == said


@pytest.mark.parametrize(
    ("scheme", "host", "address", "port"),
    [
        ("https", "api.example", "api.example", 443),
        ("https", "api.example:8443", "api.example", 8443),
        ("http", "127.0.0.1", "127.0.0.1", 80),
        ("http", "[::1]:8080", "::1", 8080),
        ("ftp", "x", "x", None),
        ("https", "x:port", "x:port", None),
        ("https", "[::1", "[::1", None),
        ("https", "", "", 443),
    ],
)
def test_a_server_is_an_address_and_a_port(scheme, host, address, port):
    fields = fields_of(request(scheme=scheme, host=host))
    assert (fields["server.address"], fields.get("server.port")) == (address, port)


def test_what_is_said_of_a_stream():
    assert fields_of(OPENED) == {
        "exatlas.provider": "p",
        "exatlas.operation": "stream_job",
        "exatlas.endpoint": "ep",
    }
    assert fields_of(CLOSED) == {
        **fields_of(OPENED),
        "exatlas.end": "failed",
        "exatlas.stream.chunks": 3,
        "exatlas.stream.gaps": 1,
        "exatlas.stream.first_chunk_s": 0.25,
        "error.type": "StreamGapError",
        "exatlas.error.kind": "transport",
    }


def test_what_is_said_of_a_spawn():
    assert fields_of(SPAWN) == {
        "exatlas.provider": "p",
        "exatlas.operation": "spawn_compute",
        "exatlas.end": "rented",
        "exatlas.spawn.requests": 2,
    }


@pytest.mark.parametrize("event", [request(), CLOSED, SPAWN])
def test_fields_fit_into_any_log_record(event):
    fields = log_fields(event)
    assert fields["exatlas.duration_s"] == event.duration_s
    entry = logging.getLogger("x").makeRecord("x", logging.INFO, "f", 1, "m", (), None, extra=fields)
    assert vars(entry) | fields == vars(entry)
