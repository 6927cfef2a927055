"""Secrets shared with one machine, so that a browser can talk to it directly.

Here, tokens are minted and URLs signed; on the machine, a :class:`Guard` lets in who has one of them.
:mod:`exatlas.auth.asgi` and :mod:`exatlas.auth.aiohttp` put a guard in front of a whole application.
"""

from exatlas.auth.guard import Guard, OneTime, Uses, check_request
from exatlas.auth.signing import Secret, Verdict, sign_url, verify_url
from exatlas.auth.tokens import TOKEN_BYTES, TOKEN_VARIABLES, hash_token, machine_env, mint, verify_token

__all__ = [
    "TOKEN_BYTES",
    "TOKEN_VARIABLES",
    "Guard",
    "OneTime",
    "Secret",
    "Uses",
    "Verdict",
    "check_request",
    "hash_token",
    "machine_env",
    "mint",
    "sign_url",
    "verify_token",
    "verify_url",
]
