"""The context manager around a stream."""

import pytest

from exatlas.clock import ManualClock
from exatlas.errors import JobFailedError, ValidationError
from exatlas.records.job import Job, JobChunk, JobStatus
from exatlas.streaming.job_stream import JobStream

NOW = ManualClock().now()


async def chunks(*outputs, gap_at=None, then=None):
    for index, output in enumerate(outputs):
        yield JobChunk(index=index, output=output, received_at=NOW, gap=index == gap_at)
    if then:
        raise then


def job(output=None):
    async def get_job():
        return Job(id="j", provider="test", endpoint="e", status=JobStatus.COMPLETED, output=output)

    return get_job


async def test_iterating_moves_the_cursor():
    async with JobStream(chunks("a", "b"), job()) as stream:
        assert [(chunk.output, stream.cursor) async for chunk in stream] == [("a", 1), ("b", 2)]


async def test_the_result_is_the_jobs_own_output_where_there_is_one():
    assert await JobStream(chunks(), job({"answer": 42})).result() == {"answer": 42}


@pytest.mark.parametrize("nothing", [None, []])
async def test_the_result_is_the_list_of_chunks_where_the_worker_keeps_none(nothing):
    stream = JobStream(chunks("a", "b"), job(nothing))
    await anext(stream)
    assert await stream.result() == ["a", "b"]


async def test_text_joins_strings_and_openai_deltas():
    delta = {"choices": [{"delta": {"content": "lo"}}, {"delta": {}}]}
    legacy = {"choices": [{"text": "!"}]}
    assert await JobStream(chunks("hel", delta, legacy), job()).text() == "hello!"


async def test_text_of_something_else_says_so():
    with pytest.raises(ValidationError, match="got int"):
        await JobStream(chunks(3), job()).text()


async def test_a_failed_job_fails_the_result():
    error = JobFailedError("boom", job=None)
    with pytest.raises(JobFailedError):
        await JobStream(chunks("a", then=error), job()).result()


async def test_a_gap_is_remembered():
    stream = JobStream(chunks("a", "b", gap_at=1), job())
    await anext(stream)
    assert not stream.gap
    await anext(stream)
    assert stream.gap


async def test_leaving_the_block_closes_the_source():
    source = chunks("a", "b")
    async with JobStream(source, job()) as stream:
        await anext(stream)
    with pytest.raises(StopAsyncIteration):
        await anext(source)


async def test_raw_events_are_decoded_when_asked():
    stream = JobStream(
        chunks('data: {"choices": [{"delta": {"content": "hi"}}]}\n\ndata: [DONE]\n\n'), job(), decode="sse"
    )
    assert await stream.text() == "hi"


def test_an_unknown_decoding_is_refused():
    with pytest.raises(ValidationError, match="decode: expected None or 'sse', got 'json'"):
        JobStream(chunks(), job(), decode="json")
