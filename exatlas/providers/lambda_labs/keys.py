"""The one SSH key that Lambda wants for every machine, used or not: found, or registered, before anything is rented.

A public key is stored under a name made of its own hash, so that registering it again finds it there. Keys cost
nothing and stay in the account.

Source: https://docs.lambda.ai/api/cloud (`/ssh-keys`, `ssh_key_names`), read 2026-11-23.
"""

import hashlib

from exatlas.errors import AtlasError, ConfigError, InvalidRequestError
from exatlas.launch import may_have_acted
from exatlas.protocols import Context
from exatlas.providers.lambda_labs import normalize, rules, translate
from exatlas.providers.lambda_labs.exchange import ask
from exatlas.records.compute import ComputeRequest
from exatlas.transport.asking import done


async def name_for(request: ComputeRequest, ctx: Context) -> str | None:
    """The name to launch with; None where provider_opts brings one. One request, two for a key not seen before.

    Raises:
        ConfigError: the account has no such key, or the request names none and the account has not exactly one.
    """
    if "ssh_key_names" in request.provider_opts:
        return None
    known = await _known(ctx)
    if not request.ssh_keys:
        return _only(known, ctx)
    (wanted,) = request.ssh_keys
    if rules.is_public_key(wanted):
        return _same(known, wanted) or await _register(wanted, ctx)
    if wanted in known:
        return wanted
    raise _unusable(f"the account has no SSH key named {wanted!r}", known, ctx)


async def _known(ctx: Context) -> dict[str, str]:
    """Names and public keys of the account's keys."""
    found = await ask(ctx, translate.list_keys(ctx), normalize.rows)
    return {key.required_text("name"): key.text("public_key") or "" for key in found}


async def _register(public_key: str, ctx: Context) -> str:
    name = f"exatlas-{hashlib.sha256(_blob(public_key).encode()).hexdigest()[:12]}"
    try:
        await ask(ctx, translate.add_key(name, public_key.strip(), ctx), done)
    except AtlasError as error:
        # The answer was lost, or another spawn has registered the same key meanwhile.
        if not may_have_acted(error) and not isinstance(error, InvalidRequestError):
            raise
        found = _same(await _known(ctx), public_key)
        if found is None:
            raise
        return found
    return name


def _only(known: dict[str, str], ctx: Context) -> str:
    if len(known) == 1:
        return next(iter(known))
    raise _unusable("Lambda wants exactly one SSH key for every machine, and the request names none", known, ctx)


def _unusable(why: str, known: dict[str, str], ctx: Context) -> ConfigError:
    there = f"one of {', '.join(sorted(known))}" if known else "the name of a key once the account has one"
    return ConfigError(
        f"{why}; pass ssh_keys=[…] with {there}, or with a public key such as 'ssh-ed25519 AAAA…' to be registered",
        provider=ctx.provider,
        operation="spawn_compute",
    )


def _same(known: dict[str, str], public_key: str) -> str | None:
    return next((name for name, key in known.items() if _blob(key) == _blob(public_key)), None)


def _blob(public_key: str) -> str:
    """Type and key, without the comment."""
    return " ".join(public_key.split()[:2])
