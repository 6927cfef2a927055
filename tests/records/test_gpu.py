"""A model of GPU as one provider offers it."""

from decimal import Decimal

import attrs
import pytest

from exatlas.records.gpu import GpuType, Stock


def test_what_a_cloud_does_not_say_is_not_known():
    bare = GpuType(id="x", provider="p")
    assert bare.stock is Stock.UNKNOWN
    assert (bare.canonical, bare.price_usd_per_hour, bare.spot_price_usd_per_hour, bare.memory_gb) == (None,) * 4
    assert (bare.regions, bare.raw) == ((), {})


def test_it_is_frozen_hashable_and_hides_the_clouds_own_words():
    kind = GpuType(id="x", provider="p", price_usd_per_hour=Decimal("1"), raw={"k": "s3cr3t"})
    assert "s3cr3t" not in repr(kind)
    assert len({kind, attrs.evolve(kind), attrs.evolve(kind, stock=Stock.LOW)}) == 2
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        kind.stock = Stock.HIGH


def test_the_words_for_stock_are_closed():
    assert [str(word) for word in Stock] == ["high", "medium", "low", "unavailable", "unknown"]
