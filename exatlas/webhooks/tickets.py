"""Tokens for callback URLs: ``<expiry>.<nonce>.<signature>``, for one submission to one endpoint of one provider."""

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Self
from urllib.parse import quote, unquote

import orjson
from attrs import frozen

NONCE_BYTES = 16
PURPOSE = "exatlas webhook 1"
"""Part of what is signed, so that no other use of the same secret gives a valid token."""

_TOKEN = re.compile(r"([0-9a-f]{1,12})\.([A-Za-z0-9_-]{22})\.([A-Za-z0-9_-]{43})", re.ASCII)


@frozen(kw_only=True)
class Ticket:
    """What a callback URL stands for."""

    provider: str
    endpoint: str
    nonce: str
    """Different for each submission."""
    expires: int
    """Seconds since 1970 after which it is worth nothing."""

    @classmethod
    def new(
        cls, provider: str, endpoint: str, expires: datetime, *, entropy: Callable[[int], bytes] = secrets.token_bytes
    ) -> Self:
        """A ticket for one submission."""
        return cls(
            provider=provider, endpoint=endpoint, nonce=_text(entropy(NONCE_BYTES)), expires=int(expires.timestamp())
        )

    def token(self, secret: bytes) -> str:
        """The proof, for the end of the URL."""
        return f"{self.expires:x}.{self.nonce}.{_signature(self, secret)}"

    def path(self, secret: bytes) -> str:
        """What follows the base URL: ``/provider/endpoint/token``."""
        return f"/{quote(self.provider, safe='')}/{quote(self.endpoint, safe='')}/{self.token(secret)}"


def read(keys: Sequence[bytes], provider: str, endpoint: str, token: str) -> Ticket | None:
    """The ticket that a token proves under any of the keys, expired or not; None for a token that proves nothing.

    Every key is tried, and each comparison takes the same time wherever the signatures differ.
    """
    found = _TOKEN.fullmatch(token)
    if found is None:
        return None
    ticket = Ticket(provider=provider, endpoint=endpoint, nonce=found[2], expires=int(found[1], 16))
    given = found[3].encode("ascii")
    matches = [hmac.compare_digest(_signature(ticket, key).encode("ascii"), given) for key in keys]
    # Written as it was made: hexadecimal with zeros in front would be a second spelling of the same ticket.
    return ticket if any(matches) and found[1] == f"{ticket.expires:x}" else None


def split(path: str) -> tuple[str, str, str] | None:
    """Provider, endpoint and token of what follows the base URL."""
    parts = path.split("/")
    if len(parts) != 4 or parts[0]:
        return None
    return unquote(parts[1]), unquote(parts[2]), parts[3]


def _signature(ticket: Ticket, secret: bytes) -> str:
    # JSON, so that no two tickets give the same text.
    said = orjson.dumps([PURPOSE, ticket.provider, ticket.endpoint, ticket.expires, ticket.nonce])
    return _text(hmac.digest(secret, said, hashlib.sha256))


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")
