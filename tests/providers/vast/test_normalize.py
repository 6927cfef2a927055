"""Every reply we know of, read; and every reply we cannot read, refused with its path."""

from typing import Any

import pytest

from exatlas.errors import ReplyShapeError
from exatlas.messages import HttpReply
from exatlas.providers.vast import normalize
from exatlas.records.serial import unstructure


def assert_expected(record: Any, expect: dict[str, Any]) -> None:
    plain = unstructure(record)
    assert {key: plain[key] for key in expect} == expect


def test_an_instance_reads_as_expected(instance_sample):
    item = normalize.instance(instance_sample.reply)
    assert_expected(normalize.compute(item, "vast"), instance_sample.expect)


def test_an_instance_keeps_its_body_without_secrets(instance_sample):
    compute = normalize.compute(normalize.instance(instance_sample.reply), "vast")
    assert set(compute.raw) == set(instance_sample.body["instances"])
    assert "llama-secret" not in f"{compute.raw} {compute!r}"


def test_a_broken_instance_names_the_path(broken_instance_sample):
    with pytest.raises(ReplyShapeError) as caught:
        normalize.compute(normalize.instance(broken_instance_sample.reply), "vast")
    assert list(caught.value.paths) == [broken_instance_sample.expect["path"]]


def test_a_page_gives_instances_and_the_next_token(page_sample):
    found, token = normalize.page(page_sample.reply, "vast")
    assert [item.id for item in found] == page_sample.expect["ids"]
    assert token == page_sample.expect["next"]


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b"{}", "$.instances"),
        (b"[]", "$"),
        (b'{"instances":{}}', "$.instances"),
        (b'{"instances":[{"id":1},{"id":"2"}]}', "$.instances[1].id"),
        (b'{"instances":[null]}', "$.instances[0]"),
        (b'{"instances":[],"next_token":7}', "$.next_token"),
    ],
)
def test_a_broken_page_names_the_path(body, path):
    with pytest.raises(ReplyShapeError) as caught:
        normalize.page(HttpReply(status=200, body=body), "vast")
    assert list(caught.value.paths) == [path]


def test_an_instance_that_is_gone_is_null():
    assert normalize.instance(HttpReply(status=200, body=b'{"instances":null}')) is None


def test_offers_read_as_expected(offers_sample):
    found = normalize.offers(offers_sample.reply)
    assert len(found) == len(offers_sample.expect)
    for offer, expect in zip(found, offers_sample.expect, strict=True):
        shown = {key: getattr(offer, key) for key in expect}
        assert {
            key: str(value) if "usd" in key and value is not None else value for key, value in shown.items()
        } == expect


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b"{}", "$.offers"),
        (b'{"offers":{"id":1}}', "$.offers"),
        (b'{"offers":[{"id":"x","gpu_name":"X","dph_base":1,"cpu_cores":1}]}', "$.offers[0].id"),
    ],
)
def test_offers_that_cannot_be_read_name_the_path(body, path):
    with pytest.raises(ReplyShapeError) as caught:
        normalize.offers(HttpReply(status=200, body=body))
    assert list(caught.value.paths) == [path]


@pytest.mark.parametrize("body", [b"{}", b'{"success":true}', b'{"new_contract":null}'])
def test_a_create_without_a_contract_is_unreadable(body):
    with pytest.raises(ReplyShapeError):
        normalize.contract(HttpReply(status=200, body=body))


def test_a_create_tells_its_contract():
    assert normalize.contract(HttpReply(status=200, body=b'{"new_contract":7654321}')) == "7654321"


@pytest.mark.parametrize(
    ("raw", "contract"),
    [({"new_contract": 7}, "7"), ({"new_contract": True}, None), ({}, None), ("text", None), (None, None)],
)
def test_a_refusal_may_tell_a_contract(raw, contract):
    assert normalize.contract_in(raw) == contract
