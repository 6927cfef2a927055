"""Names, ids, families and pools."""

import pytest

from exatlas.providers.runpod import gpus


def test_every_id_and_every_name_is_there_once():
    assert len({model.id for model in gpus.MODELS}) == len(gpus.MODELS) == 45
    assert len({model.name for model in gpus.MODELS}) == len(gpus.MODELS)


@pytest.mark.parametrize("model", gpus.MODELS, ids=lambda model: model.name)
def test_a_name_leads_to_its_id_and_back(model):
    assert gpus.known_ids(model.name)[0] == model.id
    assert gpus.known_ids(model.id) == (model.id,)
    assert gpus.canonical(model.id) == model.name


@pytest.mark.parametrize(
    ("family", "names"),
    [
        ("a100", ["a100_80g_sxm", "a100_80g_pcie"]),
        ("a100_80g", ["a100_80g_sxm", "a100_80g_pcie"]),
        ("h100", ["h100_sxm", "h100_pcie", "h100_nvl"]),
        ("h200", ["h200_sxm", "h200_nvl"]),
        ("rtx_pro_6000", ["rtx_pro_6000", "rtx_pro_6000_wk", "rtx_pro_6000_maxq"]),
        ("v100", ["v100_sxm2_32g", "v100_sxm2_16g", "v100_pcie_16g", "v100_pcie_32g"]),
    ],
)
def test_a_family_is_tried_in_order(family, names):
    assert [gpus.canonical(gpu_id) for gpu_id in gpus.known_ids(family)] == names


def test_names_of_ours_ignore_letter_case_and_ids_do_not():
    assert gpus.known_ids("RTX_4090") == ("NVIDIA GeForce RTX 4090",)
    assert gpus.known_ids("nvidia geforce rtx 4090") is None


@pytest.mark.parametrize("name", ["NVIDIA A30 ", "NVIDIA   A30", "a100_40g", "rtx 4090", "NVIDIA H100"])
def test_what_is_not_in_the_table_is_not_guessed(name):
    assert gpus.known_ids(name) is None
    assert gpus.canonical(name) is None


def test_an_id_with_two_spaces_is_another_id():
    assert gpus.known_ids("NVIDIA  A30") == ("NVIDIA  A30",)
    assert gpus.canonical("NVIDIA  A30") == gpus.canonical("NVIDIA A30") == "a30"


def test_a_slice_is_not_taken_for_the_whole_card():
    whole = "NVIDIA RTX PRO 6000 Blackwell Server Edition"
    assert gpus.canonical(whole) == "rtx_pro_6000"
    assert gpus.canonical(f"{whole} MIG 1g.24gb") == "rtx_pro_6000_mig_24g"
    assert gpus.canonical(f"{whole} MIG 9g.99gb") is None


def test_no_id_has_no_name():
    assert gpus.canonical(None) is None


@pytest.mark.parametrize(
    ("name", "pool"),
    [("rtx_4090", "ADA_24"), ("h100", "ADA_80_PRO"), ("NVIDIA L40S", "ADA_48_PRO"), ("a30", None), ("nothing", None)],
)
def test_pools(name, pool):
    assert gpus.known_pool(name) == pool
