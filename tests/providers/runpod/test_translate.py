"""What we send, body by body and call by call."""

import orjson
import pytest
from attrs import evolve

from exatlas.errors import ValidationError
from exatlas.messages import Repeat
from exatlas.providers.runpod import calls, translate
from exatlas.records.compute import ComputeRequest
from exatlas.records.job import JobRef, JobRequest

KEY = "rpa_FAKEKEY0123456789"
L4 = "NVIDIA L4"
A40 = "NVIDIA A40"
SSH = "ssh-ed25519 AAAAC3Nza someone@somewhere"


def bodies(gpu_ids=(L4,), **fields):
    request = ComputeRequest(**{"image": "img", "gpu": "l4", **fields})
    return translate.pod_bodies(request, gpu_ids, "n-0123456789ab")


def body(gpu_ids=(L4,), **fields):
    return bodies(gpu_ids, **{"cloud_type": "secure", **fields})[0]


BASE = {
    "name": "n-0123456789ab",
    "image": "img",
    "gpu": {"id": L4, "count": 1},
    "cloud": "SECURE",
    "disk": 50,
}


@pytest.mark.parametrize(
    ("fields", "change"),
    [
        ({}, {}),
        ({"gpu_count": 4}, {"gpu": {"id": L4, "count": 4}}),
        ({"container_disk_gb": 7}, {"disk": 7}),
        ({"cloud_type": "community"}, {"cloud": "COMMUNITY"}),
        ({"region_hints": ["EU-RO-1", "US-KS-2"]}, {"dataCenterIds": ["EU-RO-1", "US-KS-2"]}),
        ({"ports": [(8000, "http"), "22/tcp", (70000, "tcp")]}, {"ports": ["8000/http", "22/tcp", "70000/tcp"]}),
        ({"env": {"A": "1", "B": "two"}}, {"env": {"A": "1", "B": "two"}}),
        ({"command": ["python", "-m", "http.server"]}, {"args": "python -m http.server"}),
        ({"command": ["bash", "-c", "echo hi && sleep 5"]}, {"args": "bash -c 'echo hi && sleep 5'"}),
        ({"command": "sleep 5"}, {"args": "'sleep 5'"}),
        ({"volume_gb": 20}, {"mounts": {"persistent": {"size": 20, "path": "/workspace"}}}),
        ({"network_volume_id": "v1"}, {"mounts": {"network": [{"volumeId": "v1", "path": "/workspace"}]}}),
        ({"ssh_keys": [SSH]}, {"env": {"PUBLIC_KEY": SSH}, "startSsh": True}),
        (
            {"ssh_keys": [f"{SSH}\n", SSH], "env": {"A": "1"}},
            {"env": {"A": "1", "PUBLIC_KEY": f"{SSH}\n{SSH}"}, "startSsh": True},
        ),
        ({"template_id": "t1"}, {"templateId": "t1", "disk": None}),
        ({"template_id": "t1", "image": None}, {"templateId": "t1", "disk": None, "image": None}),
        ({"template_id": "t1", "container_disk_gb": 30}, {"templateId": "t1", "disk": 30}),
        (
            {"provider_opts": {"gpu": {"minCudaVersion": "12.1"}}},
            {"gpu": {"id": L4, "count": 1, "minCudaVersion": "12.1"}},
        ),
        ({"provider_opts": {"globalNetworking": True, "disk": 5}}, {"globalNetworking": True, "disk": 5}),
        ({"provider_opts": {"env": {"B": "2"}}, "env": {"A": "1"}}, {"env": {"A": "1", "B": "2"}}),
        ({"provider_opts": {"args": "raw words"}, "command": ["x"]}, {"args": "raw words"}),
        (
            {"provider_opts": {"mounts": {"persistent": {"path": "/data"}}}, "volume_gb": 10},
            {"mounts": {"persistent": {"size": 10, "path": "/data"}}},
        ),
        ({"idle_ttl": 60, "auth": "bearer"}, {}),
    ],
)
def test_a_gpu_body(judge_if_there, ctx, fields, change):
    expected = {key: value for key, value in {**BASE, **change}.items() if value is not None}
    found = body(**fields)
    assert found == expected
    if judge_if_there:
        judge_if_there.request(translate.spawn(found, ctx))


