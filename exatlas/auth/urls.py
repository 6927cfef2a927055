"""URLs as signatures see them: taken apart without judgement, and spelled one way.

The spelling is ExAtlas's (v0.5.0, `ExAtlas.Auth.SignedUrl`), whose URLs are good here and ours there: the path as it
is, then the query decoded as a form, its last value for each name, sorted by name as bytes, encoded as a form again.
"""

import re
from collections.abc import Iterable, Mapping
from urllib.parse import quote_plus, unquote_to_bytes

from attrs import frozen

# RFC 3986, appendix B, with the scheme's letters as its section 3.1 has them.
_REST = rb"(?P<path>[^?#]*)(?:\?(?P<query>[^#]*))?(?P<fragment>#.*)?"
_REFERENCE = re.compile(rb"(?P<origin>(?:[A-Za-z][A-Za-z0-9+.-]*:)?(?://[^/?#]*)?)" + _REST, re.DOTALL)
_ABSOLUTE_OR_PATH = re.compile(rb"(?P<origin>(?:[A-Za-z][A-Za-z0-9+.-]*:(?://[^/?#]*)?)?)" + _REST, re.DOTALL)
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_ESCAPE = re.compile(rb"%[0-9A-Fa-f]{2}")
_NEVER_RAW = re.compile(rb"[^!$&'()*+,;=:@/%A-Za-z0-9._~\[\]-]")
_UNRESERVED = re.compile(rb"[A-Za-z0-9._~-]")
_RARELY_ESCAPED = re.compile(rb"[^\x00-\x20\x7f!#$%&'()*+,;=:@/?\[\]A-Za-z0-9._~-]| ")


@frozen
class Parts:
    """One URL, as bytes."""

    origin: bytes
    path: bytes
    query: Mapping[bytes, bytes]
    """Decoded. Where a name is repeated, its last value, as ExAtlas has it."""
    repeats: bool
    """Whether a name was repeated."""
    fragment: bytes


def split(url: str | bytes, *, received: bool = False) -> Parts | None:
    """Take a URL, or a path with its query, apart. None where it holds what no URL can: control characters.

    What was received begins with a path unless it names a scheme: a server reads `//x/y` as a path of its own, and
    whoever may see `/y` must not pass with that.
    """
    try:
        raw = url.encode("utf-8", "surrogateescape") if isinstance(url, str) else url
    except UnicodeEncodeError:
        return None
    found = (_ABSOLUTE_OR_PATH if received else _REFERENCE).fullmatch(raw)
    if found is None or _CONTROL.search(raw):
        return None
    pairs = list(_pairs(found["query"] or b""))
    query = dict(pairs)
    return Parts(found["origin"], found["path"], query, len(query) < len(pairs), found["fragment"] or b"")


def encode_query(query: Mapping[bytes, bytes]) -> bytes:
    """A form, sorted by name."""
    return "&".join(f"{quote_plus(name)}={quote_plus(query[name])}" for name in sorted(query)).encode("ascii")


def spellings(path: bytes) -> Iterable[bytes]:
    """The path as it came, and the ways in which a signer may have written the same.

    RFC 3986, section 6.2.2: escapes in capitals, none where none is needed. And, as people write paths and no client
    sends them, no escape at all for what cannot stand in a request as it is (`ü`, a space).
    """
    normal = _ESCAPE.sub(_normal, _NEVER_RAW.sub(_escaped, path))
    plain = _ESCAPE.sub(_plain, normal)
    return dict.fromkeys((path or b"/", normal or b"/", plain or b"/"))


def _pairs(query: bytes) -> Iterable[tuple[bytes, bytes]]:
    pieces = query.split(b"&")
    if not pieces[-1]:
        pieces.pop()
    for piece in pieces:
        name, _, value = piece.partition(b"=")
        yield _decoded(name), _decoded(value)


def _decoded(text: bytes) -> bytes:
    return unquote_to_bytes(text.replace(b"+", b" "))


def _escaped(found: re.Match[bytes]) -> bytes:
    return b"%%%02X" % found[0][0]


def _normal(found: re.Match[bytes]) -> bytes:
    octet = unquote_to_bytes(found[0])
    return octet if _UNRESERVED.fullmatch(octet) else found[0].upper()


def _plain(found: re.Match[bytes]) -> bytes:
    octet = unquote_to_bytes(found[0])
    return octet if _RARELY_ESCAPED.fullmatch(octet) else found[0]
