"""What RunPod posts to a job's webhook.

A job object as `/status` gives it, with the job's `input` and `webhook` beside it. It is sent when the job has ended,
up to three times about ten seconds apart until something answers 2xx, and carries no signature.
Source: https://docs.runpod.io/serverless/endpoints/send-requests, and deliveries captured in 2026-07.
"""

import orjson

from exatlas.errors import ReplyShapeError
from exatlas.providers.runpod import normalize
from exatlas.records.job import Job
from exatlas.transport.shape import Fields


def read(body: bytes, endpoint: str, provider: str) -> Job:
    """Read one callback. The endpoint is not in it, so whoever made the URL has to know it."""
    try:
        decoded = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ReplyShapeError(
            f"the callback is not JSON: {error}", paths=["$"], provider=provider, operation="read_webhook"
        ) from None
    return normalize.job(Fields(decoded), endpoint, provider)
