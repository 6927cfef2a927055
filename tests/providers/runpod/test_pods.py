"""Machines against the fake: what is rented afterwards is what counts."""

import asyncio
from decimal import Decimal

import orjson
import pytest
from attrs import evolve

from exatlas.errors import (
    ConflictError,
    EdgeBlockedError,
    ForbiddenError,
    InsufficientFundsError,
    InvalidRequestError,
    NoCapacityError,
    NotFoundError,
    OutcomeUnknownError,
    ProviderBrokenError,
    RateLimitedError,
    ReplyShapeError,
    TransportError,
    UnauthorizedError,
    UnsupportedError,
    ValidationError,
)
from exatlas.launch import LOOKS_S
from exatlas.messages import HttpReply
from exatlas.providers.runpod import pods
from exatlas.providers.runpod.fake import FakeRunPod, Fault
from exatlas.records.compute import ComputeFilter, ComputeRequest, ComputeStatus
from exatlas.records.gpu import Stock
from exatlas.transport.inprocess import InProcessTransport

LAUNCH = "0123456789ab"
L4, A40, H100 = "NVIDIA L4", "NVIDIA A40", "NVIDIA H100 80GB HBM3"


@pytest.fixture
def launch(ctx):
    return evolve(ctx, launch_id=LAUNCH)


def request(**fields):
    return ComputeRequest(**{"image": "img", "gpu": "l4", "cloud_type": "secure", **fields})


def creates(fake: FakeRunPod) -> int:
    return fake.calls.count(("POST", "/pods"))


# --- renting ---


async def test_one_create_rents_one_marked_machine(fake, launch):
    compute = await pods.spawn(
        request(name="web", ports=[(8000, "http"), (22, "tcp")], env={"TOKEN": "s3cr3t"}, volume_gb=20), launch
    )
    (pod,) = fake.rented()
    assert (compute.id, compute.name, compute.launch_id) == (pod.id, f"web-{LAUNCH}", LAUNCH)
    assert compute.gpu_type == "l4"
    assert compute.cost_usd_per_hour == Decimal("0.43")
    assert compute.ports[0].url == f"https://{pod.id}-8000.proxy.runpod.net"
    assert compute.ports[1].url == "tcp://203.0.113.7:30001"
    assert pod.body["env"] == {"TOKEN": "s3cr3t"}
    assert compute.raw["env"] == {"TOKEN": "[redacted]"}
    assert creates(fake) == 1


async def test_a_spawn_without_a_launch_id_makes_one(fake, ctx):
    compute = await pods.spawn(request(), ctx)
    assert compute.launch_id
    assert compute.name == f"exatlas-{compute.launch_id}"


async def test_nothing_is_sent_for_a_request_runpod_cannot_honour(fake, launch):
    with pytest.raises(UnsupportedError):
        await pods.spawn(request(spot=True), launch)
    with pytest.raises(ValidationError):
        await pods.spawn(request(volume_gb=1), launch)
    assert fake.calls == []


@pytest.mark.parametrize(
    ("cloud", "gone", "rented"),
    [
        ("any", [], (L4, "SECURE")),
        ("any", [(L4, "SECURE")], (A40, "SECURE")),
        ("secure", [(L4, "SECURE")], (A40, "SECURE")),
        ("any", [(H100, "SECURE")], (L4, "SECURE")),
    ],
)
async def test_the_next_candidate_is_tried_when_runpod_has_none_of_the_last(fake, launch, cloud, gone, rented):
    fake.stock.left.update(dict.fromkeys(gone, 0))
    compute = await pods.spawn(request(gpu=["l4", "a40"], cloud_type=cloud), launch)
    (pod,) = fake.rented()
    assert (pod.shape["id"], pod.cloud) == rented
    assert compute.gpu_native == rented[0]


async def test_a_family_is_tried_over_all_its_ids_and_clouds(fake, launch):
    fake.stock.left.update({(H100, "SECURE"): 0, (H100, "COMMUNITY"): 0, ("NVIDIA H100 PCIe", "SECURE"): 0})
    compute = await pods.spawn(request(gpu="h100", cloud_type="any"), launch)
    assert compute.gpu_type == "h100_pcie"
    assert fake.rented()[0].cloud == "COMMUNITY"
    assert creates(fake) == 4


