"""RunPod's CPU machines: a flavour sets how much memory comes with each vCPU, so asking for memory picks a flavour.

The letter is the flavour (c compute, g general, m memory), the digit the generation. Memory per vCPU is 2, 4 and 8 GB;
the catalogue's `ramGbPerVcpu` says so too, but asking it would cost a request on every spawn. The pod that comes back
carries its true memory.

Source: `CpuType` of REST v2 and runpod/flash's instance names (`cpu3c-2-4`), read 2026-11-23.
"""

from attrs import frozen

FEWEST_CPUS = 2
RATIOS_GB = {"c": 2, "g": 4, "m": 8}
"""Letter → GB per vCPU, cheapest first."""
LARGEST_RATIO_GB = max(RATIOS_GB.values())
GENERATIONS = (5, 3)
"""Tried in this order: the newer one is faster, the older one is in more places."""


@frozen
class CpuChoice:
    """The `cpu` part of a create."""

    id: str
    vcpus: int


def is_size(vcpus: int) -> bool:
    """Whether RunPod takes it as a number of vCPUs: a power of two, at least two."""
    return vcpus >= FEWEST_CPUS and vcpus & (vcpus - 1) == 0


def choices(cpus: int | None, memory_gb: int | None) -> list[CpuChoice]:
    """The machines to try, in order.

    Without `cpus`, the fewest vCPUs that any flavour can fit the memory to; then the flavour with the least memory
    that still gives what was asked. Nothing asked at all means two vCPUs of the compute flavour.
    """
    vcpus = cpus or _fewest(memory_gb or 0)
    letter = next(
        (letter for letter, ratio in RATIOS_GB.items() if ratio * vcpus >= (memory_gb or 0)),
        list(RATIOS_GB)[-1],
    )
    return [CpuChoice(f"cpu{generation}{letter}", vcpus) for generation in GENERATIONS]


def _fewest(memory_gb: int) -> int:
    vcpus = FEWEST_CPUS
    while LARGEST_RATIO_GB * vcpus < memory_gb:
        vcpus *= 2
    return vcpus
