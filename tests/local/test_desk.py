import asyncio
from itertools import count

import pytest

from exatlas.clock import ManualClock
from exatlas.local.desk import HOLD_S, Desk
from exatlas.providers.runpod.queue import Queue, Topic
from exatlas.providers.runpod.submission import RefusedError, Rules


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def desk(clock):
    numbers = count(1)
    return Desk(Queue(new_id=lambda: str(next(numbers)), rules=Rules(stop_repeat_s=2, stop_grace_s=None)), clock)


async def turns(number: int = 5) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


def submit(desk: Desk, **body) -> str:
    return desk.ask(Queue.submit, {"input": {}, **body})["id"]


async def test_a_waiting_worker_gets_a_job_the_moment_it_is_queued(desk):
    waiting = asyncio.create_task(desk.next_jobs("w", 2, None))
    await turns()
    assert not waiting.done()
    job = submit(desk)
    assert [taken["id"] for taken in await waiting] == [job]


async def test_a_request_for_work_ends_empty_after_the_hold(desk, clock):
    waiting = asyncio.create_task(desk.next_jobs("w", 1, None))
    await turns()
    clock.advance(HOLD_S - 0.1)
    await turns()
    assert not waiting.done()
    clock.advance(0.1)
    assert await waiting == []


async def test_a_worker_that_hangs_up_takes_nothing_with_it(desk):
    waiting = asyncio.create_task(desk.next_jobs("w", 1, None))
    await turns()
    waiting.cancel()
    await asyncio.wait([waiting])
    job = submit(desk)
    assert [taken["id"] for taken in await desk.next_jobs("v", 1, None)] == [job]


async def test_empty_hands_are_believed_once_per_request(desk):
    job = submit(desk)
    await desk.next_jobs("w", 1, False)
    waiting = asyncio.create_task(desk.next_jobs("w", 1, True))
    await turns()
    second = submit(desk)
    assert [taken["id"] for taken in await waiting] == [second]
    assert desk.ask(Queue.status, job)["status"] == "IN_PROGRESS"


async def test_one_job_goes_to_one_of_many_who_wait(desk):
    waiting = [asyncio.create_task(desk.next_jobs(f"w{number}", 1, None)) for number in range(5)]
    await turns()
    submit(desk)
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    await turns()
    assert sum(task.done() for task in waiting) == 1
    desk.close()
    assert sum(len(jobs) for jobs in await asyncio.gather(*waiting)) == 1


async def test_stop_signals_arrive_at_once_and_again_until_heeded(desk, clock):
    job = submit(desk)
    await desk.next_jobs("w", 1, None)
    waiting = asyncio.create_task(desk.next_stops("w"))
    await turns()
    desk.ask(Queue.cancel, job)
    assert await waiting == [job]
    again = asyncio.create_task(desk.next_stops("w"))
    await turns()
    assert not again.done()
    clock.advance(2)
    assert await again == [job]


async def test_waiting_for_a_job_that_is_forgotten_raises(desk, clock):
    job = submit(desk, policy={"ttl": 10_000})
    timekeeper = asyncio.create_task(desk.keep_time(lambda _: None))
    waiting = asyncio.create_task(desk.until(Topic("job", job), lambda: desk.ask(Queue.has_news, job), 60))
    await turns()
    clock.advance(10)
    with pytest.raises(RefusedError, match="job not found"):
        await waiting
    desk.close()
    await timekeeper


async def test_time_passes_in_the_queue_by_itself(desk, clock):
    handed_on = []
    timekeeper = asyncio.create_task(desk.keep_time(handed_on.extend))
    job = submit(desk, policy={"executionTimeout": 5_000}, webhook="https://a.example/")
    await desk.next_jobs("w", 1, None)
    await turns()
    clock.advance(5)
    await turns()
    assert [delivery.body["status"] for delivery in handed_on] == ["TIMED_OUT"]
    desk.ask(Queue.delivery_ended, handed_on.pop(), accepted=False)
    await turns()
    assert handed_on == []
    clock.advance(10)
    await turns()
    assert [(delivery.job_id, delivery.attempt) for delivery in handed_on] == [(job, 2)]
    desk.close()
    await timekeeper


async def test_closing_sends_everybody_home(desk, clock):
    job = submit(desk)
    await desk.next_jobs("w", 1, None)
    waiting = [
        asyncio.create_task(desk.next_jobs("w", 1, None)),
        asyncio.create_task(desk.next_stops("w")),
        asyncio.create_task(desk.until(Topic("job", job), lambda: False, 60)),
        asyncio.create_task(desk.change(Topic("stuck", "w"))),
        asyncio.create_task(desk.keep_time(lambda _: None)),
    ]
    await turns()
    desk.close()
    assert await asyncio.gather(*waiting) == [[], [], None, None, None]
    await desk.change(Topic("stuck", "w"))
    assert await desk.next_jobs("w", 1, None) == []
    await turns()
    assert clock.sleepers == 0


async def test_nothing_is_left_of_a_wait_that_is_over(desk, clock):
    waiting = asyncio.create_task(desk.next_jobs("w", 1, None))
    await turns()
    assert clock.sleepers == 1
    waiting.cancel()
    await asyncio.wait([waiting])
    await turns()
    assert clock.sleepers == 0
    assert desk._waiting == {}
