"""Records to JSON and back: nothing changes but the secrets, which stay at home unless called by name."""

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import attrs
import orjson
import pytest
from hypothesis import given, strategies as st

from exatlas.errors import ValidationError
from exatlas.records import budget, compute, gpu, job, launch, lease, outbox
from exatlas.records.checks import LONGEST_SPAN_S
from exatlas.records.compute import AuthHandle, Compute, ComputeFilter, ComputeRequest, ComputeStatus, PortSpec
from exatlas.records.gpu import GpuType, Stock
from exatlas.records.job import Job, JobChunk, JobPolicy, JobRequest, JobStatus, LogLine
from exatlas.records.serial import SECRETS, structure, unstructure

RECORDS = sorted(
    (
        thing
        for module in (budget, compute, gpu, job, launch, lease, outbox)
        for thing in vars(module).values()
        if isinstance(thing, type) and attrs.has(thing) and thing.__module__ == module.__name__
    ),
    key=lambda cls: cls.__name__,
)

words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8).filter(str.strip)
whole = st.integers(1, 10**6)
spans = st.timedeltas(timedelta(microseconds=1), timedelta(seconds=LONGEST_SPAN_S))
money = st.decimals(allow_nan=False)
instants = st.datetimes(timezones=st.just(UTC))
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(words, values, max_size=3)
names = st.lists(words, max_size=3).map(tuple)


def maybe(strategy):
    return st.none() | strategy


def build(cls, needed=frozenset(), **fields):
    """Each field filled or left out, where it may be."""
    required = {f.name for f in attrs.fields(cls) if f.default is attrs.NOTHING} | needed
    assert set(fields) == {f.name for f in attrs.fields(cls)}, cls
    return st.fixed_dictionaries(
        {name: strategy for name, strategy in fields.items() if name in required},
        optional={name: strategy for name, strategy in fields.items() if name not in required},
    ).map(lambda chosen: cls(**chosen))


ports = build(PortSpec, port=whole, protocol=st.sampled_from(["http", "tcp", "udp"]))
bindings = build(compute.PortBinding, internal=whole, external=maybe(whole), protocol=words, url=maybe(words))
ssh = build(compute.SshAccess, host=words, port=whole, username=words, command=maybe(words))
handles = build(AuthHandle, scheme=st.sampled_from(["bearer", "signed_url"]), token=maybe(words), hash=words)
segments = build(launch.RateSegment, since=instants, usd_per_hour=money)
faults = build(job.JobFault, message=words, type=maybe(words), traceback=maybe(words), raw=values)
policies = st.one_of(
    build(JobPolicy, execution_timeout=st.none(), ttl=maybe(spans), low_priority=st.booleans()),
    build(JobPolicy, execution_timeout=maybe(spans), ttl=st.none(), low_priority=st.booleans()),
)
env_names = words.filter(lambda name: "=" not in name and "\0" not in name)
env_values = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)

