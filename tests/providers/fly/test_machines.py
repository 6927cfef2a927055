"""Machines against the fake: what is rented, and what is left over, afterwards is what counts."""

import asyncio
from decimal import Decimal

import orjson
import pytest
from attrs import evolve

from exatlas.errors import (
    ConfigError,
    ConflictError,
    EdgeBlockedError,
    ForbiddenError,
    InsufficientFundsError,
    InvalidRequestError,
    NoCapacityError,
    NotFoundError,
    OutcomeUnknownError,
    ProviderBrokenError,
    QuotaError,
    RateLimitedError,
    ReplyShapeError,
    TransportError,
    UnauthorizedError,
    UnsupportedError,
    ValidationError,
)
from exatlas.fakes.faults import dangerous
from exatlas.launch import LOOKS_S
from exatlas.messages import HttpReply
from exatlas.providers.fly import machines
from exatlas.providers.fly.fake import FakeFly, FakeVolume, Fault
from exatlas.providers.fly.fake.problems import SHORTAGES
from exatlas.providers.fly.options import Settings
from exatlas.providers.fly.volumes import remove
from exatlas.records.compute import ComputeFilter, ComputeRequest, ComputeStatus
from exatlas.transport.inprocess import InProcessTransport

LAUNCH = "0123456789ab"
APP = f"exatlas-{LAUNCH}"
ANY = Settings()
LOST = [fault for fault in dangerous() if fault is not Fault.TWICE]
"""The faults after which no reply comes that could be read."""
IMAGE = "ghcr.io/acme/worker:1.4"


@pytest.fixture
def launch(ctx):
    return evolve(ctx, launch_id=LAUNCH)


def request(**fields):
    return ComputeRequest(**{"image": IMAGE, **fields})


def creates(fake: FakeFly) -> int:
    return sum(method == "POST" and path.endswith("/machines") for method, path in fake.calls)


def volumes(fake: FakeFly) -> list[str]:
    """The volumes that bill."""
    return [volume.id for volume in fake.volumes.values() if volume.meter.running]


# --- renting ---


async def test_one_create_rents_one_marked_machine(fake, launch):
    compute = await machines.spawn(
        request(name="web", ports=[(8000, "http"), (22, "tcp")], env={"TOKEN": "s3cr3t"}, volume_gb=20), ANY, launch
    )
    (machine,) = fake.rented()
    assert (compute.id, compute.name, compute.launch_id) == (machine.id, f"web-{LAUNCH}", LAUNCH)
    assert compute.id.startswith(f"{APP}/")
    assert compute.status is ComputeStatus.PROVISIONING
    assert compute.ports[0].url == f"https://{APP}.fly.dev"
    assert compute.ports[1].url == "tcp://[2a09:8280:1::1:1]:22"
    assert machine.config["env"] == {"TOKEN": "s3cr3t"}
    assert compute.raw["config"]["env"] == {"TOKEN": "[redacted]"}
    assert machine.config["metadata"]["exatlas_owner"] == launch.account
    assert creates(fake) == 1


async def test_without_ports_there_are_no_addresses_and_four_requests(fake, launch):
    compute = await machines.spawn(request(), ANY, launch)
    assert fake.apps[APP].addresses == []
    assert compute.public_ip is None
    assert fake.calls == [
        ("GET", "/v1/tokens/current"),
        ("POST", "/v1/apps"),
        ("GET", f"/v1/apps/{APP}"),
        ("POST", f"/v1/apps/{APP}/machines"),
    ]


async def test_a_spawn_without_a_launch_id_makes_one(fake, ctx):
    compute = await machines.spawn(request(), ANY, ctx)
    assert compute.launch_id
    assert compute.name == f"exatlas-{compute.launch_id}"


async def test_nothing_is_sent_for_a_request_fly_cannot_honour(fake, launch):
    with pytest.raises(UnsupportedError, match="ended its GPU machines on 2026-08-01"):
        await machines.spawn(request(gpu="h100"), ANY, launch)
    with pytest.raises(ValidationError):
        await machines.spawn(request(cpus=3), ANY, launch)
    assert fake.calls == []


async def test_who_rents_and_where_may_be_said(fake, launch):
    await machines.spawn(request(provider_opts={"org": "personal", "owner": "svc-a"}), ANY, launch)
    assert fake.apps[APP].org == "personal"
    assert fake.rented()[0].config["metadata"]["exatlas_owner"] == "svc-a"
    assert ("GET", "/v1/tokens/current") not in fake.calls


async def test_a_token_for_several_organisations_asks_for_a_choice(ctx):
    async def two(_call):
        return HttpReply(status=200, body=orjson.dumps({"tokens": [{"org_slug": "a"}, {"org_slug": "b"}]}))

    with pytest.raises(ConfigError, match=r"several organisations \(a, b\)"):
        await machines.spawn(request(), ANY, evolve(ctx, transport=InProcessTransport(two)))


