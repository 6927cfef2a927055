"""Machines against the fake: what is rented afterwards is what counts."""

from decimal import Decimal

import orjson
import pytest
from attrs import evolve

from exatlas.errors import (
    EdgeBlockedError,
    ForbiddenError,
    InsufficientFundsError,
    InvalidRequestError,
    NoCapacityError,
    NotFoundError,
    ProviderBrokenError,
    ReplyShapeError,
    UnauthorizedError,
    UnsupportedError,
    ValidationError,
)
from exatlas.messages import HttpReply
from exatlas.providers import vast
from exatlas.providers.vast import instances
from exatlas.providers.vast.fake import FakeHost, FakeVast, Fault
from exatlas.records.compute import ComputeFilter, ComputeRequest, ComputeStatus
from exatlas.transport.inprocess import InProcessTransport

LAUNCH = "0123456789ab"
DE, FR, US1, US2 = 4242, 4250, 4260, 4270
"""Machines with one RTX 4090: two in datacenters, two elsewhere."""


@pytest.fixture
def launch(ctx):
    return evolve(ctx, launch_id=LAUNCH)


def request(**fields):
    return ComputeRequest(**{"image": "img", "gpu": "rtx_4090", "cloud_type": "secure", **fields})


def machine(fake: FakeVast, compute) -> int:
    return fake.instance(compute.id).host.machine_id


def creates(fake: FakeVast) -> int:
    return sum(method == "PUT" and "/asks/" in path for method, path in fake.calls)


# --- renting ---


async def test_one_search_and_one_create_rent_one_marked_machine(fake, launch):
    compute = await instances.spawn(request(name="web", ports=["8000/tcp"], env={"TOKEN": "s3cr3t"}), launch)
    (made,) = fake.rented()
    assert [method for method, _ in fake.calls] == ["POST", "PUT"]
    assert (compute.id, compute.name, compute.launch_id) == (made.id, f"web-{LAUNCH}", LAUNCH)
    assert made.label == f"exatlas.01234567/web-{LAUNCH}"
    assert (made.body["runtype"], made.body["env"]) == ("args", {"TOKEN": "s3cr3t", "-p 8000:8000": "1"})
    assert compute.status is ComputeStatus.PROVISIONING
    assert (compute.gpu_type, compute.gpu_native, compute.gpu_count) == ("rtx_4090", "RTX 4090", 1)
    assert (compute.region, compute.cpus, compute.memory_gb) == ("DE", 16, 64.2)
    assert compute.cost_usd_per_hour == Decimal("0.354167")
    assert [(port.internal, port.protocol, port.url) for port in compute.ports] == [(8000, "tcp", None)]
    assert "s3cr3t" not in f"{compute!r} {compute.raw}"
    assert "instance-key" not in str(compute.raw)


async def test_what_a_new_machine_is_said_to_cost_is_what_it_costs(fake, launch, clock):
    compute = await instances.spawn(request(container_disk_gb=200), launch)
    clock.advance(3600)
    assert round(fake.invoice()[0].usd, 6) == compute.cost_usd_per_hour == Decimal("0.391667")
    assert (await instances.get(compute.id, launch)).cost_usd_per_hour == Decimal("0.391667")


async def test_a_spawn_without_a_launch_id_makes_one(fake, ctx):
    compute = await instances.spawn(request(), ctx)
    assert compute.name == f"exatlas-{compute.launch_id}"


async def test_nothing_is_sent_for_a_request_vast_cannot_honour(fake, launch):
    with pytest.raises(UnsupportedError):
        await instances.spawn(request(gpu=None), launch)
    with pytest.raises(ValidationError):
        await instances.spawn(request(env={"-v": "1"}), launch)
    assert fake.calls == []


async def test_the_next_offer_is_taken_when_somebody_was_faster(fake, launch):
    fake.snatched = 1
    compute = await instances.spawn(request(), launch)
    assert machine(fake, compute) == FR
    assert creates(fake) == 2
    assert len(fake.rented()) == 1