STRATEGIES = {
    PortSpec: ports,
    compute.PortBinding: bindings,
    compute.SshAccess: ssh,
    AuthHandle: handles,
    ComputeRequest: build(
        ComputeRequest,
        {"image"},
        gpu=maybe(names.filter(bool)),
        gpu_count=st.just(1),
        cpus=maybe(whole),
        memory_gb=maybe(whole),
        image=words,
        command=names,
        cloud_type=st.sampled_from(["secure", "community", "any"]),
        spot=st.booleans(),
        region_hints=names,
        ports=st.lists(ports, max_size=3, unique=True),
        env=st.dictionaries(env_names, env_values, max_size=2),
        volume_gb=maybe(whole),
        container_disk_gb=maybe(whole),
        network_volume_id=maybe(words),
        name=maybe(words),
        template_id=maybe(words),
        auth=st.sampled_from(["none", "bearer", "signed_url"]),
        idle_ttl=maybe(spans),
        ssh_keys=names,
        provider_opts=objects,
    ),
    budget.Hold: build(budget.Hold, purse=words, usd=money, most_usd=money),
    budget.Shortfall: build(budget.Shortfall, purse=words, left_usd=money),
    lease.Standing: build(lease.Standing, now=instants, eldest=st.booleans(), seized=names),
    outbox.Entry: build(
        outbox.Entry,
        seq=whole,
        at=instants,
        kind=words,
        session=maybe(words),
        tenant=maybe(words),
        facts=objects,
    ),
    ComputeFilter: build(
        ComputeFilter,
        status=maybe(st.sampled_from(ComputeStatus)),
        name=maybe(words),
        region=maybe(words),
        gpu=maybe(words),
    ),
    Compute: build(
        Compute,
        id=words,
        provider=words,
        status=st.sampled_from(ComputeStatus),
        name=maybe(words),
        launch_id=maybe(words),
        image=maybe(words),
        gpu_type=maybe(words),
        gpu_native=maybe(words),
        gpu_count=whole,
        cpus=maybe(whole),
        memory_gb=maybe(st.floats(0, 1e6)),
        cost_usd_per_hour=maybe(money),
        region=maybe(words),
        public_ip=maybe(words),
        ports=st.lists(bindings, max_size=2).map(tuple),
        ssh=maybe(ssh),
        auth=maybe(handles),
        created_at=maybe(instants),
        raw=objects,
    ),
    GpuType: build(
        GpuType,
        id=words,
        provider=words,
        canonical=maybe(words),
        display_name=maybe(words),
        memory_gb=maybe(whole),
        price_usd_per_hour=maybe(money),
        spot_price_usd_per_hour=maybe(money),
        stock=st.sampled_from(Stock),
        cloud_type=maybe(words),
        regions=names,
        raw=objects,
    ),
    gpu.GpuModel: build(gpu.GpuModel, name=words, memory_gb=whole, architecture=words, vendor=words),
    launch.RateSegment: segments,
    launch.Launch: build(
        launch.Launch,
        launch_id=words,
        owner=words,
        provider=words,
        account=words,
        state=st.sampled_from(launch.LaunchState),
        tenant=maybe(words),
        user=maybe(words),
        request=objects,
        session=objects,
        machine=objects,
        worker=maybe(words),
        compute_id=maybe(words),
        rates=st.lists(segments, max_size=3).map(tuple),
        intended_at=instants,
        created_at=maybe(instants),
        ready_at=maybe(instants),
        ended_at=maybe(instants),
        updated_at=instants,
        reason=maybe(words),
    ),
    JobPolicy: policies,
    JobRequest: build(
        JobRequest,
        endpoint=words,
        input=objects.filter(bool),
        mode=st.sampled_from(["async", "sync"]),
        timeout=maybe(spans),
        webhook=maybe(st.just("https://hook.example/s3cr3t")),
        policy=policies,
        provider_opts=objects,
    ),
    job.JobFault: faults,
    Job: build(
        Job,
        id=words,
        provider=words,
        endpoint=words,
        status=st.sampled_from(JobStatus),
        output=values,
        error=maybe(faults),
        execution_time=maybe(spans),
        delay_time=maybe(spans),
        retries=whole,
        worker_id=maybe(words),
        created_at=maybe(instants),
        raw=objects,
    ),
    job.JobRef: build(job.JobRef, id=words, endpoint=words),
    JobChunk: build(
        JobChunk, index=whole, output=values, metrics=maybe(objects), received_at=instants, gap=st.booleans()
    ),
    job.StreamEvent: build(job.StreamEvent, data=values, event=words, id=maybe(words)),
    LogLine: build(LogLine, line=st.text(), at=maybe(instants), source=maybe(words), cursor=maybe(words)),
}


def without_secrets(record):
    """The record as it comes back from JSON."""
    changes = {}
    for field in attrs.fields(type(record)):
        value = getattr(record, field.name)
        if field.metadata.get("secret"):
            empty = field.default.factory() if isinstance(field.default, attrs.Factory) else field.default
            changes[field.name] = empty
        elif attrs.has(type(value)):
            changes[field.name] = without_secrets(value)
    return attrs.evolve(record, **changes)


def travelled(plain):
    return orjson.loads(orjson.dumps(plain))


def test_every_record_is_tried():
    assert set(STRATEGIES) == set(RECORDS)


@pytest.mark.parametrize("cls", RECORDS, ids=lambda cls: cls.__name__)
@given(data=st.data())
def test_a_record_comes_back_as_it_was_but_for_its_secrets(cls, data):
    record = data.draw(STRATEGIES[cls])
    assert structure(travelled(unstructure(record)), cls) == without_secrets(record)


@pytest.mark.parametrize("cls", RECORDS, ids=lambda cls: cls.__name__)
@given(data=st.data())
def test_with_every_secret_revealed_nothing_is_missing(cls, data):
    record = data.draw(STRATEGIES[cls])
    assert structure(travelled(unstructure(record, reveal=SECRETS)), cls) == record