async def test_a_type_the_account_may_not_use_is_skipped(fake, launch):
    fake.forbidden_gpus.add(L4)
    assert (await pods.spawn(request(gpu=["l4", "a40"]), launch)).gpu_type == "a40"


async def test_when_nothing_is_left_the_error_says_what_was_tried(fake, launch):
    fake.stock.left.update({(L4, "SECURE"): 0, (A40, "SECURE"): 0})
    fake.forbidden_gpus.add(H100)
    with pytest.raises(NoCapacityError) as caught:
        await pods.spawn(request(gpu=["l4", "a40", "h100_sxm"]), launch)
    assert caught.value.message == (
        "There are no longer any instances available with the requested specifications. Please refresh and try again; "
        "tried NVIDIA L4 in SECURE, NVIDIA A40 in SECURE, NVIDIA H100 80GB HBM3 in SECURE"
    )
    assert caught.value.retryable
    assert fake.rented() == []


async def test_when_everything_is_forbidden_that_is_the_error(fake, launch):
    fake.forbidden_gpus.update({L4, A40})
    with pytest.raises(ForbiddenError, match="tried NVIDIA L4 in SECURE, NVIDIA A40 in SECURE"):
        await pods.spawn(request(gpu=["l4", "a40"]), launch)


@pytest.mark.parametrize(
    ("prepare", "error"),
    [
        (lambda fake: setattr(fake, "has_funds", False), InsufficientFundsError),
        (lambda fake: setattr(fake, "api_key", "another"), UnauthorizedError),
        (lambda fake: fake.fail(Fault.EDGE, "POST", "/pods"), EdgeBlockedError),
    ],
)
async def test_what_no_candidate_can_change_ends_the_spawn(fake, launch, prepare, error):
    prepare(fake)
    with pytest.raises(error):
        await pods.spawn(request(gpu=["l4", "a40"]), launch)
    assert creates(fake) == 1


async def test_a_broken_rule_ends_the_spawn(fake, launch):
    with pytest.raises(InvalidRequestError, match="network volume not found"):
        await pods.spawn(request(gpu=["l4", "a40"], network_volume_id="nope"), launch)
    assert creates(fake) == 1


async def test_an_unknown_field_is_told_with_the_validators_words(fake, launch):
    with pytest.raises(InvalidRequestError, match="additional properties 'unjudged' not allowed"):
        await pods.spawn(request(provider_opts={"unjudged": 1}), launch)


async def test_too_many_requests_are_waited_out_and_rent_once(fake, launch, clock):
    fake.fail(Fault.LIMITED, "POST", "/pods", times=2)
    await pods.spawn(request(), launch)
    assert len(fake.rented()) == 1
    assert creates(fake) == 3
    assert clock.monotonic() >= 4


async def test_too_many_requests_for_too_long_are_the_callers(fake, launch):
    fake.fail(Fault.LIMITED, "POST", "/pods", times=3)
    with pytest.raises(RateLimitedError) as caught:
        await pods.spawn(request(), launch)
    assert caught.value.retry_after == 2
    assert fake.rented() == []


async def test_a_name_we_do_not_know_is_looked_up_once(fake, launch):
    compute = await pods.spawn(request(gpu=["rtx 4090", "RTX 3090", "l4"], cloud_type="any"), launch)
    assert compute.gpu_native == "NVIDIA GeForce RTX 4090"
    assert fake.calls.count(("GET", "/catalog/gpus")) == 1


async def test_a_known_name_costs_no_look_up(fake, launch):
    await pods.spawn(request(gpu=["l4", "NVIDIA A40"]), launch)
    assert fake.calls == [("POST", "/pods")]


async def test_a_name_nobody_knows_goes_out_as_it_was_typed(fake, launch):
    with pytest.raises(InvalidRequestError):
        await pods.spawn(request(gpu="NVIDIA  Rubin"), launch)
    assert creates(fake) == 1


async def test_a_template_brings_image_and_disk(fake, launch):
    fake._templates.create(
        {"name": "t", "image": "from-template", "disk": 77, "env": {"A": "t", "B": "t"}}, "tpl1", fake.clock.now()
    )
    await pods.spawn(request(image=None, template_id="tpl1", env={"B": "own"}), launch)
    (pod,) = fake.rented()
    assert (pod.body["image"], pod.body["disk"], pod.body["env"]) == ("from-template", 77, {"A": "t", "B": "own"})


