"""One suite for every kind of ledger."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from exatlas.errors import ConflictError, NotFoundError
from exatlas.records.launch import Launch, LaunchState, RateSegment

START = datetime(2026, 1, 1, tzinfo=UTC)
LATER = START + timedelta(minutes=5)


async def test_what_was_written_is_read_back(ledger, a_launch):
    launch = a_launch(
        tenant="t",
        user="u \u00e9 '",
        request={"gpu": ["h100"], "image": "app:1", "quote": '"'},
        rates=(RateSegment(since=START, usd_per_hour=Decimal("2.49")),),
    )
    await ledger.intend(launch)
    assert await ledger.get(launch.launch_id) == launch
    assert await ledger.find() == [launch]


async def test_nothing_is_there_before(ledger):
    assert await ledger.get("nothing") is None
    assert await ledger.find() == []


async def test_a_launch_is_intended_once(ledger, a_launch):
    await ledger.intend(a_launch())
    with pytest.raises(ConflictError, match="in the ledger already"):
        await ledger.intend(a_launch(tenant="other"))
    assert (await ledger.get(a_launch().launch_id)).tenant is None


async def test_a_launch_goes_through_its_life(ledger, a_launch):
    launch = a_launch()
    await ledger.intend(launch)
    created = await ledger.advance(launch.launch_id, LaunchState.CREATED, LATER, compute_id="m-1")
    assert (created.state, created.compute_id, created.created_at) == (LaunchState.CREATED, "m-1", LATER)
    await ledger.advance(launch.launch_id, LaunchState.TERMINATING, LATER, reason="asked for")
    gone = await ledger.advance(launch.launch_id, LaunchState.GONE, LATER)
    assert gone == await ledger.get(launch.launch_id)
    assert (gone.state, gone.ended_at, gone.reason) == (LaunchState.GONE, LATER, "asked for")


async def test_no_launch_comes_back_from_the_dead(ledger, a_launch):
    await ledger.intend(a_launch())
    await ledger.advance(a_launch().launch_id, LaunchState.GONE, LATER)
    with pytest.raises(ConflictError, match="is gone and cannot become created"):
        await ledger.advance(a_launch().launch_id, LaunchState.CREATED, LATER)
    assert (await ledger.get(a_launch().launch_id)).state is LaunchState.GONE


async def test_a_launch_that_moved_on_is_not_moved_by_who_expects_otherwise(ledger, a_launch):
    await ledger.intend(a_launch())
    await ledger.advance(a_launch().launch_id, LaunchState.CREATED, LATER, expect=LaunchState.INTENDED, compute_id="m")
    with pytest.raises(ConflictError, match="is created and no longer intended"):
        await ledger.advance(a_launch().launch_id, LaunchState.GONE, LATER, expect=LaunchState.INTENDED)
    assert (await ledger.get(a_launch().launch_id)).state is LaunchState.CREATED


async def test_an_unknown_launch_cannot_advance(ledger):
    with pytest.raises(NotFoundError, match="nothing is not in the ledger"):
        await ledger.advance("nothing", LaunchState.CREATED, LATER)


async def test_launches_are_found_by_what_is_known_of_them(ledger, a_launch):
    for number, fields in enumerate(
        [
            {"owner": "a", "provider": "p", "account": "1"},
            {"owner": "a", "provider": "q", "account": "1", "intended_at": LATER},
            {"owner": "b", "provider": "p", "account": "2"},
        ]
    ):
        await ledger.intend(a_launch(f"launch-{number}", **fields))
    await ledger.advance("launch-2", LaunchState.CREATED, LATER, compute_id="m-2")

    async def ids(**wanted):
        return [launch.launch_id for launch in await ledger.find(**wanted)]

    assert await ids() == ["launch-0", "launch-2", "launch-1"]
    assert await ids(owner="a") == ["launch-0", "launch-1"]
    assert await ids(provider="p") == ["launch-0", "launch-2"]
    assert await ids(account="2") == ["launch-2"]
    assert await ids(compute_id="m-2") == ["launch-2"]
    assert await ids(states=[LaunchState.CREATED]) == ["launch-2"]
    assert await ids(states=[LaunchState.CREATED, LaunchState.INTENDED], owner="a", provider="q") == ["launch-1"]
    assert await ids(states=[LaunchState.GONE]) == []


async def test_many_writers_at_once_all_get_through(ledger, a_launch):
    ids = [f"launch-{number:03d}" for number in range(200)]
    await asyncio.gather(*(ledger.intend(a_launch(launch_id)) for launch_id in ids))
    await asyncio.gather(*(ledger.advance(launch_id, LaunchState.CREATED, LATER) for launch_id in ids))
    found = await ledger.find(states=[LaunchState.CREATED])
    assert [launch.launch_id for launch in found] == ids


async def test_of_many_who_end_one_launch_each_sees_it_ended(ledger, a_launch):
    await ledger.intend(a_launch())
    moves = [ledger.advance(a_launch().launch_id, LaunchState.GONE, LATER) for _ in range(20)]
    assert {launch.state for launch in await asyncio.gather(*moves)} == {LaunchState.GONE}


async def test_one_bad_write_spoils_no_other(ledger, a_launch):
    ends = await asyncio.gather(
        ledger.intend(a_launch("good-1")),
        ledger.advance("nothing", LaunchState.GONE, LATER),
        ledger.intend(a_launch("good-1")),
        ledger.intend(a_launch("good-2")),
        return_exceptions=True,
    )
    assert [type(end) for end in ends] == [type(None), NotFoundError, ConflictError, type(None)]
    assert len(await ledger.find()) == 2


async def test_a_writer_that_is_cancelled_disturbs_nobody(ledger, a_launch):
    tasks = [asyncio.create_task(ledger.intend(a_launch(f"launch-{number}"))) for number in range(10)]
    await asyncio.sleep(0)
    tasks[3].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    kept = {launch.launch_id for launch in await ledger.find()}
    assert kept | {"launch-3"} == {f"launch-{number}" for number in range(10)}


async def test_closing_twice_is_fine(ledger, a_launch):
    await ledger.intend(a_launch())
    await ledger.aclose()
    await ledger.aclose()


async def test_a_caller_who_names_an_unknown_fact_harms_nobody_else(ledger, a_launch):
    await ledger.intend(a_launch("mine"))
    ends = await asyncio.gather(
        ledger.intend(a_launch("yours")),
        ledger.advance("mine", LaunchState.CREATED, LATER, colour="red"),
        ledger.advance("mine", LaunchState.CREATED, LATER, compute_id="m-1"),
        return_exceptions=True,
    )
    assert [type(end) for end in ends] == [type(None), TypeError, Launch]
    assert {launch.launch_id: launch.compute_id for launch in await ledger.find()} == {"mine": "m-1", "yours": None}


async def test_writes_to_one_launch_that_wait_together_build_on_each_other(ledger, a_launch):
    await ledger.find()
    launch_id = a_launch().launch_id
    ends = await asyncio.gather(
        ledger.intend(a_launch()),
        ledger.intend(a_launch(owner="somebody else")),
        ledger.advance(launch_id, LaunchState.CREATED, LATER, compute_id="m-1"),
        ledger.advance(launch_id, LaunchState.READY, LATER, expect=LaunchState.CREATED),
        ledger.advance(launch_id, LaunchState.READY, LATER, expect=LaunchState.CREATED),
        ledger.advance("nobody's", LaunchState.GONE, LATER),
        return_exceptions=True,
    )
    assert [type(end) for end in ends] == [type(None), ConflictError, Launch, Launch, ConflictError, NotFoundError]
    kept = await ledger.get(launch_id)
    assert kept == ends[3]
    assert (kept.owner, kept.compute_id, kept.ready_at) == ("tests", "m-1", LATER)
