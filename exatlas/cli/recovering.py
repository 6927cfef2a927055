"""Settle what a dead process has left behind, by the ledger that it wrote."""

from contextlib import aclosing
from typing import Annotated, Any

from cyclopts import Parameter

from exatlas.cli import show
from exatlas.cli.exits import NOT_WHOLLY, UsageError
from exatlas.cli.ledgers import LedgerOption, OwnerOption, opened
from exatlas.cli.options import JsonOption, TimeoutOption, YesOption
from exatlas.cli.shell import Shell, ShellHere
from exatlas.client.atlas import Atlas
from exatlas.client.recovery import GRACE_S
from exatlas.records.recovery import Policy, Recovered, RecoveryAction


async def recover(
    *,
    ledger: LedgerOption = None,
    owner: OwnerOption = "exatlas",
    policy: Annotated[
        Policy, Parameter(help="What becomes of machines that nobody asked to go: adopt keeps them.")
    ] = "adopt",
    older_than: Annotated[
        float, Parameter(help="Seconds for which a launch must have stood still, 300 unless given.")
    ] = GRACE_S,
    provider: Annotated[str | None, Parameter(help="Only the machines of this provider.")] = None,
    dry_run: Annotated[bool, Parameter(help="Only say what would be done.")] = False,
    yes: YesOption = False,
    timeout: TimeoutOption = None,
    as_json: JsonOption = False,
    shell: ShellHere,
) -> int:
    """Settle what was left behind."""
    options: dict[str, Any] = {"older_than": older_than, "provider": provider}
    async with aclosing(opened(ledger)) as found, shell.make_atlas(timeout, ledger=found, owner=owner) as atlas:
        if policy == "terminate" and not (dry_run or yes) and not await _agreed(atlas, shell, options):
            return NOT_WHOLLY
        recovery = await atlas.recover(policy, dry_run=dry_run, **options)
    if as_json:
        shell.json([plain(one) for one in recovery.launches])
    else:
        shell.show(show.recovery(recovery))
    return 0 if recovery.complete else NOT_WHOLLY


def plain(one: Recovered) -> dict[str, Any]:
    """What was done about one launch, for programs."""
    launch = one.launch
    return {
        "launch_id": launch.launch_id,
        "provider": launch.provider,
        "compute_id": launch.compute_id,
        "state": launch.state.value,
        "action": one.action.value,
        "reason": one.reason,
    }


async def _agreed(atlas: Atlas, shell: Shell, options: dict[str, Any]) -> bool:
    if not shell.can_ask:
        raise UsageError("--policy terminate asks before it acts, and there is nobody to ask here; say --yes")
    plan = await atlas.recover("terminate", dry_run=True, **options)
    for one in plan.of(RecoveryAction.TERMINATED):
        shell.note(f"going to terminate {one.launch.compute_id} ({one.launch.provider}, launch {one.launch.launch_id})")
    return await shell.agrees("Go on?")
