"""Memory picks a CPU flavour."""

import pytest

from exatlas.providers.runpod.flavors import choices, is_size


@pytest.mark.parametrize(
    ("cpus", "memory_gb", "letter", "vcpus"),
    [
        (None, None, "c", 2),
        (4, None, "c", 4),
        (None, 4, "c", 2),
        (None, 5, "g", 2),
        (None, 8, "g", 2),
        (None, 16, "m", 2),
        (None, 17, "m", 4),
        (None, 32, "m", 4),
        (None, 100, "m", 16),
        (8, 16, "c", 8),
        (8, 17, "g", 8),
        (8, 32, "g", 8),
        (8, 64, "m", 8),
    ],
)
def test_the_fewest_cpus_and_then_the_least_memory_that_is_enough(cpus, memory_gb, letter, vcpus):
    found = choices(cpus, memory_gb)
    assert [(choice.id, choice.vcpus) for choice in found] == [(f"cpu5{letter}", vcpus), (f"cpu3{letter}", vcpus)]
    ratio = {"c": 2, "g": 4, "m": 8}[letter]
    assert ratio * vcpus >= (memory_gb or 0)


@pytest.mark.parametrize(
    ("number", "fits"), [(0, False), (1, False), (2, True), (3, False), (4, True), (6, False), (32, True), (-2, False)]
)
def test_sizes_are_powers_of_two_from_two(number, fits):
    assert is_size(number) is fits
