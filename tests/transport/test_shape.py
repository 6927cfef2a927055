from datetime import UTC, datetime
from decimal import Decimal

import pytest

from exatlas.errors import ErrorKind, ReplyShapeError
from exatlas.transport.shape import Fields, objects_of

MOMENT = datetime(2026, 6, 1, 12, 2, 3, tzinfo=UTC)

GOOD = [
    ("text", "a", "a"),
    ("text", "", ""),
    ("required_text", "a", "a"),
    ("whole", 3, 3),
    ("whole", 3.0, 3),
    ("whole", -(2**53), -(2**53)),
    ("number", 3, 3.0),
    ("number", 0.5, 0.5),
    ("decimal", 0.1, Decimal("0.1")),
    ("decimal", 3, Decimal(3)),
    ("flag", True, True),
    ("flag", False, False),
    ("instant", "2026-06-01T12:02:03Z", MOMENT),
    ("instant", "2026-06-01t12:02:03z", MOMENT),
    ("instant", "2026-06-01 12:02:03+00:00", MOMENT),
    ("instant", "2026-06-01T14:02:03+02:00", MOMENT),
    ("instant", "2026-06-01T12:02:03", MOMENT),
    ("instant", "2026-06-01T12:02:03.5Z", MOMENT.replace(microsecond=500_000)),
    ("instant", "2026-06-01T12:02:03.123456789Z", MOMENT.replace(microsecond=123_456)),
    ("instant", "", None),
    ("texts", ["a", "b"], ("a", "b")),
    ("texts", [], ()),
    ("any", [1, None], [1, None]),
]

BAD = [
    *(("text", value) for value in (3, True, 1.5, [], {})),
    *(("required_text", value) for value in (3, None, "", ["a"])),
    *(("whole", value) for value in (True, "3", 3.5, float("inf"), [], {})),
    *(("number", value) for value in (True, "3", "", [], {})),
    *(("decimal", value) for value in (False, "0.1", [])),
    *(("flag", value) for value in (0, 1, "true", "")),
    *(
        ("instant", value)
        for value in (1767225600, "yesterday", "2026-06-01", "2026-13-01T00:00:00Z", "20260601T120203Z")
    ),
    *(("instant", value) for value in ("0001-01-01T00:00:00+14:00", "\u0662026-06-01T12:02:03Z", True)),
    *(("object", value) for value in ([], "{}", 1, False)),
    *(("objects", value) for value in ({}, "[]", 0, False)),
    *(("required_objects", value) for value in ({}, None)),
    *(("texts", value) for value in ("abc", {}, 3)),
]


@pytest.mark.parametrize(("reader", "value", "read"), GOOD)
def test_what_is_right_is_read(reader, value, read):
    found = getattr(Fields({"key": value}), reader)("key")
    assert found == read
    assert type(found) is type(read)


@pytest.mark.parametrize(("reader", "value"), BAD)
def test_what_is_wrong_is_a_fault_with_its_path(reader, value):
    with pytest.raises(ReplyShapeError, match=r"\$\.key") as caught:
        getattr(Fields({"key": value}), reader)("key")
    assert caught.value.paths == ("$.key",)
    assert caught.value.kind is ErrorKind.PROVIDER


@pytest.mark.parametrize("reader", ["text", "whole", "number", "decimal", "flag", "instant", "object", "any"])
@pytest.mark.parametrize("raw", [{}, {"key": None}])
def test_missing_and_null_are_none(reader, raw):
    assert getattr(Fields(raw), reader)("key") is None


@pytest.mark.parametrize("raw", [{}, {"key": None}])
def test_missing_and_null_lists_are_empty(raw):
    assert Fields(raw).objects("key") == []
    assert Fields(raw).texts("key") == ()


@pytest.mark.parametrize(("raw", "said"), [({}, "nothing"), ({"key": None}, "null"), ({"key": 5}, "a number")])
def test_a_fault_says_what_is_there(raw, said):
    with pytest.raises(ReplyShapeError, match=f"the reply has {said} at"):
        Fields(raw).required_text("key")


def test_times_come_as_utc():
    instant = Fields({"at": "2026-06-01T14:02:03+02:00"}).instant("at")
    assert instant is not None
    assert instant.tzinfo is UTC


def test_paths_go_all_the_way_down():
    reply = Fields({"pods": [{}, {}, {}, {"gpu": {"id": 7}, "ports": ["a", 8]}]})
    pod = reply.objects("pods")[3]
    gpu = pod.object("gpu")
    assert gpu is not None
    assert gpu.path == "$.pods[3].gpu"
    assert gpu.raw == {"id": 7}
    for read, path in [
        (lambda: gpu.text("id"), "$.pods[3].gpu.id"),
        (lambda: pod.texts("ports"), "$.pods[3].ports[1]"),
        (lambda: gpu.required_text("no such"), "$.pods[3].gpu['no such']"),
    ]:
        with pytest.raises(ReplyShapeError) as caught:
            read()
        assert caught.value.paths == (path,)


@pytest.mark.parametrize(("items", "path"), [([{}, 3], "$.key[1]"), ([None], "$.key[0]"), ([[]], "$.key[0]")])
def test_every_item_of_a_list_of_objects_is_one(items, path):
    with pytest.raises(ReplyShapeError) as caught:
        Fields({"key": items}).objects("key")
    assert caught.value.paths == (path,)


@pytest.mark.parametrize("value", [[], "a", None, 3])
def test_the_whole_reply_must_be_an_object(value):
    with pytest.raises(ReplyShapeError) as caught:
        Fields(value)
    assert caught.value.paths == ("$",)


def test_a_bare_list():
    first, second = objects_of([{"a": 1}, {"a": "x"}])
    assert first.whole("a") == 1
    with pytest.raises(ReplyShapeError) as caught:
        second.whole("a")
    assert caught.value.paths == ("$[1].a",)
    for value, path in [({}, "$"), ([1], "$[0]")]:
        with pytest.raises(ReplyShapeError) as caught:
            objects_of(value)
        assert caught.value.paths == (path,)


def test_a_fault_never_shows_the_value():
    with pytest.raises(ReplyShapeError) as caught:
        Fields({"cost": "sk-very-secret"}).number("cost")
    assert "secret" not in str(caught.value)
