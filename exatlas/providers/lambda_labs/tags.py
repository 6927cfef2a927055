"""What a machine carries about itself in its tags, because Lambda keeps neither a creation time nor image nor ports.

Keys match `[a-z][a-z0-9-:]+` and have at most 55 characters, values at most 128; which characters a value may have is
not documented, so values stay within what image references need. A longer value goes on in `key-2`, `key-3` ...

Source: `RequestedTagEntry` in https://docs.lambda.ai/api/cloud, read 2026-11-23.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from exatlas.records.compute import PortSpec

PREFIX = "exatlas:"
LAUNCH, OWNER, IMAGE, PORTS, CREATED = (f"{PREFIX}{word}" for word in ("launch", "owner", "image", "ports", "created"))
LONGEST_VALUE = 128

_LETTERS = {"http": "h", "tcp": "t", "udp": "u"}
_PROTOCOLS = {letter: protocol for protocol, letter in _LETTERS.items()}


def written(values: Mapping[str, str]) -> list[dict[str, str]]:
    """The values as tags, in pieces where they are too long; empty ones are left out."""
    return [{"key": key, "value": piece} for name, value in values.items() for key, piece in _pieces(name, value)]


def _pieces(name: str, value: str) -> Iterable[tuple[str, str]]:
    for number, start in enumerate(range(0, len(value), LONGEST_VALUE), 1):
        yield name if number == 1 else f"{name}-{number}", value[start : start + LONGEST_VALUE]


def read(tags: Mapping[str, str], name: str) -> str | None:
    """A value put together again, or None."""
    if name not in tags:
        return None
    pieces, number = [tags[name]], 2
    while (more := tags.get(f"{name}-{number}")) is not None:
        pieces.append(more)
        number += 1
    return "".join(pieces)


def ports_text(ports: Iterable[PortSpec]) -> str:
    """Ports as one value: `8000h,22t`."""
    return ",".join(f"{spec.port}{_LETTERS[spec.protocol]}" for spec in ports)


def ports_of(text: str | None) -> list[tuple[int, str]]:
    """Numbers and protocols of such a value; what is no port of ours is left out, since anybody may write tags."""
    words = (text or "").split(",")
    return [
        (int(word[:-1]), _PROTOCOLS[word[-1]])
        for word in words
        if word[:-1].isascii() and word[:-1].isdecimal() and len(word) <= 6 and word[-1] in _PROTOCOLS
    ]


def created_at(text: str | None) -> datetime | None:
    """The instant of a number of seconds since 1970, or None for anything else."""
    if not text or not text.isascii() or not text.isdecimal() or len(text) > 11:
        return None
    return datetime.fromtimestamp(int(text), UTC)
