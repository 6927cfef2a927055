"""RunPod's GPU ids, and the canonical names exatlas uses for them.

Ids are compared exactly: MIG slices begin with the full card's id, and two legacy ids hold a double space. The list
is open; a name that is not here is looked up in RunPod's catalogue, and if that does not know it either, RunPod gets
it as it was typed.

Source: runpod/docs `references/gpu-types.mdx` (table of 2026-02-12) and the `GpuType` schema of REST v2, read
2026-11-23. Pools: the docs' pools table and runpod/flash; the live catalogue's `pool` field wins over this table.
"""

from types import MappingProxyType

from attrs import frozen

from exatlas.records.gpu import gpu_names


@frozen
class Model:
    """One row of the table: a canonical name, RunPod's id, and the serverless pool where it is known."""

    name: str
    id: str
    pool: str | None = None


MODELS: tuple[Model, ...] = (
    Model("mi300x", "AMD Instinct MI300X OAM"),
    Model("a100_80g_pcie", "NVIDIA A100 80GB PCIe", "AMPERE_80"),
    Model("a100_80g_sxm", "NVIDIA A100-SXM4-80GB", "AMPERE_80"),
    Model("a30", "NVIDIA A30"),
    Model("a40", "NVIDIA A40", "AMPERE_48"),
    Model("b200", "NVIDIA B200", "BLACKWELL_180"),
    Model("b300", "NVIDIA B300 SXM6 AC"),
    Model("rtx_3070", "NVIDIA GeForce RTX 3070"),
    Model("rtx_3080", "NVIDIA GeForce RTX 3080"),
    Model("rtx_3080_ti", "NVIDIA GeForce RTX 3080 Ti"),
    Model("rtx_3090", "NVIDIA GeForce RTX 3090", "AMPERE_24"),
    Model("rtx_3090_ti", "NVIDIA GeForce RTX 3090 Ti"),
    Model("rtx_4070_ti", "NVIDIA GeForce RTX 4070 Ti"),
    Model("rtx_4080", "NVIDIA GeForce RTX 4080"),
    Model("rtx_4080_super", "NVIDIA GeForce RTX 4080 SUPER"),
    Model("rtx_4090", "NVIDIA GeForce RTX 4090", "ADA_24"),
    Model("rtx_5080", "NVIDIA GeForce RTX 5080"),
    Model("rtx_5090", "NVIDIA GeForce RTX 5090", "ADA_32_PRO"),
    Model("h100_sxm", "NVIDIA H100 80GB HBM3", "ADA_80_PRO"),
    Model("h100_nvl", "NVIDIA H100 NVL", "ADA_80_PRO"),
    Model("h100_pcie", "NVIDIA H100 PCIe", "ADA_80_PRO"),
    Model("h200_sxm", "NVIDIA H200", "HOPPER_141"),
    Model("h200_nvl", "NVIDIA H200 NVL"),
    Model("l4", "NVIDIA L4", "AMPERE_24"),
    Model("l40", "NVIDIA L40", "ADA_48_PRO"),
    Model("l40s", "NVIDIA L40S", "ADA_48_PRO"),
    Model("rtx_2000_ada", "NVIDIA RTX 2000 Ada Generation", "AMPERE_16"),
    Model("rtx_4000_ada", "NVIDIA RTX 4000 Ada Generation", "AMPERE_16"),
    Model("rtx_4000_sff_ada", "NVIDIA RTX 4000 SFF Ada Generation"),
    Model("rtx_5000_ada", "NVIDIA RTX 5000 Ada Generation"),
    Model("rtx_6000_ada", "NVIDIA RTX 6000 Ada Generation", "ADA_48_PRO"),
    Model("rtx_a2000", "NVIDIA RTX A2000"),
    Model("rtx_a4000", "NVIDIA RTX A4000", "AMPERE_16"),
    Model("rtx_a4500", "NVIDIA RTX A4500", "AMPERE_16"),
    Model("rtx_a5000", "NVIDIA RTX A5000", "AMPERE_24"),
    Model("rtx_a6000", "NVIDIA RTX A6000", "AMPERE_48"),
    Model("rtx_pro_4500", "NVIDIA RTX PRO 4500 Blackwell"),
    Model("rtx_pro_6000_maxq", "NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", "BLACKWELL_96"),
    Model("rtx_pro_6000", "NVIDIA RTX PRO 6000 Blackwell Server Edition", "BLACKWELL_96"),
    Model("rtx_pro_6000_wk", "NVIDIA RTX PRO 6000 Blackwell Workstation Edition", "BLACKWELL_96"),
    Model("rtx_pro_6000_mig_24g", "NVIDIA RTX PRO 6000 Blackwell Server Edition MIG 1g.24gb"),
    Model("rtx_pro_6000_mig_48g", "NVIDIA RTX PRO 6000 Blackwell Server Edition MIG 2g.48gb"),
    Model("v100_pcie_16g", "Tesla V100-PCIE-16GB"),
    Model("v100_sxm2_16g", "Tesla V100-SXM2-16GB"),
    Model("v100_sxm2_32g", "Tesla V100-SXM2-32GB"),
)

LEGACY = MappingProxyType(
    {
        "Tesla V100-FHHL-16GB": "v100_fhhl_16g",
        "Tesla V100-PCIE-32GB": "v100_pcie_32g",
        "Tesla T4": "t4",
        "NVIDIA RTX A30": "a30",
        "NVIDIA  A30": "a30",
        "NVIDIA  RTX A4500": "rtx_a4500",
        "NVIDIA GeForce RTX 3080TI": "rtx_3080_ti",
    }
)
"""Ids that only the retired API's enum holds: read where old machines still carry them, never asked for,
but for the one that stands last in the `v100` family."""

_BY_ID = {model.id: model for model in MODELS}
_NAMES = {**{model.id: model.name for model in MODELS}, **LEGACY}
_IDS = {**{model.name: model.id for model in MODELS}, "v100_pcie_32g": "Tesla V100-PCIE-32GB"}


def known_ids(name: str) -> tuple[str, ...] | None:
    """The ids a name stands for, in the order to try them; None for a name this table does not have.

    RunPod places one id per create.
    """
    if name in _NAMES:
        return (name,)
    return tuple(_IDS[model] for model in gpu_names(name) if model in _IDS) or None


def canonical(gpu_id: str | None) -> str | None:
    """The canonical name of an id, or None for an id this table does not have."""
    return _NAMES.get(gpu_id) if gpu_id else None


def known_pool(name: str) -> str | None:
    """The serverless pool of a canonical name or id, where this table knows it."""
    ids = known_ids(name)
    model = _BY_ID.get(ids[0]) if ids else None
    return model.pool if model else None
