"""RunPod's request limits per endpoint, and the shared budgets that stay below them.

The limits grow with the number of running workers by a factor RunPod does not publish, so the base limits are what can
be counted on. Staying 5 % below them leaves room for the clocks of both sides.

Source: runpod/docs `serverless/endpoints/send-requests.mdx`, read 2026-11-23.
"""

from exatlas.protocols import Context
from exatlas.transport.budget import Budget, Limits, budget_for

READS = Limits(requests=1900, per_s=10, concurrent=380)
"""Status and stream calls together, well below 2,000 in 10 s and 400 at once for each of them."""
RUNS = Limits(requests=950, per_s=10, concurrent=190)
SYNC_RUNS = Limits(requests=1900, per_s=10, concurrent=380)
CANCELS = Limits(requests=95, per_s=10, concurrent=19)
PURGES = Limits(requests=2, per_s=10, concurrent=1)

_BY_NAME = {"reads": READS, "runs": RUNS, "sync runs": SYNC_RUNS, "cancels": CANCELS, "purges": PURGES}


def budget(ctx: Context, endpoint: str, name: str) -> Budget:
    """The budget that everybody with this account shares for one kind of call to one endpoint."""
    return budget_for((ctx.account, endpoint, name), _BY_NAME[name], ctx.clock)
