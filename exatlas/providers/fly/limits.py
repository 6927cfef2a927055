"""Fly's request limits, and the shared budgets that keep within them.

They hold per action and per machine, or per app where no machine is named: a call a second, three at once after a
quiet time. Reading one machine may be done five times as often; apps are deleted a hundred times a minute at most.
A call's method and path are its action and its identifier in one.

Source: https://fly.io/docs/machines/api/working-with-machines-api/#rate-limits, read 2026-11-23.
"""

from urllib.parse import urlsplit

from exatlas.messages import HttpCall
from exatlas.protocols import Context
from exatlas.transport.budget import Budget, Limits, budget_for

ACTIONS = Limits(requests=62, per_s=60, concurrent=100, burst=3)
"""One a second and a burst of three: 62 in the worst minute."""
MACHINE_READS = Limits(requests=309, per_s=60, concurrent=100, burst=10)
APP_DELETES = Limits(requests=95, per_s=60, concurrent=20, burst=10)
LOGS = Limits(requests=309, per_s=60, concurrent=100, burst=10)
"""The log API publishes no limit; Fly's own client reads up to eight pages a second."""

_BY_ACTION = {
    ("GET", "/v1/apps/{app}/machines/{machine}"): MACHINE_READS,
    ("DELETE", "/v1/apps/{app}"): APP_DELETES,
    ("GET", "/api/v1/apps/{app}/logs"): LOGS,
}


def budget(ctx: Context, call: HttpCall) -> Budget:
    """The budget that everybody with this account shares for one action on one thing."""
    limits = _BY_ACTION.get((call.method, call.template), ACTIONS)
    thing = call.template if limits is APP_DELETES else urlsplit(call.url).path
    return budget_for((ctx.account, call.method, thing), limits, ctx.clock)
