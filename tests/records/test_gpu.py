"""Models of GPU, and what one provider offers of one."""

from decimal import Decimal

import attrs
import pytest

from exatlas.records.gpu import GPU_FAMILIES, GPU_MODELS, GpuType, Stock, gpu_names, nearest_gpu


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


@pytest.mark.parametrize("model", GPU_MODELS.values(), ids=lambda model: model.name)
def test_every_model_is_named_in_our_own_spelling(model):
    assert model.name == model.name.lower().strip()
    assert set(model.name) <= set("abcdefghijklmnopqrstuvwxyz0123456789_")
    assert model.memory_gb > 0
    assert model.architecture
    assert model.vendor in {"nvidia", "amd"}
    assert gpu_names(model.name)[0] == model.name


@pytest.mark.parametrize("family", GPU_FAMILIES)
def test_a_family_has_known_members_of_which_none_comes_twice(family):
    members = gpu_names(family)
    assert members == GPU_FAMILIES[family]
    assert len(set(members)) == len(members)
    assert all(name in GPU_MODELS for name in members)


def test_letter_case_does_not_matter_and_other_spellings_are_not_ours():
    assert gpu_names("H100_SXM") == ("h100_sxm",)
    assert gpu_names("RTX 4090") == ()
    assert gpu_names("NVIDIA L4") == ()


@pytest.mark.parametrize(
    ("typed", "meant"), [("RTX 4090", "rtx_4090"), ("h100-sxm5", "h100_sxm"), ("rtx_409", "rtx_4090"), ("zzz", None)]
)
def test_the_nearest_name_is_offered(typed, meant):
    assert nearest_gpu(typed) == meant