async def test_an_oauth_token_rents_in_the_personal_organisation(context, clock):
    fake = FakeFly(clock, api_key="fo1_abc")
    await machines.spawn(request(), ANY, evolve(context(fake), launch_id=LAUNCH))
    assert fake.apps[APP].org == "personal"


# --- regions and room ---


@pytest.mark.parametrize("form", SHORTAGES)
async def test_the_next_region_is_tried_whatever_form_a_shortage_takes(fake, launch, form):
    fake.shortage = form
    fake.room.update(fra=0, ams=0)
    compute = await machines.spawn(request(region_hints=["fra", "ams", "lhr"]), ANY, launch)
    assert compute.region == "lhr"
    assert creates(fake) == 3


@pytest.mark.parametrize("form", SHORTAGES)
async def test_no_room_anywhere_leaves_nothing(fake, launch, form):
    fake.shortage = form
    fake.room.update(fra=0, ams=0)
    with pytest.raises(NoCapacityError, match="tried fra, ams"):
        await machines.spawn(request(region_hints=["fra", "ams"], ports=["80/http"], volume_gb=5), ANY, launch)
    assert fake.left_over() == []


async def test_a_word_for_several_regions_is_flys_to_resolve(fake, launch):
    fake.room.update(ams=0, arn=0)
    assert (await machines.spawn(request(region_hints=["eu"]), ANY, launch)).region == "cdg"


async def test_a_region_over_quota_is_passed_over_and_the_last_word_where_all_are(fake, launch, ctx):
    fake.over_quota.update({"fra", "ams"})
    assert (await machines.spawn(request(region_hints=["fra", "iad"]), ANY, launch)).region == "iad"
    with pytest.raises(QuotaError, match="over the allowed quota"):
        await machines.spawn(request(region_hints=["fra", "ams"]), ANY, ctx)
    assert len(fake.left_over()) == 2


async def test_room_that_runs_out(fake, ctx):
    fake.room["iad"] = 1
    first = await machines.spawn(request(region_hints=["iad"]), ANY, ctx)
    with pytest.raises(NoCapacityError):
        await machines.spawn(request(region_hints=["iad"]), ANY, ctx)
    await machines.terminate(first.id, ANY, ctx)
    assert (await machines.spawn(request(region_hints=["iad"]), ANY, ctx)).region == "iad"


async def test_a_trial_account_is_told_to_pay(fake, launch):
    fake.needs_payment = True
    shared = {"provider_opts": {"app": "shared"}}
    await machines.spawn(request(**shared), ANY, launch)
    with pytest.raises(InsufficientFundsError, match="add a payment method"):
        await machines.spawn(request(**shared), ANY, evolve(launch, launch_id="1" * 12))


@pytest.mark.parametrize(
    ("prepare", "error"),
    [
        (lambda fake: setattr(fake, "api_key", "fm2_another"), UnauthorizedError),
        (lambda fake: fake.fail(Fault.EDGE, "POST", "/machines"), EdgeBlockedError),
        (lambda fake: fake.fail(Fault.LIMITED, "POST", "/machines", times=3), RateLimitedError),
    ],
)
async def test_what_no_region_can_change_ends_the_spawn_and_leaves_nothing(fake, launch, prepare, error):
    prepare(fake)
    with pytest.raises(error):
        await machines.spawn(request(region_hints=["iad", "ewr"]), ANY, launch)
    assert fake.left_over() == []


async def test_flys_own_words_end_the_spawn(fake, launch):
    with pytest.raises(InvalidRequestError, match="minimum required 256 MiB"):
        await machines.spawn(request(provider_opts={"config": {"guest": {"memory_mb": 1}}}), ANY, launch)
    assert fake.left_over() == []


async def test_too_many_requests_are_waited_out(fake, launch):
    fake.fail(Fault.LIMITED, "POST", "/machines", times=2)
    await machines.spawn(request(), ANY, launch)
    assert creates(fake) == 3
    assert len(fake.rented()) == 1


async def test_many_at_once_keep_within_the_limits(fake, ctx):
    made = await asyncio.gather(*(machines.spawn(request(ports=["80/http"]), ANY, ctx) for _ in range(12)))
    await asyncio.gather(*(machines.get(one.id, ANY, ctx) for one in made * 20))
    assert len({one.id for one in made}) == 12
    assert ctx.clock.monotonic() >= 8, "one app a second, after three"
    assert not [path for method, path in fake.calls if (method, path) == ("POST", "/v1/apps")][12:], "no 429"


# --- apps ---


