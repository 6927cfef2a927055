"""What happened, as a ledger carries it from one worker to the others."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from attrs import field, frozen


@frozen(kw_only=True)
class Entry:
    """One thing that happened."""

    seq: int = 0
    """1, 2, 3 … among all entries of one owner; given by the ledger."""
    at: datetime
    """Aware, UTC, by the clock of whoever wrote it."""
    kind: str
    """What it was, in one word."""
    session: str | None = None
    tenant: str | None = None
    facts: Mapping[str, Any] = field(factory=dict)
    """All the rest, as JSON values."""
