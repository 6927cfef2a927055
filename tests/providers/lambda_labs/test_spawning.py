"""Renting against the fake: what is rented afterwards, and which rulesets are left, is what counts."""

import asyncio
import logging
from decimal import Decimal

import orjson
import pytest
import yaml
from attrs import evolve

from exatlas.errors import (
    ConfigError,
    EdgeBlockedError,
    ForbiddenError,
    InvalidRequestError,
    NoCapacityError,
    NotFoundError,
    OutcomeUnknownError,
    ProviderBrokenError,
    QuotaError,
    RateLimitedError,
    TransportError,
    UnauthorizedError,
    UnsupportedError,
    ValidationError,
)
from exatlas.fakes.faults import dangerous
from exatlas.launch import LOOKS_S
from exatlas.providers.lambda_labs import filesystems, machines, spawning
from exatlas.providers.lambda_labs.fake import FakeLambda, Fault
from exatlas.records.compute import ComputeFilter, ComputeRequest, ComputeStatus
from exatlas.transport.inprocess import InProcessTransport

LAUNCH = "0123456789ab"
POST_LAUNCH = ("POST", "/instance-operations/launch")
POST_RULESET = ("POST", "/firewall-rulesets")
A10, PCIE, SXM = "gpu_1x_a10", "gpu_1x_h100_pcie", "gpu_1x_h100_sxm5"
EAST, WEST = "us-east-1", "us-west-1"


def request(**fields):
    return ComputeRequest(**{"image": "org/app:1", "gpu": "a10", "region_hints": [EAST], **fields})


def launches(fake: FakeLambda) -> int:
    return fake.calls.count(POST_LAUNCH)


def body_of(fake: FakeLambda):
    (each,) = fake.rented()
    return each.body


# --- renting ---


async def test_one_launch_rents_one_marked_machine(fake, launch, clock):
    compute = await spawning.spawn(request(name="web", ports=["8000/tcp", "22/tcp"], env={"T": "s3cr3t"}), launch)
    (each,) = fake.rented()
    assert (compute.id, compute.name, compute.launch_id) == (each.id, f"web-{LAUNCH}", LAUNCH)
    assert (compute.status, compute.gpu_type, compute.gpu_count) == (ComputeStatus.PROVISIONING, "a10", 1)
    assert (compute.cost_usd_per_hour, compute.region, compute.image) == (Decimal("1.29"), EAST, "org/app:1")
    assert [(port.internal, port.external, port.url) for port in compute.ports] == [(8000, 8000, None), (22, 22, None)]
    assert fake.calls == [
        ("GET", "/instance-types"),
        ("GET", "/ssh-keys"),
        POST_RULESET,
        POST_LAUNCH,
        ("GET", "/instances"),
    ]
    seen = await machines.get(compute.id, launch)
    assert (seen.image, seen.launch_id, seen.created_at) == (compute.image, LAUNCH, compute.created_at)
    assert [port.url for port in seen.ports] == ["tcp://198.51.100.7:8000", "tcp://198.51.100.7:22"]
    assert fake.refused_for_rate == 0


async def test_what_a_machine_is_launched_with(fake, launch):
    await spawning.spawn(request(ports=["80/tcp"], env={"A": "it's"}), launch)
    body = body_of(fake)
    (each,) = fake.rented()
    created = each.tags["exatlas:created"]
    assert abs(int(created) - each.created_at.timestamp()) < 10
    assert each.tags == {
        "exatlas:launch": LAUNCH,
        "exatlas:owner": launch.account,
        "exatlas:created": created,
        "exatlas:image": "org/app:1",
        "exatlas:ports": "80t",
    }
    assert body["ssh_key_names"] == ["my-laptop"]
    assert body["user_data"].startswith("#cloud-config\n")
    assert len(yaml.safe_load(body["user_data"])["write_files"]) == 4
    (ruleset,) = fake.rulesets.items.values()
    assert (ruleset["name"], ruleset["region"]["name"]) == (f"exatlas-{LAUNCH}", EAST)
    assert [(rule["port_range"], rule["source_network"]) for rule in ruleset["rules"]] == [
        ([22, 22], "0.0.0.0/0"),
        ([80, 80], "0.0.0.0/0"),
    ]
    assert fake.rulesets.view(ruleset["id"])["instance_ids"] == [each.id]


