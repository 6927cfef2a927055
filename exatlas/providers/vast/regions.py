"""Where a machine stands: Vast filters by two-letter country codes, and answers with "City, CC".

Names of larger regions are lists of codes on the client's side, as in Vast's own SDK (`vastai` 1.9.1,
`api/offers.py`), read 2026-11-23.
"""

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from types import MappingProxyType


def _codes(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_EU = _codes("AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK")
_EUROPE = (*_EU, *_codes("AD AL BA BY CH FO GB GI IS LI MC MD ME MK NO RS SM UA XK"))
_NORTH_AMERICA = _codes("US CA MX")
_SOUTH_AMERICA = _codes("AR BO BR CL CO EC GY PE PY SR UY VE")
_ASIA = _codes(
    "AE AM AZ BD BH BN BT CN GE HK ID IL IN IQ JO JP KG KH KR KW KZ LA LB LK MM MN MO MV MY NP OM PH PK PS QA SA SG "
    "TH TJ TM TR TW UZ VN YE"
)
_AFRICA = _codes("AO BW CI CM DZ EG ET GH KE MA MG MU MZ NA NG RW SN TN TZ UG ZA ZM ZW")
_OCEANIA = _codes("AU FJ NC NZ PG")

MACRO: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "africa": _AFRICA,
        "americas": (*_NORTH_AMERICA, *_SOUTH_AMERICA),
        "asia": _ASIA,
        "eu": _EU,
        "europe": _EUROPE,
        "north_america": _NORTH_AMERICA,
        "oceania": _OCEANIA,
        "south_america": _SOUTH_AMERICA,
        "uk": ("GB",),
        "usa": ("US",),
    }
)
"""Larger regions, and two countries by the names people use."""

_CODE = re.compile(r"[A-Z]{2}", re.ASCII)


def countries(hint: str) -> tuple[str, ...] | None:
    """The country codes a hint stands for; None for a hint that is neither a code nor one of the larger regions.

    "Frankfurt, DE" stands for its country: Vast cannot be asked for a city.
    """
    last = hint.rpartition(",")[2].strip()
    macro = MACRO.get(last.lower().replace(" ", "_").replace("-", "_"))
    if macro:
        return macro
    return (last.upper(),) if _CODE.fullmatch(last.upper()) else None


def all_countries(hints: Iterable[str]) -> list[str]:
    """The codes of all hints, in their order, each once."""
    return list(dict.fromkeys(code for hint in hints for code in countries(hint) or ()))


def rank(hints: tuple[str, ...], country: str | None) -> int:
    """The place of the first hint that has the country; past the last one for a country in none."""
    found = (index for index, hint in enumerate(hints) if country in (countries(hint) or ()))
    return next(found, len(hints))


def nearest(hint: str) -> str | None:
    """The larger region that a hint looks most like."""
    close = get_close_matches(hint.strip().lower().replace(" ", "_").replace("-", "_"), MACRO, n=1)
    return close[0] if close else None


def country(geolocation: str | None) -> str | None:
    """The country of a "City, CC"; other texts are given back as they are, and nothing for nothing."""
    last = (geolocation or "").rpartition(",")[2].strip()
    return (last.upper() if _CODE.fullmatch(last.upper()) else (geolocation or "").strip(" ,")) or None
