"""Machines with a mark of ours that no launch in the ledger explains, found in one look.

A machine of an owner's spawn in progress is explained by its launch, which is written before the machine is rented.
What is not explained was rented without this ledger, or its ledger was lost.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from attrs import frozen

from exatlas.protocols import Ledger
from exatlas.records.compute import Compute


@frozen(kw_only=True)
class Orphans:
    """What one look has found."""

    due: tuple[Compute, ...] = ()
    """Those that have been there for longer than the grace."""
    young: tuple[Compute, ...] = ()
    """Those that have not, or whose cloud does not say since when they are there."""


async def find_orphans(machines: Iterable[Compute], ledger: Ledger, now: datetime, grace: timedelta) -> Orphans:
    """Sort out the machines of an account.

    Raises:
        LedgerError: the ledger cannot be read, and nothing may be done.
    """
    due, young = list[Compute](), list[Compute]()
    for machine in machines:
        if machine.status.is_terminal or machine.launch_id is None:
            continue
        if await ledger.get(machine.launch_id) is None:
            is_due = machine.created_at is not None and now - machine.created_at >= grace
            (due if is_due or not grace else young).append(machine)
    return Orphans(due=tuple(due), young=tuple(young))
