"""A bell: whoever waits hears the next ring, and nobody an old one."""

import asyncio

from exatlas.providers.memory.news import News


async def started(*works):
    tasks = [asyncio.ensure_future(work) for work in works]
    await asyncio.sleep(0)
    return tasks


async def test_everybody_who_waits_is_woken():
    news = News()
    tasks = await started(news.wait(), news.wait())
    assert not any(task.done() for task in tasks)
    news.ring()
    await asyncio.gather(*tasks)


async def test_an_old_ring_is_not_heard():
    news = News()
    news.ring()
    (late,) = await started(news.wait())
    assert not late.done()
    news.ring()
    await late


async def test_a_cancelled_wait_takes_nothing_from_the_others():
    news = News()
    gone, there = await started(news.wait(), news.wait())
    gone.cancel()
    await asyncio.wait([gone])
    news.ring()
    await there