async def test_a_cpu_machine_falls_back_to_the_older_generation(fake, launch):
    fake.stock.left["cpu5g", "SECURE"] = 0
    compute = await pods.spawn(request(gpu=None, cloud_type="any", cpus=4, memory_gb=16), launch)
    assert (compute.cpus, compute.memory_gb, compute.gpu_count, compute.gpu_type) == (4, 16, 0, None)
    assert fake.rented()[0].shape["id"] == "cpu3g"


# --- renting, when the answer is lost ---

ACTED = [
    Fault.DROP_AFTER,
    Fault.STALL_AFTER,
    Fault.ERROR_AFTER,
    Fault.GARBAGE_AFTER,
    Fault.TRUNCATED_AFTER,
    Fault.WRONG_TYPES_AFTER,
]


@pytest.mark.parametrize("fault", ACTED)
@pytest.mark.parametrize("lag_s", [0, 3, 20])
@pytest.mark.parametrize("page_size", [None, 2])
async def test_a_lost_answer_is_found_again_and_nothing_is_rented_twice(fake, launch, fault, lag_s, page_size):
    fake.listing_lag_s, fake.page_size = lag_s, page_size
    for other in ("1" * 12, "2" * 12, "3" * 12):
        await pods.spawn(request(), evolve(launch, launch_id=other))
    before = creates(fake)
    fake.fail(fault, "POST", "/pods")
    compute = await pods.spawn(request(gpu=["l4", "a40"], cloud_type="any"), launch)
    assert creates(fake) == before + 1
    assert [pod.id for pod in fake.rented() if LAUNCH in str(pod.body["name"])] == [compute.id]
    assert compute.launch_id == LAUNCH


@pytest.mark.parametrize("fault", [Fault.DROP_BEFORE, Fault.ERROR_BEFORE])
async def test_an_answer_that_stays_lost_is_an_unknown_outcome_and_no_second_create(fake, launch, fault):
    fake.fail(fault, "POST", "/pods")
    with pytest.raises(OutcomeUnknownError) as caught:
        await pods.spawn(request(gpu=["l4", "a40"], cloud_type="any"), launch)
    assert caught.value.launch_id == LAUNCH
    assert creates(fake) == 1
    assert fake.rented() == []


@pytest.mark.parametrize("fault", ACTED)
async def test_a_machine_hidden_for_too_long_is_reported_and_carries_its_mark(fake, launch, fault):
    fake.listing_lag_s = sum(LOOKS_S) + 1000
    fake.fail(fault, "POST", "/pods")
    with pytest.raises(OutcomeUnknownError) as caught:
        await pods.spawn(request(), launch)
    assert caught.value.launch_id in str(fake.rented()[0].body["name"])
    assert creates(fake) == 1


async def test_looking_survives_trouble(fake, launch):
    fake.fail(Fault.DROP_AFTER, "POST", "/pods")
    fake.fail(Fault.ERROR_BEFORE, "GET", "/pods", times=4)
    fake.fail(Fault.GARBAGE_AFTER, "GET", "/pods")
    compute = await pods.spawn(request(), launch)
    assert [pod.id for pod in fake.rented()] == [compute.id]


async def test_a_call_that_never_left_is_no_unknown_outcome(fake, launch):
    async def refuse(_call):
        raise TransportError("no connection", delivered=False)

    with pytest.raises(TransportError) as caught:
        await pods.spawn(request(), evolve(launch, transport=InProcessTransport(refuse)))
    assert caught.value.delivered is False


@pytest.mark.parametrize("steps", range(40))
async def test_cancelling_a_spawn_anywhere_cancels_it_and_rents_at_most_once(fake, launch, steps):
    fake.stock.left[L4, "SECURE"] = 0
    fake.fail(Fault.DROP_AFTER, "POST", "/pods")
    task = asyncio.create_task(pods.spawn(request(gpu=["rtx 4090", "l4", "a40"], cloud_type="any"), launch))
    for _ in range(steps):
        await asyncio.sleep(0)
    if not task.cancel():
        await task
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled() or task.result().launch_id == LAUNCH
    assert len(fake.rented()) <= 1
    assert asyncio.all_tasks() == {asyncio.current_task()}


# --- reading ---


