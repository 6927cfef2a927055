"""What goes into the Authorization header. Fly has two families of tokens, and each has a scheme of its own.

A token as people hold it may be several, joined by commas: a macaroon with its discharges, and an OAuth token beside
them. The schemes `Bearer` and `FlyV1` may stand in front, even nested, because `fly tokens create` prints one.

Source: superfly/fly-go `tokens/tokens.go` (what Fly's own client sends), read 2026-11-23.
"""

import binascii
import re
from base64 import b64decode

from exatlas.errors import ConfigError

MACAROON, BEARER = "FlyV1", "Bearer"

_PREFIXES = frozenset({"fm1r", "fm1a", "fm2"})
_SCHEME = re.compile(r"\s*(bearer|flyv1)(\s+|$)", re.IGNORECASE)


def parts_of(key: str) -> tuple[str, ...]:
    """The single tokens of a key, without schemes and blanks."""
    while scheme := _SCHEME.match(key):
        key = key[scheme.end() :]
    return tuple(part.strip() for part in key.split(",") if part.strip())


def header_of(key: str, provider: str = "fly") -> str:
    """The header's value: all macaroons where there are any, and otherwise everything.

    Raises:
        ConfigError: nothing is left of the key without its schemes.
    """
    parts = parts_of(key)
    if not parts:
        raise ConfigError("the API key holds a scheme and no token", provider=provider)
    macaroons = [part for part in parts if is_macaroon(part)]
    return f"{MACAROON} {','.join(macaroons)}" if macaroons else f"{BEARER} {','.join(parts)}"


def is_macaroon(part: str) -> bool:
    """Whether a token is one of those that `fly tokens create` makes."""
    return part.partition("_")[0] in _PREFIXES


def diagnosis(header: str) -> str:
    """Why a header may have been refused, without showing any of it."""
    scheme, _, rest = header.partition(" ")
    if scheme != MACAROON:
        return "the Machines API wants a token from `fly tokens create org`"
    broken = [number for number, part in enumerate(rest.split(","), 1) if not _decodes(part)]
    if broken:
        return f"part {broken[0]} of the token is not valid base64, so it was probably cut off on its way here"
    return "the token is wrong, revoked or expired; those in flyctl's own configuration live for minutes only"


def _decodes(part: str) -> bool:
    try:
        b64decode(part.partition("_")[2], validate=True)
    except binascii.Error:
        return False
    return True
