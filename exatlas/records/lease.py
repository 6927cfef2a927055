"""What a ledger tells a worker that renews its lease."""

from datetime import datetime

from attrs import frozen


@frozen(kw_only=True)
class Standing:
    """Where a worker stands among those of its owner."""

    now: datetime
    """The instant by the ledger's clock, which all workers share. Aware, UTC."""
    eldest: bool
    """Whether no living worker of the owner was there before it: what one of them has to do for all is its to do."""
    seized: tuple[str, ...] = ()
    """Launches that others have taken from it since it renewed last."""
