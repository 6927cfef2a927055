"""Never two machines for one spawn, and none lost: every way in which Vast can answer a create and leave it open."""

import pytest
from attrs import evolve

from exatlas.errors import (
    InvalidRequestError,
    NoCapacityError,
    OutcomeUnknownError,
    ProviderBrokenError,
    RateLimitedError,
    ReplyShapeError,
    TransportError,
)
from exatlas.fakes.faults import dangerous
from exatlas.fakes.replies import json_reply
from exatlas.launch import LOOKS_S
from exatlas.providers.vast import instances
from exatlas.providers.vast.fake import FakeVast, Fault
from exatlas.providers.vast.fake.instances import KEY as INSTANCE_KEY
from exatlas.records.compute import ComputeRequest, ComputeStatus
from exatlas.transport.inprocess import InProcessTransport

LAUNCH = "0123456789ab"
DE, FR = 4242, 4250
DANGEROUS = dangerous()
LOST = [fault for fault in DANGEROUS if fault is not Fault.TWICE]
"""After these the reply does not tell of the instance; a create delivered twice is told to be too late."""


@pytest.fixture
def launch(ctx):
    return evolve(ctx, launch_id=LAUNCH)


def request(**fields):
    return ComputeRequest(**{"image": "img", "gpu": "rtx_4090", "cloud_type": "secure", **fields})


def creates(fake: FakeVast) -> int:
    return sum(method == "PUT" and "/asks/" in path for method, path in fake.calls)


def ours(fake: FakeVast) -> list[str]:
    return [instance.id for instance in fake.rented() if LAUNCH in instance.label]


def answering(fake, status, body, *, times=1, made=True):
    """A transport to the fake whose next creates are carried out and answered with something else."""
    left = [times]

    async def handle(call):
        if call.method != "PUT" or "/asks/" not in call.url or not left[0]:
            return await fake.handle(call)
        left[0] -= 1
        reply = await fake.handle(call) if made else None
        number = reply.json().get("new_contract") if reply else None
        return json_reply(status, {**body, **({"new_contract": number} if number else {})})

    return InProcessTransport(handle)


@pytest.mark.parametrize("lag_s", [0, 3, 20])
@pytest.mark.parametrize("page_size", [1, 25])
@pytest.mark.parametrize("fault", LOST)
async def test_a_lost_answer_is_found_again_and_nothing_is_rented_twice(fake, launch, fault, lag_s, page_size):
    fake.page_size, fake.listing_lag_s = page_size, lag_s
    for other in ("1" * 12, "2" * 12):
        await instances.spawn(request(gpu="h100", cloud_type="any"), evolve(launch, launch_id=other))
    before = creates(fake)
    fake.fail(fault, "PUT")
    compute = await instances.spawn(request(), launch)
    assert creates(fake) == before + 1
    assert ours(fake) == [compute.id]
    assert compute.launch_id == LAUNCH


@pytest.mark.parametrize("lag_s", [0, 3])
async def test_an_offer_that_this_very_create_took_is_not_gone(fake, launch, lag_s):
    fake.listing_lag_s = lag_s
    fake.fail(Fault.TWICE, "PUT")
    compute = await instances.spawn(request(), launch)
    assert ours(fake) == [compute.id]


@pytest.mark.parametrize("fault", [Fault.DROP_BEFORE, Fault.STALL_BEFORE, Fault.ERROR_BEFORE])
async def test_an_answer_that_stays_lost_is_an_unknown_outcome_and_no_second_create(fake, launch, fault):
    fake.fail(fault, "PUT")
    with pytest.raises(OutcomeUnknownError) as caught:
        await instances.spawn(request(), launch)
    assert caught.value.launch_id == LAUNCH
    assert creates(fake) == 1
    assert fake.rented() == []


@pytest.mark.parametrize("fault", LOST)
async def test_a_machine_hidden_for_too_long_is_reported_and_carries_its_mark(fake, launch, fault):
    fake.listing_lag_s = sum(LOOKS_S) + 1000
    fake.fail(fault, "PUT")
    with pytest.raises(OutcomeUnknownError) as caught:
        await instances.spawn(request(), launch)
    assert caught.value.launch_id in fake.rented()[0].label
    assert creates(fake) == 1


async def test_looking_survives_trouble(fake, launch):
    fake.fail(Fault.DROP_AFTER, "PUT")
    fake.fail(Fault.ERROR_BEFORE, "GET", times=4)
    fake.fail(Fault.GARBAGE_AFTER, "GET")
    compute = await instances.spawn(request(), launch)
    assert ours(fake) == [compute.id]


async def test_a_create_that_comes_too_soon_is_repeated_when_its_time_has_come(fake, launch, clock):
    fake.fail(Fault.LIMITED, "PUT", times=2)
    compute = await instances.spawn(request(), launch)
    assert creates(fake) == 3
    assert ours(fake) == [compute.id]
    assert clock.monotonic() >= 24, "the penalty for a hasty create, twice"


async def test_a_create_refused_for_too_long_is_the_callers(fake, launch):
    fake.fail(Fault.LIMITED, "PUT", times=3)
    with pytest.raises(RateLimitedError) as caught:
        await instances.spawn(request(), launch)
    assert caught.value.retry_after == 12
    assert fake.rented() == []


async def test_a_call_that_never_left_is_no_unknown_outcome(fake, launch):
    async def refuse(call):
        if call.method == "PUT":
            raise TransportError("no connection", delivered=False)
        return await fake.handle(call)

    with pytest.raises(TransportError) as caught:
        await instances.spawn(request(), evolve(launch, transport=InProcessTransport(refuse)))
    assert caught.value.delivered is False