async def test_ports_may_be_opened_to_one_network_only(fake, launch):
    opts = {"container": {"source_network": "203.0.113.0/24"}}
    await spawning.spawn(request(ports=["80/tcp", "53/udp", "81/http"], provider_opts=opts), launch)
    (ruleset,) = fake.rulesets.items.values()
    assert [(rule["protocol"], rule["port_range"][0], rule["source_network"]) for rule in ruleset["rules"]] == [
        ("tcp", 22, "0.0.0.0/0"),
        ("tcp", 80, "203.0.113.0/24"),
        ("udp", 53, "203.0.113.0/24"),
        ("tcp", 81, "203.0.113.0/24"),
    ]


async def test_without_ports_there_is_no_ruleset(fake, launch):
    await spawning.spawn(request(), launch)
    assert fake.rulesets.items == {}
    assert "firewall_rulesets" not in body_of(fake)


async def test_the_callers_own_rulesets_are_used_instead_of_ours(fake, launch):
    fake.rulesets.create({"name": "mine", "region": EAST, "rules": []}, "r1", fake.clock.now())
    opts = {"firewall_rulesets": [{"id": "r1"}]}
    compute = await spawning.spawn(request(ports=["80/tcp"], provider_opts=opts), launch)
    assert body_of(fake)["firewall_rulesets"] == [{"id": "r1"}]
    await machines.terminate(compute.id, launch)
    assert list(fake.rulesets.items) == ["r1"], "theirs is never deleted"


async def test_native_options_are_merged_and_tags_added(fake, launch):
    opts = {
        "hostname": "head",
        "image": {"family": "lambda-stack-24-04"},
        "tags": [{"key": "team", "value": "a b"}],
        "container": {"create": {"Tty": True}},
    }
    await spawning.spawn(request(provider_opts=opts), launch)
    body = body_of(fake)
    assert (body["hostname"], body["image"]) == ("head", {"family": "lambda-stack-24-04"})
    assert body["tags"][-1] == {"key": "team", "value": "a b"}
    assert body["tags"][0]["key"] == "exatlas:launch"
    assert "container" not in body


async def test_a_spawn_without_a_launch_id_makes_one(fake, ctx):
    compute = await spawning.spawn(request(), ctx)
    assert compute.launch_id
    assert compute.name == f"exatlas-{compute.launch_id}"


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"spot": True}, UnsupportedError),
        ({"name": "n" * 60}, ValidationError),
        ({"env": {"A": "x" * 900_000}}, ValidationError),
        ({"env": {"A": "\ud800"}}, ValidationError),
    ],
)
async def test_nothing_is_sent_for_a_request_lambda_cannot_honour(fake, launch, fields, error):
    with pytest.raises(error):
        await spawning.spawn(request(**fields), launch)
    assert fake.calls == []


async def test_a_cpu_machine(fake, launch):
    compute = await spawning.spawn(request(gpu=None), launch)
    assert (compute.gpu_type, compute.gpu_count, compute.cpus) == (None, 0, 4)
    assert compute.cost_usd_per_hour == Decimal("0.2")


async def test_an_arm_machine_is_warned_of(fake, launch, caplog):
    with caplog.at_level(logging.WARNING, logger="exatlas.providers.lambda_labs"):
        await spawning.spawn(request(gpu="gh200"), launch)
    assert "arm64" in caplog.text


# --- capacity ---


async def test_the_next_region_then_the_next_type_is_tried(fake, launch, clock):
    fake.capacity.phantom |= {(SXM, EAST), (SXM, WEST), (PCIE, EAST)}
    compute = await spawning.spawn(request(gpu="h100", region_hints=[EAST, WEST], ports=["80/tcp"]), launch)
    assert (compute.gpu_type, compute.region) == ("h100_pcie", WEST)
    assert launches(fake) == 4
    assert fake.refused_for_rate == 0
    assert [item["region"]["name"] for item in fake.rulesets.items.values()] == [WEST]
    assert clock.monotonic() >= 3 * 12


async def test_regions_not_listed_are_not_asked(fake, launch):
    fake.capacity.sell_out(A10, EAST)
    compute = await spawning.spawn(request(region_hints=[EAST, WEST]), launch)
    assert compute.region == WEST
    assert launches(fake) == 1


