from datetime import UTC, datetime, timedelta
from decimal import Decimal

from exatlas.fakes import Meter

START = datetime(2026, 1, 1, tzinfo=UTC)


def later(seconds):
    return START + timedelta(seconds=seconds)


def test_a_meter_counts_only_while_it_is_on():
    meter = Meter(Decimal("3.60"), START)
    assert (meter.seconds(later(10)), meter.usd(later(10))) == (10, Decimal("0.01"))
    meter.switch(later(10), on=False)
    meter.switch(later(20), on=False)
    assert not meter.running
    assert meter.usd(later(1000)) == Decimal("0.01")
    meter.switch(later(30), on=True)
    meter.switch(later(35), on=True)
    assert (meter.seconds(later(40)), meter.usd(later(40))) == (20, Decimal("0.02"))


def test_a_new_rate_counts_from_its_instant():
    meter = Meter(Decimal("3.60"), START)
    meter.change(later(100), Decimal("36"))
    assert meter.usd(later(200)) == Decimal("0.1") + Decimal("1")


def test_a_clock_that_jumps_back_costs_nothing():
    assert Meter(Decimal(1), START).usd(START - timedelta(hours=1)) == 0
