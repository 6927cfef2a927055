"""Calls and replies as values."""

import pytest

from exatlas.errors import ReplyShapeError
from exatlas.messages import HttpCall, HttpReply, Repeat, encode

SECRET = "sk-do-not-show"


def test_a_call_shows_neither_ids_nor_secrets():
    call = HttpCall(
        provider="p",
        operation="get_compute",
        method="GET",
        url=f"https://h/v2/pods/{SECRET}",
        template="/v2/pods/{id}",
        headers={"authorization": SECRET},
        body=SECRET.encode(),
        secrets=(SECRET,),
    )
    assert SECRET not in repr(call)
    assert "/v2/pods/{id}" in repr(call)


def test_a_call_is_not_repeated_unless_it_says_so():
    call = HttpCall(provider="p", operation="o", method="GET", url="u", template="t")
    assert call.repeat is Repeat.NEVER


def test_a_reply_decodes_json_whatever_its_type_says():
    assert HttpReply(status=500, headers={"content-type": "text/plain"}, body=b'{"a": [1]}').json() == {"a": [1]}


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"a":', b"NaN", b"\xff\xfe"])
def test_a_reply_that_is_not_json_is_a_shape_error_with_status_and_path(body):
    with pytest.raises(ReplyShapeError) as caught:
        HttpReply(status=502, headers={"content-type": "text/html"}, body=body).json()
    assert (caught.value.status, caught.value.paths) == (502, ("$",))
    assert "text/html" in str(caught.value)


def test_a_reply_without_content_type_says_so():
    with pytest.raises(ReplyShapeError, match="no content type"):
        HttpReply(status=200, body=b"x").json()


def test_a_reply_hides_its_body():
    assert SECRET not in repr(HttpReply(status=200, headers={"x": SECRET}, body=SECRET.encode()))


def test_text_replaces_what_cannot_be_decoded():
    assert HttpReply(status=200, body=b"a\xffb").text == "a�b"


def test_encode_refuses_what_json_does_not_have():
    assert encode({"a": 1}) == b'{"a":1}'
    with pytest.raises(TypeError):
        encode({"a": object()})