@pytest.mark.parametrize(
    ("fields", "rented"),
    [
        ({"cloud_type": "any"}, DE),
        ({"cloud_type": "community"}, US1),
        ({"cloud_type": "any", "region_hints": ["US"]}, US1),
        ({"cloud_type": "any", "region_hints": ["FR", "DE"]}, FR),
        ({"cloud_type": "any", "region_hints": ["north_america", "europe"]}, US1),
        ({"cloud_type": "community", "volume_gb": 300}, US2),
        ({"gpu_count": 2}, 4280),
        ({"gpu": ["b200", "h100"]}, 8000),
        ({"gpu": "a100_40g"}, 7010),
        ({"gpu": "a100_80g"}, 7000),
        ({"gpu": "A100 SXM4 40GB"}, 7010),
        ({"gpu": "gh200"}, 8100),
        ({"gpu": "v100"}, 9100),
        ({"gpu": "rtx_3090", "cloud_type": "any", "ports": ["22/tcp"]}, 5010),
        ({"gpu": "rtx_3090", "cloud_type": "any"}, 5000),
        ({"provider_opts": {"search": {"machine_id": {"notin": [DE]}}}}, FR),
        ({"cloud_type": "any", "provider_opts": {"search": {"verified": None, "hosting_type": {"eq": 0}}}}, US1),
    ],
)
async def test_the_best_offer_is_taken(fake, launch, fields, rented):
    assert machine(fake, await instances.spawn(request(**fields), launch)) == rented


async def test_filters_hold_even_where_the_server_forgets_them(fake, launch):
    fake.sloppy = True
    compute = await instances.spawn(request(gpu="h100_pcie", region_hints=["SE"]), launch)
    assert machine(fake, compute) == 8010
    with pytest.raises(NoCapacityError):
        await instances.spawn(request(gpu="a40", gpu_count=4), launch)


async def test_when_nothing_fits_the_error_says_what_was_looked_for(fake, launch):
    with pytest.raises(NoCapacityError) as caught:
        await instances.spawn(request(gpu=["h100", "b200"], region_hints=["JP"]), launch)
    assert caught.value.message == "no offer fits 1x h100 or b200 in JP, secure cloud"
    assert caught.value.retryable
    assert creates(fake) == 0


@pytest.mark.parametrize(
    ("name", "said"), [("rtx4090", "did you mean 'rtx_4090' by 'rtx4090'?"), ("b300", "b300, secure")]
)
async def test_a_mistyped_name_is_told(fake, launch, name, said):
    with pytest.raises(NoCapacityError) as caught:
        await instances.spawn(request(gpu=name), launch)
    assert said in caught.value.message


async def test_when_everything_is_gone_the_error_lists_what_was_tried(fake, launch):
    fake.snatched = 9
    with pytest.raises(
        NoCapacityError, match=r"tried 1x RTX 4090 in DE at 0\.354 USD/h \(offer \d+\), 1x RTX 4090 in FR"
    ):
        await instances.spawn(request(), launch)
    assert creates(fake) == 2


async def test_an_offer_of_a_host_who_rents_his_own_only_is_skipped(fake, launch):
    fake.foreign.add(DE)
    assert machine(fake, await instances.spawn(request(), launch)) == FR
    fake.foreign.update(fake.hosts)
    with pytest.raises(ForbiddenError):
        await instances.spawn(request(gpu="h100"), launch)


@pytest.mark.parametrize(
    ("prepare", "error", "tried"),
    [
        (lambda fake: setattr(fake, "has_funds", False), InsufficientFundsError, 1),
        (lambda fake: setattr(fake, "api_key", "another"), UnauthorizedError, 0),
        (lambda fake: fake.fail(Fault.EDGE, "PUT"), EdgeBlockedError, 1),
    ],
)
async def test_what_no_offer_can_change_ends_the_spawn(fake, launch, prepare, error, tried):
    prepare(fake)
    with pytest.raises(error):
        await instances.spawn(request(), launch)
    assert creates(fake) == tried
    assert fake.rented() == []


async def test_what_vast_calls_wrong_is_told_in_its_words(fake, launch):
    with pytest.raises(InvalidRequestError, match="'runtype' is unknown"):
        await instances.spawn(request(provider_opts={"runtype": "unjudged"}), launch)
    assert fake.rented() == []


