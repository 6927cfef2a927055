"""Find machines: by id, by launch, and all that are ours."""

from exatlas.errors import NotFoundError, ProviderBrokenError
from exatlas.protocols import Context
from exatlas.providers.fly import account, ids, normalize, translate
from exatlas.providers.fly.exchange import ask
from exatlas.providers.fly.ids import Place
from exatlas.providers.fly.options import Settings
from exatlas.records.compute import Compute, ComputeStatus
from exatlas.transport.shape import Fields

BLIND_S = (1.0, 2.0, 4.0)
"""Waits before a list that some regions did not contribute to is asked for again."""

OVER = frozenset({ComputeStatus.TERMINATING, ComputeStatus.TERMINATED})

Found = tuple[str, Fields]
"""The app, and the machine."""


async def locate(compute_id: str, settings: Settings, ctx: Context, operation: str) -> Place:
    """Where a machine is. A bare machine id costs a list, unless the provider was made for one app.

    Raises:
        NotFoundError: the account has no machine with that bare id.
    """
    app, machine = ids.split(compute_id)
    app = app or settings.app
    if app is not None:
        return Place(app, machine)
    for app, found in await everywhere(settings, ctx, operation):
        if found.text("id") == machine:
            return Place(app, machine)
    raise NotFoundError(
        f"no machine has the id {machine!r:.80}; ids are written app/machine",
        provider=ctx.provider,
        operation=operation,
    )


async def everywhere(settings: Settings, ctx: Context, operation: str) -> list[Found]:
    """Every machine of one app where the provider or the token is for that, else of the organisations of the token."""
    if settings.app is not None:
        return await of_app(settings.app, ctx, operation)
    found: dict[str, Found] = {}
    if settings.org is not None:
        scope = normalize.Scope(orgs=(settings.org,), apps=())
    else:
        scope = await account.scope(ctx, operation)
    for app in scope.apps:
        found.update(
            {machine.required_text("id"): (app, machine) for app, machine in await of_app(app, ctx, operation)}
        )
    for org in () if scope.apps else scope.orgs:
        found.update(await _of_org(org, ctx, operation))
    return list(found.values())


async def of_app(app: str, ctx: Context, operation: str, *, deleted: bool = False) -> list[Found]:
    """The machines of one app; an app that is not there has none."""
    try:
        call = translate.list_app(app, ctx, operation, deleted=deleted)
        machines = await ask(ctx, call, normalize.machines_of_app)
    except NotFoundError:
        return []
    return [(app, machine) for machine in machines]


async def of_launch(app: str, launch_id: str, ctx: Context) -> Compute | None:
    """The machine that one launch rented. Fly filters by metadata, and so do we."""
    machines = await ask(ctx, translate.launched(app, launch_id, ctx), normalize.machines_of_app)
    found = (normalize.compute(machine, app, ctx.provider) for machine in machines)
    return next((one for one in found if one.launch_id == launch_id and one.status not in OVER), None)


async def _of_org(org: str, ctx: Context, operation: str) -> dict[str, Found]:
    """The machines of an organisation by id: pages shift while they are read, so one may come twice.

    Raises:
        ProviderBrokenError: some regions stay silent. What is not in such a list may exist all the same.
    """
    found, blind = await _pages(org, ctx, operation)
    for wait_s in BLIND_S if blind else ():
        await ctx.clock.sleep(wait_s)
        found, blind = await _pages(org, ctx, operation)
        if not blind:
            break
    if not blind:
        return found
    raise ProviderBrokenError(
        f"Fly could not read its regions {', '.join(sorted(blind))}, so the list of machines would not be complete",
        provider=ctx.provider,
        operation=operation,
    )


async def _pages(org: str, ctx: Context, operation: str) -> tuple[dict[str, Found], set[str]]:
    found: dict[str, Found] = {}
    blind: set[str] = set()
    seen: set[str | None] = {None}
    cursor: str | None = None
    while True:
        # A page may be empty and have a successor all the same.
        call = translate.list_org(org, cursor, ctx, operation)
        machines, cursor, silent = await ask(ctx, call, normalize.machines_of_org)
        blind.update(silent)
        for machine in machines:
            app = machine.required_text("app_name")
            found[machine.required_text("id")] = (app, machine)
        if cursor in seen:
            return found, blind
        seen.add(cursor)
