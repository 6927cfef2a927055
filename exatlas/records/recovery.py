"""What a recovery found, and what it did about it."""

from enum import StrEnum
from typing import Literal

from attrs import frozen

from exatlas.records.compute import Compute
from exatlas.records.launch import Launch

Policy = Literal["adopt", "terminate"]
"""What becomes of machines that are there and were not asked to go."""


class RecoveryAction(StrEnum):
    """What was done about one launch."""

    ADOPTED = "adopted"
    """Its machine was found by its mark, and is in the ledger now."""
    KEPT = "kept"
    """Its machine is there, as the ledger says."""
    TERMINATED = "terminated"
    """Its machine was terminated, and a read of the cloud has confirmed that it is gone."""
    GONE = "gone"
    """There is no machine, and the ledger knows it now."""
    UNSETTLED = "unsettled"
    """It could not be brought to an end; the next recovery tries again."""
    SKIPPED = "skipped"
    """Nothing could be done, for the reason given."""
    HELD = "held"
    """A living worker looks after it, and it was left to that one."""
    RECENT = "recent"
    """It changed a moment ago: its process may be at work, and it was left alone."""


@frozen(kw_only=True)
class Recovered:
    """One launch, and what was done about it."""

    launch: Launch
    """As the ledger has it afterwards."""
    action: RecoveryAction
    reason: str
    compute: Compute | None = None
    """The machine that was adopted or kept, as the cloud lists it. The secret that it was spawned with is not known
    any more."""


@frozen(kw_only=True)
class Recovery:
    """All that one recovery did."""

    launches: tuple[Recovered, ...] = ()
    """Oldest first within each account. A launch whose create was delivered twice may stand here more than once."""
    dry_run: bool = False
    """Whether it only says what would have been done."""

    def of(self, action: RecoveryAction) -> tuple[Recovered, ...]:
        """Those about which this was done."""
        return tuple(one for one in self.launches if one.action is action)

    @property
    def complete(self) -> bool:
        """Whether nothing is left unsettled or skipped. Held and recent launches do not count."""
        return not self.of(RecoveryAction.UNSETTLED) and not self.of(RecoveryAction.SKIPPED)
