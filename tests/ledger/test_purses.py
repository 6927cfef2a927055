"""What launches hold in purses: one suite for every kind of ledger."""

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from sqlalchemy import event

from exatlas.ledger import purses
from exatlas.ledger.purses import Wish
from exatlas.records.budget import Hold, Shortfall
from exatlas.records.launch import LaunchState
from tests.ledger.halting import halted, waits_for_a_lock

START = datetime(2026, 1, 1, tzinfo=UTC)
postgres = pytest.mark.parametrize("sql_url", ["postgres"], indirect=True)
both = pytest.mark.parametrize("sql_url", ["sqlite", "postgres"], indirect=True)


def of(usd, purse="p", most=10):
    return Hold(purse=purse, usd=Decimal(str(usd)), most_usd=Decimal(str(most)))


async def test_what_is_held_is_added_up(ledger):
    assert await ledger.held(["p", "q"]) == {"p": 0, "q": 0}
    assert await ledger.hold("a", [of("2.5"), of(1, "q")]) is None
    assert await ledger.hold("b", [of(3)]) is None
    assert await ledger.held(["p", "q", "r"]) == {"p": Decimal("5.5"), "q": 1, "r": 0}
    assert await ledger.holds_of("a") == {"p": Decimal("2.5"), "q": 1}
    assert await ledger.holds_of("nothing") == {}


async def test_a_purse_gives_its_last_dollar_and_no_more(ledger):
    assert await ledger.hold("a", [of(7)]) is None
    assert await ledger.hold("b", [of("3.000001")]) == Shortfall(purse="p", left_usd=Decimal(3))
    assert await ledger.hold("b", [of(3)]) is None
    assert await ledger.hold("c", [of("0.000001")]) == Shortfall(purse="p", left_usd=Decimal(0))
    assert await ledger.held(["p"]) == {"p": 10}


async def test_all_is_held_or_nothing_and_the_first_short_purse_is_told(ledger):
    assert await ledger.hold("a", [of(1, "x"), of(11, "z", 10), of(6, "y", 5)]) == Shortfall(
        purse="z", left_usd=Decimal(10)
    )
    assert await ledger.held(["x", "y", "z"]) == {"x": 0, "y": 0, "z": 0}
    assert await ledger.holds_of("a") == {}


async def test_a_hold_is_set_and_not_added(ledger):
    await ledger.hold("a", [of(4)])
    await ledger.hold("a", [of(6)])
    assert await ledger.held(["p"]) == {"p": 6}
    assert await ledger.hold("a", [of(11)]) == Shortfall(purse="p", left_usd=Decimal(4))
    assert await ledger.hold("a", [of(2)]) is None
    assert await ledger.held(["p"]) == {"p": 2}


async def test_what_is_not_more_than_before_is_granted_even_by_an_overdrawn_purse(ledger):
    await ledger.hold("a", [of(8)])
    assert await ledger.hold("a", [of(8, most=1)]) is None
    assert await ledger.hold("a", [of(5, most=1)]) is None
    assert await ledger.hold("a", [of("5.1", most=1)]) == Shortfall(purse="p", left_usd=Decimal(0))
    assert await ledger.hold("b", [of(0, most=1)]) is None


async def test_what_was_spent_is_settled_whatever_it_is(ledger):
    await ledger.hold("a", [of(8), of(8, "q")])
    assert await ledger.hold("a", [of(25), of(1, "q")], settled=True) is None
    assert await ledger.held(["p", "q"]) == {"p": 25, "q": 1}


@both
async def test_holds_are_rounded_up_and_what_was_spent_to_the_nearest(opened):
    ledger = opened()
    await ledger.hold("a", [of("0.0000001"), of("1.0000009", "q")])
    assert await ledger.holds_of("a") == {"p": Decimal("0.000001"), "q": Decimal("1.000001")}
    await ledger.hold("a", [of("0.0000001"), of("1.0000009", "q")], settled=True)
    assert await ledger.holds_of("a") == {"p": 0, "q": Decimal("1.000001")}
    assert await ledger.hold("b", [of("0.0000001", most="0.0000009")]) == Shortfall(purse="p", left_usd=Decimal(0))