async def test_an_unreadable_market_rents_nothing(fake, launch):
    fake.fail(Fault.GARBAGE_AFTER, "POST")
    with pytest.raises(ReplyShapeError) as caught:
        await instances.spawn(request(), launch)
    assert (caught.value.operation, caught.value.status) == ("spawn_compute", 200)
    assert creates(fake) == 0


@pytest.mark.parametrize("fault", [Fault.DROP_BEFORE, Fault.ERROR_BEFORE, Fault.LIMITED, Fault.DROP_AFTER])
async def test_a_search_is_repeated(fake, launch, fault):
    fake.fail(fault, "POST", times=2)
    assert (await instances.spawn(request(), launch)).id


async def test_a_dud_host_never_leaves_loading(context, clock):
    fake = FakeVast(clock, boot_s=60)
    fake.duds.add(DE)
    ctx = context(fake)
    compute = await instances.spawn(request(), ctx)
    clock.advance(86400)
    assert (await instances.get(compute.id, ctx)).status is ComputeStatus.PROVISIONING
    assert fake.rented()


async def test_a_container_that_cannot_start_is_a_failure_and_bills(context, clock):
    fake = FakeVast(clock, boot_s=60)
    fake.troubles[DE] = "Error: OCI runtime create failed: no such device"
    ctx = context(fake)
    compute = await instances.spawn(request(), ctx)
    clock.advance(3600)
    assert (await instances.get(compute.id, ctx)).status is ComputeStatus.FAILED
    assert fake.invoice()[0].usd > Decimal("0.35")


# --- volumes ---


async def test_a_volume_binds_the_machine_to_its_host(fake, launch):
    fake.volumes = {880: DE, 881: US2}
    compute = await instances.spawn(request(network_volume_id="881", cloud_type="any"), launch)
    assert machine(fake, compute) == US2
    assert fake.rented()[0].body["volume_info"]["volume_id"] == 881
    assert fake.calls[0] == ("GET", "/api/v0/volumes")


async def test_a_volume_whose_host_is_taken_is_no_capacity(fake, launch):
    fake.volumes = {881: US2}
    fake.occupy(US2)
    with pytest.raises(NoCapacityError, match="on the machine of volume 881"):
        await instances.spawn(request(network_volume_id="881", cloud_type="any"), launch)
    assert creates(fake) == 0


async def test_a_volume_nobody_has_is_not_found(fake, launch):
    with pytest.raises(NotFoundError, match="no local volume 881"):
        await instances.spawn(request(network_volume_id="881"), launch)
    assert [method for method, _ in fake.calls] == ["GET"]


# --- reading ---


async def test_reading_a_machine_over_its_life(context, clock):
    fake = FakeVast(clock, boot_s=60)
    ctx = context(fake)
    compute = await instances.spawn(request(ports=["8000/tcp"]), ctx)
    seen = []
    for _ in range(4):
        seen.append((await instances.get(compute.id, ctx)).status.value)
        clock.advance(25)
    assert seen == ["provisioning", "provisioning", "provisioning", "running"]
    running = await instances.get(compute.id, ctx)
    assert running.ports[0].url == f"tcp://{fake.hosts[DE].ip}:33100"
    assert running.public_ip == fake.hosts[DE].ip
    assert (running.id, running.name, running.gpu_type) == (compute.id, compute.name, compute.gpu_type)


@pytest.mark.parametrize("lag_s", [1, 7])
async def test_a_new_machine_may_hide_from_reads_for_a_moment(fake, ctx, lag_s):
    fake.listing_lag_s = lag_s
    compute = await instances.spawn(request(), ctx)
    assert (await instances.get(compute.id, ctx)).id == compute.id


@pytest.mark.parametrize("name", ["7", "nope", ""])
async def test_a_machine_nobody_has_is_not_found(fake, ctx, name):
    with pytest.raises(NotFoundError):
        await instances.get(name, ctx)


async def test_a_destroyed_machine_is_not_found(fake, ctx):
    compute = await instances.spawn(request(), ctx)
    await instances.terminate(compute.id, ctx)
    with pytest.raises(NotFoundError):
        await instances.get(compute.id, ctx)


