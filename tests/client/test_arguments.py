"""One wrong argument is one clear error that names it, its type, and what is accepted."""

from datetime import UTC, datetime, timedelta

import attrs
import pytest

from exatlas.client import arguments
from exatlas.client.arguments import CallOptions, EventOptions, ListOptions, LogOptions, OpenStreamOptions, RunOptions
from exatlas.client.atlas import Atlas
from exatlas.errors import ValidationError
from exatlas.records.compute import Compute, ComputeFilter, ComputeRequest, ComputeStatus
from exatlas.records.job import Job, JobRef, JobRequest, JobStatus

COMPUTE = Compute(id="m", provider="memory", status=ComputeStatus.RUNNING)
JOB = Job(
    id="j", provider="memory", endpoint="e", status=JobStatus.IN_QUEUE, created_at=datetime(2026, 1, 1, tzinfo=UTC)
)


def test_keywords_are_sorted_into_fields_and_options():
    given = {"gpu": "l4", "provider": "memory", "timeout": 5}
    assert arguments.split("spawn_compute", given, "gpu", "image") == {"gpu": "l4"}


def test_every_unknown_keyword_is_named_with_its_nearest():
    with pytest.raises(ValidationError) as caught:
        arguments.split("stop", {"time_out": 1, "zzz": 2, "provider": "x"})
    assert caught.value.operation == "stop"
    assert caught.value.faults == (
        "time_out: not accepted (did you mean 'timeout'?)",
        "zzz: not accepted",
        "accepted are provider, api_key, base_url, timeout",
    )


@pytest.mark.parametrize(
    ("typed", "cls"),
    [(arguments.SpawnOptions, ComputeRequest), (ListOptions, ComputeFilter), (RunOptions, JobRequest)],
)
def test_the_typed_keywords_are_the_fields_and_the_options(typed, cls):
    fields = {field.name for field in attrs.fields(cls)}
    assert set(typed.__annotations__) == fields | set(arguments.AccountOptions.__annotations__) | {"timeout"} - (
        set() if "timeout" in fields or cls is not JobRequest else {"timeout"}
    )


def test_a_request_is_made_of_keywords_a_record_or_both():
    record = ComputeRequest(image="img", gpu="l4")
    assert arguments.compute_request("rent", None, {"image": "img", "gpu": "l4", "timeout": 5}) == record
    assert arguments.compute_request("rent", record, {}) == record
    assert arguments.compute_request("rent", record, {"gpu": "h100"}).gpu == ("h100",)
    assert arguments.compute_filter(None, {"status": "running"}) == ComputeFilter(status="running")
    assert arguments.compute_filter(ComputeFilter(name="a"), {"gpu": "l4"}) == ComputeFilter(name="a", gpu="l4")
    job = JobRequest(endpoint="e", input={"a": 1}, timeout=5)
    assert arguments.job_request(None, {"endpoint": "e", "input": {"a": 1}, "timeout": 5, "api_key": "k"}) == job
    assert arguments.job_request(job, {"timeout": 6}).timeout == timedelta(seconds=6)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda: arguments.compute_request("rent", {"image": "x"}, {}),
            "expected a ComputeRequest or keyword arguments, got dict",
        ),
        (
            lambda: arguments.compute_request("rent", "img", {}),
            "expected a ComputeRequest or keyword arguments, got 'img'",
        ),
        (lambda: arguments.compute_filter("running", {}), "expected a ComputeFilter or keyword arguments"),
        (lambda: arguments.job_request({}, {}), "expected a JobRequest or keyword arguments, got dict"),
        (lambda: arguments.job_request(None, {"input": {"a": 1}}), "endpoint: missing"),
        (lambda: arguments.job_request(None, {}), "endpoint: missing; input: missing"),
        (lambda: arguments.compute_id("stop", None), "compute: expected a Compute or its id, got None"),
        (lambda: arguments.compute_id("stop", " "), "compute: expected a Compute or its id, got ' '"),
        (lambda: arguments.compute_id("stop", JOB), "compute: expected a Compute or its id, got Job"),
        (lambda: arguments.job_ref("get_job", COMPUTE, None), "job: expected a Job, a JobRef or a job id, got Compute"),
        (lambda: arguments.job_ref("get_job", "", "e"), "job: expected a Job, a JobRef or a job id, got ''"),
        (lambda: arguments.job_ref("get_job", "j", None), "endpoint: needed with a plain job id"),
        (lambda: arguments.job_ref("get_job", "j", ""), "endpoint: expected a non-empty string, got ''"),
        (lambda: arguments.job_ref("get_job", "j", 5), "endpoint: expected a non-empty string, got 5"),
        (lambda: arguments.job_ref("get_job", JOB, "f"), "endpoint: the job belongs to 'e', got 'f'"),
        (lambda: arguments.seconds("stop", 0), "timeout: expected a positive timedelta or number of seconds, got 0"),
        (
            lambda: arguments.seconds("stop", "5"),
            "timeout: expected a positive timedelta or number of seconds, got '5'",
        ),
    ],
)
def test_what_cannot_be_meant_is_told(make, said):
    with pytest.raises(ValidationError) as caught:
        make()
    assert said in str(caught.value)
    assert caught.value.operation is not None