async def test_a_new_app_that_is_not_known_everywhere_yet_is_waited_for(context, clock):
    fake = FakeFly(clock, app_lag_s=20)
    ctx = context(fake, launch_id=LAUNCH)
    compute = await machines.spawn(request(ports=["80/http"], volume_gb=1), ANY, ctx)
    assert [machine.id for machine in fake.rented()] == [compute.id]


async def test_a_named_app_is_made_once_and_stays(fake, ctx):
    shared = {"provider_opts": {"app": "workers"}, "ports": [(8080, "http"), "22/tcp"]}
    one = await machines.spawn(request(**shared), ANY, ctx)
    two = await machines.spawn(request(**shared), ANY, ctx)
    assert {one.id.partition("/")[0], two.id.partition("/")[0]} == {"workers"}
    assert [port.url for port in (*one.ports, *two.ports)] == [None] * 4, "the proxy may choose either machine"
    assert (one.public_ip, [port.internal for port in one.ports]) == (None, [8080, 22])
    assert len(fake.apps["workers"].addresses) == 2
    await machines.terminate(one.id, ANY, ctx)
    assert [machine.id for machine in fake.rented()] == [two.id]
    await machines.terminate(two.id, ANY, ctx)
    assert fake.left_over() == ["workers"]


async def test_a_name_of_another_organisation_is_a_conflict(fake, launch):
    fake.taken_names.update({"theirs", APP})
    with pytest.raises(ConflictError, match="belongs to another organisation"):
        await machines.spawn(request(provider_opts={"app": "theirs"}), ANY, launch)
    with pytest.raises(ConflictError, match="belongs to another organisation"):
        await machines.spawn(request(), ANY, launch)
    assert fake.left_over() == []


async def test_a_token_for_one_app_rents_and_looks_there(fake, ctx, launch):
    await machines.spawn(request(provider_opts={"app": "mine"}), ANY, launch)
    fake.token_apps = ("mine",)
    here = Settings(app="mine")
    compute = await machines.spawn(request(), here, ctx)
    assert len(await machines.list_all(ComputeFilter(), here, ctx)) == 2
    assert len(await machines.list_all(ComputeFilter(), ANY, ctx)) == 2, "the token says which apps it is for"
    bare = compute.id.partition("/")[2]
    assert (await machines.get(bare, here, ctx)).id == compute.id
    with pytest.raises(ForbiddenError, match="a token for single apps makes no others"):
        await machines.spawn(request(), ANY, ctx)


@pytest.mark.parametrize("fault", [*dangerous(), Fault.DROP_BEFORE, Fault.ERROR_BEFORE, Fault.LIMITED])
@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("app", [None, "workers"])
async def test_an_app_whose_create_is_lost_is_found_again(fake, launch, fault, times, app):
    fake.fail(fault, "POST", "/v1/apps", times=times)
    opts = {"app": app} if app else {}
    if fault in (Fault.DROP_BEFORE, Fault.ERROR_BEFORE, Fault.LIMITED) and times == 3:
        with pytest.raises((TransportError, ProviderBrokenError, RateLimitedError)):
            await machines.spawn(request(provider_opts=opts), ANY, launch)
        assert fake.left_over() == []
        return
    compute = await machines.spawn(request(provider_opts=opts), ANY, launch)
    assert [machine.id for machine in fake.rented()] == [compute.id]
    assert len(fake.apps) == 1


@pytest.mark.parametrize("fault", [*LOST, Fault.DROP_BEFORE, Fault.ERROR_BEFORE])
@pytest.mark.parametrize("opts", [{}, {"ipv4": "dedicated"}, {"app": "workers"}])
async def test_an_address_whose_assignment_is_lost_is_looked_for_first(fake, launch, fault, opts):
    fake.fail(fault, "POST", "/ip_assignments", times=2)
    try:
        compute = await machines.spawn(request(ports=["80/http", "22/tcp"], provider_opts=opts), ANY, launch)
    except ProviderBrokenError:
        assert opts == {"ipv4": "dedicated"}, "what costs money is not asked for again"
        assert fault in (Fault.DROP_BEFORE, Fault.ERROR_BEFORE)
        assert fake.left_over() == []
        return
    addresses = [address["ip"] for address in fake.apps[compute.id.partition("/")[0]].addresses]
    assert len(addresses) == len(set(addresses))
    assert len([ip for ip in addresses if ip.startswith("198.")]) == (1 if "ipv4" in opts else 0)


@pytest.mark.parametrize("fault", [Fault.DROP_BEFORE, Fault.ERROR_BEFORE])
async def test_an_address_that_costs_money_is_asked_for_once(fake, launch, fault):
    fake.fail(fault, "POST", "/ip_assignments", times=2)
    with pytest.raises(ProviderBrokenError, match=r"did not get the addresses it needs \(v4\)"):
        await machines.spawn(request(ports=["22/tcp"], provider_opts={"ipv4": "dedicated"}), ANY, launch)
    asked = sum((method, path.rpartition("/")[2]) == ("POST", "ip_assignments") for method, path in fake.calls)
    assert asked == 3, "v6 twice, v4 once"
    assert fake.left_over() == []


