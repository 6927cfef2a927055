"""Prices by the formula, against rows of the published table; and the sizes they are for."""

from decimal import Decimal

import pytest

from exatlas.providers.fly.prices import (
    HOURS_PER_MONTH,
    PRICED_ON,
    REGION_FACTORS,
    rootfs_usd_per_hour,
    usd_per_hour,
    volume_usd_per_hour,
)
from exatlas.providers.fly.sizes import KINDS, PRESETS, Guest, fitting, with_memory

TABLE = [
    ("shared-cpu-1x", 256, "1.94"),
    ("shared-cpu-2x", 512, "3.89"),
    ("shared-cpu-4x", 1024, "7.78"),
    ("shared-cpu-6x", 1536, "11.66"),
    ("shared-cpu-8x", 2048, "15.55"),
    ("performance-1x", 2048, "31.00"),
    ("performance-2x", 4096, "62.00"),
    ("performance-4x", 8192, "124.00"),
    ("performance-6x", 12288, "186.00"),
    ("performance-8x", 16384, "248.00"),
    ("performance-10x", 20480, "310.00"),
    ("performance-12x", 24576, "372.00"),
    ("performance-14x", 28672, "434.00"),
    ("performance-16x", 32768, "496.01"),
]
HOURLY = [
    ("shared", 1, 512, "0.0044"),
    ("shared", 1, 1024, "0.0079"),
    ("shared", 1, 2048, "0.0149"),
    ("shared", 2, 1024, "0.0089"),
    ("shared", 2, 2048, "0.0158"),
    ("shared", 2, 4096, "0.0297"),
    ("shared", 4, 2048, "0.0177"),
    ("shared", 4, 4096, "0.0316"),
    ("shared", 4, 8192, "0.0594"),
    ("shared", 8, 4096, "0.0355"),
    ("shared", 8, 8192, "0.0633"),
    ("shared", 8, 16384, "0.1189"),
    ("performance", 1, 4096, "0.0570"),
    ("performance", 1, 8192, "0.0847"),
    ("performance", 2, 8192, "0.1139"),
    ("performance", 2, 16384, "0.1695"),
    ("performance", 4, 16384, "0.2278"),
    ("performance", 4, 32768, "0.3390"),
    ("performance", 8, 32768, "0.4556"),
    ("performance", 8, 65536, "0.6780"),
    ("performance", 16, 65536, "0.9112"),
    ("performance", 16, 131072, "1.3559"),
]


@pytest.mark.parametrize(("preset", "memory_mb", "monthly"), TABLE)
def test_a_preset_costs_what_the_table_says(preset, memory_mb, monthly):
    guest = PRESETS[preset]
    assert guest.memory_mb == memory_mb
    cost = usd_per_hour(guest.cpu_kind, guest.cpus, guest.memory_mb, "iad")
    assert f"{cost * HOURS_PER_MONTH:.2f}" == monthly


def test_every_preset_is_in_the_table():
    assert {preset for preset, _, _ in TABLE} == set(PRESETS)


@pytest.mark.parametrize(("kind", "cpus", "memory_mb", "hourly"), HOURLY)
def test_memory_beyond_what_comes_with_a_preset_costs_what_the_table_says(kind, cpus, memory_mb, hourly):
    assert f"{usd_per_hour(kind, cpus, memory_mb, 'ewr'):.4f}" == hourly


@pytest.mark.parametrize(
    ("guest", "region", "per_s"),
    [
        (("shared", 8, 16384), None, "0.00003302"),
        (("performance", 16, 131072), "iad", "0.00037664"),
    ],
)
def test_prices_are_exact_to_the_last_published_digit(guest, region, per_s):
    assert usd_per_hour(*guest, region) == Decimal(per_s) * 3600


def test_a_region_has_a_factor_and_an_unknown_one_has_that_of_ashburn():
    assert usd_per_hour("performance", 2, 4096, "ord") == Decimal("0.10764")
    assert f"{usd_per_hour('shared', 1, 256, 'sjc') * HOURS_PER_MONTH:.2f}" == "2.32"
    assert usd_per_hour("shared", 1, 256, "atlantis") == usd_per_hour("shared", 1, 256, "iad")
    assert len(REGION_FACTORS) == 18


def test_a_kind_without_a_price_has_none():
    assert usd_per_hour("quantum", 1, 256, "iad") is None


def test_disks_are_billed_by_the_month_of_thirty_days():
    assert rootfs_usd_per_hour(8) * 720 == Decimal("1.2")
    assert volume_usd_per_hour(10) * 720 == Decimal("1.5")


def test_the_prices_have_a_date():
    assert PRICED_ON.isoformat() == "2025-08-19"


@pytest.mark.parametrize(
    ("cpus", "memory_gb", "guest"),
    [
        (None, None, Guest("shared", 1, 256)),
        (1, None, Guest("shared", 1, 256)),
        (2, 1, Guest("shared", 2, 1024)),
        (None, 2, Guest("shared", 1, 2048)),
        (None, 3, Guest("shared", 2, 3072)),
        (None, 16, Guest("shared", 8, 16384)),
        (None, 17, Guest("performance", 4, 18432)),
        (1, 3, Guest("performance", 1, 4096)),
        (10, None, Guest("performance", 10, 20480)),
        (None, 128, Guest("performance", 16, 131072)),
        (None, 129, None),
        (1, 9, None),
        (3, None, None),
    ],
)
def test_the_cheapest_size_that_fits(cpus, memory_gb, guest):
    assert fitting(cpus, memory_gb) == guest


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wanted_mb", [0, 1, 255, 256, 257, 2047, 2048, 2049, 5000, 100_000])
def test_memory_is_rounded_up_to_a_step_within_the_bounds(kind, wanted_mb):
    rules = KINDS[kind]
    for cpus in rules.cpus:
        guest = with_memory(kind, cpus, wanted_mb)
        if guest is None:
            assert wanted_mb > rules.most_mb_per_cpu * cpus - rules.step_mb
            continue
        assert guest.memory_mb >= wanted_mb
        assert guest.memory_mb % rules.step_mb == 0
        assert rules.least_mb_per_cpu * cpus <= guest.memory_mb <= rules.most_mb_per_cpu * cpus