def test_ids_and_records_name_the_same_things():
    assert arguments.compute_id("stop", "m") == ("m", None)
    assert arguments.compute_id("stop", COMPUTE) == ("m", "memory")
    ref = JobRef(id="j", endpoint="e")
    assert arguments.job_ref("get_job", "j", "e") == (ref, None)
    assert arguments.job_ref("get_job", ref, None) == (ref, None)
    assert arguments.job_ref("get_job", ref, "e") == (ref, None)
    assert arguments.job_ref("get_job", JOB, None) == (ref, "memory")


@pytest.mark.parametrize(("given", "seconds"), [(None, None), (5, 5.0), (0.5, 0.5), (timedelta(minutes=1), 60.0)])
def test_deadlines_become_seconds(given, seconds):
    assert arguments.seconds("stop", given) == seconds


WRONG = {
    "spawn_compute": [
        ({"image": "img", "gpuu": "l4"}, "gpuu: not accepted (did you mean 'gpu'?)"),
        ({"image": "img", "gpu": 5}, "gpu: expected a list of strings, got 5"),
        ({"image": "img", "ports": [8000]}, "ports: [0] expected one such as (8000, 'http') or '8000/http', got 8000"),
        ({"image": "img", "timeout": "1m"}, "timeout: expected a positive timedelta or number of seconds, got '1m'"),
        ({}, "image: expected an image reference, or a template_id that brings one"),
    ],
    "list_compute": [
        ({"state": "running"}, "state: not accepted (did you mean 'status'?)"),
        ({"status": "runing"}, "status: expected one of provisioning, running"),
        ({"timeout": -1}, "timeout: expected"),
    ],
    "run_job": [
        ({"endpoint": "e"}, "input: missing"),
        ({"endpoint": "e", "input": [1]}, "input: expected a mapping with string keys, got list"),
        ({"endpoint": "e", "input": {"a": 1}, "mod": "sync"}, "mod: not accepted (did you mean 'mode'?)"),
        ({"endpoint": "e", "input": {"a": 1}, "timeout": 0}, "timeout: expected a positive"),
    ],
    "list_gpu_types": [({"gpu": "l4"}, "gpu: not accepted"), ({"timeout": True}, "timeout: expected a positive")],
}


@pytest.mark.parametrize(
    ("operation", "given", "said"),
    [(operation, given, said) for operation, cases in WRONG.items() for given, said in cases],
)
async def test_a_wrong_argument_is_told_where_it_is_given(cloud, atlas, operation, given, said):
    with pytest.raises(ValidationError) as caught:
        await getattr(atlas, operation)(**given)
    assert said in str(caught.value)
    assert len([fault for fault in caught.value.faults if not fault.startswith("accepted are")]) == 1
    assert cloud.rented == []


ONE = {
    "get_compute": ("m", CallOptions),
    "terminate": ("m", CallOptions),
    "stop": ("m", CallOptions),
    "start": ("m", CallOptions),
    "get_job": (JOB, arguments.JobOptions),
    "cancel_job": (JOB, arguments.JobOptions),
    "stream_job": (JOB, arguments.StreamOptions),
    "open_job_stream": (JOB, OpenStreamOptions),
    "stream_logs": ("m", LogOptions),
}