async def test_when_everything_is_refused_the_error_says_what_was_tried_and_no_ruleset_is_left(fake, launch):
    fake.capacity.phantom |= {(A10, EAST), (A10, WEST)}
    with pytest.raises(NoCapacityError) as caught:
        await spawning.spawn(request(region_hints=[EAST, WEST], ports=["80/tcp"]), launch)
    assert caught.value.message.endswith("tried gpu_1x_a10 in us-east-1, gpu_1x_a10 in us-west-1")
    assert fake.rented() == []
    assert fake.rulesets.items == {}


async def test_nothing_is_launched_blindly(fake, launch):
    fake.capacity.sell_out(A10)
    with pytest.raises(NoCapacityError, match="sold out in every region"):
        await spawning.spawn(request(), launch)
    assert fake.calls == [("GET", "/instance-types")]


@pytest.mark.parametrize(
    ("prepare", "error"),
    [
        (lambda fake: setattr(fake, "has_address", False), ForbiddenError),
        (lambda fake: setattr(fake, "most_machines", 0), QuotaError),
        (lambda fake: fake.fail(Fault.EDGE, *POST_LAUNCH), EdgeBlockedError),
    ],
)
async def test_what_no_candidate_can_change_ends_the_spawn(fake, launch, prepare, error):
    prepare(fake)
    with pytest.raises(error):
        await spawning.spawn(request(region_hints=[EAST, WEST], ports=["80/tcp"]), launch)
    assert launches(fake) == 1
    assert fake.rulesets.items == {}


@pytest.mark.parametrize(
    ("prepare", "error"),
    [
        (lambda fake: setattr(fake, "api_key", "another"), UnauthorizedError),
        (lambda fake: setattr(fake, "is_active", False), ForbiddenError),
        (lambda fake: setattr(fake.rulesets, "quota", 0), QuotaError),
    ],
)
async def test_what_shows_before_the_launch_ends_it_there(fake, launch, prepare, error):
    prepare(fake)
    with pytest.raises(error):
        await spawning.spawn(request(ports=["80/tcp"]), launch)
    assert launches(fake) == 0


async def test_an_option_lambda_does_not_know_is_told_in_its_words(fake, launch):
    with pytest.raises(InvalidRequestError, match=r"unknown fields \['unjudged'\]"):
        await spawning.spawn(request(provider_opts={"unjudged": 1}, ports=["80/tcp"]), launch)
    assert fake.rulesets.items == {}


# --- limits ---


async def test_ten_spawns_at_once_keep_both_limits(fake, ctx, clock):
    computes = await asyncio.gather(*(spawning.spawn(request(ports=["80/tcp"]), ctx) for _ in range(10)))
    assert len({compute.id for compute in computes}) == len(fake.rented()) == 10
    assert fake.refused_for_rate == 0
    assert clock.monotonic() >= 9 * 12


@pytest.mark.parametrize("advice", [None, 20])
async def test_too_many_requests_are_waited_out_and_rent_once(fake, launch, clock, advice):
    fake.retry_after_s = advice
    fake.fail(Fault.LIMITED, *POST_LAUNCH, times=3)
    compute = await spawning.spawn(request(ports=["80/tcp"]), launch)
    assert [each.id for each in fake.rented()] == [compute.id]
    assert launches(fake) == 4
    assert clock.monotonic() >= 3 * (advice or 12)
    assert len(fake.rulesets.items) == 1


@pytest.mark.parametrize(("advice", "times", "sent"), [(None, 4, 4), (90, 1, 1)])
async def test_too_many_requests_for_too_long_are_the_callers(fake, launch, advice, times, sent):
    fake.retry_after_s = advice
    fake.fail(Fault.LIMITED, *POST_LAUNCH, times=times)
    with pytest.raises(RateLimitedError):
        await spawning.spawn(request(ports=["80/tcp"]), launch)
    assert launches(fake) == sent
    assert fake.rented() == []
    assert fake.rulesets.items == {}


async def test_another_process_that_takes_our_requests_slows_us_and_costs_nothing(fake, launch):
    fake.fail(Fault.LIMITED, times=1)
    fake.fail(Fault.LIMITED, *POST_RULESET)
    await spawning.spawn(request(ports=["80/tcp"]), launch)
    assert len(fake.rented()) == len(fake.rulesets.items) == 1


