"""What the token is good for: the organisations and apps in which to create and to look."""

from exatlas.errors import ConfigError, NotFoundError, UnauthorizedError
from exatlas.protocols import Context
from exatlas.providers.fly import auth, normalize, translate
from exatlas.providers.fly.exchange import ask
from exatlas.providers.fly.normalize import Scope

PERSONAL = "personal"
"""What the API calls the organisation that every user has."""


async def scope(ctx: Context, operation: str) -> Scope:
    """Ask what the token is for. Only macaroons can say; the owner of an OAuth token has a personal organisation."""
    try:
        found = await ask(ctx, translate.current_tokens(ctx, operation), normalize.scope)
    except (UnauthorizedError, NotFoundError):
        if any(auth.is_macaroon(part) for part in auth.parts_of(ctx.api_key or "")):
            raise
        found = Scope(orgs=(), apps=())
    return found if found.orgs or found.apps else Scope(orgs=(PERSONAL,), apps=())


async def org_to_rent_in(wanted: str | None, ctx: Context) -> str:
    """The organisation that a new app goes into.

    Raises:
        ConfigError: the token is for several, and nobody has chosen.
    """
    if wanted is not None:
        return wanted
    found = (await scope(ctx, "spawn_compute")).orgs
    if len(found) > 1:
        raise ConfigError(
            f"the token is for several organisations ({', '.join(found)}); choose one with provider_opts={{'org': …}}",
            provider=ctx.provider,
            operation="spawn_compute",
        )
    return found[0] if found else PERSONAL