@pytest.mark.parametrize("operation", ONE)
async def test_every_other_call_takes_its_typed_keywords_and_no_more(atlas, operation):
    thing, typed = ONE[operation]
    with pytest.raises(ValidationError) as caught:
        await _called(atlas, operation, thing, bogus=1)
    accepted = next(fault for fault in caught.value.faults if fault.startswith("accepted are "))
    assert set(accepted.removeprefix("accepted are ").split(", ")) == set(typed.__annotations__)
    for wrong in (None, 5, ""):
        with pytest.raises(ValidationError, match=r"expected a (Compute or its id|Job, a JobRef or a job id)"):
            await _called(atlas, operation, wrong)
    with pytest.raises(ValidationError, match="timeout: expected a positive"):
        await _called(atlas, operation, thing, timeout=0)


async def test_events_take_their_typed_keywords_and_no_more(atlas):
    with pytest.raises(ValidationError) as caught:
        atlas.stream_events("e", "p", {}, bogus=1)
    accepted = next(fault for fault in caught.value.faults if fault.startswith("accepted are "))
    assert set(accepted.removeprefix("accepted are ").split(", ")) == set(EventOptions.__annotations__)
    with pytest.raises(ValidationError, match="endpoint: expected a non-empty string, got ''; path: expected"):
        atlas.stream_events("", None, {})
    with pytest.raises(ValidationError, match="idle_timeout: expected a positive"):
        atlas.stream_events("e", "p", {}, idle_timeout=0)
    with pytest.raises(ValidationError, match="done: expected a non-empty string, got 5"):
        atlas.stream_events("e", "p", {}, done=5)


@pytest.mark.parametrize(
    ("operation", "given", "said"),
    [
        ("stream_logs", {"tail": -1}, "tail: expected a whole number of at least 0, got -1"),
        ("stream_logs", {"tail": "5"}, "tail: expected a whole number of at least 0, got '5'"),
        ("stream_logs", {"follow": "no"}, "follow: expected True or False, got 'no'"),
        ("stream_job", {"on_exit": "stop"}, "on_exit: expected one of leave, cancel, got 'stop'"),
        ("stream_job", {"strict": 1}, "strict: expected True or False, got 1"),
        ("open_job_stream", {"decode": "json"}, "decode: expected one of sse, got 'json'"),
        ("open_job_stream", {"on_exit": None}, "on_exit: expected one of leave, cancel, got None"),
    ],
)
def test_options_of_streams_are_checked_before_they_are_read(operation, given, said):
    thing, _ = ONE[operation]
    with pytest.raises(ValidationError) as caught:
        getattr(Atlas("memory", env={}), operation)(thing, **given)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"credentials": "key"}, "credentials: expected a mapping with string keys, got 'key'"),
        ({"base_urls": "https://x"}, "base_urls: expected a mapping with string keys"),
        ({"transport": object()}, "transport: expected a Transport, got object"),
        ({"clock": 5}, "clock: expected a Clock, got 5"),
        ({"hooks": [5]}, "hooks: expected a list of functions of one RequestRecord, got tuple"),
        ({"hooks": print}, "hooks: expected a list of functions"),
        ({"allow_insecure": 1}, "allow_insecure: expected True or False, got 1"),
        ({"env": []}, "env: expected a mapping with string keys, got list"),
        ({"timeout": 0}, "timeout: expected a positive"),
    ],
)
def test_a_client_cannot_be_made_of_wrong_arguments(given, said):
    with pytest.raises(ValidationError) as caught:
        Atlas(**given)
    assert said in str(caught.value)
    assert caught.value.operation == "Atlas"


def test_all_of_a_clients_faults_are_told_at_once():
    with pytest.raises(ValidationError) as caught:
        Atlas(clock=5, hooks=5, allow_insecure=5, credentials={"memory": "s3cr3t", 5: "s3cr3t"})
    assert len(caught.value.faults) == 4
    assert "s3cr3t" not in str(caught.value)


async def _called(atlas, operation, thing, **options):
    result = getattr(atlas, operation)(thing, **options)
    return await result if hasattr(result, "__await__") else result