async def test_reading_a_machine_over_its_life(context, clock):
    fake = FakeRunPod(clock, boot_s=60, keeps_terminated=True)
    ctx = context(fake)
    compute = await pods.spawn(request(), ctx)
    seen = [compute.status]
    for _ in range(3):
        clock.advance(30)
        seen.append((await pods.get(compute.id, ctx)).status)
    await pods.terminate(compute.id, ctx)
    seen.append((await pods.get(compute.id, ctx)).status)
    P, R = ComputeStatus.PROVISIONING, ComputeStatus.RUNNING  # noqa: N806
    assert seen == [P, P, R, R, ComputeStatus.TERMINATED]


async def test_a_bad_image_ends_in_failed_and_still_bills(context, clock):
    fake = FakeRunPod(clock, boot_s=60)
    fake.broken_images.add("img")
    ctx = context(fake)
    compute = await pods.spawn(request(), ctx)
    clock.advance(3600)
    assert (await pods.get(compute.id, ctx)).status is ComputeStatus.FAILED
    assert len(fake.rented()) == 1
    assert fake.invoice()[0].usd == Decimal("0.43")


async def test_a_new_machine_may_hide_from_reads_for_a_moment(fake, ctx):
    fake.listing_lag_s = 0.9
    compute = await pods.spawn(request(), ctx)
    assert (await pods.get(compute.id, ctx)).id == compute.id


async def test_a_machine_nobody_has_is_not_found(fake, ctx):
    with pytest.raises(NotFoundError, match="pod not found"):
        await pods.get("nope", ctx)
    assert len(fake.calls) == 2


async def test_a_terminated_machine_may_answer_404(fake, ctx):
    compute = await pods.spawn(request(), ctx)
    await pods.terminate(compute.id, ctx)
    with pytest.raises(NotFoundError):
        await pods.get(compute.id, ctx)


@pytest.mark.parametrize("page_size", [None, 1, 2, 3, 100])
async def test_a_list_has_every_machine_once_whatever_the_pages(fake, ctx, page_size):
    made = [await pods.spawn(request(), ctx) for _ in range(5)]
    fake.page_size = page_size
    found = await pods.list_all(ComputeFilter(), ctx)
    assert sorted(pod.id for pod in found) == sorted(pod.id for pod in made)


async def test_a_list_is_filtered_here(fake, ctx):
    one = await pods.spawn(request(name="web", region_hints=["EU-RO-1"]), ctx)
    two = await pods.spawn(request(gpu="a40"), ctx)
    await pods.stop(two.id, ctx)

    async def ids(**filters):
        return [pod.id for pod in await pods.list_all(ComputeFilter(**filters), ctx)]

    assert await ids(name="web") == await ids(name=one.name) == await ids(region="EU-RO-1") == [one.id]
    assert await ids(status="running") == [one.id]
    assert await ids(status="stopped") == await ids(gpu="a40") == await ids(gpu=A40) == [two.id]
    assert await ids(status="failed") == []


async def test_a_server_that_pages_in_circles_does_not_hold_us(ctx):
    asked = []

    async def circle(call):
        asked.append(call.url)
        number = len(asked)
        page = {"pods": [{"id": f"p{number}"}], "pagination": {"hasNextPage": True, "nextCursor": "ab"[number % 2]}}
        return HttpReply(status=200, body=orjson.dumps(page))

    found = await pods.list_all(ComputeFilter(), evolve(ctx, transport=InProcessTransport(circle)))
    assert len(found) == len(asked) == 3


@pytest.mark.parametrize("fault", [Fault.GARBAGE_AFTER, Fault.TRUNCATED_AFTER, Fault.WRONG_TYPES_AFTER])
async def test_an_unreadable_read_names_operation_status_and_path(fake, ctx, fault):
    await pods.spawn(request(), ctx)
    fake.fail(fault, "GET", "/pods")
    with pytest.raises(ReplyShapeError) as caught:
        await pods.list_all(ComputeFilter(), ctx)
    error = caught.value
    assert (error.provider, error.operation, error.status) == ("runpod", "list_compute", 200)
    assert error.request_id.startswith("req-")
    assert error.paths