@pytest.mark.parametrize(
    ("fields", "shapes", "disk"),
    [
        ({}, [("cpu5c", 2), ("cpu3c", 2)], 20),
        ({"cpus": 8}, [("cpu5c", 8), ("cpu3c", 8)], 20),
        ({"memory_gb": 16}, [("cpu5m", 2), ("cpu3m", 2)], 20),
        ({"cpus": 4, "memory_gb": 16, "container_disk_gb": 40}, [("cpu5g", 4), ("cpu3g", 4)], 40),
        ({"provider_opts": {"cpu": {"id": "cpu3g"}}}, [("cpu3g", 2)], 20),
    ],
)
def test_cpu_bodies_are_secure_and_go_by_flavour(judge_if_there, ctx, fields, shapes, disk):
    found = bodies((), gpu=None, **fields)
    assert [(each["cpu"]["id"], each["cpu"]["vcpuCount"]) for each in found] == shapes
    for each in found:
        assert "gpu" not in each
        assert (each["cloud"], each["disk"]) == ("SECURE", disk)
        if judge_if_there:
            judge_if_there.request(translate.spawn(each, ctx))


@pytest.mark.parametrize(
    ("fields", "order"),
    [
        ({"cloud_type": "any"}, [(L4, "SECURE"), (L4, "COMMUNITY"), (A40, "SECURE"), (A40, "COMMUNITY")]),
        ({"cloud_type": "secure"}, [(L4, "SECURE"), (A40, "SECURE")]),
        ({"cloud_type": "community"}, [(L4, "COMMUNITY"), (A40, "COMMUNITY")]),
        ({"cloud_type": "any", "network_volume_id": "v"}, [(L4, "SECURE"), (A40, "SECURE")]),
        ({"cloud_type": "any", "provider_opts": {"cloud": "COMMUNITY"}}, [(L4, "COMMUNITY"), (A40, "COMMUNITY")]),
        ({"cloud_type": "any", "provider_opts": {"gpu": {"id": A40}}}, [(A40, "SECURE"), (A40, "COMMUNITY")]),
    ],
)
def test_gpus_go_before_clouds_and_nothing_is_tried_twice(fields, order):
    assert [(each["gpu"]["id"], each["cloud"]) for each in bodies((L4, A40), **fields)] == order


def test_a_create_is_sent_with_the_key_and_hides_key_and_variables(ctx):
    call = translate.spawn(body(env={"TOKEN": "s3cr3t", "EMPTY": ""}), ctx)
    assert (call.method, call.url, call.template) == ("POST", "https://api.runpod.io/v2/pods", "/v2/pods")
    assert call.headers == {
        "accept": "application/json",
        "authorization": f"Bearer {KEY}",
        "content-type": "application/json",
    }
    assert call.repeat is Repeat.REFUSED
    assert call.secrets == (KEY, "s3cr3t")
    assert "s3cr3t" not in repr(call)
    assert KEY not in repr(call)


PODS = "https://api.runpod.io/v2/pods"
JOBS = "https://api.runpod.ai/v2/ep%2F1"
JOB = JobRef(id="a/b c", endpoint="ep/1")