@pytest.mark.parametrize("page_size", [1, 2, 3, 25])
async def test_a_list_has_every_machine_once_whatever_the_pages(fake, ctx, page_size):
    fake.page_size = page_size
    made = [
        await instances.spawn(request(gpu=gpu, cloud_type="any"), ctx) for gpu in ("rtx_4090", "h100", "l40s", "a40")
    ]
    found = await instances.list_all(ComputeFilter(), ctx)
    assert [item.id for item in found] == [item.id for item in made]


async def test_the_26th_machine_is_listed_too(context, clock):
    rows = [
        FakeHost(machine_id=n, gpu_name="A40", gpu_ram=46068, base=0.4, country="DE") for n in range(10_000, 10_030)
    ]
    fake = FakeVast(clock, hosts=rows)
    ctx = context(fake)
    for _ in range(30):
        await instances.spawn(request(gpu="a40"), ctx)
    assert len(await instances.list_all(ComputeFilter(), ctx)) == 30


async def test_a_list_is_filtered_here(fake, ctx):
    one = await instances.spawn(request(name="web"), ctx)
    two = await instances.spawn(request(gpu="a40"), ctx)
    await instances.stop(two.id, ctx)

    async def ids(**filters):
        return [item.id for item in await instances.list_all(ComputeFilter(**filters), ctx)]

    assert await ids(name="web") == await ids(name=one.name) == await ids(region="DE") == [one.id]
    assert await ids(status="running") == await ids(gpu="rtx_4090") == await ids(gpu="RTX 4090") == [one.id]
    assert await ids(status="stopped") == await ids(gpu="a40") == [two.id]
    assert await ids(status="failed") == []


async def test_a_server_that_pages_in_circles_does_not_hold_us(ctx):
    asked = []

    async def circle(call):
        asked.append(call.url)
        page = {"instances": [{"id": len(asked)}], "next_token": "ab"[len(asked) % 2]}
        return HttpReply(status=200, body=orjson.dumps(page))

    found = await instances.list_all(ComputeFilter(), evolve(ctx, transport=InProcessTransport(circle)))
    assert len(found) == len(asked) == 3


@pytest.mark.parametrize("fault", [Fault.GARBAGE_AFTER, Fault.TRUNCATED_AFTER, Fault.WRONG_TYPES_AFTER])
async def test_an_unreadable_read_names_operation_status_and_path(fake, ctx, fault):
    await instances.spawn(request(), ctx)
    fake.fail(fault, "GET")
    with pytest.raises(ReplyShapeError) as caught:
        await instances.list_all(ComputeFilter(), ctx)
    error = caught.value
    assert (error.provider, error.operation, error.status) == ("vast", "list_compute", 200)
    assert error.paths


@pytest.mark.parametrize("fault", [Fault.DROP_BEFORE, Fault.ERROR_BEFORE, Fault.LIMITED, Fault.DROP_AFTER])
async def test_reads_are_repeated(fake, ctx, fault):
    compute = await instances.spawn(request(), ctx)
    fake.fail(fault, "GET", times=2)
    assert (await instances.get(compute.id, ctx)).id == compute.id


async def test_machines_of_others_are_listed_without_a_mark(fake, ctx):
    compute = await instances.spawn(request(), ctx)
    fake.instance(compute.id).body["label"] = f"somebody-{LAUNCH}"
    (found,) = await instances.list_all(ComputeFilter(), ctx)
    assert (found.name, found.launch_id) == (f"somebody-{LAUNCH}", None)


# --- ending ---


async def test_terminating_ends_the_bill_and_may_be_repeated(fake, ctx, clock):
    compute = await instances.spawn(request(), ctx)
    clock.advance(3600)
    await instances.terminate(compute.id, ctx)
    cost = fake.invoice()[0].usd
    clock.advance(3600)
    for name in (compute.id, "9", "never-was"):
        await instances.terminate(name, ctx)
    assert fake.rented() == []
    assert fake.invoice()[0].usd == cost == Decimal("0.354167")
    assert await instances.list_all(ComputeFilter(), ctx) == []


@pytest.mark.parametrize("lag_s", [0.5, 3.5, 8])
async def test_a_machine_too_new_to_be_seen_is_terminated_all_the_same(fake, ctx, lag_s):
    fake.listing_lag_s = lag_s
    compute = await instances.spawn(request(), ctx)
    await instances.terminate(compute.id, ctx)
    assert fake.rented() == []