def test_every_field_marked_secret_can_be_asked_for_and_nothing_else():
    marked = {field.name for cls in RECORDS for field in attrs.fields(cls) if field.metadata.get("secret")}
    assert marked == SECRETS


REQUEST = ComputeRequest(image="i", gpu="l4", env={"TOKEN": "s3cr3t"}, ports=["80/http"], idle_ttl=90)
JOB = JobRequest(endpoint="e", input={"a": 1}, webhook="https://a/s3cr3t", policy={"ttl": 60})
SEEN = Compute(
    id="i",
    provider="p",
    status=ComputeStatus.RUNNING,
    cost_usd_per_hour=Decimal("1.50"),
    auth=AuthHandle(scheme="bearer", token="s3cr3t", hash="h"),
    created_at=datetime(2026, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))),
)


@pytest.mark.parametrize("record", [REQUEST, JOB, SEEN], ids=lambda record: type(record).__name__)
def test_secrets_stay_at_home(record):
    assert "s3cr3t" not in json.dumps(unstructure(record))


@pytest.mark.parametrize(
    ("record", "name", "place"),
    [(REQUEST, "env", ("env",)), (JOB, "webhook", ("webhook",)), (SEEN, "token", ("auth", "token"))],
)
@pytest.mark.parametrize("wrap", [str, lambda name: [name], lambda name: {name}], ids=["str", "list", "set"])
def test_a_secret_comes_along_when_called_by_name(record, name, place, wrap):
    plain = unstructure(record, reveal=wrap(name))
    for key in place:
        plain = plain[key]
    assert "s3cr3t" in str(plain)
    others = SECRETS - {name}
    assert "s3cr3t" not in json.dumps(unstructure(record, reveal=others))


@pytest.mark.parametrize("reveal", ["toke", ["env", "image"], ["raw"]])
def test_what_is_no_secret_cannot_be_revealed(reveal):
    with pytest.raises(ValidationError, match="reveal: expected names among env, token, webhook"):
        unstructure(REQUEST, reveal=reveal)


def test_values_are_what_any_json_encoder_takes():
    plain = unstructure(SEEN)
    assert plain["cost_usd_per_hour"] == "1.50"
    assert plain["created_at"] == "2026-01-01T00:00:00+00:00"
    assert (plain["status"], type(plain["status"])) == ("running", str)
    assert unstructure(REQUEST)["idle_ttl"] == 90.0
    assert unstructure(REQUEST)["ports"] == [{"port": 80, "protocol": "http"}]
    assert json.loads(json.dumps(plain)) == plain


def test_unknown_keys_pass():
    plain = {**unstructure(SEEN), "later": 1, "auth": {"scheme": "bearer", "hash": "h", "later": 2}}
    assert structure(plain, Compute) == without_secrets(SEEN)


@pytest.mark.parametrize("port", ["80/http", [80, "http"], {"port": 80, "protocol": "http"}, {"port": 80}])
def test_ports_are_read_in_every_form_that_json_has(port):
    made = structure({"image": "i", "ports": [port]}, ComputeRequest)
    assert made.ports == (PortSpec(port=80),)


GOOD = {
    Compute: unstructure(SEEN),
    ComputeRequest: unstructure(REQUEST),
    Job: {"id": "1", "provider": "p", "endpoint": "e", "status": "completed"},
    JobRequest: unstructure(JOB),
    GpuType: {"id": "1", "provider": "p"},
    JobChunk: {"index": 0, "output": 1, "received_at": "2026-01-01T00:00:00+00:00"},
}


