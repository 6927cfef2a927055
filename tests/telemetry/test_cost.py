"""Who does not ask for telemetry does not pay for it; who asks without the extra is told its name."""

import subprocess
import sys

import pytest

RUN = """
import asyncio, sys
import exatlas

async def main():
    async with exatlas.Atlas("memory", hooks={hooks}) as atlas:
        async with atlas.rent(gpu="h100", image="x"):
            job = await atlas.run_job(endpoint="echo", input={{"n": 1}})
            assert [chunk async for chunk in atlas.stream_job(job)]

asyncio.run(main())
assert not [name for name in sys.modules if name.startswith("opentelemetry") or name == "exatlas.telemetry"]
"""


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("hooks", ["[]", "[print]"])
def test_without_the_hook_no_telemetry_is_loaded(hooks):
    done = python(RUN.format(hooks=hooks))
    assert (done.returncode, done.stderr) == (0, "")


def test_the_check_above_would_notice():
    done = python(RUN.replace("import exatlas\n", "import exatlas, exatlas.telemetry\n", 1).format(hooks="[]"))
    assert "AssertionError" in done.stderr


def test_without_the_extra_the_error_names_it():
    done = python("import sys; sys.modules['opentelemetry'] = None\nimport exatlas.telemetry")
    assert "ModuleNotFoundError: exatlas.telemetry needs an extra: pip install 'exatlas[otel]'" in done.stderr


def test_the_sdk_is_not_needed():
    done = python(
        "import sys; sys.modules['opentelemetry.sdk'] = None\n"
        "from exatlas.telemetry import OpenTelemetryHook\n"
        + RUN.format(hooks="[OpenTelemetryHook()]").rpartition("assert")[0]
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_an_sdk_that_is_set_up_later_is_used():
    done = python(
        "from exatlas.telemetry import OpenTelemetryHook\n"
        "hook = OpenTelemetryHook()\n"
        "from opentelemetry import trace\n"
        "from opentelemetry.sdk.trace import TracerProvider\n"
        "from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor\n"
        "provider = TracerProvider()\n"
        "provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter()))\n"
        "trace.set_tracer_provider(provider)\n" + RUN.format(hooks="[hook]").rpartition("assert")[0]
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert '"name": "spawn_compute memory"' in done.stdout
    assert '"name": "stream_job memory"' in done.stdout