# --- renting, when the answer is lost ---

ACTED = [fault for fault in dangerous() if fault is not Fault.TWICE]


@pytest.mark.parametrize("fault", ACTED)
@pytest.mark.parametrize("lag_s", [0, 3, 20])
@pytest.mark.parametrize("ports", [(), ("80/tcp",)])
async def test_a_lost_answer_is_found_again_and_nothing_is_rented_twice(fake, launch, fault, lag_s, ports):
    await spawning.spawn(request(), evolve(launch, launch_id="1" * 12))
    fake.listing_lag_s = lag_s
    fake.fail(fault, *POST_LAUNCH)
    compute = await spawning.spawn(request(region_hints=[EAST, WEST], ports=ports), launch)
    assert launches(fake) == 2
    assert [each.id for each in fake.rented() if each.name.endswith(LAUNCH)] == [compute.id]
    assert (compute.launch_id, compute.image, len(compute.ports)) == (LAUNCH, "org/app:1", len(ports))
    assert len(fake.rulesets.items) == len(ports)


@pytest.mark.parametrize("fault", ACTED)
async def test_a_machine_found_while_it_boots_has_what_lambda_does_not_say_yet(context, clock, fault):
    fake = FakeLambda(clock, boot_s=600)
    ctx = evolve(context(fake), launch_id=LAUNCH, api_key=fake.api_key)
    fake.fail(fault, *POST_LAUNCH)
    compute = await spawning.spawn(request(ports=["80/tcp"]), ctx)
    assert (compute.status, compute.image, compute.launch_id) == (ComputeStatus.PROVISIONING, "org/app:1", LAUNCH)
    assert compute.ports[0].external == 80
    assert compute.created_at is not None


@pytest.mark.parametrize("ports", [(), ("80/tcp",)])
@pytest.mark.parametrize("limited", [True, False])
@pytest.mark.parametrize("free", [None, 1])
async def test_a_launch_delivered_twice_leaves_one_machine(fake, launch, ports, limited, free):
    fake.limited = limited
    if free is not None:
        fake.capacity.left[A10, EAST] = free
    fake.fail(Fault.TWICE, *POST_LAUNCH)
    compute = await spawning.spawn(request(ports=ports), launch)
    assert [each.id for each in fake.rented()] == [compute.id]
    await machines.terminate(compute.id, launch)
    assert fake.rented() == []
    assert fake.rulesets.items == {}


async def test_a_launch_delivered_twice_and_shown_late_is_not_sent_again(fake, launch):
    fake.listing_lag_s = 5
    fake.fail(Fault.TWICE, *POST_LAUNCH)
    compute = await spawning.spawn(request(ports=["80/tcp"]), launch)
    assert [each.id for each in fake.rented()] == [compute.id]
    assert launches(fake) == 1


@pytest.mark.parametrize("fault", [Fault.DROP_BEFORE, Fault.STALL_BEFORE, Fault.ERROR_BEFORE])
async def test_an_answer_that_stays_lost_is_an_unknown_outcome_and_no_second_launch(fake, launch, fault):
    fake.fail(fault, *POST_LAUNCH)
    with pytest.raises(OutcomeUnknownError) as caught:
        await spawning.spawn(request(region_hints=[EAST, WEST], ports=["80/tcp"]), launch)
    assert caught.value.launch_id == LAUNCH
    assert launches(fake) == 1
    assert fake.rented() == []
    assert fake.rulesets.items == {}, "no machine has it, so it is gone"


@pytest.mark.parametrize("fault", ACTED)
async def test_a_machine_hidden_for_too_long_is_reported_carries_its_mark_and_goes_with_its_ruleset(
    fake, launch, fault
):
    await machines.list_all(ComputeFilter(), launch)
    fake.fail(fault, *POST_LAUNCH)
    fake.listing_lag_s = sum(LOOKS_S) + 1000
    with pytest.raises(OutcomeUnknownError) as caught:
        await spawning.spawn(request(ports=["80/tcp"]), launch)
    (each,) = fake.rented()
    assert each.tags["exatlas:launch"] == caught.value.launch_id
    assert len(fake.rulesets.items) == 1, "a machine has it, so it stays until that is terminated"
    fake.listing_lag_s = 0
    await machines.terminate(each.id, launch)
    assert fake.rented() == []
    assert fake.rulesets.items == {}


