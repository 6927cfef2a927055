"""A sample handler: it spells a text word by word, as a language model would, at a pace the job sets.

``python sample_handler.py`` is a RunPod worker like any other.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

AT_ONCE = 3
"""Jobs that one process runs at the same time; it is idle most of the time."""


async def handler(job: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    """Yield one chunk per word of ``job["input"]["text"]``, ``delay`` seconds apart, each with the time it was made."""
    text, delay = job["input"]["text"], job["input"].get("delay", 0.1)
    for index, word in enumerate(text.split()):
        await asyncio.sleep(delay)
        yield {"index": index, "word": word, "made_at": time.time()}


if __name__ == "__main__":
    import runpod

    runpod.serverless.start(
        {"handler": handler, "return_aggregate_stream": True, "concurrency_modifier": lambda _: AT_ONCE}
    )
