"""Taking secrets out of what people get to read."""

import json
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote, quote_plus

REDACTED = "[redacted]"

SHORTEST_SECRET = 4
"""Shorter strings are left alone: replacing every "1" of a text hides nothing and ruins the text."""

DEEPEST = 200
"""JSON nested deeper than this is cut off, so that a hostile reply cannot exhaust the stack."""


def redact_text(text: str, secrets: Iterable[str]) -> str:
    """Replace every occurrence of every secret, also where it is percent-encoded or escaped for JSON.

    Secrets shorter than `SHORTEST_SECRET` characters are not replaced.
    """
    for spelling in _spellings(secrets):
        text = text.replace(spelling, REDACTED)
    return text


def redact_json(value: Any, secrets: Iterable[str]) -> Any:
    """Copy a decoded JSON value, with the secrets replaced in every string and every key."""
    return _copy(value, _spellings(secrets), DEEPEST)


def _spellings(secrets: Iterable[str]) -> list[str]:
    """List every form a secret may take in a text, longest first, so that one inside another leaves no remainder."""
    found: set[str] = set()
    for secret in secrets:
        if len(secret) >= SHORTEST_SECRET:
            found.add(secret)
            if not (secret.isascii() and secret.isalnum()):
                found.update(_escaped(secret))
    return sorted(found, key=len, reverse=True)


def _escaped(secret: str) -> Iterable[str]:
    """The secret as a URL, a form or JSON spells it."""
    encodable = secret.encode("utf-8", "replace").decode()
    yield quote(encodable, safe="")
    yield quote(encodable)
    yield quote_plus(encodable)
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]


def _copy(value: Any, spellings: list[str], depth: int) -> Any:
    if isinstance(value, str):
        for spelling in spellings:
            value = value.replace(spelling, REDACTED)
        return value
    if not isinstance(value, dict | list | tuple):
        return value
    if depth == 0:
        return REDACTED
    if isinstance(value, dict):
        return {_copy(key, spellings, depth): _copy(item, spellings, depth - 1) for key, item in value.items()}
    return [_copy(item, spellings, depth - 1) for item in value]