@pytest.mark.parametrize(
    ("cls", "key", "value", "said"),
    [
        (Compute, "id", 5, "expected a string, got int @ $.id"),
        (Compute, "id", None, "expected a string, got null @ $.id"),
        (Compute, "status", "flying", "expected one of provisioning"),
        (Compute, "status", 7, "@ $.status"),
        (Compute, "gpu_count", "2", "expected a whole number, got str @ $.gpu_count"),
        (Compute, "gpu_count", True, "expected a whole number, got bool @ $.gpu_count"),
        (Compute, "gpu_count", 1.0, "expected a whole number, got float @ $.gpu_count"),
        (Compute, "memory_gb", "2", "@ $.memory_gb"),
        (Compute, "cost_usd_per_hour", 1.5, "expected a decimal as a string, got float @ $.cost_usd_per_hour"),
        (Compute, "cost_usd_per_hour", "cheap", "expected a decimal as a string, got another string"),
        (Compute, "created_at", "2026-01-01T00:00:00", "expected an instant with a time zone @ $.created_at"),
        (Compute, "created_at", "yesterday", "@ $.created_at"),
        (Compute, "created_at", 5, "expected an ISO 8601 instant, got int @ $.created_at"),
        (Compute, "ports", {}, "expected a list, got dict @ $.ports"),
        (Compute, "ports", "80/http", "expected a list, got str @ $.ports"),
        (Compute, "ports", [{"internal": "80"}], "expected a whole number, got str @ $.ports[0].internal"),
        (Compute, "ports", [{}], "$.ports[0].internal"),
        (Compute, "auth", [], "expected a mapping, got list @ $.auth"),
        (Compute, "auth", {"scheme": "basic", "hash": "h"}, "expected one of bearer, signed_url"),
        (Compute, "raw", [], "expected a mapping, got list @ $.raw"),
        (ComputeRequest, "spot", "yes", "expected true or false, got str @ $.spot"),
        (ComputeRequest, "spot", 1, "expected true or false, got int @ $.spot"),
        (ComputeRequest, "ports", ["80"], "expected a port such as '8000/http', got str @ $.ports[0]"),
        (ComputeRequest, "ports", ["0/http"], "port: expected a whole number of at least 1, got 0 @ $.ports[0]"),
        (ComputeRequest, "env", {"A": 1}, "expected a string, got int @ $.env['A']"),
        (ComputeRequest, "gpu", [5], "expected a string, got int @ $.gpu[0]"),
        (ComputeRequest, "cpus", 0, "cpus: expected a whole number of at least 1, got 0 @ $"),
        (ComputeRequest, "idle_ttl", "90", "expected a number of seconds, got str @ $.idle_ttl"),
        (ComputeRequest, "idle_ttl", 1e300, "expected a number of seconds, got 1e+300 @ $.idle_ttl"),
        (Job, "error", {"message": 5}, "expected a string, got int @ $.error.message"),
        (Job, "execution_time", "5", "expected a number of seconds, got str @ $.execution_time"),
        (JobRequest, "mode", "later", "expected one of async, sync"),
        (JobRequest, "policy", {"ttl": -1}, "ttl: expected a positive timedelta"),
        (JobRequest, "input", {}, "input: expected at least one key"),
        (GpuType, "stock", "plenty", "expected one of high"),
        (GpuType, "regions", "eu", "expected a list, got str @ $.regions"),
        (JobChunk, "metrics", [], "expected a mapping, got list @ $.metrics"),
    ],
)
def test_what_is_of_the_wrong_type_is_told_with_its_path(cls, key, value, said):
    with pytest.raises(ValidationError) as caught:
        structure({**GOOD[cls], key: value}, cls)
    assert any(said in fault for fault in caught.value.faults), caught.value.faults
    assert len(caught.value.faults) == 1


@pytest.mark.parametrize("cls", [Compute, Job, JobRequest, GpuType, JobChunk])
def test_what_is_missing_is_told_with_its_path(cls):
    required = {f.name for f in attrs.fields(cls) if f.default is attrs.NOTHING}
    with pytest.raises(ValidationError) as caught:
        structure({}, cls)
    assert len(caught.value.faults) == len(required)
    assert all(any(f"$.{name}" in fault for fault in caught.value.faults) for name in required)


def test_every_fault_is_told():
    with pytest.raises(ValidationError) as caught:
        structure({"id": 1, "provider": 2, "status": 3, "ports": [{"internal": "x"}, 5]}, Compute)
    assert len(caught.value.faults) == 5


@pytest.mark.parametrize("data", [None, 5, "x", [], [1]])
def test_what_is_no_mapping_at_all(data):
    with pytest.raises(ValidationError, match=r"expected a mapping, got \w+ @ \$"):
        structure(data, Compute)


@pytest.mark.parametrize("cls", [dict, int, "Compute", None])
def test_only_records_are_structured(cls):
    with pytest.raises(ValidationError, match="cls: expected a record class"):
        structure({}, cls)


def test_no_value_is_quoted_in_a_fault():
    with pytest.raises(ValidationError) as caught:
        structure(
            {"image": "i", "env": {"A": ["s3cr3t"]}, "provider_opts": ["s3cr3t"], "ports": ["s3cr3t"]}, ComputeRequest
        )
    assert "s3cr3t" not in str(caught.value)
