"""Marks on machines, and creates that are sent once."""

import pytest
from hypothesis import given, strategies as st

from exatlas.client.connection import OwnTransport
from exatlas.clock import ManualClock
from exatlas.errors import (
    ForbiddenError,
    NoCapacityError,
    OutcomeUnknownError,
    ProviderBrokenError,
    RateLimitedError,
    ReplyShapeError,
    TransportError,
    TransportTimeoutError,
)
from exatlas.launch import LOOKS_S, create_once, launch_of, mark_name, new_launch_id
from exatlas.protocols import Context
from exatlas.records.compute import Compute, ComputeStatus

LAUNCH = "0123456789ab"
MACHINE = Compute(id="m", provider="p", status=ComputeStatus.RUNNING, launch_id=LAUNCH)


def test_ids_are_twelve_hex_digits_and_do_not_repeat():
    ids = {new_launch_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(len(found) == 12 and int(found, 16) >= 0 and found == found.lower() for found in ids)


@given(name=st.one_of(st.none(), st.text()), launch=st.integers(0, 2**48 - 1).map(lambda number: f"{number:012x}"))
def test_a_mark_is_found_again_on_any_name(name, launch):
    assert launch_of(mark_name(name, launch)) == launch


@pytest.mark.parametrize(
    "name", [None, "", "exatlas", LAUNCH, f"x-{LAUNCH[:-1]}", f"x-{LAUNCH.upper()}", f"x-{LAUNCH}-y", f"x_{LAUNCH}"]
)
def test_other_names_carry_no_mark(name):
    assert launch_of(name) is None


def test_a_machine_without_a_name_is_called_after_the_library():
    assert mark_name(None, LAUNCH) == f"exatlas-{LAUNCH}"


class World:
    """A create and a search that do as they are told."""

    def __init__(self, create, *finds):
        self.clock = ManualClock(auto=True)
        self.ctx = Context(provider="p", transport=OwnTransport(), clock=self.clock, launch_id=LAUNCH)
        self.creates = 0
        self.looks = []
        self._create, self._finds = create, list(finds)

    async def run(self, **options):
        return await create_once(self.create, self.find, self.ctx, **options)

    async def create(self):
        self.creates += 1
        return _do(self._create)

    async def find(self):
        self.looks.append(self.clock.monotonic())
        return _do(self._finds.pop(0)) if self._finds else None


def _do(what):
    if isinstance(what, Exception):
        raise what
    return what


async def test_a_clear_answer_needs_no_look():
    world = World(MACHINE)
    assert await world.run() is MACHINE
    assert world.looks == []


@pytest.mark.parametrize(
    "error",
    [
        NoCapacityError("full"),
        RateLimitedError("slow down"),
        ForbiddenError("no"),
        TransportError("refused", delivered=False),
        ValueError("a bug"),
    ],
)
async def test_a_clear_no_passes_at_once(error):
    world = World(error)
    with pytest.raises(type(error)) as caught:
        await world.run()
    assert caught.value is error
    assert (world.creates, world.looks) == (1, [])


AMBIGUOUS = [
    TransportError("broken pipe"),
    TransportError("cut", delivered=True),
    TransportTimeoutError("slow"),
    ProviderBrokenError("oops", status=502, request_id="r-1"),
    ReplyShapeError("what", paths=["$"]),
]


@pytest.mark.parametrize("error", AMBIGUOUS, ids=lambda error: type(error).__name__)
async def test_a_lost_answer_is_looked_for_over_the_listing_lag(error):
    world = World(error, None, None, MACHINE)
    assert await world.run() is MACHINE
    assert world.creates == 1
    assert world.looks == [0.5, 1.5, 3.5]


@pytest.mark.parametrize("error", AMBIGUOUS, ids=lambda error: type(error).__name__)
async def test_what_is_never_found_is_unknown(error):
    world = World(error)
    with pytest.raises(OutcomeUnknownError, match=LAUNCH) as caught:
        await world.run()
    assert world.creates == 1
    assert len(world.looks) == len(LOOKS_S)
    assert world.clock.monotonic() == sum(LOOKS_S)
    unknown = caught.value
    assert unknown.__cause__ is error
    assert (unknown.launch_id, unknown.provider, unknown.operation) == (LAUNCH, "p", "spawn_compute")
    assert (unknown.status, unknown.request_id) == (error.status, error.request_id)
    assert not unknown.retryable


async def test_a_failed_look_is_not_an_answer():
    world = World(TransportError("cut"), TransportError("cut again"), ProviderBrokenError("x"), MACHINE)
    assert await world.run() is MACHINE


async def test_failed_looks_are_told_in_the_end():
    error = TransportError("cut")
    with pytest.raises(OutcomeUnknownError):
        await World(error, ForbiddenError("not yours")).run(looks=(1,))
    assert any("not yours" in note for note in error.__notes__)


async def test_the_looks_can_be_chosen():
    world = World(TransportError("cut"))
    with pytest.raises(OutcomeUnknownError, match="within 3 s"):
        await world.run(looks=(1, 2))
    assert world.looks == [1, 3]