async def test_launches_that_have_ended_wait_to_be_settled(ledger, a_launch):
    for number in (2, 1, 3, 4):
        owner = "others" if number == 4 else "tests"
        await ledger.intend(a_launch(f"launch-{number}", owner=owner, intended_at=START + timedelta(seconds=number)))
        await ledger.hold(f"launch-{number}", [of(1), of(1, "q")])
    assert await ledger.unsettled("tests") == []
    for number in (1, 2, 4):
        await ledger.advance(f"launch-{number}", LaunchState.GONE, START)
    assert [launch.launch_id for launch in await ledger.unsettled("tests")] == ["launch-1", "launch-2"]
    await ledger.hold("launch-1", [of("0.5")], settled=True)  # one that is settled in one purse is so in all
    assert await ledger.unsettled("tests") == [await ledger.get("launch-2")]
    await ledger.hold("launch-2", [], settled=True)
    assert await ledger.unsettled("tests") == []


async def test_nothing_held_needs_no_settling(ledger, a_launch):
    await ledger.intend(a_launch())
    assert await ledger.hold(a_launch().launch_id, []) is None
    await ledger.advance(a_launch().launch_id, LaunchState.GONE, START)
    assert await ledger.unsettled("tests") == []


async def test_holds_that_are_asked_for_together_see_each_other(ledger):
    await ledger.held(["p"])
    ends = await asyncio.gather(*(ledger.hold(f"launch-{number}", [of(3)]) for number in range(5)))
    assert [end is None for end in ends] == [True] * 3 + [False] * 2
    assert ends[-1] == Shortfall(purse="p", left_usd=Decimal(1))
    assert await ledger.held(["p"]) == {"p": 9}


# ---- several on one database


@both
async def test_of_many_who_want_the_last_dollar_one_gets_it(opened):
    ledgers = [opened() for _ in range(4)]
    for ledger in ledgers:
        await ledger.held(["p"])
    for rounds in range(10):
        purse = f"p{rounds}"
        asked = [ledger.hold(f"launch-{number}", [of(1, purse, 1)]) for number, ledger in enumerate(ledgers)]
        ends = await asyncio.gather(*asked)
        assert [end for end in ends if end] == [Shortfall(purse=purse, left_usd=Decimal(0))] * 3
    assert set((await ledgers[0].held([f"p{rounds}" for rounds in range(10)])).values()) == {1}


@postgres
async def test_who_asks_while_another_takes_the_last_dollar_waits_and_gets_nothing(opened):
    one, other = opened(), opened()
    await other.hold("x", [of(0)])
    wish = Wish("a", [of(10)], settled=False)
    halt, holding = await halted(one, lambda connection: purses.hold(connection, [wish])[0])
    asking = asyncio.create_task(other.hold("b", [of(1)]))
    await waits_for_a_lock(opened())
    halt.go_on.set()
    assert await holding is None
    assert await asking == Shortfall(purse="p", left_usd=Decimal(0))


@both
async def test_purses_that_overlap_are_not_taken_crosswise(opened):
    """Everybody's purse is locked early by the one, and the other has by then what the one wants next."""
    ledgers = [opened(), opened()]
    names = [f"p{number:02d}" for number in range(40)]
    await ledgers[0].hold("x", [of(0, name, 1000) for name in [*names, "total"]])
    await ledgers[1].held(names)
    failures = []
    for ledger in ledgers:
        event.listen(ledger._writer._engine, "handle_error", lambda context: failures.append(context))
    meeting = threading.Barrier(2)
    are_locked = "postgresql" in str(ledgers[0]._writer._engine.url)

    def ask(ledger, order):
        start = [ledger._do(lambda _: meeting.wait(10) and None)] if are_locked else []
        return [
            *start,
            *(ledger.hold(f"{order[0]}-{name}", [of(1, name, 1000), of(1, "total", 1000)]) for name in order),
        ]

    for _ in range(5):
        await asyncio.gather(*ask(ledgers[0], names), *ask(ledgers[1], names[:0:-1]))
    assert failures == []
    assert await ledgers[0].held(["total", "p01"]) == {"total": 79, "p01": 2}
