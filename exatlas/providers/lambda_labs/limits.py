"""Lambda's request limits, per key, and the shared budgets that stay below them.

One request a second for everything, one launch in 12 s, refused ones included. Both budgets are kept a little slower.

Source: https://docs.lambda.ai/api/cloud (introduction), read 2026-11-23.
"""

from exatlas.protocols import Context
from exatlas.transport.budget import Budget, Limits, budget_for

REQUESTS = Limits(requests=1, per_s=1.05, concurrent=4)
LAUNCH_EVERY_S = 12.5
LAUNCHES = Limits(requests=1, per_s=LAUNCH_EVERY_S, concurrent=1)


def requests(ctx: Context) -> Budget:
    """What every call of this account waits for, launches included."""
    return budget_for((ctx.account, "requests"), REQUESTS, ctx.clock)


def launches(ctx: Context) -> Budget:
    """What a launch waits for besides."""
    return budget_for((ctx.account, "launches"), LAUNCHES, ctx.clock)
