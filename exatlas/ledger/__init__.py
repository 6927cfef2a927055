"""What we believe we rent, written down before it is rented.

::

    ledger = SqlLedger("sqlite:///machines.db")
    async with Atlas("runpod", ledger=ledger, owner="render-farm") as atlas:
        await atlas.recover()
        ...

``memory``  in the process, for tests and for programs that only want the events
``sql``     SQLite and PostgreSQL, through SQLAlchemy's core (the extras ``sqlite`` and ``postgres``)
``schema``  tables and their migrations
``pages``   launches as rows
``leases``  workers as rows, and what they hold
``outbox``  what happened as rows; ``wakeups`` and ``notices`` tell readers that there is more
``purses``  what budgets have left, as rows
``writer``  many callers' writes in one transaction
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from exatlas.ledger.memory import MemoryLedger
    from exatlas.ledger.sql import SqlLedger

__all__ = ["MemoryLedger", "SqlLedger"]

_HOMES = {"MemoryLedger": "exatlas.ledger.memory", "SqlLedger": "exatlas.ledger.sql"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
