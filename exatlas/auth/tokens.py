"""Secrets shared with one machine: minted at spawn, put into its environment, handed out once."""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal

from exatlas.records.compute import AuthHandle

TOKEN_BYTES = 32
"""256 bits."""

TOKEN_VARIABLES = ("EXATLAS_PRESHARED_KEY", "ATLAS_PRESHARED_KEY")
"""Where the machine finds the token. The second name is there for images made for ExAtlas."""


def mint(
    scheme: Literal["bearer", "signed_url"], *, entropy: Callable[[int], bytes] = secrets.token_bytes
) -> AuthHandle:
    """Make a secret for one machine: 256 bits as 43 URL-safe characters, with the hash to store."""
    token = base64.urlsafe_b64encode(entropy(TOKEN_BYTES)).rstrip(b"=").decode("ascii")
    return AuthHandle(scheme=scheme, token=token, hash=hash_token(token))


def machine_env(handle: AuthHandle) -> Mapping[str, str]:
    """The variables that tell the machine its secret."""
    return MappingProxyType(dict.fromkeys(TOKEN_VARIABLES, handle.token or ""))


def hash_token(token: str) -> str:
    """SHA-256 in hexadecimal: safe to store, useless for getting in, because a token has 256 random bits."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def verify_token(token: str, expected_hash: str, /) -> bool:
    """Whether the token belongs to the stored hash. Takes the same time wherever they differ."""
    return hmac.compare_digest(hash_token(token).encode("ascii"), expected_hash.lower().encode("utf-8", "replace"))
