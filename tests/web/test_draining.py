"""What a browser is told when the cloud hands each chunk out once: through a RunPod endpoint on loopback."""

import pytest

import exatlas
from exatlas import local


@pytest.fixture
async def runtime(tap):
    async with local.serve(tap, endpoint="tap", stop_timeout=0.5) as runtime:
        yield runtime


@pytest.fixture
def make(runtime):
    return lambda: exatlas.Atlas(
        default_provider="runpod",
        base_urls={"runpod": runtime.base_url},
        credentials={"runpod": runtime.api_key},
        env={},
    )


@pytest.fixture
async def site(shell, site_of, make):
    async with site_of(shell, make) as site:
        yield site
        await site.at_rest()


async def start(site):
    return f"{site.url}/jobs/{(await site.atlas.run_job(endpoint='tap', input={'x': 1})).id}"


async def test_what_was_sent_and_not_received_is_gone_and_said_to_be(site, tap, visit):
    url = await start(site)
    page = await visit(url)
    tap.put("a", "b", "c")
    assert await page.outputs(2) == ["a", "b"]
    position = page.last_event_id
    assert (await page.data())["output"] == "c"  # it arrives, and the browser forgets it
    page.leave()
    await site.at_rest()
    again = await visit(url, position)
    tap.put("d", tap.END)
    assert await again.rest() == [
        ("gap", {"reason": "gone", "from": 2, "to": 2}),
        ("message", {"index": 3, "output": "d"}),
        ("done", {"chunks": 4}),
    ]


async def test_what_nobody_has_seen_is_kept_for_the_browser_that_comes_back(site, tap, visit):
    url = await start(site)
    page = await visit(url)
    tap.put("a")
    assert await page.outputs(1) == ["a"]
    page.leave()
    await site.at_rest()
    tap.put("b", tap.END)
    again = await visit(url, page.last_event_id)
    assert await again.rest() == [("message", {"index": 1, "output": "b"}), ("done", {"chunks": 2})]


async def test_a_gap_at_the_very_end_is_said_too(site, tap, visit):
    url = await start(site)
    page = await visit(url)
    tap.put("a", "b")
    assert await page.outputs(1) == ["a"]
    position = page.last_event_id
    tap.put(tap.END)
    assert (await page.rest())[-1] == ("done", {"chunks": 2})
    again = await visit(url, position)
    assert await again.rest() == [("gap", {"reason": "gone", "from": 1, "to": 1}), ("done", {"chunks": 2})]


async def test_a_browser_that_joins_late_is_told_what_it_has_missed(site, tap, visit):
    url = await start(site)
    early = await visit(url)
    tap.put("a", "b")
    assert await early.outputs(2) == ["a", "b"]
    late = await visit(url)
    tap.put("c", tap.END)
    assert await late.rest() == [
        ("gap", {"reason": "gone", "from": 0, "to": 1}),
        ("message", {"index": 2, "output": "c"}),
        ("done", {"chunks": 3}),
    ]
    assert (await early.rest())[-1] == ("done", {"chunks": 3})


async def test_a_position_from_before_a_restart_proves_nothing(site, site_of, shell, make, tap, visit):
    url = await start(site)
    page = await visit(url)
    tap.put("a")
    assert await page.outputs(1) == ["a"]
    page.leave()
    await site.at_rest()
    tap.put("b", tap.END)
    async with site_of(shell, make) as other:
        again = await visit(url.replace(site.url, other.url), page.last_event_id)
        assert (await again.rest())[0] == ("gap", {"reason": "unknown", "from": None, "to": None})


async def test_the_remote_job_is_cancelled_by_choice(site, tap, visit, eventually):
    url = await start(site)
    page = await visit(f"{url}?on_exit=cancel")
    tap.put("a")
    assert await page.outputs(1) == ["a"]
    page.leave()
    await site.at_rest()
    await eventually(lambda: tap.cancelled)
