"""What RunPod posts to a webhook."""

from datetime import timedelta

import orjson
import pytest

from exatlas.errors import ReplyShapeError
from exatlas.providers.runpod import RunPodProvider, callbacks

CAPTURED = {
    "delayTime": 9533,
    "executionTime": 88,
    "id": "d7c6aa87-df8d-49db-982b-8890054fe56f-u1",
    "input": {"x": 1},
    "output": {"echo": {"x": 1}},
    "status": "COMPLETED",
    "webhook": "https://app.example/hook?k=s3cr3t",
}


def test_a_captured_callback_is_a_job():
    job = RunPodProvider().read_webhook(orjson.dumps(CAPTURED), "abc123")
    assert (job.provider, job.endpoint, job.id) == ("runpod", "abc123", CAPTURED["id"])
    assert (job.status, job.output, job.execution_time) == (
        "completed",
        {"echo": {"x": 1}},
        timedelta(milliseconds=88),
    )


def test_neither_the_input_nor_the_url_is_kept():
    job = callbacks.read(orjson.dumps(CAPTURED), "abc123", "runpod")
    assert not {"input", "webhook"} & set(job.raw)
    assert "s3cr3t" not in repr(job)


def test_a_failure_says_why():
    body = {"id": "j", "status": "FAILED", "error": '{"error_type":"<class \'ValueError\'>","error_message":"boom"}'}
    job = callbacks.read(orjson.dumps(body), "abc123", "runpod")
    assert (job.error.type, job.error.message) == ("ValueError", "boom")


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"null", b"{}", b'{"id":"j"}', b'{"id":1,"status":"COMPLETED"}', b"[" * 100_000, b"\xff"],
)
def test_anything_else_is_refused(body):
    with pytest.raises(ReplyShapeError):
        callbacks.read(body, "abc123", "runpod")