# --- volumes ---


async def test_a_volume_is_made_beside_the_machine_and_goes_with_it(fake, launch):
    compute = await machines.spawn(request(volume_gb=20, provider_opts={"mount": "/models"}), ANY, launch)
    (volume,) = fake.volumes.values()
    assert (volume.name, volume.size_gb, volume.region) == (f"exatlas_{LAUNCH}", 20, "iad")
    assert fake.rented()[0].config["mounts"] == [{"volume": volume.id, "path": "/models"}]
    await machines.terminate(compute.id, ANY, launch)
    assert fake.left_over() == []


async def test_a_volume_that_finds_no_machine_is_deleted_before_the_next_region(fake, launch):
    fake.room["fra"] = 0
    compute = await machines.spawn(request(volume_gb=5, region_hints=["fra", "ams"]), ANY, launch)
    assert compute.region == "ams"
    assert [fake.volumes[one].region for one in volumes(fake)] == ["ams"]


async def test_a_region_without_room_for_a_volume_is_passed_over(fake, launch):
    fake.volume_room["fra"] = 0
    compute = await machines.spawn(request(volume_gb=5, region_hints=["fra", "ams"]), ANY, launch)
    assert compute.region == "ams"
    assert len(fake.volumes) == 1


async def test_a_volume_of_an_app_is_attached_and_survives(fake, ctx):
    first = await machines.spawn(request(provider_opts={"app": "models"}), ANY, ctx)
    theirs = a_volume(fake, "models", "fra")
    compute = await machines.spawn(request(network_volume_id=f"models/{theirs}"), ANY, ctx)
    assert (compute.region, compute.id.partition("/")[0]) == ("fra", "models")
    assert fake.machine(compute.id).config["mounts"] == [{"volume": theirs, "path": "/data"}]
    with pytest.raises(ValidationError, match="is attached to the machine"):
        await machines.spawn(request(network_volume_id=f"models/{theirs}"), ANY, ctx)
    for one in (first, compute):
        await machines.terminate(one.id, ANY, ctx)
    assert volumes(fake) == [theirs]
    with pytest.raises(ValidationError, match="is in fra, and so must be its machine"):
        await machines.spawn(request(network_volume_id=f"models/{theirs}", region_hints=["iad"]), ANY, ctx)
    fake.full_hosts.add(theirs)
    with pytest.raises(NoCapacityError, match="with existing volume"):
        await machines.spawn(request(network_volume_id=theirs, provider_opts={"app": "models"}), ANY, ctx)
    with pytest.raises(NotFoundError, match="volume not found"):
        await machines.spawn(request(network_volume_id="models/vol_nope"), ANY, ctx)
    with pytest.raises(NotFoundError, match="app not found"):
        await machines.spawn(request(network_volume_id="nowhere/vol_1"), ANY, ctx)
    assert list(fake.apps) == ["models"]
    assert volumes(fake) == [theirs]


def a_volume(fake, app, region):
    made = FakeVolume.make("vol_theirs", app, {"name": "models", "size_gb": 10}, region, fake.clock.now())
    fake.volumes[made.id] = made
    return made.id


@pytest.mark.parametrize("app", [None, "workers"])
async def test_a_volume_too_new_to_be_listed_is_deleted_all_the_same(fake, launch, app):
    fake.listing_lag_s = 1000
    fake.room["fra"] = 0
    opts = {"app": app} if app else {}
    compute = await machines.spawn(request(volume_gb=5, region_hints=["fra", "ams"], provider_opts=opts), ANY, launch)
    assert [fake.volumes[one].region for one in volumes(fake)] == ["ams"]
    await machines.terminate(compute.id, ANY, launch)
    assert fake.left_over() == ([app] if app else [])


async def test_an_app_whose_name_is_taken_in_words_nobody_can_read_is_ours(fake, launch):
    fake.fail(Fault.ERROR_AFTER, "POST", "/v1/apps")
    fake.fail(Fault.GARBAGE_AFTER, "POST", "/v1/apps")
    compute = await machines.spawn(request(), ANY, launch)
    assert [machine.id for machine in fake.rented()] == [compute.id]


async def test_an_app_fly_refuses_is_refused_in_flys_words(fake, launch):
    with pytest.raises(ForbiddenError):
        await machines.spawn(request(provider_opts={"org": "another"}), ANY, launch)
    fake.fail(Fault.WRONG_TYPES_AFTER, "POST", "/v1/apps")
    fake.taken_names.add(APP)
    with pytest.raises(InvalidRequestError):
        await machines.spawn(request(), ANY, launch)
    assert fake.left_over() == []