@pytest.mark.parametrize("fault", [Fault.DROP_BEFORE, Fault.ERROR_BEFORE, Fault.LIMITED, Fault.DROP_AFTER])
async def test_reads_are_repeated(fake, ctx, fault):
    compute = await pods.spawn(request(), ctx)
    fake.fail(fault, "GET", compute.id, times=2)
    assert (await pods.get(compute.id, ctx)).id == compute.id


# --- ending ---


@pytest.mark.parametrize("keeps_terminated", [False, True])
async def test_terminating_ends_the_bill_and_may_be_repeated(context, clock, keeps_terminated):
    fake = FakeRunPod(clock, keeps_terminated=keeps_terminated)
    ctx = context(fake)
    compute = await pods.spawn(request(), ctx)
    clock.advance(3600)
    await pods.terminate(compute.id, ctx)
    await pods.terminate(compute.id, ctx)
    await pods.terminate("never-was", ctx)
    assert fake.rented() == []
    assert fake.invoice()[0].usd == Decimal("0.43")
    assert await pods.list_all(ComputeFilter(), ctx) == []


@pytest.mark.parametrize("lag_s", [0.5, 3.5])
async def test_a_machine_too_new_to_be_seen_is_terminated_all_the_same(fake, ctx, lag_s):
    fake.listing_lag_s = lag_s
    compute = await pods.spawn(request(), ctx)
    await pods.terminate(compute.id, ctx)
    assert fake.rented() == []


@pytest.mark.parametrize(
    "fault", [Fault.DROP_BEFORE, Fault.DROP_AFTER, Fault.ERROR_BEFORE, Fault.ERROR_AFTER, Fault.LIMITED]
)
async def test_terminating_is_repeated_over_trouble(fake, ctx, fault):
    compute = await pods.spawn(request(), ctx)
    fake.fail(fault, "DELETE", compute.id, times=2)
    await pods.terminate(compute.id, ctx)
    assert fake.rented() == []


async def test_terminating_never_takes_trouble_for_success(fake, ctx):
    compute = await pods.spawn(request(), ctx)
    fake.fail(Fault.ERROR_BEFORE, "DELETE", compute.id, times=3)
    with pytest.raises(ProviderBrokenError):
        await pods.terminate(compute.id, ctx)
    assert len(fake.rented()) == 1


@pytest.mark.parametrize("steps", range(12))
async def test_cancelling_a_terminate_anywhere_cancels_it(fake, ctx, steps):
    fake.listing_lag_s = 2
    compute = await pods.spawn(request(), ctx)
    task = asyncio.create_task(pods.terminate(compute.id, ctx))
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await pods.terminate(compute.id, ctx)
    assert fake.rented() == []


# --- pausing ---


async def test_stop_and_start(fake, ctx, clock):
    compute = await pods.spawn(request(ports=["22/tcp"]), ctx)
    before = (await pods.get(compute.id, ctx)).ports[0].external
    clock.advance(3600)
    await pods.stop(compute.id, ctx)
    await pods.stop(compute.id, ctx)
    stopped = await pods.get(compute.id, ctx)
    assert (stopped.status, stopped.cost_usd_per_hour, stopped.ports[0].external) == (ComputeStatus.STOPPED, 0, None)
    clock.advance(3600)
    await pods.start(compute.id, ctx)
    await pods.start(compute.id, ctx)
    started = await pods.get(compute.id, ctx)
    assert started.status is ComputeStatus.RUNNING
    assert started.ports[0].external != before, "an external port changes with every start"
    assert fake.invoice()[0].usd == Decimal("0.43")


AMBIGUOUS = [*ACTED, Fault.DROP_BEFORE, Fault.ERROR_BEFORE]


@pytest.mark.parametrize("fault", AMBIGUOUS)
@pytest.mark.parametrize("times", [1, 2])
async def test_a_lost_stop_or_start_is_looked_at_before_it_is_repeated(fake, ctx, fault, times):
    compute = await pods.spawn(request(), ctx)
    for act, status in ((pods.stop, ComputeStatus.STOPPED), (pods.start, ComputeStatus.RUNNING)):
        fake.fail(fault, "POST", "/action", times=times)
        await act(compute.id, ctx)
        assert (await pods.get(compute.id, ctx)).status is status
        fake.faults.clear()
    assert len(fake.rented()) == 1


