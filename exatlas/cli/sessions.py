"""What a ledger has of machines and sessions. No cloud is asked, and no key is needed."""

from contextlib import aclosing
from datetime import UTC, datetime
from typing import Annotated, Any

from cyclopts import Parameter

from exatlas.cli import show
from exatlas.cli.ledgers import LedgerOption, OwnerOption, opened
from exatlas.cli.options import JsonOption
from exatlas.cli.shell import ShellHere
from exatlas.records.launch import Launch, LaunchState

OPEN = frozenset(LaunchState) - {LaunchState.GONE}


async def sessions(
    *,
    ledger: LedgerOption = None,
    owner: OwnerOption = "exatlas",
    tenant: Annotated[str | None, Parameter(help="Only this tenant's.")] = None,
    user: Annotated[str | None, Parameter(help="Only this user's.")] = None,
    provider: Annotated[str | None, Parameter(help="Only those at this provider.")] = None,
    every: Annotated[bool, Parameter(name="--all", help="Those that have ended, too.")] = False,
    as_json: JsonOption = False,
    shell: ShellHere,
) -> int:
    """List them, oldest first."""
    async with aclosing(opened(ledger)) as found:
        states = frozenset() if every else OPEN
        launches = await found.find(owner=owner, states=states, provider=provider, tenant=tenant, user=user)
    now = datetime.now(UTC)
    if as_json:
        shell.json([plain(launch, now) for launch in launches])
    else:
        shell.show(show.sessions(launches, now))
    return 0


def plain(launch: Launch, now: datetime) -> dict[str, Any]:
    """One of them, for programs."""
    return {
        "session": launch.launch_id,
        "provider": launch.provider,
        "compute_id": launch.compute_id,
        "state": launch.state.value,
        "tenant": launch.tenant,
        "user": launch.user,
        "worker": launch.worker,
        "intended_at": launch.intended_at.isoformat(),
        "ended_at": launch.ended_at.isoformat() if launch.ended_at else None,
        "cost_usd": format(launch.cost_usd(now), "f") if launch.rates else None,
        "limits": dict(launch.session),
        "reason": launch.reason,
    }