async def test_an_app_whose_create_ended_in_too_many_requests_may_exist_and_goes(fake, launch):
    fake.fail(Fault.ERROR_AFTER, "POST", "/v1/apps")
    fake.fail(Fault.LIMITED, "POST", "/v1/apps", times=2)
    with pytest.raises(RateLimitedError):
        await machines.spawn(request(), ANY, launch)
    assert fake.apps[APP].deleted


@pytest.mark.parametrize("fault", dangerous())
@pytest.mark.parametrize("lag_s", [0, 3])
async def test_a_volume_whose_create_is_lost_is_adopted(fake, launch, fault, lag_s):
    fake.listing_lag_s = lag_s
    fake.fail(fault, "POST", "/volumes")
    compute = await machines.spawn(request(volume_gb=5), ANY, launch)
    assert [machine.id for machine in fake.rented()] == [compute.id]
    fake.clock.advance(10)
    await machines.terminate(compute.id, ANY, launch)
    assert fake.left_over() == []


@pytest.mark.parametrize("fault", [Fault.DROP_BEFORE, Fault.ERROR_BEFORE])
async def test_a_volume_that_does_not_show_up_is_an_unknown_outcome_and_no_second_create(fake, launch, fault):
    fake.fail(fault, "POST", "/volumes")
    with pytest.raises(OutcomeUnknownError, match=f"a volume named exatlas_{LAUNCH} may have been made"):
        await machines.spawn(request(volume_gb=5), ANY, launch)
    assert sum(path.endswith("/volumes") and method == "POST" for method, path in fake.calls) == 1
    assert fake.left_over() == []


# --- renting, when the answer is lost ---


@pytest.mark.parametrize("fault", dangerous())
@pytest.mark.parametrize("lag_s", [0, 3, 20])
@pytest.mark.parametrize("app", [None, "workers"])
async def test_a_lost_answer_is_found_again_and_nothing_is_rented_twice(fake, launch, fault, lag_s, app):
    opts = {"app": app} if app else {}
    fake.listing_lag_s = lag_s
    for other in ("1" * 12, "2" * 12):
        await machines.spawn(request(provider_opts=opts), ANY, evolve(launch, launch_id=other))
    before = creates(fake)
    fake.fail(fault, "POST", "/machines")
    compute = await machines.spawn(
        request(ports=["80/http"], volume_gb=2, region_hints=["iad", "ewr"], provider_opts=opts), ANY, launch
    )
    assert creates(fake) == before + 1
    assert [one.id for one in fake.rented() if one.name.endswith(LAUNCH)] == [compute.id]
    assert compute.launch_id == LAUNCH
    assert len(volumes(fake)) == 1


@pytest.mark.parametrize("fault", [Fault.DROP_BEFORE, Fault.STALL_BEFORE, Fault.ERROR_BEFORE])
@pytest.mark.parametrize("app", [None, "workers"])
async def test_an_answer_that_stays_lost_is_an_unknown_outcome_and_no_second_create(fake, launch, fault, app):
    fake.fail(fault, "POST", "/machines")
    opts = {"app": app} if app else {}
    with pytest.raises(OutcomeUnknownError) as caught:
        await machines.spawn(request(volume_gb=5, region_hints=["iad", "ewr"], provider_opts=opts), ANY, launch)
    assert caught.value.launch_id == LAUNCH
    assert creates(fake) == 1
    assert fake.left_over() == ([app] if app else [])


@pytest.mark.parametrize("fault", LOST)
async def test_a_machine_hidden_for_too_long_goes_with_its_app(fake, launch, fault):
    fake.listing_lag_s = sum(LOOKS_S) + 1000
    fake.fail(fault, "POST", "/machines")
    with pytest.raises(OutcomeUnknownError) as caught:
        await machines.spawn(request(), ANY, launch)
    assert caught.value.launch_id == LAUNCH
    assert len(fake.machines) == creates(fake) == 1
    assert fake.left_over() == []


async def test_a_hidden_machine_in_a_shared_app_is_reported_and_carries_its_mark(fake, launch):
    fake.listing_lag_s = 10_000
    fake.fail(Fault.DROP_AFTER, "POST", "/machines")
    with pytest.raises(OutcomeUnknownError) as caught:
        await machines.spawn(request(provider_opts={"app": "workers"}), ANY, launch)
    assert fake.rented()[0].config["metadata"]["exatlas_launch_id"] == caught.value.launch_id


async def test_a_machine_that_shows_up_late_is_cleared_up(fake, launch):
    fake.listing_lag_s = sum(LOOKS_S) + 12
    fake.fail(Fault.DROP_AFTER, "POST", "/machines")
    with pytest.raises(OutcomeUnknownError):
        await machines.spawn(request(provider_opts={"app": "workers"}), ANY, launch)
    assert fake.left_over() == ["workers"]