@pytest.mark.parametrize(
    "fault", [Fault.DROP_BEFORE, Fault.DROP_AFTER, Fault.ERROR_BEFORE, Fault.ERROR_AFTER, Fault.LIMITED, Fault.TWICE]
)
async def test_terminating_is_repeated_over_trouble(fake, ctx, fault):
    compute = await instances.spawn(request(), ctx)
    fake.fail(fault, "DELETE", times=2)
    await instances.terminate(compute.id, ctx)
    assert fake.rented() == []


async def test_terminating_never_takes_trouble_for_success(fake, ctx):
    compute = await instances.spawn(request(), ctx)
    fake.fail(Fault.ERROR_BEFORE, "DELETE", times=3)
    with pytest.raises(ProviderBrokenError):
        await instances.terminate(compute.id, ctx)
    assert len(fake.rented()) == 1


async def test_a_denied_destroy_with_200_is_no_success(ctx):
    async def deny(_call):
        return HttpReply(status=200, body=b'{"success": false, "error": "busy", "msg": "try later"}')

    with pytest.raises(Exception, match="busy: try later"):
        await instances.terminate("7", evolve(ctx, transport=InProcessTransport(deny)))


# --- pausing ---


async def test_a_stopped_machine_bills_its_disk_and_comes_back(fake, ctx, clock):
    compute = await instances.spawn(request(ports=["22/tcp"], container_disk_gb=72), ctx)
    before = (await instances.get(compute.id, ctx)).ports[0].external
    await instances.stop(compute.id, ctx)
    await instances.stop(compute.id, ctx)
    stopped = await instances.get(compute.id, ctx)
    assert (stopped.status, stopped.cost_usd_per_hour) == (ComputeStatus.STOPPED, Decimal("0.015"))
    assert stopped.ports[0].external is None
    paused = fake.invoice()[0].usd
    clock.advance(3600)
    assert round(fake.invoice()[0].usd - paused, 6) == Decimal("0.015")
    await instances.start(compute.id, ctx)
    await instances.start(compute.id, ctx)
    started = await instances.get(compute.id, ctx)
    assert started.status is ComputeStatus.RUNNING
    assert started.ports[0].external != before, "an external port changes with every start"


async def test_a_start_whose_gpu_is_taken_is_no_capacity_and_taken_back(fake, ctx, clock):
    compute = await instances.spawn(request(), ctx)
    await instances.stop(compute.id, ctx)
    fake.occupy(DE)
    started = clock.monotonic()
    with pytest.raises(NoCapacityError, match="does not get its GPU back"):
        await instances.start(compute.id, ctx)
    assert 30 <= clock.monotonic() - started < 60
    fake.vacate(DE)
    assert not fake.instance(compute.id).has_gpu, "the wish was taken back"
    await instances.start(compute.id, ctx)


async def test_a_start_waits_for_a_gpu_that_comes_free_soon(fake, ctx, clock):
    compute = await instances.spawn(request(), ctx)
    await instances.stop(compute.id, ctx)
    fake.occupy(DE)
    look, looks = fake.answer, []

    async def leaving(call):
        looks.append(call.method)
        if looks.count("GET") == 3:
            fake.vacate(DE)
        return await look(call)

    fake.answer = leaving
    await instances.start(compute.id, ctx)
    assert fake.instance(compute.id).has_gpu


async def test_a_contract_that_has_ended_cannot_be_started(ctx):
    async def ended(call):
        gone = b'{"instances":{"id":7,"intended_status":"running","cur_state":"unloaded","next_state":"unloaded"}}'
        return HttpReply(status=200, body=gone if call.method == "GET" else b'{"success":true}')

    with pytest.raises(NotFoundError, match="gone for good"):
        await instances.start("7", evolve(ctx, transport=InProcessTransport(ended)))


async def test_a_start_without_credit(fake, ctx):
    compute = await instances.spawn(request(), ctx)
    await instances.stop(compute.id, ctx)
    fake.has_funds = False
    with pytest.raises(InsufficientFundsError, match="missing_billing"):
        await instances.start(compute.id, ctx)


