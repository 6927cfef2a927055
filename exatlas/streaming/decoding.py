"""Raw server-sent events that a worker yields as text, read as what they say.

vLLM workers behind a queue endpoint yield strings of SSE text, cut anywhere. Source: the worker's handler, and the
RunPod dossier of this library (its README lists the page).
"""

from collections.abc import AsyncGenerator

from attrs import evolve

from exatlas.errors import StreamFailedError
from exatlas.records.job import JobChunk
from exatlas.streaming.events import decode_all
from exatlas.transport.sse import SseDecoder


async def decode_sse(chunks: AsyncGenerator[JobChunk, None]) -> AsyncGenerator[JobChunk, None]:
    """Turn chunks of SSE text into one chunk per event, with the event's JSON (or text) as `output`.

    The closing ``[DONE]`` is left out. Chunks that are not text pass through. Closes the inner generator.

    Raises:
        StreamFailedError: an event was the server's error object.
    """
    decoder = SseDecoder()
    index = 0
    last: JobChunk | None = None
    try:
        async for chunk in chunks:
            last, gap = chunk, chunk.gap
            is_text = isinstance(chunk.output, str)
            for output in decode_all(decoder.feed(chunk.output.encode())) if is_text else [chunk.output]:
                yield _piece(chunk, index, output, gap=gap)
                index, gap = index + 1, False
        if last:
            for output in decode_all(decoder.finish()):
                yield _piece(last, index, output, gap=False)
                index += 1
    finally:
        await chunks.aclose()


def _piece(chunk: JobChunk, index: int, output: object, *, gap: bool) -> JobChunk:
    if isinstance(output, dict) and isinstance(output.get("error"), dict):
        raise StreamFailedError(
            f"the worker reported an error in the stream: {output['error'].get('message', 'no message')}", raw=output
        )
    return evolve(chunk, index=index, output=output, gap=gap)
