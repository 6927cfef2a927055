"""A job's stream as a context manager, with its result and its text."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from types import TracebackType
from typing import Any, Self

from exatlas.errors import ValidationError
from exatlas.records.job import Job, JobChunk
from exatlas.streaming.decoding import decode_sse


class JobStream:
    """One reader of a job's output. Use it with ``async with``; leaving the block frees everything it holds.

    Iterate it for chunks as they come, or ask for :meth:`result` or :meth:`text`, which read to the end first.
    """

    def __init__(
        self,
        chunks: AsyncGenerator[JobChunk, None],
        get_job: Callable[[], Awaitable[Job]],
        *,
        decode: str | None = None,
    ) -> None:
        if decode not in (None, "sse"):
            raise ValidationError("open_job_stream", [f"decode: expected None or 'sse', got {decode!r}"])
        self._chunks = chunks
        self._source = decode_sse(chunks) if decode else chunks
        self._get_job = get_job
        self._outputs: list[Any] = []
        self.cursor = 0
        """Index of the next chunk to come."""
        self.gap = False
        """Whether chunks may have been lost so far."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Stop reading. Safe to repeat; the job goes on unless it was opened with ``on_exit="cancel"``."""
        await self._source.aclose()
        await self._chunks.aclose()  # a decoder that has not begun closes nothing

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> JobChunk:
        chunk = await anext(self._source)
        self.gap = self.gap or chunk.gap
        self.cursor = chunk.index + 1
        self._outputs.append(chunk.output)
        return chunk

    async def result(self) -> Any:
        """Read to the end, then give the job's own output, or the list of all chunks' outputs where it keeps none.

        Costs one status request. Raises what iterating raises.
        """
        outputs = await self._read_all()
        job = await self._get_job()
        return outputs if job.output in (None, [], "") and outputs else job.output

    async def text(self) -> str:
        """Read to the end and join the outputs: strings as they are, OpenAI-style chunks by what they add.

        Raises:
            ValidationError: an output is neither.
        """
        return "".join(_text_of(output) for output in await self._read_all())

    async def _read_all(self) -> list[Any]:
        async for _ in self:
            pass
        return self._outputs


def _text_of(output: Any) -> str:
    if isinstance(output, str):
        return output
    if isinstance(output, dict) and isinstance(output.get("choices"), list):
        return "".join(_delta_of(choice) for choice in output["choices"] if isinstance(choice, dict))
    raise ValidationError(
        "text()", [f"output: expected a string or an OpenAI-style chunk, got {type(output).__name__}"]
    )


def _delta_of(choice: dict[str, Any]) -> str:
    delta = choice.get("delta")
    content = delta.get("content") if isinstance(delta, dict) else choice.get("text")
    return content if isinstance(content, str) else ""