async def test_a_stop_that_never_gets_through_is_the_callers(fake, ctx):
    compute = await pods.spawn(request(), ctx)
    fake.fail(Fault.ERROR_BEFORE, "POST", "/action", times=3)
    with pytest.raises(ProviderBrokenError):
        await pods.stop(compute.id, ctx)
    assert fake.calls.count(("POST", f"/pods/{compute.id}/action")) == 3


async def test_a_conflict_says_what_the_machine_is(fake, ctx):
    fake.keeps_terminated = True
    compute = await pods.spawn(request(), ctx)
    await pods.terminate(compute.id, ctx)
    with pytest.raises(ConflictError, match="it is terminated"):
        await pods.start(compute.id, ctx)
    await pods.stop(compute.id, ctx)


async def test_stopping_what_is_not_there_is_not_found(ctx):
    with pytest.raises(NotFoundError):
        await pods.stop("nope", ctx)


@pytest.mark.parametrize("boot_s", [0, 60])
async def test_a_machine_that_is_still_starting_counts_as_started(context, clock, boot_s):
    fake = FakeRunPod(clock, boot_s=boot_s)
    ctx = context(fake)
    compute = await pods.spawn(request(), ctx)
    await pods.start(compute.id, ctx)


async def test_a_full_host_is_no_capacity(fake, ctx):
    compute = await pods.spawn(request(), ctx)
    await pods.stop(compute.id, ctx)
    fake.full_hosts.add(compute.id)
    with pytest.raises(NoCapacityError, match="not enough free GPUs on the host machine"):
        await pods.start(compute.id, ctx)


@pytest.mark.parametrize("lost", [False, True])
async def test_a_machine_that_comes_back_without_gpus_is_no_capacity(fake, ctx, lost):
    compute = await pods.spawn(request(), ctx)
    await pods.stop(compute.id, ctx)
    fake.stripped.add(compute.id)
    if lost:
        fake.fail(Fault.DROP_AFTER, "POST", "/action")
    for _ in range(2):
        with pytest.raises(NoCapacityError, match="terminate it and spawn a new one"):
            await pods.start(compute.id, ctx)


async def test_restart_needs_a_running_machine(fake, ctx):
    compute = await pods.spawn(request(), ctx)
    await pods.restart(compute.id, ctx)
    await pods.stop(compute.id, ctx)
    with pytest.raises(ConflictError):
        await pods.restart(compute.id, ctx)


@pytest.mark.parametrize("steps", range(12))
async def test_cancelling_a_stop_anywhere_cancels_it(fake, ctx, steps):
    compute = await pods.spawn(request(), ctx)
    fake.fail(Fault.ERROR_AFTER, "POST", "/action")
    task = asyncio.create_task(pods.stop(compute.id, ctx))
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await pods.stop(compute.id, ctx)
    assert fake.rented() == []


# --- what there is ---


async def test_the_catalogue_has_a_record_per_model_and_cloud(fake, ctx):
    fake.stock.left.update({(H100, "SECURE"): 0, (H100, "COMMUNITY"): 2, (A40, "SECURE"): 5})
    types = {(item.id, item.cloud_type): item for item in await pods.list_gpu_types(ctx)}
    assert types[H100, "secure"].stock is Stock.UNAVAILABLE
    assert types[H100, "secure"].regions == ()
    assert types[H100, "community"].stock is Stock.LOW
    assert types[H100, "community"].price_usd_per_hour == Decimal("2.69")
    assert types[A40, "secure"].stock is Stock.MEDIUM
    assert types[L4, "secure"].regions == ("US-KS-2", "EU-RO-1")
    assert (A40, "community") not in types
    assert not {gpu_id for gpu_id, _ in types} & {"unknown", ""}
    assert fake.calls == [("GET", "/catalog/gpus")] * 2


async def test_a_catalogue_half_that_fails_fails_the_whole_with_its_own_error(fake, ctx):
    fake.fail(Fault.GARBAGE_AFTER, "GET", "/catalog/gpus")
    with pytest.raises(ReplyShapeError) as caught:
        await pods.list_gpu_types(ctx)
    assert caught.value.operation == "list_gpu_types"
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize("steps", range(6))
async def test_cancelling_the_catalogue_leaves_no_task(ctx, steps):
    task = asyncio.create_task(pods.list_gpu_types(ctx))
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert asyncio.all_tasks() == {asyncio.current_task()}