async def test_looking_survives_trouble(fake, launch):
    fake.fail(Fault.DROP_AFTER, *POST_LAUNCH)
    fake.fail(Fault.ERROR_BEFORE, "GET", "/instances", times=4)
    fake.fail(Fault.GARBAGE_AFTER, "GET", "/instances")
    compute = await spawning.spawn(request(), launch)
    assert [each.id for each in fake.rented()] == [compute.id]


async def test_a_failed_look_for_twins_does_not_spoil_a_spawn(fake, launch):
    fake.fail(Fault.ERROR_BEFORE, "GET", "/instances", times=3)
    compute = await spawning.spawn(request(), launch)
    assert [each.id for each in fake.rented()] == [compute.id]


async def test_a_twin_that_cannot_be_terminated_is_said_loudly(fake, launch, caplog):
    fake.limited = False
    fake.fail(Fault.TWICE, *POST_LAUNCH)
    fake.fail(Fault.ERROR_BEFORE, "POST", "/terminate", times=3)
    compute = await spawning.spawn(request(), launch)
    (twin,) = [each.id for each in fake.rented() if each.id != compute.id]
    assert twin in caplog.text
    assert LAUNCH in caplog.text


async def test_an_upstream_failure_is_in_doubt(fake, launch):
    async def upstream(call):
        reply = await fake.handle(call)
        if call.url.endswith("/launch"):
            body = {"error": {"code": "provider/internal-unavailable", "message": "Provider unavailable"}}
            return evolve(reply, status=400, body=orjson.dumps(body))
        return reply

    compute = await spawning.spawn(request(), evolve(launch, transport=InProcessTransport(upstream)))
    assert [each.id for each in fake.rented()] == [compute.id]


async def test_a_call_that_never_left_is_no_unknown_outcome(fake, launch):
    async def refuse(call):
        if call.url.endswith("/launch"):
            raise TransportError("no connection", delivered=False)
        return await fake.handle(call)

    with pytest.raises(TransportError) as caught:
        await spawning.spawn(request(ports=["80/tcp"]), evolve(launch, transport=InProcessTransport(refuse)))
    assert caught.value.delivered is False
    assert fake.rulesets.items == {}


# --- rulesets on the way ---


@pytest.mark.parametrize("fault", dangerous())
async def test_a_ruleset_whose_answer_is_lost_is_found_again_and_none_is_left_at_the_end(fake, launch, fault):
    fake.fail(fault, *POST_RULESET)
    compute = await spawning.spawn(request(ports=["80/tcp"]), launch)
    (each,) = fake.rented()
    assert set(each.ruleset_ids) <= set(fake.rulesets.items)
    await machines.terminate(compute.id, launch)
    assert fake.rulesets.items == {}


@pytest.mark.parametrize("fault", [Fault.DROP_BEFORE, Fault.ERROR_BEFORE])
async def test_a_ruleset_that_was_not_made_is_made_again(fake, launch, fault):
    fake.fail(fault, *POST_RULESET, times=2)
    await spawning.spawn(request(ports=["80/tcp"]), launch)
    assert len(fake.rulesets.items) == 1


@pytest.mark.parametrize("shaky", [1, 2])
async def test_the_firewalls_internal_error_passes(fake, launch, shaky):
    fake.rulesets.shaky = shaky
    await spawning.spawn(request(ports=["80/tcp"]), launch)
    assert len(fake.rented()) == len(fake.rulesets.items) == 1


async def test_the_firewalls_internal_error_that_stays_rents_nothing(fake, launch):
    fake.rulesets.shaky = 3
    with pytest.raises(ProviderBrokenError) as caught:
        await spawning.spawn(request(ports=["80/tcp"]), launch)
    assert caught.value.status == 409
    assert fake.rented() == []
    assert fake.rulesets.items == {}


