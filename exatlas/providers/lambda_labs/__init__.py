"""Lambda's On-Demand Cloud, and what only Lambda has.

::

    from exatlas.providers import lambda_labs

    filesystem = await lambda_labs.filesystems.create(ctx, name="models", region="us-east-1")
    await lambda_labs.terminate_all([first, second], ctx)
"""

from collections.abc import Iterable

from exatlas.protocols import Context
from exatlas.providers.lambda_labs import filesystems, machines, rulesets
from exatlas.providers.lambda_labs.filesystems import Filesystem
from exatlas.providers.lambda_labs.provider import LambdaProvider
from exatlas.records.compute import Compute

__all__ = [
    "ALIASES",
    "PROVIDER",
    "Filesystem",
    "LambdaProvider",
    "filesystems",
    "restart",
    "sweep_rulesets",
    "terminate_all",
]

PROVIDER = LambdaProvider
ALIASES = ("lambda",)


async def terminate_all(computes: Iterable[str | Compute], ctx: Context) -> None:
    """Destroy many machines with one call instead of one a second. Safe to repeat; unknown ids are no error."""
    await machines.terminate_all([_id(compute) for compute in computes], ctx)


async def restart(compute: str | Compute, ctx: Context) -> None:
    """Reboot a machine. Disk and container survive.

    Raises:
        ConflictError: it is being restarted already.
    """
    await machines.restart(_id(compute), ctx)


async def sweep_rulesets(ctx: Context) -> int:
    """Delete firewall rulesets that exatlas made for machines that are gone, and give their number.

    Spawning with ports and terminating do that in passing; it is needed only where neither happens any more.
    """
    return await rulesets.sweep(ctx)


def _id(compute: str | Compute) -> str:
    return compute.id if isinstance(compute, Compute) else compute
