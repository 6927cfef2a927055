"""Words that a cloud added after this version was made: read as unknown, and complained of once."""

from logging import Logger
from typing import TypeVar

W = TypeVar("W")

_complained: set[tuple[str, str, str]] = set()


def unknown(log: Logger, cloud: str, noun: str, word: str, ours: W) -> W:
    """Our word for one that is in no table, with one warning per process for each."""
    if (cloud, noun, word) not in _complained:
        _complained.add((cloud, noun, word))
        log.warning("%s sent the %s %.80r, which this version does not know; it is read as unknown", cloud, noun, word)
    return ours