@pytest.mark.parametrize(
    "fault", [Fault.DROP_AFTER, Fault.STALL_AFTER, Fault.ERROR_AFTER, Fault.DROP_BEFORE, Fault.LIMITED]
)
async def test_a_lost_stop_or_start_is_repeated(fake, ctx, fault):
    compute = await instances.spawn(request(), ctx)
    for act, has_gpu in ((instances.stop, False), (instances.start, True)):
        fake.fail(fault, "PUT", times=2)
        await act(compute.id, ctx)
        assert fake.instance(compute.id).has_gpu is has_gpu


@pytest.mark.parametrize("act", [instances.stop, instances.start])
async def test_pausing_what_is_not_there_is_not_found(ctx, act):
    with pytest.raises(NotFoundError):
        await act("7", ctx)


@pytest.mark.parametrize("act", [instances.stop, instances.start])
async def test_a_machine_too_new_to_be_seen_can_be_paused(fake, ctx, act):
    fake.listing_lag_s = 5
    compute = await instances.spawn(request(), ctx)
    await act(compute.id, ctx)


# --- spot ---


async def test_a_bid_rents_below_the_price_on_demand(fake, ctx, clock):
    compute = await instances.spawn(request(spot=True), ctx)
    made = fake.instance(compute.id)
    assert made.bid == 0.198
    clock.advance(3600)
    assert round(fake.invoice()[0].usd, 6) == compute.cost_usd_per_hour == Decimal("0.202167")


async def test_a_bid_of_ones_own(fake, ctx):
    compute = await instances.spawn(request(spot=True, cloud_type="any", provider_opts={"price": 0.13}), ctx)
    assert (machine(fake, compute), fake.instance(compute.id).bid) == (US1, 0.13)
    with pytest.raises(NoCapacityError, match="no spot offer fits"):
        await instances.spawn(request(spot=True, provider_opts={"price": 0.01}), ctx)


async def test_outbid_it_stops_and_a_better_bid_brings_it_back(fake, ctx, clock):
    compute = await instances.spawn(request(spot=True), ctx)
    fake.rival(DE, 0.25)
    outbid = await instances.get(compute.id, ctx)
    assert (outbid.status, outbid.raw["is_bid"]) == (ComputeStatus.STOPPED, True)
    paused = fake.invoice()[0].usd
    clock.advance(3600)
    assert round(fake.invoice()[0].usd - paused, 4) == Decimal("0.0042"), "only the disk"
    await vast.change_bid(compute, 0.3, ctx)
    assert (await instances.get(compute.id, ctx)).status is ComputeStatus.RUNNING
    fake.rival(DE, 0.4)
    with pytest.raises(NoCapacityError, match="bids more"):
        await instances.start(compute.id, ctx)
    fake.rival(DE, None)
    await instances.start(compute.id, ctx)
    assert fake.instance(compute.id).has_gpu


async def test_a_bid_that_wins_again_resumes_by_itself(fake, ctx):
    compute = await instances.spawn(request(spot=True), ctx)
    fake.rival(DE, 0.25)
    fake.rival(DE, None)
    assert (await instances.get(compute.id, ctx)).status is ComputeStatus.RUNNING


@pytest.mark.parametrize("price", [0, -1, 0.0001, 33, float("nan")])
async def test_a_bid_vast_would_refuse_is_not_sent(fake, ctx, price):
    with pytest.raises(ValidationError, match="usd_per_hour"):
        await vast.change_bid("7", price, ctx)
    assert fake.calls == []


async def test_an_on_demand_machine_takes_no_bid(fake, ctx):
    compute = await instances.spawn(request(), ctx)
    with pytest.raises(InvalidRequestError, match="not interruptible"):
        await vast.change_bid(compute.id, 0.3, ctx)


async def test_restart(fake, ctx):
    compute = await instances.spawn(request(), ctx)
    await vast.restart(compute, ctx)
    assert fake.calls[-1] == ("PUT", f"/api/v0/instances/reboot/{compute.id}/")
    with pytest.raises(NotFoundError):
        await vast.restart("7", ctx)


async def test_a_symmetric_port_has_one_number(fake, ctx):
    compute = await instances.spawn(request(ports=["70000/tcp", "8000/tcp"]), ctx)
    same, other = (await instances.get(compute.id, ctx)).ports
    assert same.internal == same.external
    assert (other.internal, other.external) == (8000, 33101)
