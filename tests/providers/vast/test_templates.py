"""A template asks something of the machine, and that is looked for."""

import pytest

from exatlas.errors import NoCapacityError, ReplyShapeError
from exatlas.fakes.replies import json_reply
from exatlas.providers.vast import instances, templates
from exatlas.providers.vast.fake import FakeVast
from exatlas.providers.vast.templates import NONE, Template
from exatlas.records.compute import ComputeRequest

HASH = "4e17788f74f075dd9aab7d0d4427968f"


def request(**fields):
    return ComputeRequest(**{"image": None, "template_id": HASH, "gpu": "rtx_4090", "cloud_type": "any", **fields})


async def spawned(fake: FakeVast, ctx, **fields):
    return fake.instance((await instances.spawn(request(**fields), ctx)).id)


async def test_a_template_brings_image_disk_and_filters(fake, ctx):
    fake.templates[HASH] = {
        "image": "from-template",
        "recommended_disk_space": 72,
        "extra_filters": {"host_id": {"eq": 427}},
    }
    made = await spawned(fake, ctx)
    assert (made.body["image"], made.disk, made.host.machine_id) == ("from-template", 72, 4270)
    assert "runtype" not in made.body
    assert fake.calls[0] == ("GET", "/api/v0/template/")


async def test_the_price_is_true_for_the_disk_of_the_template(fake, ctx, clock):
    fake.templates[HASH] = {"image": "img", "recommended_disk_space": 72}
    compute = await instances.spawn(request(), ctx)
    clock.advance(3600)
    assert round(fake.invoice()[0].usd, 6) == compute.cost_usd_per_hour


async def test_a_disk_of_ones_own_wins(fake, ctx):
    fake.templates[HASH] = {"image": "img", "recommended_disk_space": 72}
    assert (await spawned(fake, ctx, container_disk_gb=10)).disk == 10


async def test_a_template_that_asks_too_much(fake, ctx):
    fake.templates[HASH] = {"image": "img", "extra_filters": {"cuda_max_good": {"gte": 99}}}
    with pytest.raises(NoCapacityError):
        await instances.spawn(request(), ctx)


@pytest.mark.parametrize("status", [401, 403])
async def test_a_key_that_may_not_read_templates_rents_all_the_same(fake, ctx, status):
    answer = fake.answer

    async def deny(call):
        if "template" in call.url:
            return json_reply(status, {"success": False, "error": "not_authorized", "msg": "no"})
        return await answer(call)

    fake.answer = deny
    assert (await spawned(fake, ctx)).id


async def test_a_template_nobody_has_is_for_the_create_to_judge(fake, ctx):
    assert await templates.read(HASH, ctx) == NONE
    assert (await spawned(fake, ctx)).id


async def test_no_template_costs_no_request(fake, ctx):
    assert await templates.read(None, ctx) is NONE
    assert fake.calls == []


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ({}, Template()),
        (
            {"extra_filters": {"a": {"eq": 1}}, "recommended_disk_space": 16},
            Template(filters={"a": {"eq": 1}}, disk_gb=16.0),
        ),
        ({"extra_filters": '{"a": {"eq": 1}}'}, Template(filters={"a": {"eq": 1}})),
        ({"extra_filters": "a=1"}, Template()),
        ({"extra_filters": "[1]"}, Template()),
        ({"extra_filters": {"a": 1}}, Template()),
        ({"extra_filters": None}, Template()),
    ],
)
def test_what_a_template_asks_for(row, found):
    assert templates.first(json_reply(200, {"templates": [row, {"extra_filters": {"b": {"eq": 2}}}]})) == found


def test_a_template_with_a_disk_that_is_no_number():
    with pytest.raises(ReplyShapeError):
        templates.first(json_reply(200, {"templates": [{"recommended_disk_space": "big"}]}))
