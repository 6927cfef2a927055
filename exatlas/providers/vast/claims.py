"""Which offers somebody in this process has in hand, so that several spawns at once do not run for the same one.

All of them see the same market in the same order, and each lost race costs a create, which Vast takes every 4.5 s.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from weakref import WeakKeyDictionary

from exatlas.protocols import Context
from exatlas.providers.vast.limits import creates
from exatlas.providers.vast.offers import Choice
from exatlas.transport.budget import Budget

CLAIM_S = 120.0
"""How long an offer counts as taken: its number is good for one create, and searches older than this are forgotten."""
MOST_OFFERS = 8
MOST_ALIKE = 4
"""Offers tried by one spawn, in all and of one model in one kind of cloud: together they stay well within a minute."""

_claims: WeakKeyDictionary[Budget, dict[int, float]] = WeakKeyDictionary()
"""For each account, by the budget that its creates share: number of the offer → when it may be tried again."""


def each_once(choices: Iterable[Choice], ctx: Context) -> Iterator[Choice]:
    """The choices that nobody here has in hand, each claimed as it is given; not too many, nor too many alike."""
    given: Counter[tuple[int, int]] = Counter()
    for choice in choices:
        if given.total() == MOST_OFFERS:
            return
        if given[choice.kind] < MOST_ALIKE and _claim(choice.offer.id, ctx):
            given[choice.kind] += 1
            yield choice


def release(offer_id: int, ctx: Context) -> None:
    """Give an offer back that was not taken after all."""
    _of(ctx).pop(offer_id, None)


def _claim(offer_id: int, ctx: Context) -> bool:
    now = ctx.clock.monotonic()
    held = _of(ctx)
    for old in [number for number, until in held.items() if until <= now]:
        del held[old]
    if offer_id in held:
        return False
    held[offer_id] = now + CLAIM_S
    return True


def _of(ctx: Context) -> dict[int, float]:
    return _claims.setdefault(creates(ctx), {})