async def test_only_a_machine_of_this_launch_that_lives_is_adopted(fake, launch, clock):
    fake.ignores_filters = True
    shared = {"provider_opts": {"app": "workers"}}
    for other in ("1" * 12, "2" * 12):
        await machines.spawn(request(**shared), ANY, evolve(launch, launch_id=other))
    dead = await machines.spawn(request(name="dead", **shared), ANY, launch)
    fake.machine(dead.id).go(clock.now(), (0, "destroying"))
    fake.fail(Fault.DROP_AFTER, "POST", "/machines")
    compute = await machines.spawn(request(name="alive", **shared), ANY, launch)
    assert (compute.launch_id, compute.name) == (LAUNCH, f"alive-{LAUNCH}")


async def test_a_volume_that_a_machine_nobody_lists_holds_on_to_goes_with_it(fake, launch):
    compute = await machines.spawn(request(volume_gb=1, provider_opts={"app": "workers"}), ANY, launch)
    others = await remove("workers", f"exatlas_{LAUNCH}", launch, "terminate")
    assert others == []
    assert fake.left_over() == ["workers"]
    assert fake.machine(compute.id).state(fake.clock.now()) == "destroyed"


async def test_looking_survives_trouble(fake, launch):
    fake.fail(Fault.DROP_AFTER, "POST", "/machines")
    fake.fail(Fault.ERROR_BEFORE, "GET", "/machines", times=4)
    fake.fail(Fault.GARBAGE_AFTER, "GET", "/machines")
    compute = await machines.spawn(request(), ANY, launch)
    assert [machine.id for machine in fake.rented()] == [compute.id]


async def test_a_call_that_never_left_is_no_unknown_outcome(launch):
    async def refuse(_call):
        raise TransportError("no connection", delivered=False)

    with pytest.raises(TransportError) as caught:
        await machines.spawn(request(), ANY, evolve(launch, transport=InProcessTransport(refuse)))
    assert caught.value.delivered is False


async def test_clearing_up_that_fails_is_said_loudly(fake, launch, caplog):
    fake.fail(Fault.ERROR_BEFORE, "POST", "/machines")
    fake.fail(Fault.ERROR_BEFORE, "DELETE", APP, times=1000)
    with pytest.raises(OutcomeUnknownError) as caught:
        await machines.spawn(request(), ANY, launch)
    assert "clearing up launch 0123456789ab failed" in caught.value.__notes__[-1]
    assert f"look for launch id {LAUNCH}" in caplog.text


@pytest.mark.parametrize("steps", range(0, 60, 2))
@pytest.mark.parametrize("fault", [None, Fault.DROP_AFTER])
async def test_cancelling_a_spawn_anywhere_leaves_nothing(fake, launch, steps, fault):
    fake.room["fra"] = 0
    if fault:
        fake.fail(fault, "POST", "/machines")
    task = asyncio.create_task(
        machines.spawn(request(ports=["80/http"], volume_gb=3, region_hints=["fra", "ams"]), ANY, launch)
    )
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled() or task.result().launch_id == LAUNCH
    if task.cancelled():
        assert fake.left_over() == []
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize("more", range(0, 60, 4))
async def test_cancelling_again_does_not_stop_the_clearing_up(fake, launch, more):
    task = asyncio.create_task(machines.spawn(request(volume_gb=3, provider_opts={"app": "workers"}), ANY, launch))
    while not fake.machines:
        await asyncio.sleep(0)
    task.cancel()
    for _ in range(more):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    assert fake.left_over() == ["workers"]


# --- reading ---


async def test_reading_a_machine_over_its_life(context, clock):
    fake = FakeFly(clock, boot_s=60, destroy_s=10)
    ctx = context(fake)
    compute = await machines.spawn(request(), ANY, ctx)
    seen = [compute.status]
    for _ in range(4):
        seen.append((await machines.get(compute.id, ANY, ctx)).status)
        clock.advance(20)
    P, R = ComputeStatus.PROVISIONING, ComputeStatus.RUNNING  # noqa: N806
    assert seen == [P, P, P, P, R]


async def test_a_destroyed_machine_in_a_shared_app_reads_as_terminated_and_then_not_at_all(context, clock):
    fake = FakeFly(clock, destroy_s=10)
    ctx = context(fake)
    compute = await machines.spawn(request(provider_opts={"app": "workers"}), ANY, ctx)
    await machines.terminate(compute.id, ANY, ctx)
    seen = []
    for _ in range(2):
        seen.append((await machines.get(compute.id, ANY, ctx)).status)
        clock.advance(15)
    assert seen == [ComputeStatus.TERMINATING, ComputeStatus.TERMINATED]
    clock.advance(100)
    with pytest.raises(NotFoundError, match="machine not found"):
        await machines.get(compute.id, ANY, ctx)