@pytest.mark.parametrize(
    ("build", "method", "url", "template", "repeat"),
    [
        (lambda ctx: translate.get_pod("p 1", ctx), "GET", f"{PODS}/p%201", "/v2/pods/{id}", Repeat.SAFE),
        (lambda ctx: translate.list_pods(None, ctx), "GET", f"{PODS}?limit=100", "/v2/pods", Repeat.SAFE),
        (lambda ctx: translate.list_pods("a&b", ctx), "GET", f"{PODS}?limit=100&cursor=a%26b", "/v2/pods", Repeat.SAFE),
        (lambda ctx: translate.delete_pod("p/../q", ctx), "DELETE", f"{PODS}/p%2F..%2Fq", "/v2/pods/{id}", Repeat.SAFE),
        (
            lambda ctx: translate.act("p", "stop", ctx),
            "POST",
            f"{PODS}/p/action",
            "/v2/pods/{id}/action",
            Repeat.REFUSED,
        ),
        (
            lambda ctx: translate.gpu_catalog(ctx, "SECURE"),
            "GET",
            "https://api.runpod.io/v2/catalog/gpus?include=AVAILABILITY&product=POD&count=1&cloud=SECURE",
            "/v2/catalog/gpus",
            Repeat.SAFE,
        ),
        (
            lambda ctx: translate.gpu_names(ctx),
            "GET",
            "https://api.runpod.io/v2/catalog/gpus",
            "/v2/catalog/gpus",
            Repeat.SAFE,
        ),
        (
            lambda ctx: translate.logs("p", ctx, tail=5),
            "GET",
            f"{PODS}/p/logs?tail=5",
            "/v2/pods/{id}/logs",
            Repeat.SAFE,
        ),
        (
            lambda ctx: translate.status(JOB, ctx),
            "GET",
            f"{JOBS}/status/a%2Fb%20c",
            "/v2/{endpoint}/status/{id}",
            Repeat.SAFE,
        ),
        (
            lambda ctx: translate.cancel(JOB, ctx),
            "POST",
            f"{JOBS}/cancel/a%2Fb%20c",
            "/v2/{endpoint}/cancel/{id}",
            Repeat.SAFE,
        ),
        (
            lambda ctx: translate.retry(JOB, ctx),
            "POST",
            f"{JOBS}/retry/a%2Fb%20c",
            "/v2/{endpoint}/retry/{id}",
            Repeat.REFUSED,
        ),
        (lambda ctx: translate.health("ep/1", ctx), "GET", f"{JOBS}/health", "/v2/{endpoint}/health", Repeat.SAFE),
        (
            lambda ctx: translate.purge("ep/1", ctx),
            "POST",
            f"{JOBS}/purge-queue",
            "/v2/{endpoint}/purge-queue",
            Repeat.REFUSED,
        ),
        (
            lambda ctx: translate.stream_poll(JOB, 5.0, None, ctx),
            "GET",
            f"{JOBS}/stream/a%2Fb%20c?wait=5000",
            "/v2/{endpoint}/stream/{id}",
            Repeat.NEVER,
        ),
        (
            lambda ctx: translate.stream_poll(JOB, 0.2, None, ctx),
            "GET",
            f"{JOBS}/stream/a%2Fb%20c?wait=1000",
            "/v2/{endpoint}/stream/{id}",
            Repeat.NEVER,
        ),
        (
            lambda ctx: translate.stream_poll(JOB, 0.0, None, ctx),
            "GET",
            f"{JOBS}/stream/a%2Fb%20c",
            "/v2/{endpoint}/stream/{id}",
            Repeat.NEVER,
        ),
    ],
)
def test_calls(judge_if_there, ctx, build, method, url, template, repeat):
    call = build(ctx)
    assert (call.method, call.url, call.template, call.repeat) == (method, url, template, repeat)
    assert call.headers["authorization"] == f"Bearer {KEY}"
    assert call.secrets == (KEY,)
    if judge_if_there and call.url.startswith("https://api.runpod.io"):
        judge_if_there.request(call)


def test_a_log_is_taken_up_after_an_event_or_an_instant(ctx, clock):
    by_event = translate.logs("p", ctx, tail=5, after="2026/7", since=clock.now())
    assert by_event.headers["last-event-id"] == "2026/7"
    assert "since" not in by_event.url
    by_instant = translate.logs("p", ctx, tail=5, since=clock.now())
    assert by_instant.url.endswith("/logs?since=2026-01-01T00%3A00%3A00Z")
    assert by_instant.headers["accept"] == "text/event-stream"


