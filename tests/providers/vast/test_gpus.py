"""Names, sizes, families."""

import pytest

from exatlas.providers.vast import gpus
from exatlas.records.gpu import GPU_FAMILIES, GPU_MODELS


def told(name):
    return [(model.gpu_name, model.canonical) for model in gpus.models_of(name)]


def test_no_name_holds_an_underscore_and_every_canonical_name_is_one():
    assert not any("_" in name for _, name in gpus.ROWS)
    assert {canonical for canonical, _ in gpus.ROWS} <= set(GPU_MODELS)
    assert len(set(gpus.ROWS)) == len(gpus.ROWS) == 80


@pytest.mark.parametrize("model", gpus.MODELS, ids=lambda model: f"{model.canonical}-{model.gpu_name}")
def test_a_name_leads_to_its_card_and_back(model):
    memory_mib = GPU_MODELS[model.canonical].memory_gb * 1024
    assert model in gpus.models_of(model.canonical)
    for mib in (memory_mib, memory_mib * 0.95):
        assert model.is_it(model.gpu_name, mib)
        assert gpus.canonical(model.gpu_name, mib) == model.canonical


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("h100", [("H100 SXM", "h100_sxm"), ("H100 PCIE", "h100_pcie"), ("H100 NVL", "h100_nvl")]),
        ("h200", [("H200", "h200_sxm"), ("H200 NVL", "h200_nvl")]),
        ("a6000", [("RTX A6000", "rtx_a6000")]),
        ("RTX_4090", [("RTX 4090", "rtx_4090")]),
        ("RTX 4090", [("RTX 4090", None)]),
        ("rtx 4090", [("RTX 4090", None)]),
        ("A100 SXM4", [("A100 SXM4", None)]),
        ("A100 SXM4 40GB", [("A100 SXM4", None)]),
        ("v100", [("Tesla V100", None)]),
        ("Tesla V100 32GB", [("Tesla V100", None)]),
        ("b300", [("B300", None)]),
        ("RTX_9999_Ti", [("RTX 9999 Ti", None)]),
        (
            "rtx_pro_6000",
            [
                ("RTX PRO 6000 S", "rtx_pro_6000"),
                ("RTX PRO 6000", "rtx_pro_6000"),
                ("RTX PRO 6000 WS", "rtx_pro_6000_wk"),
                ("RTX PRO 6000 Max-Q", "rtx_pro_6000_maxq"),
            ],
        ),
    ],
)
def test_what_is_looked_for_under_a_name(name, found):
    assert told(name) == found


@pytest.mark.parametrize("family", GPU_FAMILIES)
def test_every_family_can_be_asked_for(family):
    assert gpus.models_of(family)[0].gpu_name != family


@pytest.mark.parametrize(
    ("name", "gpu_name", "mib", "fits"),
    [
        ("a100_80g", "A100 SXM4", 81920, True),
        ("a100_80g", "A100 SXM4", 40960, False),
        ("a100_40g", "A100 SXM4", 40960, True),
        ("a100_40g", "A100 PCIE", 81920, False),
        ("rtx_4090", "RTX 4090", 24564, True),
        ("rtx_4090", "RTX 4090", 48500, True),
        ("rtx_4090", "rtx 4090", None, True),
        ("rtx_4090", "RTX 4090D", 24564, False),
        ("rtx_4060_ti", "RTX 4060 Ti", 8188, False),
        ("a10", "A10", 23028, True),
        ("Tesla V100 32GB", "Tesla V100", 32768, True),
        ("Tesla V100 32GB", "Tesla V100", 16384, False),
    ],
)
def test_a_card_is_known_by_name_and_memory(name, gpu_name, mib, fits):
    assert any(model.is_it(gpu_name, mib) for model in gpus.models_of(name)) is fits


@pytest.mark.parametrize(
    ("gpu_name", "mib", "canonical", "memory_gb", "gpu_id"),
    [
        ("A100 SXM4", 40960, "a100_40g_sxm", 40, "A100 SXM4 40GB"),
        ("A100 SXM4", 81920, "a100_80g_sxm", 80, "A100 SXM4 80GB"),
        ("A100 SXM4", None, None, None, "A100 SXM4"),
        ("Tesla V100", 16160, None, 16, "Tesla V100 16GB"),
        ("RTX 4090", 24564, "rtx_4090", 24, "RTX 4090"),
        ("RTX 4090", 49140, "rtx_4090", 48, "RTX 4090"),
        ("RTX 9999", 98304, None, 96, "RTX 9999"),
        (None, None, None, None, None),
    ],
)
def test_a_card_is_told_by_what_is_known_of_it(gpu_name, mib, canonical, memory_gb, gpu_id):
    assert gpus.canonical(gpu_name, mib) == canonical
    if gpu_name:
        assert gpus.nominal_gb(gpu_name, mib) == memory_gb
        assert gpus.id_of(gpu_name, memory_gb) == gpu_id


@pytest.mark.parametrize(
    ("name", "bounds"),
    [
        ("rtx_4090", (22118, None)),
        ("a100_40g", (36864, 73727)),
        ("a100", (36864, None)),
        ("v100", (0, None)),
        ("A100 SXM4 40GB", (36864, 45056)),
    ],
)
def test_the_bounds_let_every_model_through(name, bounds):
    assert gpus.bounds(gpus.models_of(name)) == bounds


@pytest.mark.parametrize(("name", "untold"), [("v100", False), ("v100_sxm2_32g", True), ("V100_PCIE_16G", True)])
def test_the_form_of_a_v100_is_not_told(name, untold):
    assert gpus.is_untold(name) is untold