async def test_a_success_without_a_contract_is_looked_into(fake, launch):
    transport = answering(fake, 200, {"success": True}, made=False)
    with pytest.raises(OutcomeUnknownError) as caught:
        await instances.spawn(request(), evolve(launch, transport=transport))
    assert isinstance(caught.value.__cause__, ReplyShapeError)


# --- refused, and made all the same ---


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (400, {"success": False, "error": "invalid_args", "msg": "no"}, InvalidRequestError),
        (200, {"success": False, "error": "invalid_price", "msg": "no"}, InvalidRequestError),
        (429, {"success": False, "error": "rate_limit_exceeded", "msg": "threshold=4.5"}, RateLimitedError),
        (500, {"success": False, "error": "host", "msg": "the host failed"}, NoCapacityError),
        (410, {"success": False, "error": "no_such_ask", "msg": "cannot start"}, NoCapacityError),
    ],
)
@pytest.mark.parametrize("lag_s", [0, 15])
async def test_what_a_refused_create_made_is_destroyed(fake, launch, status, body, error, lag_s):
    fake.listing_lag_s = lag_s
    transport = answering(fake, status, {**body, "instance_api_key": INSTANCE_KEY}, times=9)
    with pytest.raises(error) as caught:
        await instances.spawn(request(region_hints=["DE"]), evolve(launch, transport=transport))
    assert fake.rented() == []
    assert creates(fake) == 1
    chain = f"{caught.value} {caught.value.raw} {caught.value.__cause__} {getattr(caught.value.__cause__, 'raw', '')}"
    assert INSTANCE_KEY not in chain


@pytest.mark.parametrize("fault", [None, *LOST])
@pytest.mark.parametrize("lag_s", [0, 3])
async def test_a_bid_that_does_not_win_is_given_back_and_the_next_offer_taken(fake, launch, fault, lag_s):
    """The floor has risen since the search: Vast makes a stopped instance, and calls that an error."""
    fake.listing_lag_s = lag_s
    fake.rival(DE, 5.0)
    if fault:
        fake.fail(fault, "PUT")
    compute = await instances.spawn(request(spot=True), launch)
    assert fake.instance(compute.id).host.machine_id == FR
    assert ours(fake) == [compute.id]
    assert creates(fake) == 2


@pytest.mark.parametrize("lag_s", [0, 2])
async def test_a_bid_that_loses_twice_is_given_back_twice(fake, launch, lag_s):
    fake.listing_lag_s = lag_s
    fake.rival(DE, 5.0)
    fake.fail(Fault.TWICE, "PUT")
    compute = await instances.spawn(request(spot=True), launch)
    assert ours(fake) == [compute.id]
    assert len(fake.invoice()) == 3


@pytest.mark.parametrize("fault", LOST)
async def test_what_was_given_back_is_not_found_again(fake, launch, clock, fault):
    """The list is slow to forget, and both instances carry the same mark."""
    fake.removal_lag_s = 1000
    fake.rival(DE, 5.0)
    answer, creates_seen = fake.answer, []

    async def second_create_is_lost(call):
        reply = await answer(call)
        if "/asks/" in call.url:
            creates_seen.append(call.url)
            if len(creates_seen) == 1:
                fake.fail(fault, "PUT")
        return reply

    fake.answer = second_create_is_lost
    compute = await instances.spawn(request(spot=True), launch)
    assert fake.instance(compute.id).host.machine_id == FR
    assert ours(fake) == [compute.id]
    assert clock.monotonic() < 200


async def test_when_no_bid_wins_nothing_is_left(fake, launch):
    for machine in (DE, FR):
        fake.rival(machine, 5.0)
    with pytest.raises(NoCapacityError, match=r"a higher bid may win.*tried 1x RTX 4090 in DE"):
        await instances.spawn(request(spot=True), launch)
    assert fake.rented() == []


async def test_what_cannot_be_given_back_is_said_loudly(fake, launch):
    fake.rival(DE, 5.0)
    fake.fail(Fault.ERROR_BEFORE, "DELETE", times=9)
    with pytest.raises(OutcomeUnknownError, match="could not be destroyed") as caught:
        await instances.spawn(request(spot=True), launch)
    (left,) = fake.rented()
    assert left.id in caught.value.message
    assert caught.value.launch_id == LAUNCH
    assert isinstance(caught.value.__cause__, ProviderBrokenError)


async def test_giving_back_is_repeated_over_trouble(fake, launch):
    fake.rival(DE, 5.0)
    for fault in (Fault.LIMITED, Fault.DROP_AFTER):
        fake.fail(fault, "DELETE")
    compute = await instances.spawn(request(spot=True), launch)
    assert ours(fake) == [compute.id]


async def test_a_bid_that_waits_is_adopted_by_nobody(fake, launch):
    """Lost reply, lost bid: what is found is stopped, and a stopped spot machine is not what was asked for."""
    fake.rival(DE, 5.0)
    fake.rival(FR, 5.0)
    fake.fail(Fault.DROP_AFTER, "PUT")
    with pytest.raises(NoCapacityError):
        await instances.spawn(request(spot=True), launch)
    assert fake.rented() == []


async def test_an_adopted_machine_is_told_as_it_is(fake, launch):
    fake.boot_s = 600
    fake.fail(Fault.STALL_AFTER, "PUT")
    compute = await instances.spawn(request(name="web", env={"A": "s3cr3t"}), launch)
    assert (compute.status, compute.name) == (ComputeStatus.PROVISIONING, f"web-{LAUNCH}")
    assert "s3cr3t" not in str(compute.raw)
