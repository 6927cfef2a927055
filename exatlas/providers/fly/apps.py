"""Apps: no machine lives outside one. They cost nothing, and neither do the addresses we give them by default.

Names are global across all customers of Fly. The app made for one machine carries the launch id in its name, so that
creating it twice does no harm: the second time the name is taken, and it is ours.

Source: https://fly.io/docs/machines/api/apps-resource/ and superfly/fly-go `flaps/flaps_apps.go`, read 2026-11-23.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from attrs import evolve, frozen

from exatlas.errors import (
    AtlasError,
    ConflictError,
    ForbiddenError,
    InvalidRequestError,
    NotFoundError,
    ProviderBrokenError,
    UnauthorizedError,
)
from exatlas.launch import may_have_acted
from exatlas.protocols import Context
from exatlas.providers.fly import ids, normalize, translate
from exatlas.providers.fly.account import org_to_rent_in
from exatlas.providers.fly.exchange import ask
from exatlas.providers.fly.options import Options
from exatlas.providers.fly.ports import Addresses
from exatlas.transport.asking import done
from exatlas.transport.shape import body_of

T = TypeVar("T")

SETTLING_S = (0.2, 0.5, 1, 2, 4, 8, 16, 28)
"""Waits while a new app answers 404 or 401, as it does for a moment. Fly's own client gives it a minute."""
ROUNDS_S = (0.0, 1.0, 2.0, 4.0)
"""Waits before each look at which addresses are still missing."""

_SLOTS = {"v4": "ipv4", "v6": "ipv6", "shared_v4": "shared_ipv4"}
_PAID = frozenset({"v4"})


@frozen(kw_only=True)
class Home:
    """The app that one launch goes into."""

    app: str
    launch_id: str
    own: bool
    """Whether it was made for this launch and goes with it."""
    fresh: bool
    """Whether it was made just now, and may not be known everywhere yet."""


def home_of(options: Options, launch_id: str) -> Home:
    """Where a launch will go, before anything is sent."""
    own = options.app is None
    return Home(app=options.app or ids.own_app(launch_id), launch_id=launch_id, own=own, fresh=own)


async def ensure(home: Home, options: Options, ctx: Context) -> Home:
    """Find the app, or make it.

    Raises:
        ConflictError: the name belongs to somebody else.
        NotFoundError: a volume was to be attached, and there is not even its app.
    """
    if not home.own:
        try:
            await ask(ctx, translate.get_app(home.app, ctx), done)
        except NotFoundError:
            if options.volume_id is not None:
                raise
        except ForbiddenError as error:
            raise _taken(home.app, ctx) from error
        else:
            return home
    await _create(home.app, await org_to_rent_in(options.org, ctx), ctx)
    await patiently(lambda: ask(ctx, translate.get_app(home.app, ctx), done), ctx, fresh=True)
    return evolve(home, fresh=True)


async def _create(app: str, org: str, ctx: Context) -> None:
    try:
        await ask(ctx, translate.create_app(app, org, ctx), done)
    except (ConflictError, InvalidRequestError) as refused:
        # Also a 422 whose words cannot be read may say that the name is taken, by an attempt of ours before this one.
        is_taken = isinstance(refused, ConflictError)
        try:
            await patiently(lambda: ask(ctx, translate.get_app(app, ctx), done), ctx, fresh=is_taken)
        except (ForbiddenError, NotFoundError) as error:
            raise _taken(app, ctx) if is_taken else refused from error
    except ForbiddenError as error:
        error.extend("a token for single apps makes no others; name one of its apps with provider_opts={'app': …}")
        raise
    except AtlasError as error:
        if not may_have_acted(error):
            raise
        try:
            await patiently(lambda: ask(ctx, translate.get_app(app, ctx), done), ctx, fresh=True)
        except NotFoundError:
            raise error from None


def _taken(app: str, ctx: Context) -> ConflictError:
    return ConflictError(
        f"the app name {app!r} belongs to another organisation; names are global, so choose another",
        provider=ctx.provider,
        operation="spawn_compute",
    )


async def patiently(attempt: Callable[[], Awaitable[T]], ctx: Context, *, fresh: bool) -> T:
    """Make a call that a new app may answer with 404 or 401 at first; nothing was done then, so it is made again."""
    for wait_s in SETTLING_S if fresh else ():
        try:
            return await attempt()
        except (NotFoundError, UnauthorizedError):
            await ctx.clock.sleep(wait_s)
    return await attempt()


def address_kinds(services: Sequence[dict[str, Any]], *, dedicated: bool) -> tuple[str, ...]:
    """The addresses that services need: IPv6 carries everything, the shared IPv4 HTTP and TLS, a dedicated one all."""
    if not services:
        return ()
    if dedicated:
        return ("v6", "v4")
    handled = any(port.get("handlers") for service in services for port in service.get("ports") or ())
    return ("v6", "shared_v4") if handled else ("v6",)


async def give_addresses(home: Home, kinds: Sequence[str], ctx: Context) -> Addresses:
    """Assign what the app lacks and give all of its addresses. Looks before it asks again; never pays for two.

    Raises:
        ProviderBrokenError: the app did not get them.
    """
    have = Addresses()
    doubtful: set[str] = set()
    cause: AtlasError | None = None
    looked = home.own and home.fresh  # a new app has none
    for wait_s in ROUNDS_S if kinds else ():
        await ctx.clock.sleep(wait_s)
        if not looked:
            have = await _list(home, ctx)
        looked = False
        for kind in _missing(kinds, have):
            if kind in doubtful & _PAID:
                continue
            try:
                have = await _add(home, kind, have, ctx)
            except AtlasError as error:
                if not (may_have_acted(error) or isinstance(error, ConflictError)):
                    raise
                doubtful.add(kind)
                cause = error
        if not _missing(kinds, have):
            return have
    if not kinds:
        return have
    raise ProviderBrokenError(
        f"the app {home.app} did not get the addresses it needs ({', '.join(_missing(kinds, have))})",
        provider=ctx.provider,
        operation="spawn_compute",
    ) from cause


def _missing(kinds: Sequence[str], have: Addresses) -> list[str]:
    return [
        kind
        for kind in kinds
        if getattr(have, _SLOTS[kind]) is None and not (kind == "shared_v4" and have.ipv4 is not None)
    ]


async def _list(home: Home, ctx: Context) -> Addresses:
    call = translate.list_addresses(home.app, ctx)
    return await patiently(lambda: ask(ctx, call, normalize.addresses), ctx, fresh=home.fresh)


async def _add(home: Home, kind: str, have: Addresses, ctx: Context) -> Addresses:
    call = translate.add_address(home.app, kind, ctx)
    slot, ip = await patiently(
        lambda: ask(ctx, call, lambda reply: normalize.address(body_of(reply))), ctx, fresh=home.fresh
    )
    return evolve(have, **{slot: ip}) if slot == _SLOTS[kind] else have


async def delete(app: str, ctx: Context, operation: str) -> None:
    """Delete an app, with whatever machine is in it. One that is gone is not an error."""
    try:
        await ask(ctx, translate.delete_app(app, ctx, operation), done)
    except NotFoundError:
        return
