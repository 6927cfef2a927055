"""Every reply we know of, read; and every reply we cannot read, refused with its path."""

from typing import Any

import attrs
import orjson
import pytest

from exatlas.errors import ReplyShapeError
from exatlas.messages import HttpReply
from exatlas.providers.lambda_labs import filesystems, normalize
from exatlas.records.serial import unstructure


def assert_expected(record: Any, expect: dict[str, Any]) -> None:
    assert {key: subset(record[key], value) for key, value in expect.items()} == expect


def subset(value: Any, like: Any) -> Any:
    """The part of a nested record that the expectation speaks of."""
    if isinstance(value, dict) and isinstance(like, dict) and like:
        return {key: value.get(key) for key in like}
    if isinstance(value, list) and isinstance(like, list) and len(value) == len(like):
        return [subset(item, wanted) for item, wanted in zip(value, like, strict=True)]
    return value


def test_a_machine_reads_as_expected(instance_sample):
    compute = normalize.compute(normalize.data(instance_sample.reply), "lambda_labs")
    assert_expected(unstructure(compute), instance_sample.expect)


def test_a_machine_keeps_its_body_without_its_secrets(instance_sample):
    compute = normalize.compute(normalize.data(instance_sample.reply), "lambda_labs")
    assert set(compute.raw) == set(instance_sample.body["data"])
    assert "03b7d30d9d3e4d8fa41657bc0d478c1b" not in f"{compute!r} {compute.raw}"


def test_a_broken_machine_names_the_path(broken_instance_sample):
    with pytest.raises(ReplyShapeError) as caught:
        normalize.compute(normalize.data(broken_instance_sample.reply), "lambda_labs")
    assert list(caught.value.paths) == [broken_instance_sample.expect["path"]]


def test_types_read_as_expected(instance_types_sample):
    types = normalize.instance_types(instance_types_sample.reply)
    expect = instance_types_sample.expect
    assert len(types) == len(expect["types"])
    for found, wanted in zip(types, expect["types"], strict=True):
        plain = attrs.asdict(found) | {"usd_per_hour": str(found.usd_per_hour), "regions": list(found.regions)}
        assert_expected(plain, wanted)
    offered = normalize.gpu_types(types, "lambda_labs")
    assert len(offered) == len(expect["gpus"])
    for record, wanted in zip(offered, expect["gpus"], strict=True):
        assert_expected(unstructure(record), wanted)


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"data": []}, "$.data"),
        ({}, "$.data"),
        ({"data": {"x": []}}, "$.data.x"),
        ({"data": {"x": {}}}, "$.data.x"),
        (
            {"data": {"x": {"instance_type": {"name": "x"}, "regions_with_capacity_available": []}}},
            "$.data.x.instance_type.specs",
        ),
        ({"data": {"x": {"instance_type": {"name": "x"}}}}, "$.data.x.regions_with_capacity_available"),
    ],
)
def test_a_broken_catalogue_names_the_path(body, path):
    with pytest.raises(ReplyShapeError) as caught:
        normalize.instance_types(HttpReply(status=200, body=orjson.dumps(body)))
    assert list(caught.value.paths) == [path]


@pytest.mark.parametrize("ids", [None, [], ["a", "b"], [""], [7], "a", {"a": 1}])
def test_a_launch_must_give_one_id(ids):
    with pytest.raises(ReplyShapeError) as caught:
        normalize.launched(HttpReply(status=200, body=orjson.dumps({"data": {"instance_ids": ids}})))
    assert caught.value.paths[0].startswith("$.data.instance_ids")


@pytest.mark.parametrize("body", [{"data": {}}, {"data": None}, {}, []])
def test_a_list_must_be_there(body):
    with pytest.raises(ReplyShapeError):
        normalize.rows(HttpReply(status=200, body=orjson.dumps(body)))


def test_a_filesystem_reads_as_expected(filesystem_sample):
    found = filesystems._read(normalize.data(filesystem_sample.reply))
    assert_expected(unstructure(found), filesystem_sample.expect)
