"""Every reply we know of, read; and every reply we cannot read, refused with its path."""

import logging
from typing import Any

import pytest

from exatlas.errors import ReplyShapeError
from exatlas.messages import HttpReply
from exatlas.providers.runpod import normalize, words
from exatlas.records.compute import ComputeStatus
from exatlas.records.gpu import Stock
from exatlas.records.job import JobStatus
from exatlas.records.serial import unstructure
from exatlas.transport.shape import Fields, body_of
from exatlas.transport.sse import SseDecoder, SseEvent


def shown(record: Any) -> dict[str, Any]:
    return unstructure(record)


def assert_expected(record: Any, expect: dict[str, Any]) -> None:
    plain = shown(record)
    assert {key: subset(plain[key], value) for key, value in expect.items()} == expect


def subset(value: Any, like: Any) -> Any:
    """The part of a nested record that the expectation speaks of."""
    if isinstance(value, dict) and isinstance(like, dict) and like:
        return {key: value.get(key) for key in like}
    return value


def event(data: str, cursor: str = "") -> SseEvent:
    decoder = SseDecoder()
    head = f"id: {cursor}\n" if cursor else ""
    return decoder.feed(f"{head}data: {data}\n\n".encode())[0]


def test_a_pod_reads_as_expected(pod_sample):
    compute = normalize.compute(body_of(pod_sample.reply), "runpod")
    assert_expected(compute, pod_sample.expect)


def test_a_pod_keeps_its_body_without_the_values_of_its_variables(pod_sample):
    compute = normalize.compute(body_of(pod_sample.reply), "runpod")
    assert set(compute.raw) == set(pod_sample.body)
    assert list(compute.raw.get("env") or ()) == list(pod_sample.body.get("env") or ())
    assert "llama-3" not in str(compute.raw)


def test_a_broken_pod_names_the_path(broken_pod_sample):
    with pytest.raises(ReplyShapeError) as caught:
        normalize.compute(body_of(broken_pod_sample.reply), "runpod")
    assert list(caught.value.paths) == [broken_pod_sample.expect["path"]]


def test_a_page_of_pods_gives_pods_and_the_next_cursor(pods_sample):
    pods, cursor = normalize.listed(pods_sample.reply, "pods", lambda pod: normalize.compute(pod, "runpod"))
    assert [pod.id for pod in pods] == pods_sample.expect["ids"]
    assert cursor == pods_sample.expect["next"]


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b"{}", "$.pods"),
        (b"[]", "$"),
        (b'{"pods":{}}', "$.pods"),
        (b'{"pods":[{"id":"a"},{"id":2}]}', "$.pods[1].id"),
        (b'{"pods":[null]}', "$.pods[0]"),
        (b'{"pods":[],"pagination":{"hasNextPage":"yes"}}', "$.pagination.hasNextPage"),
        (b'{"pods":[],"pagination":{"hasNextPage":true,"nextCursor":7}}', "$.pagination.nextCursor"),
    ],
)
def test_a_broken_page_names_the_path(body, path):
    with pytest.raises(ReplyShapeError) as caught:
        normalize.listed(HttpReply(status=200, body=body), "pods", lambda pod: normalize.compute(pod, "runpod"))
    assert list(caught.value.paths) == [path]


def test_gpu_types_read_as_expected(gpu_types_sample):
    for cloud in ("secure", "community"):
        found = normalize.gpu_types(gpu_types_sample.reply, cloud, "runpod")
        expected = gpu_types_sample.expect[cloud]
        assert len(found) == len(expected)
        for record, expect in zip(found, expected, strict=True):
            assert record.cloud_type == cloud
            assert_expected(record, expect)


def test_a_job_reads_as_expected(job_sample):
    job = normalize.job(body_of(job_sample.reply), "ep1", "runpod", job_id="asked")
    assert job.endpoint == "ep1"
    assert_expected(job, job_sample.expect)
    assert not {"input", "webhook"} & set(job.raw)


def test_a_broken_job_names_the_path(broken_job_sample):
    with pytest.raises(ReplyShapeError) as caught:
        normalize.job(body_of(broken_job_sample.reply), "ep1", "runpod", job_id="asked")
    assert list(caught.value.paths) == [broken_job_sample.expect["path"]]


def test_a_submit_must_give_an_id_and_a_read_need_not():
    body = Fields({"status": "IN_QUEUE"})
    assert normalize.job(body, "ep1", "runpod", job_id="asked").id == "asked"
    with pytest.raises(ReplyShapeError) as caught:
        normalize.job(body, "ep1", "runpod")
    assert list(caught.value.paths) == ["$.id"]


def test_a_drain_reads_as_expected(stream_sample):
    page = normalize.stream_page(stream_sample.reply)
    assert page.status == stream_sample.expect["status"]
    assert [list(item) for item in page.items] == stream_sample.expect["items"]


def test_a_broken_drain_names_the_path(broken_stream_sample):
    with pytest.raises(ReplyShapeError) as caught:
        normalize.stream_page(broken_stream_sample.reply)
    assert caught.value.paths[0] == broken_stream_sample.expect["path"]


def test_a_drain_that_comes_as_events_is_one_page_with_the_last_status():
    events = [
        event('{"status":"IN_PROGRESS","stream":[{"output":1}]}'),
        event('{"status":"COMPLETED","stream":[{"output":2,"metrics":{"n":1}}]}'),
        event('[{"output":3}]'),
    ]
    page = normalize.stream_events(events)
    assert page.status is JobStatus.COMPLETED
    assert page.items == [(1, None), (2, {"n": 1}), (3, None)]


