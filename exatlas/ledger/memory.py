"""A ledger in the process: gone with it."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from exatlas.errors import ConflictError, NotFoundError
from exatlas.records.launch import Launch, LaunchState


class MemoryLedger:
    """Keeps launches in a dict. For tests, and for programs that outlive their machines."""

    def __init__(self) -> None:
        self._launches: dict[str, Launch] = {}

    async def intend(self, launch: Launch, /) -> None:
        """See :class:`exatlas.Ledger`."""
        if launch.launch_id in self._launches:
            raise ConflictError(f"launch {launch.launch_id} is in the ledger already")
        self._launches[launch.launch_id] = launch

    async def advance(
        self, launch_id: str, to: LaunchState, at: datetime, /, *, expect: LaunchState | None = None, **facts: Any
    ) -> Launch:
        """See :class:`exatlas.Ledger`."""
        launch = self._launches.get(launch_id)
        if launch is None:
            raise missing(launch_id)
        self._launches[launch_id] = launch = launch.advanced(to, at, expect=expect, **facts)
        return launch

    async def get(self, launch_id: str, /) -> Launch | None:
        """See :class:`exatlas.Ledger`."""
        return self._launches.get(launch_id)

    async def find(
        self,
        *,
        owner: str | None = None,
        states: Collection[LaunchState] = (),
        provider: str | None = None,
        account: str | None = None,
        compute_id: str | None = None,
    ) -> list[Launch]:
        """See :class:`exatlas.Ledger`."""
        wanted = {"owner": owner, "provider": provider, "account": account, "compute_id": compute_id}
        asked = {name: value for name, value in wanted.items() if value is not None}
        found = [
            launch
            for launch in self._launches.values()
            if (not states or launch.state in states)
            and all(getattr(launch, name) == value for name, value in asked.items())
        ]
        return sorted(found, key=lambda launch: (launch.intended_at, launch.launch_id))

    async def aclose(self) -> None:
        """See :class:`exatlas.Ledger`."""


def missing(launch_id: str) -> NotFoundError:
    """The error for a launch that nobody wrote down."""
    return NotFoundError(f"launch {launch_id} is not in the ledger")
