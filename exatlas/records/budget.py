"""What launches hold in purses. A purse is what one budget allows in one span of time."""

from decimal import Decimal

from attrs import frozen


@frozen(kw_only=True)
class Hold:
    """What one launch is to hold in one purse, at most or in the end."""

    purse: str
    usd: Decimal
    most_usd: Decimal
    """What all launches together may hold in it."""


@frozen(kw_only=True)
class Shortfall:
    """A purse that has too little."""

    purse: str
    left_usd: Decimal
    """What the launch that asked could have held at most, beyond what it held before. Never negative."""
