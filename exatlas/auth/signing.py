"""Signed URLs: a right to one address until a moment, for clients that cannot send headers (`<video src>`, WebSockets).

Two query parameters carry it: `exp`, the last second in which it counts, and `sig`, an HMAC-SHA256 over path, query
and `exp`. Host and scheme are not part of it, so a proxy may change them. Pure, but for the clock that is passed in.
"""

import base64
import hashlib
import hmac
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from enum import StrEnum

from exatlas.auth import urls
from exatlas.clock import SystemClock
from exatlas.errors import ValidationError, faults_of
from exatlas.protocols import Clock
from exatlas.records import checks

Secret = str | bytes
"""What both sides know: text counts as its UTF-8 bytes."""

_REAL = SystemClock()
_EXPIRY = re.compile(rb"0|[1-9][0-9]{0,14}")
_METHOD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class Verdict(StrEnum):
    """What a credential is worth. Only `GOOD` is true: ``if verify_url(...)`` reads as it should.

    The other words are for the log of whoever checks. Tell none of them to whoever is refused.
    """

    GOOD = "good"
    MISSING = "missing"
    """There is no credential at all."""
    MALFORMED = "malformed"
    """It is none that any signer makes."""
    EXPIRED = "expired"
    WRONG = "wrong"
    """It is for something else, by somebody else, or was tampered with."""
    REPLAYED = "replayed"
    """It was good for one use, and was used."""

    def __bool__(self) -> bool:
        return self is Verdict.GOOD


def sign_url(
    url: str,
    secret: Secret,
    *,
    expires_in: float | timedelta = 3600,
    method: str | None = None,
    client: str | None = None,
    clock: Clock = _REAL,
) -> str:
    """The URL with `exp` and `sig` in its query. Whoever has it may use it, as often as the machine allows.

    Without `method` and `client` it is what ExAtlas v0.5.0 makes of the same URL, secret and second, byte for byte
    from the path on. Sign a URL as it will be requested: a path is signed as it is spelled. Query parameters come back
    sorted; a name that is repeated keeps its last value only; an `exp` or `sig` that is there already is replaced.

    Args:
        secret: What the machine holds too, such as ``compute.auth.token``.
        expires_in: How long it counts (seconds or timedelta); parts of a second are rounded up.
        method: Bind it to one HTTP method: it counts for no other (but `GET` includes `HEAD`).
        client: Bind it to one client, by whatever word the machine has for it; most often its address.

    Raises:
        ValidationError: the secret is empty, the time is not positive, or the URL holds control characters.
    """
    span = checks.as_span(expires_in)
    parts = urls.split(url)
    faults = faults_of(
        {
            "url": None if parts else "expected text without control characters",
            "secret": None if secret else "expected at least one character",
            "expires_in": checks.positive_span(span),
            "method": None if method is None or _METHOD.fullmatch(method) else "expected the name of an HTTP method",
            "client": None if client is None or client else "expected None or at least one character",
        }
    )
    if faults or parts is None:
        raise ValidationError("sign_url", faults)
    exp = b"%d" % (math.floor(clock.now().timestamp()) + math.ceil(span.total_seconds()))
    query = {**_without_signature(parts), b"exp": exp}
    data = _signed(parts.path or b"/", query, (method.upper() if method else None, client))
    whole = urls.encode_query({**query, b"sig": _signature(secret, data)})
    return (parts.origin + parts.path + b"?" + whole + parts.fragment).decode("utf-8", "surrogateescape")


def verify_url(
    url: str | bytes,
    secrets: Secret | Sequence[Secret],
    *,
    method: str | None = None,
    client: str | None = None,
    leeway: float | timedelta = 0,
    clock: Clock = _REAL,
) -> Verdict:
    """Whether a URL with scheme and host, or its path with query, carries a signature that counts now.

    The query's order and encoding do not matter, nor whether the path's characters are escaped that need or may be. A
    repeated name is malformed: no signer makes one, and readers disagree about which value is meant. Takes the same
    time wherever signatures differ.

    Args:
        secrets: All that are accepted, in any order: while a secret is replaced, the old one and the new one.
        method: The request's method. None refuses every URL that is bound to one.
        client: The request's client, in the word it was signed for. None refuses every URL that is bound to one.
        leeway: How far the clocks of signer and machine may differ (seconds or timedelta).
    """
    parts = urls.split(url, received=True)
    if parts is None:
        return Verdict.MALFORMED
    exp, sig = parts.query.get(b"exp"), parts.query.get(b"sig")
    if exp is None and sig is None:
        return Verdict.MISSING
    if parts.repeats or not sig or exp is None or not _EXPIRY.fullmatch(exp):
        return Verdict.MALFORMED
    if int(exp) + leeway_s(leeway) < math.floor(clock.now().timestamp()):
        return Verdict.EXPIRED
    accepted = [secrets] if isinstance(secrets, str | bytes) else secrets
    query = {**_without_signature(parts), b"exp": exp}
    found = False
    for path in urls.spellings(parts.path):
        for binding in _bindings(method, client):
            data = _signed(path, query, binding)
            for secret in accepted:
                found |= bool(secret) and hmac.compare_digest(_signature(secret, data), sig)
    return Verdict.GOOD if found else Verdict.WRONG


def leeway_s(leeway: float | timedelta) -> float:
    """A leeway in seconds. Raises ValidationError for what is none."""
    span = checks.as_span(leeway)
    if not isinstance(span, timedelta) or span < timedelta(0):
        fault = f"leeway: expected a timedelta or number of seconds, not negative, {checks.given(leeway)}"
        raise ValidationError("verify_url", [fault])
    return span.total_seconds()


def signature_of(url: str | bytes) -> tuple[str, int]:
    """The signature of a URL that is good, and the last second in which it counts."""
    parts = urls.split(url, received=True)
    if parts is None:
        raise ValidationError("signature_of", ["url: expected one that was verified"])
    return parts.query[b"sig"].decode("ascii"), int(parts.query[b"exp"])


def _signature(secret: Secret, data: bytes) -> bytes:
    key = secret.encode("utf-8", "surrogatepass") if isinstance(secret, str) else secret
    return base64.urlsafe_b64encode(hmac.digest(key, data, hashlib.sha256)).rstrip(b"=")


def _signed(path: bytes, query: dict[bytes, bytes], binding: tuple[str | None, str | None]) -> bytes:
    """What the signature is over. Nothing that is bound can look like something that is not: a URL has no line ends."""
    method, client = binding
    lines = [path + b"?" + urls.encode_query(query)]
    lines += [b"method=" + method.encode("ascii")] if method else []
    lines += [b"client=" + client.encode("utf-8", "surrogatepass")] if client else []
    return b"\n".join(lines)


def _bindings(method: str | None, client: str | None) -> Iterator[tuple[str | None, str | None]]:
    """Every binding that the request would satisfy. The signer has chosen one of them."""
    methods: Iterable[str | None] = {None}
    if method and _METHOD.fullmatch(method):
        methods = [None, method.upper(), *(["GET"] if method.upper() == "HEAD" else [])]
    for bound in methods:
        yield bound, None
        if client:
            yield bound, client


def _without_signature(parts: urls.Parts) -> dict[bytes, bytes]:
    return {name: value for name, value in parts.query.items() if name not in (b"exp", b"sig")}