def test_a_poll_carries_the_last_event_id_and_outlives_its_hold(ctx):
    call = translate.stream_poll(JOB, 5.0, "42", ctx)
    assert call.headers["last-event-id"] == "42"
    assert call.timeout_s == 20.0


@pytest.mark.parametrize("value", ["", "  ", ".", "..", None, 7])
def test_an_id_that_would_name_another_path_is_refused(ctx, value):
    for build in (
        lambda: translate.get_pod(value, ctx),
        lambda: translate.delete_pod(value, ctx),
        lambda: translate.health(value, ctx),
    ):
        with pytest.raises(ValidationError, match="expected a non-empty id"):
            build()


def job(**fields):
    return JobRequest(endpoint="ep", input={"x": 1}, **fields)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {"input": {"x": 1}}),
        ({"policy": {}}, {"input": {"x": 1}}),
        (
            {"policy": {"execution_timeout": 900, "ttl": 3600.5, "low_priority": True}},
            {"input": {"x": 1}, "policy": {"executionTimeout": 900000, "ttl": 3600500, "lowPriority": True}},
        ),
        ({"webhook": "https://a.example/h?k=1"}, {"input": {"x": 1}, "webhook": "https://a.example/h?k=1"}),
        (
            {"provider_opts": {"s3Config": {"accessId": "AKIA"}, "input": {"y": 2}}},
            {"input": {"x": 1, "y": 2}, "s3Config": {"accessId": "AKIA"}},
        ),
    ],
)
def test_a_job_body(ctx, fields, expected):
    assert orjson.loads(translate.job_body(job(**fields), ctx)) == expected


@pytest.mark.parametrize(
    ("timeout", "own", "wait_ms"),
    [(None, None, 90000), (5, None, 5000), (300, None, 90000), (0.2, None, 1000), (60, 10.0, 10000), (None, 0.1, 1000)],
)
def test_a_held_submit_waits_as_long_as_the_caller_but_not_too_long(ctx, timeout, own, wait_ms):
    request = job(mode="sync", timeout=timeout)
    call = translate.runsync(request, b"{}", evolve(ctx, timeout_s=own))
    assert call.url == f"https://api.runpod.ai/v2/ep/runsync?wait={wait_ms}"
    assert call.timeout_s == wait_ms / 1000 + 15
    assert call.repeat is Repeat.REFUSED


def test_a_submit_is_sent_once_and_hides_its_webhook_and_storage_keys(ctx):
    request = job(
        webhook="https://a.example/h?k=1",
        provider_opts={"s3Config": {"accessId": "AKIA", "accessSecret": "wJalr", "bucketName": "b"}},
    )
    call = translate.run(request, translate.job_body(request, ctx), ctx)
    assert (call.method, call.url, call.repeat) == ("POST", "https://api.runpod.ai/v2/ep/run", Repeat.REFUSED)
    assert call.secrets == (KEY, "https://a.example/h?k=1", "AKIA", "wJalr")


def test_no_key_no_header(ctx):
    call = translate.get_pod("p", evolve(ctx, api_key=None))
    assert "authorization" not in call.headers
    assert call.secrets == ()


def test_the_callers_deadline_wins(ctx):
    assert translate.get_pod("p", ctx).timeout_s == calls.READ_TIMEOUT_S
    assert translate.act("p", "stop", ctx).timeout_s == calls.WRITE_TIMEOUT_S
    assert translate.get_pod("p", evolve(ctx, timeout_s=3.0)).timeout_s == 3.0
    assert translate.health("e", evolve(ctx, timeout_s=3.0)).timeout_s == 3.0


def test_half_a_character_is_a_fault_and_not_a_crash(ctx):
    with pytest.raises(ValidationError, match="JSON can hold") as caught:
        translate.job_body(JobRequest(endpoint="ep", input={"x": "\ud800"}), ctx)
    assert caught.value.operation == "run_job"
    with pytest.raises(ValidationError, match="JSON can hold"):
        translate.spawn({"name": "\ud800"}, ctx)