async def test_a_machine_that_fails_goes_on_existing_and_can_be_terminated(context, clock):
    fake = FakeFly(clock, boot_s=10)
    fake.broken_images.add(IMAGE)
    ctx = context(fake)
    compute = await machines.spawn(request(), ANY, ctx)
    clock.advance(60)
    assert (await machines.get(compute.id, ANY, ctx)).status is ComputeStatus.FAILED
    await machines.terminate(compute.id, ANY, ctx)
    assert fake.left_over() == []


async def test_a_machine_whose_host_is_away_keeps_its_mark_and_claims_nothing(fake, ctx):
    compute = await machines.spawn(request(ports=["80/http"]), ANY, ctx)
    fake.machine(compute.id).unreachable = True
    seen = await machines.get(compute.id, ANY, ctx)
    assert (seen.status, seen.launch_id, seen.ports) == (ComputeStatus.UNKNOWN, compute.launch_id, compute.ports)
    assert seen.raw["host_status"] == "unreachable"
    with pytest.raises(ProviderBrokenError, match="does not answer"):
        await machines.terminate(compute.id, ANY, ctx)
    assert len(fake.rented()) == 1
    fake.machine(compute.id).unreachable = False
    await machines.terminate(compute.id, ANY, ctx)
    assert fake.left_over() == []


async def test_a_machine_is_found_by_its_bare_id_too(fake, ctx):
    compute = await machines.spawn(request(), ANY, ctx)
    bare = compute.id.partition("/")[2]
    assert (await machines.get(bare, ANY, ctx)).id == compute.id
    with pytest.raises(NotFoundError, match="ids are written app/machine"):
        await machines.get("nope", ANY, ctx)
    await machines.terminate("nope", ANY, ctx)
    await machines.terminate(bare, ANY, ctx)
    assert fake.left_over() == []


@pytest.mark.parametrize("page_size", [1, 2, 3, 100])
async def test_a_list_spans_the_apps_whatever_the_pages_and_leaves_out_what_is_not_ours(fake, ctx, page_size):
    made = [await machines.spawn(request(), ANY, ctx) for _ in range(4)]
    made.append(await machines.spawn(request(provider_opts={"app": "workers"}), ANY, ctx))
    other = await machines.spawn(request(provider_opts={"app": "production"}), ANY, ctx)
    fake.machine(other.id).config["metadata"] = {"fly_platform_version": "v2"}
    fake.page_size = page_size
    found = await machines.list_all(ComputeFilter(), ANY, ctx)
    assert sorted(one.id for one in found) == sorted(one.id for one in made)


async def test_a_list_shows_what_a_read_shows(fake, ctx):
    await machines.spawn(request(ports=["8000/http", "9000/http", "22/tcp"], memory_gb=2), ANY, ctx)
    (listed,) = await machines.list_all(ComputeFilter(), ANY, ctx)
    read = await machines.get(listed.id, ANY, ctx)
    assert evolve(listed, raw={}) == evolve(read, raw={})
    assert [port.url for port in listed.ports] == [
        f"https://exatlas-{listed.launch_id}.fly.dev",
        f"https://exatlas-{listed.launch_id}.fly.dev:9000",
        "tcp://[2a09:8280:1::1:1]:22",
    ]


async def test_a_list_is_filtered_here(fake, ctx):
    one = await machines.spawn(request(name="web", region_hints=["ams"]), ANY, ctx)
    two = await machines.spawn(request(), ANY, ctx)

    async def ids(**filters):
        return [found.id for found in await machines.list_all(ComputeFilter(**filters), ANY, ctx)]

    assert await ids(name="web") == await ids(name=one.name) == await ids(region="ams") == [one.id]
    assert await ids(status="running") == [one.id, two.id]
    assert await ids(status="stopped") == await ids(gpu="h100") == []


async def test_a_list_that_would_not_be_complete_is_refused(fake, ctx):
    await machines.spawn(request(), ANY, ctx)
    fake.error_regions = ("fra", "ams")
    with pytest.raises(ProviderBrokenError, match="ams, fra"):
        await machines.list_all(ComputeFilter(), ANY, ctx)


@pytest.mark.parametrize("fault", [Fault.GARBAGE_AFTER, Fault.TRUNCATED_AFTER, Fault.WRONG_TYPES_AFTER])
async def test_an_unreadable_read_names_operation_status_and_path(fake, ctx, fault):
    compute = await machines.spawn(request(), ANY, ctx)
    fake.fail(fault, "GET", compute.id.partition("/")[2])
    with pytest.raises(ReplyShapeError) as caught:
        await machines.get(compute.id, ANY, ctx)
    error = caught.value
    assert (error.provider, error.operation, error.status) == ("fly", "get_compute", 200)
    assert error.request_id.startswith("01FAKE")
    assert error.paths


