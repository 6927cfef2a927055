"""One pass of the reaper from a shell: settle what stands still, and find machines that nothing explains."""

from contextlib import aclosing
from datetime import timedelta
from typing import Annotated, Any

from cyclopts import Parameter

from exatlas.cli import recovering, show
from exatlas.cli.exits import NOT_WHOLLY, UsageError
from exatlas.cli.ledgers import LedgerOption, OwnerOption, opened
from exatlas.cli.options import JsonOption, TimeoutOption, YesOption
from exatlas.cli.shell import Shell, ShellHere
from exatlas.client.atlas import Atlas
from exatlas.client.reaping import Orphans, find_orphans
from exatlas.client.recovery import GRACE_S
from exatlas.errors import AtlasError
from exatlas.protocols import Ledger
from exatlas.records.compute import Compute


async def reap(
    *,
    ledger: LedgerOption = None,
    owner: OwnerOption = "exatlas",
    grace: Annotated[
        float, Parameter(help="Seconds for which a launch has to stand still, and an orphan to be there: 300.")
    ] = GRACE_S,
    all_marked: Annotated[
        bool, Parameter(help="Every marked machine in this account is this owner's: terminate orphans.")
    ] = False,
    provider: Annotated[str | None, Parameter(help="Only the machines of this provider.")] = None,
    dry_run: Annotated[bool, Parameter(help="Only say what would be done.")] = False,
    yes: YesOption = False,
    timeout: TimeoutOption = None,
    as_json: JsonOption = False,
    shell: ShellHere,
) -> int:
    """Do what the reaper of an orchestrator does now and then."""
    options: dict[str, Any] = {} if provider is None else {"provider": provider}
    async with aclosing(opened(ledger)) as found, shell.make_atlas(timeout, ledger=found, owner=owner) as atlas:
        recovery = await atlas.recover("adopt", older_than=grace, dry_run=dry_run, **options)
        orphans = await _orphans(atlas, found, timedelta(seconds=grace), options)
        ended: list[Compute] = []
        if orphans.due and all_marked and not dry_run and await _agreed(shell, orphans.due, yes=yes):
            ended = [machine for machine in orphans.due if await _terminated(atlas, shell, machine)]
    if as_json:
        launches = [recovering.plain(one) for one in recovery.launches]
        shell.json({"launches": launches, "orphans": [_plain(one, orphans, ended) for one in _all(orphans)]})
    else:
        shell.show(show.recovery(recovery))
        shell.show(show.orphans([(one, _fate(one, orphans, ended)) for one in _all(orphans)]))
    left = all_marked and not dry_run and len(ended) < len(orphans.due)
    return 0 if recovery.complete and not left else NOT_WHOLLY


async def _orphans(atlas: Atlas, ledger: Ledger, grace: timedelta, options: dict[str, Any]) -> Orphans:
    return await find_orphans(await atlas.list_compute(**options), ledger, atlas.clock.now(), grace)


async def _agreed(shell: Shell, due: tuple[Compute, ...], *, yes: bool) -> bool:
    if yes:
        return True
    if not shell.can_ask:
        raise UsageError("--all-marked asks before it acts, and there is nobody to ask here; say --yes")
    for machine in due:
        shell.note(f"going to terminate {machine.id} ({machine.provider}, mark {machine.launch_id})")
    return await shell.agrees("Go on?")


async def _terminated(atlas: Atlas, shell: Shell, machine: Compute) -> bool:
    try:
        await atlas.terminate(machine)
    except AtlasError as error:
        shell.note(str(error))
        return False
    return True


def _all(orphans: Orphans) -> list[Compute]:
    return [*orphans.due, *orphans.young]


def _fate(machine: Compute, orphans: Orphans, ended: list[Compute]) -> str:
    if machine in ended:
        return "terminated"
    if machine in orphans.due:
        return "orphan"
    return "too young" if machine.created_at else "of unknown age"


def _plain(machine: Compute, orphans: Orphans, ended: list[Compute]) -> dict[str, Any]:
    return {
        "provider": machine.provider,
        "compute_id": machine.id,
        "mark": machine.launch_id,
        "created_at": machine.created_at.isoformat() if machine.created_at else None,
        "action": _fate(machine, orphans, ended),
    }
