"""URLs taken apart and spelled one way."""

import pytest

from exatlas.auth.urls import encode_query, spellings, split


@pytest.mark.parametrize(
    ("url", "received", "origin", "path", "fragment"),
    [
        ("https://x.test/a?b#c", False, b"https://x.test", b"/a", b"#c"),
        ("https://x.test", False, b"https://x.test", b"", b""),
        ("//x.test/a", False, b"//x.test", b"/a", b""),
        ("//x.test/a", True, b"", b"//x.test/a", b""),
        ("https://x.test/a", True, b"https://x.test", b"/a", b""),
        ("/a:b", True, b"", b"/a:b", b""),
        ("/a#b?c", True, b"", b"/a", b"#b?c"),
        ("a/b", False, b"", b"a/b", b""),
        ("", False, b"", b"", b""),
        ("/\udcff", True, b"", b"/\xff", b""),
    ],
)
def test_the_parts(url, received, origin, path, fragment):
    parts = split(url, received=received)
    assert (parts.origin, parts.path, parts.fragment) == (origin, path, fragment)


@pytest.mark.parametrize("url", ["/a\0", "/\x7f", "/a?b=\n", b"/\r", "/\ud800"])
def test_what_no_url_can_hold(url):
    assert split(url) is None


@pytest.mark.parametrize(
    ("query", "found", "repeats"),
    [
        ("", {}, False),
        ("a=1&b=2", {b"a": b"1", b"b": b"2"}, False),
        ("a=1&a=2", {b"a": b"2"}, True),
        ("a=1&%61=2", {b"a": b"2"}, True),
        ("a", {b"a": b""}, False),
        ("a=b=c", {b"a": b"b=c"}, False),
        ("a+b=%2B+%20", {b"a b": b"+  "}, False),
        ("a=%zz%4", {b"a": b"%zz%4"}, False),
        ("&a=1&", {b"": b"", b"a": b"1"}, False),
        ("&&", {b"": b""}, True),
    ],
)
def test_the_query(query, found, repeats):
    parts = split(f"/?{query}")
    assert (parts.query, parts.repeats) == (found, repeats)


def test_a_query_is_sorted_by_bytes():
    assert encode_query({b"b": b"1", b"a": b" /", b"\xc3\xbc": b"~", b"B": b""}) == b"B=&a=+%2F&b=1&%C3%BC=~"


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (b"", [b"/"]),
        (b"/a/b", [b"/a/b"]),
        (b"/a;b=(c)@,!$&'*+:", [b"/a;b=(c)@,!$&'*+:"]),
        (b"/%7ea", [b"/%7ea", b"/~a"]),
        (b"/%2f", [b"/%2f", b"/%2F"]),
        (b"/%C3%BC", [b"/%C3%BC", b"/\xc3\xbc"]),
        (b"/\xc3\xbc", [b"/\xc3\xbc", b"/%C3%BC"]),
        (b"/a%20b", [b"/a%20b", b"/a b"]),
        (b"/%3f%23%25%2e", [b"/%3f%23%25%2e", b"/%3F%23%25."]),
        (b"/%0a", [b"/%0a", b"/%0A"]),
    ],
)
def test_the_spellings_of_a_path_are_of_one_path(path, found):
    assert list(spellings(path)) == found
