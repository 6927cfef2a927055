"""How many cases the matrix has had, for the summary."""

from collections import Counter

CASES: Counter[tuple[str, str, str]] = Counter()
"""By provider, way and operation."""


def count(provider: str, way: str, operation: str, number: int = 1) -> None:
    """So many more were tried, and passed."""
    CASES[provider, way, operation] += number


def table() -> list[str]:
    """A line for each provider and way, and a total."""
    lines = []
    for provider, way in dict.fromkeys((provider, way) for provider, way, _ in sorted(CASES)):
        own = {operation: number for (p, w, operation), number in sorted(CASES.items()) if (p, w) == (provider, way)}
        each = ", ".join(f"{operation} {number}" for operation, number in own.items())
        lines.append(f"{provider:12} {way:22} {sum(own.values()):6}   {each}")
    return [*lines, f"{'all':12} {'':22} {sum(CASES.values()):6}   cases, and no machine was lost"]
