"""A guard against a broken policy, which would hold up the suite instead of failing its tests."""

from collections import Counter

import pytest

from exatlas.orchestrator.timers import Timers

AT_ONE_INSTANT = 100
"""How often a key may be due at once while time stands still."""


@pytest.fixture(autouse=True)
def _time_goes_on(monkeypatch):
    """Silence a timer that rings again and again at one instant, and fail its test: no await ends such a loop."""
    set_timer = Timers.set
    at_once = Counter()
    silenced = set()

    def counted(self, key, seconds):
        if seconds is not None and seconds <= 0:
            at_once[self, self._clock.monotonic(), key] += 1
            if at_once[self, self._clock.monotonic(), key] > AT_ONE_INSTANT:
                silenced.add(key)
                return
        set_timer(self, key, seconds)

    monkeypatch.setattr(Timers, "set", counted)
    yield
    assert not silenced, "these are due, and nothing comes of it"
