"""The fake's regions: what the words for them stand for, and how much room they have."""

from collections.abc import Iterable, Mapping
from typing import Any

NEAREST = "iad"

REGIONS: Mapping[str, tuple[str, str]] = {
    "ams": ("Amsterdam, Netherlands", "eu"),
    "arn": ("Stockholm, Sweden", "eu"),
    "bom": ("Mumbai, India", "apac"),
    "cdg": ("Paris, France", "eu"),
    "dfw": ("Dallas, Texas (US)", "us"),
    "ewr": ("Secaucus, NJ (US)", "us"),
    "fra": ("Frankfurt, Germany", "eu"),
    "gru": ("Sao Paulo, Brazil", "sa"),
    "iad": ("Ashburn, Virginia (US)", "us"),
    "jnb": ("Johannesburg, South Africa", "af"),
    "lax": ("Los Angeles, California (US)", "us"),
    "lhr": ("London, United Kingdom", "eu"),
    "nrt": ("Tokyo, Japan", "apac"),
    "ord": ("Chicago, Illinois (US)", "us"),
    "sin": ("Singapore, Singapore", "apac"),
    "sjc": ("San Jose, California (US)", "us"),
    "syd": ("Sydney, Australia", "apac"),
    "yyz": ("Toronto, Canada", "na"),
}
"""Code → name and area."""


def resolve(expression: str | None) -> list[str] | None:
    """The regions that an expression allows, in order of preference; None for a word that stands for nothing."""
    if not expression:
        return [NEAREST, *(code for code in REGIONS if code != NEAREST)]
    found: list[str] = []
    for word in expression.split(","):
        here = [word] if word in REGIONS else _area(word)
        if not here:
            return None
        found += [code for code in here if code not in found]
    return found


def _area(word: str) -> list[str]:
    areas = {"usa": ("us",), "na": ("us", "na"), "any": tuple({area for _, area in REGIONS.values()})}.get(
        word, (word,)
    )
    return [code for code, (_, area) in REGIONS.items() if area in areas]


class Room(dict[str, int]):
    """How many more machines or volumes each region takes; a region not named takes any number."""

    def first_of(self, regions: Iterable[str]) -> str | None:
        """The first region with room."""
        return next((region for region in regions if self.get(region, 1) > 0), None)

    def take(self, region: str, number: int = 1) -> None:
        """Use up room, or give some back."""
        if region in self:
            self[region] -= number


def listing() -> dict[str, Any]:
    """The answer of `/platform/regions`."""
    rows = [
        {
            "code": code,
            "name": name,
            "geo_region": area,
            "latitude": 1.5,
            "longitude": 2.5,
            "gateway_available": True,
            "deprecated": False,
            "requires_paid_plan": code in {"bom", "gru"},
        }
        for code, (name, area) in REGIONS.items()
    ]
    return {"regions": rows, "nearest": NEAREST}
