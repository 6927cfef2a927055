"""An hour of a cloud in no time: the same seed gives the same run, to the last call and the last cent."""

import pytest

from exatlas import Atlas, ManualClock
from exatlas.errors import AtlasError
from exatlas.fakes import FaultPlan
from exatlas.providers.runpod.fake import FakeRunPod
from exatlas.transport.inprocess import InProcessTransport

HOUR_S = 3600.0
POLL_S = 30.0


async def hour(seed: int) -> tuple[FakeRunPod, list[str]]:
    """A machine boots for five minutes, is polled, stopped, started, and terminated when the hour is over."""
    clock = ManualClock(auto=True)
    cloud = FakeRunPod(clock, boot_s=300, faults=FaultPlan(seed=seed, rate=0.2))
    transport = InProcessTransport(cloud.handle)
    seen: list[str] = []
    async with Atlas(
        "runpod", credentials={"runpod": cloud.api_key}, transport=transport, clock=clock, env={}
    ) as atlas:

        async def until(status: str, patience_s: float) -> None:
            ends = clock.monotonic() + patience_s
            while clock.monotonic() < ends:
                word = await tried(atlas.get_compute(compute))
                seen.append(word)
                if word == status:
                    return
                await clock.sleep(POLL_S)

        compute = await atlas.spawn_compute(gpu="l4", image="app:1")
        await until("running", 900)
        seen.append(await tried(atlas.stop(compute)))
        await until("stopped", 300)
        seen.append(await tried(atlas.start(compute)))
        await until("running", 900)
        while clock.monotonic() < HOUR_S:
            seen.append(await tried(atlas.get_compute(compute)))
            await clock.sleep(POLL_S)
        await atlas.terminate(compute)
    assert clock.monotonic() >= HOUR_S
    return cloud, seen


async def tried(work) -> str:
    """What came of a call, in a word."""
    try:
        compute = await work
    except AtlasError as error:
        return str(error.kind)
    return "done" if compute is None else str(compute.status)


@pytest.fixture(autouse=True)
def _same_luck(monkeypatch):
    """The client spreads its retries at random; here, every run has the same luck."""
    monkeypatch.setattr("random.random", lambda: 0.5)


async def test_a_seed_gives_the_same_hour_twice_and_another_seed_another_hour():
    (first, seen), (again, seen_again), (other, seen_other) = [await hour(seed) for seed in (7, 7, 8)]
    assert len(first.faults.hits) > 10
    assert first.faults.hits == again.faults.hits
    assert first.calls == again.calls
    assert bill(first) == bill(again)
    assert seen == seen_again
    assert other.faults.hits != first.faults.hits
    assert (other.calls, seen_other) != (first.calls, seen)
    for cloud in (first, again, other):
        assert cloud.rented() == []


def bill(cloud: FakeRunPod) -> list[tuple]:
    """The invoice, without what tells two launches apart."""
    return [(line.compute_id, line.seconds, line.usd, line.status, line.open) for line in cloud.invoice()]
