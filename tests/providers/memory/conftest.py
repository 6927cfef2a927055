"""A cloud in memory called the way a client calls it, one context per account."""

from collections.abc import Callable
from typing import Any

import pytest

from exatlas.client.connection import OwnTransport
from exatlas.clock import ManualClock
from exatlas.config import fingerprint
from exatlas.launch import new_launch_id
from exatlas.protocols import Context
from exatlas.records.compute import ComputeRequest
from exatlas.records.job import JobRef, JobRequest


@pytest.fixture
def clock() -> ManualClock:
    """Stands still unless it is turned. Nothing in this cloud waits but what has been told to."""
    return ManualClock()


@pytest.fixture
def context(clock: ManualClock) -> Callable[..., Context]:
    def build(key: str | None = None, **facts: Any) -> Context:
        facts = {"clock": clock, "launch_id": new_launch_id(), **facts}
        return Context(
            provider="memory", api_key=key, transport=OwnTransport(), account=fingerprint("memory", key), **facts
        )

    return build


@pytest.fixture
def ctx(context: Callable[..., Context]) -> Context:
    return context()


@pytest.fixture
def machine() -> Callable[..., ComputeRequest]:
    return lambda **fields: ComputeRequest(**{"image": "img", "gpu": "l4", **fields})


@pytest.fixture
def work() -> Callable[..., JobRequest]:
    def build(endpoint: str = "echo", **fields: Any) -> JobRequest:
        return JobRequest(**{"endpoint": endpoint, "input": {"text": "one two"}, **fields})

    return build


@pytest.fixture
def ref() -> Callable[[Any], JobRef]:
    return lambda job: JobRef(id=job.id, endpoint=job.endpoint)
