"""A client over RunPod's fake whose telemetry ends in memory."""

from collections.abc import Mapping
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import exatlas
from exatlas.providers.runpod.fake import FakeRunPod
from exatlas.telemetry import OpenTelemetryHook
from exatlas.transport.inprocess import InProcessTransport

KEY = "rpa_DONOTTELL0123456789"


class Collected:
    """What the SDK was given."""

    def __init__(self) -> None:
        self._spans = InMemorySpanExporter()
        self._metrics = InMemoryMetricReader()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        self.meters = MeterProvider([self._metrics])
        self.hook = OpenTelemetryHook(tracer_provider=self.tracers, meter_provider=self.meters)

    @property
    def spans(self) -> list[ReadableSpan]:
        """Ended spans, in the order they ended."""
        return list(self._spans.get_finished_spans())

    def named(self, *names: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name in names]

    def points(self, metric: str) -> dict[frozenset[tuple[str, Any]], Any]:
        """The data points of a metric, by their attributes."""
        found = {}
        for each in self._all():
            if each.name == metric:
                found.update({frozenset(point.attributes.items()): point for point in each.data.data_points})
        return found

    def point(self, metric: str, **where: Any) -> Any:
        """The one data point that has these attributes; names with `__` for dots."""
        wanted = {(name.replace("__", "."), value) for name, value in where.items()}
        [point] = [point for attributes, point in self.points(metric).items() if wanted <= attributes]
        return point

    @property
    def metrics(self) -> Mapping[str, str]:
        """Names and units."""
        return {each.name: each.unit for each in self._all()}

    def everything(self) -> str:
        """All that left the process, as text."""
        data = self._metrics.get_metrics_data()
        return "\n".join([*(span.to_json() for span in self.spans), data.to_json() if data else ""])

    def _all(self) -> list[Any]:
        data = self._metrics.get_metrics_data()
        if data is None:
            return []
        return [
            each for resource in data.resource_metrics for scope in resource.scope_metrics for each in scope.metrics
        ]


@pytest.fixture
def collected():
    return Collected()


@pytest.fixture
def fake(clock):
    return FakeRunPod(clock, api_key=KEY)


@pytest.fixture
async def atlas(fake, clock, collected):
    transport = InProcessTransport(fake.handle)
    async with exatlas.Atlas(
        "runpod",
        credentials={"runpod": KEY},
        transport=transport,
        clock=clock,
        env={},
        hooks=[collected.hook],
    ) as client:
        yield client