@pytest.mark.parametrize("fault", [Fault.ERROR_BEFORE, Fault.ERROR_AFTER])
async def test_a_ruleset_that_cannot_be_made_rents_nothing_and_leaves_nothing(fake, launch, fault):
    fake.fail(fault, *POST_RULESET, times=3)
    fake.fail(Fault.STALE, "GET", "/firewall-rulesets", times=2)
    if fault is Fault.ERROR_AFTER:
        await spawning.spawn(request(ports=["80/tcp"]), launch)
        assert len(fake.rented()) == 1
        return
    with pytest.raises(ProviderBrokenError):
        await spawning.spawn(request(ports=["80/tcp"]), launch)
    assert launches(fake) == 0
    assert fake.rulesets.items == {}


async def test_a_clean_up_that_fails_does_not_hide_why_nothing_was_rented(fake, launch, caplog):
    fake.capacity.phantom.add((A10, EAST))
    fake.fail(Fault.ERROR_BEFORE, "GET", "/firewall-rulesets", times=3)
    with pytest.raises(NoCapacityError):
        await spawning.spawn(request(ports=["80/tcp"]), launch)
    assert f"firewall rulesets of launch {LAUNCH} may be left" in caplog.text


# --- filesystems and keys ---


async def test_a_filesystem_by_id_or_name_fixes_the_region_and_is_mounted(fake, ctx):
    made = await filesystems.create(ctx, name="models", region=WEST)
    for wanted in (made.id, "models"):
        compute = await spawning.spawn(request(network_volume_id=wanted, region_hints=()), ctx)
        each = fake.instance(compute.id)
        assert (each.region, each.body["file_system_names"]) == (WEST, ["models"])
        files = yaml.safe_load(each.body["user_data"])["write_files"]
        assert len(files) == 4
        await machines.terminate(compute.id, ctx)


async def test_a_filesystem_nobody_has_is_told_before_anything_is_rented(fake, launch):
    with pytest.raises(NotFoundError, match="no filesystem with the id or name 'nope'; it has none"):
        await spawning.spawn(request(network_volume_id="nope"), launch)
    assert fake.calls == [("GET", "/file-systems")]


async def test_a_filesystem_away_from_all_hints(fake, ctx):
    await filesystems.create(ctx, name="models", region=WEST)
    with pytest.raises(NoCapacityError, match="the filesystem is in us-west-1"):
        await spawning.spawn(request(network_volume_id="models"), ctx)


async def test_no_key_is_told_before_anything_is_rented(fake, launch):
    fake.keys.items.clear()
    with pytest.raises(ConfigError):
        await spawning.spawn(request(ports=["80/tcp"]), launch)
    assert fake.rulesets.items == {}
    assert launches(fake) == 0


async def test_the_callers_own_key_names_cost_no_look_up(fake, launch):
    await spawning.spawn(request(provider_opts={"ssh_key_names": ["my-laptop"]}), launch)
    assert ("GET", "/ssh-keys") not in fake.calls


# --- secrets ---


async def test_no_error_shows_what_the_machine_was_to_be_told(fake, launch):
    secrets = {"A": "s3cr3t-value", "B": 'quo"ted\nsecret'}

    contents = []

    async def echo(call):
        reply = await fake.handle(call)
        if call.url.endswith("/launch"):
            body = orjson.loads(call.body)
            contents.extend(each["content"] for each in yaml.safe_load(body["user_data"])["write_files"][:2])
            error = {"error": {"code": "global/invalid-parameters", "message": f"bad {body} {secrets}"}}
            return evolve(reply, status=400, body=orjson.dumps(error))
        return reply

    with pytest.raises(InvalidRequestError) as caught:
        await spawning.spawn(request(env=secrets), evolve(launch, transport=InProcessTransport(echo)))
    shown = f"{caught.value} {caught.value!r} {caught.value.raw} {caught.value.__cause__}"
    assert len(contents) == 2
    for secret in (*secrets.values(), *contents):
        assert secret not in shown


# --- cancellation of the provider's own coroutine ---


@pytest.mark.parametrize("steps", range(0, 60, 2))
async def test_cancelling_a_spawn_anywhere_rents_at_most_once_and_leaves_no_ruleset_of_nothing(fake, launch, steps):
    fake.capacity.phantom.add((A10, EAST))
    task = asyncio.create_task(spawning.spawn(request(region_hints=[EAST, WEST], ports=["80/tcp"]), launch))
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert len(fake.rented()) <= 1
    used = {ruleset for each in fake.rented() for ruleset in each.ruleset_ids}
    assert set(fake.rulesets.items) == used
