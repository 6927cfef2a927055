"""Type names, descriptions and canonical names."""

import pytest

from exatlas.providers.lambda_labs import gpus
from exatlas.records.gpu import GPU_MODELS


def test_every_name_in_the_table_is_one_of_ours():
    assert {*gpus.MODELS.values(), *gpus.EIGHTS.values()} <= set(GPU_MODELS)


@pytest.mark.parametrize(
    ("name", "described", "canonical", "memory_gb"),
    [
        ("gpu_1x_a10", "A10 (24 GB PCIe)", "a10", 24),
        ("gpu_1x_rtx6000", "RTX 6000 (24 GB)", "rtx_6000", 24),
        ("gpu_4x_a6000", "A6000 (48 GB)", "rtx_a6000", 48),
        ("gpu_1x_a100", "A100 (40 GB PCIe)", "a100_40g_pcie", 40),
        ("gpu_2x_a100", "A100 (40 GB PCIe)", "a100_40g_pcie", 40),
        ("gpu_1x_a100_sxm4", "A100 (40 GB SXM4)", "a100_40g_sxm", 40),
        ("gpu_8x_a100", "A100 (40 GB SXM4)", "a100_40g_sxm", 40),
        ("gpu_8x_a100_80gb_sxm4", "A100 (80 GB SXM4)", "a100_80g_sxm", 80),
        ("gpu_1x_h100_pcie", "H100 (80 GB PCIe)", "h100_pcie", 80),
        ("gpu_8x_h100_sxm5", "H100 (80 GB SXM5)", "h100_sxm", 80),
        ("gpu_8x_h100_sxm5gdr", "H100 (80 GB SXM5)", "h100_sxm", 80),
        ("gpu_1x_gh200", "GH200 (96 GB)", "gh200", 96),
        ("gpu_8x_b200_sxm6", "B200 (180 GB SXM6)", "b200", 180),
        ("gpu_8x_v100", "Tesla V100 (16 GB)", "v100_sxm2_16g", 16),
        ("gpu_8x_v100_n", "Tesla V100 (16 GB)", "v100_sxm2_16g", 16),
        ("gpu_1x_l40s", "L40S (48 GB)", "l40s", 48),
        ("gpu_1x_a100x2", "A100 (80 GB PCIe)", "a100_80g_pcie", 80),
        ("gpu_8x_example", "Example GPU (40 GB SXM4)", None, 40),
        ("gpu_1x_new", "no such form", None, None),
        ("gpu_1x_new", None, None, None),
        ("cpu_4x_general", "", None, None),
        ("cpu_4x_general", None, None, None),
    ],
)
def test_a_type_is_read(name, described, canonical, memory_gb):
    assert gpus.canonical(name, described) == canonical
    assert gpus.memory_gb(described) == memory_gb
