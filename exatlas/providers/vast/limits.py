"""Vast's request limits, route by route, and the shared budgets that keep to them.

Most routes want an interval between two calls of one identity; whether it counts per instance or per route is not
documented, so it is kept per route. The search has a number per minute and address instead, and a daily quota.

Source: `x-rate-limit` and the 429 examples of vast-ai/docs `api-reference/openapi/yaml/*.yaml`, read 2026-11-23.
"""

from collections.abc import Mapping
from types import MappingProxyType

from exatlas.messages import HttpCall
from exatlas.protocols import Context
from exatlas.transport.budget import Budget, Limits, budget_for

SLACK = 1.05
"""Requests bunch up on the way; an interval kept to the second would be broken at the other end."""
AT_ONCE = 16

SEARCH = ("POST", "/api/v0/bundles/")
SEARCHES = Limits(requests=10, per_s=60 * SLACK, concurrent=4, burst=4)
"""Ten in a minute, from one address."""

INTERVALS_S: Mapping[tuple[str, str], float] = MappingProxyType(
    {
        ("PUT", "/api/v0/asks/{id}/"): 4.5,
        ("GET", "/api/v0/instances/{id}/"): 2.0,
        ("PUT", "/api/v0/instances/{id}/"): 1.0,
        ("DELETE", "/api/v0/instances/{id}/"): 3.0,
        ("GET", "/api/v1/instances/"): 1.0,
        ("GET", "/api/v0/volumes"): 5.5,
        ("GET", "/api/v0/template/"): 3.0,
        ("PUT", "/api/v0/instances/bid_price/{id}/"): 5.5,
        ("PUT", "/api/v0/instances/reboot/{id}/"): 1.0,
        ("PUT", "/api/v0/instances/request_logs/{id}/"): 1.0,
    }
)
"""Seconds between two calls to a route, by method and path. That of the logs is our own choice: none is published."""

CREATE_PENALTY_S = 12.0
"""How long a create that came too early locks the route."""


CREATE = ("PUT", "/api/v0/asks/{id}/")


def creates(ctx: Context) -> Budget:
    """The budget of the account's creates."""
    return _of_route(CREATE, ctx)


def budget(ctx: Context, call: HttpCall) -> Budget | None:
    """The budget that everybody in this process shares for one route; None for a route without a limit."""
    route = (call.method, call.template)
    if route == SEARCH:
        return budget_for(("vast", *route), SEARCHES, ctx.clock)
    return _of_route(route, ctx) if route in INTERVALS_S else None


def _of_route(route: tuple[str, str], ctx: Context) -> Budget:
    limits = Limits(requests=1, per_s=INTERVALS_S[route] * SLACK, concurrent=AT_ONCE)
    return budget_for((ctx.account, *route), limits, ctx.clock)