@pytest.mark.parametrize("fault", [Fault.DROP_BEFORE, Fault.ERROR_BEFORE, Fault.LIMITED, Fault.DROP_AFTER])
async def test_reads_are_repeated(fake, ctx, fault):
    compute = await machines.spawn(request(), ANY, ctx)
    fake.fail(fault, "GET", compute.id.partition("/")[2], times=2)
    assert (await machines.get(compute.id, ANY, ctx)).id == compute.id


async def test_a_machine_costs_what_its_size_and_region_cost(fake, ctx, clock):
    compute = await machines.spawn(request(region_hints=["ord"], provider_opts={"size": "performance-2x"}), ANY, ctx)
    assert compute.cost_usd_per_hour == Decimal("0.10764")
    clock.advance(3600)
    assert fake.invoice()[0].usd == Decimal("0.10764")


# --- ending ---


@pytest.mark.parametrize("state", ["created", "started", "stopped", "suspended"])
@pytest.mark.parametrize("app", [None, "workers"])
async def test_terminating_ends_every_bill_in_any_state_and_may_be_repeated(context, clock, state, app):
    fake = FakeFly(clock, destroy_s=5)
    ctx = context(fake)
    compute = await machines.spawn(request(volume_gb=10, provider_opts={"app": app} if app else {}), ANY, ctx)
    fake.machine(compute.id).go(clock.now(), (0, state))
    for _ in range(2):
        await machines.terminate(compute.id, ANY, ctx)
    await machines.terminate("never/was", ANY, ctx)
    clock.advance(10)
    assert fake.left_over() == ([app] if app else [])


async def test_a_terminate_that_broke_off_is_finished_by_the_next(context, clock):
    fake = FakeFly(clock, destroy_s=2, remembers_s=3)
    ctx = context(fake)
    compute = await machines.spawn(request(volume_gb=10, provider_opts={"app": "workers"}), ANY, ctx)
    fake.fail(Fault.ERROR_BEFORE, "GET", "/volumes", times=3)
    with pytest.raises(ProviderBrokenError):
        await machines.terminate(compute.id, ANY, ctx)
    clock.advance(600)
    assert volumes(fake)
    await machines.terminate(compute.id, ANY, ctx)
    assert fake.left_over() == ["workers"]


async def test_a_volume_that_stays_is_said(context, clock):
    fake = FakeFly(clock, destroy_s=1000)
    ctx = context(fake)
    compute = await machines.spawn(request(volume_gb=10), ANY, ctx)
    with pytest.raises(ProviderBrokenError, match="could not be deleted and goes on billing"):
        await machines.terminate(compute.id, ANY, ctx)


async def test_an_app_that_others_use_too_stays(fake, launch):
    compute = await machines.spawn(request(), ANY, launch)
    other = evolve(launch, launch_id="1" * 12)
    theirs = await machines.spawn(request(), ANY, other)
    fake.machine(theirs.id).app = APP
    await machines.terminate(compute.id, ANY, launch)
    assert not fake.apps[APP].deleted
    assert [machine.native_id for machine in fake.rented()] == [theirs.id.partition("/")[2]]


@pytest.mark.parametrize(
    "fault", [Fault.DROP_BEFORE, Fault.DROP_AFTER, Fault.ERROR_BEFORE, Fault.ERROR_AFTER, Fault.LIMITED, Fault.TWICE]
)
@pytest.mark.parametrize("what", ["machine", "volume", "app"])
async def test_terminating_is_repeated_over_trouble(fake, launch, fault, what):
    compute = await machines.spawn(request(volume_gb=1), ANY, launch)
    path = {"machine": compute.id.partition("/")[2], "volume": next(iter(fake.volumes)), "app": APP}[what]
    fake.fail(fault, "DELETE", path, times=2)
    await machines.terminate(compute.id, ANY, launch)
    assert fake.left_over() == []


async def test_terminating_never_takes_trouble_for_success(fake, ctx):
    compute = await machines.spawn(request(), ANY, ctx)
    fake.fail(Fault.ERROR_BEFORE, "DELETE", compute.id.partition("/")[2], times=3)
    with pytest.raises(ProviderBrokenError):
        await machines.terminate(compute.id, ANY, ctx)
    assert len(fake.rented()) == 1


@pytest.mark.parametrize("steps", range(0, 60, 2))
async def test_cancelling_a_terminate_anywhere_cancels_it_and_it_can_be_repeated(context, clock, steps):
    fake = FakeFly(clock, destroy_s=3)
    ctx = context(fake)
    compute = await machines.spawn(request(volume_gb=1), ANY, ctx)
    task = asyncio.create_task(machines.terminate(compute.id, ANY, ctx))
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    await machines.terminate(compute.id, ANY, ctx)
    clock.advance(10)
    assert fake.left_over() == []