def test_an_event_that_is_no_json_is_refused():
    with pytest.raises(ReplyShapeError):
        normalize.stream_events([event("plain words")])


def test_log_events_read_as_expected(logs_sample):
    events = SseDecoder().feed(logs_sample.reply.body)
    lines = [normalize.log_line(item) for item in events]
    assert len(lines) == len(logs_sample.expect["lines"])
    for line, expect in zip(lines, logs_sample.expect["lines"], strict=True):
        assert_expected(line, expect)


def test_a_log_event_with_a_wrong_type_names_the_path():
    with pytest.raises(ReplyShapeError) as caught:
        normalize.log_line(event('{"line":7}'))
    assert list(caught.value.paths) == ["$.line"]


CATALOG = HttpReply(
    status=200,
    body=b'{"gpus":[{"id":"NVIDIA L4","name":"L4"},{"id":"unknown","name":"unknown"},'
    b'{"id":"NVIDIA RTX 4000 Ada Generation","name":"RTX 4000 Ada"},{"id":"L4","name":"RTX 4000 Ada"},'
    b'{"name":"nameless"}]}',
)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("nvidia l4", "NVIDIA L4"),
        ("l4", "L4"),
        ("rtx 4000 ada", "NVIDIA RTX 4000 Ada Generation"),
        ("RTX 4000", None),
        ("NVIDIA  L4", None),
        ("unknown", None),
        ("nameless", None),
    ],
)
def test_a_name_is_looked_up_whole_id_before_name_and_letter_case_aside(name, found):
    assert normalize.gpu_id_named(CATALOG, name) == found


def test_an_unknown_word_warns_once_in_a_process(caplog):
    word = "NEVER_SEEN_BEFORE"
    with caplog.at_level(logging.WARNING, logger="exatlas.providers.runpod"):
        assert [words.pod_status(word) for _ in range(3)] == [ComputeStatus.UNKNOWN] * 3
        assert words.job_status(word) is JobStatus.UNKNOWN
        assert words.stock(word) is Stock.UNKNOWN
        assert words.stock(None) is Stock.UNKNOWN
    assert [record.getMessage() for record in caplog.records] == [
        f"RunPod sent the {noun} {word!r}, which this version does not know; it is read as unknown"
        for noun in ("pod status", "job status", "availability")
    ]


TRACE = 'Traceback (most recent call last):\n  File "handler.py", line 3, in handler\n'


@pytest.mark.parametrize(
    ("text", "message", "kind", "trace"),
    [
        (f"handler: no luck \ntraceback: {TRACE}KeyError: no luck\n", "no luck", "KeyError", True),
        (f"handler: two\nlines \ntraceback: {TRACE}app.Odd: two\nlines\n", "two\nlines", "app.Odd", True),
        (f"handler: no \ntraceback: {TRACE}KeyError: 'no'\n", "no", None, True),
        ("handler: no luck", "handler: no luck", None, False),
        ("job timed out after 1 retries", "job timed out after 1 retries", None, False),
    ],
)
def test_what_a_generator_raised_is_told_apart_from_its_traceback(text, message, kind, trace):
    found = normalize.fault(text)
    assert (found.message, found.type, found.raw) == (message, kind, text)
    assert (found.traceback or "").startswith(TRACE) is trace


def pushed(*texts):
    return normalize.stream_events([SseEvent(event="message", data=text) for text in texts])


@pytest.mark.parametrize(
    ("texts", "status", "outputs"),
    [
        ((), JobStatus.UNKNOWN, []),
        (('{"status":"IN_PROGRESS","stream":[{"output":1},{"output":2}]}',), JobStatus.IN_PROGRESS, [1, 2]),
        (
            ('{"status":"IN_PROGRESS","stream":[{"output":1}]}', '{"status":"COMPLETED","stream":[]}'),
            JobStatus.COMPLETED,
            [1],
        ),
        (('{"status":"IN_PROGRESS","stream":[{"output":1}]}', '[{"output":2}]'), JobStatus.IN_PROGRESS, [1, 2]),
        (('{"status":"IN_PROGRESS"}', '{"status":"NEW","stream":[{"output":1}]}'), JobStatus.IN_PROGRESS, [1]),
        (('{"stream":[{"output":"a"}]}', '{"status":"FAILED","stream":null}'), JobStatus.FAILED, ["a"]),
    ],
)
def test_pushed_events_are_read_together_as_they_are_one_by_one(texts, status, outputs):
    page = pushed(*texts)
    assert (page.status, [output for output, _ in page.items]) == (status, outputs)


@pytest.mark.parametrize(
    ("texts", "complaint"),
    [
        (("1,2",), "not JSON"),
        (('{"status":"IN_PROGRESS","stream":[1', "2]}"), "not JSON"),
        (('{"status":"IN_PROGRESS","stream":"abc"}',), "expected a list of chunks"),
        (('{"status":"IN_PROGRESS","stream":[{"output":1},7]}',), "every chunk to be an object"),
        (('{"status":3,"stream":[]}',), "status"),
        (("7",), "object"),
    ],
)
def test_pushed_events_that_cannot_be_read_are_told(texts, complaint):
    with pytest.raises(ReplyShapeError, match=complaint):
        pushed(*texts)
