"""What the cloud in memory has for rent."""

from decimal import Decimal

import pytest

from exatlas.errors import ErrorKind, InvalidRequestError
from exatlas.providers.memory import gpus
from exatlas.providers.memory.gpus import MODELS, Model, catalogue, pick, stock_of
from exatlas.records.gpu import Stock

A100 = pick(MODELS, "a100_80g")
H100 = pick(MODELS, "h100")


def test_names_and_ids_are_distinct():
    names = [name for model in MODELS for name in (model.canonical, model.native)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.canonical)
def test_a_model_goes_by_its_name_and_by_the_clouds_id(model):
    assert pick(MODELS, model.canonical) is model
    assert pick(MODELS, model.native) is model


@pytest.mark.parametrize(("name", "said"), [("h10", "did you mean 'h100'"), ("H100", "'h100'"), ("zzzz", "there are")])
def test_an_unknown_name_is_answered_with_what_there_is(name, said):
    with pytest.raises(InvalidRequestError, match=said) as caught:
        pick(MODELS, name)
    assert all(model.canonical in str(caught.value) for model in MODELS)
    assert caught.value.kind is ErrorKind.VALIDATION


@pytest.mark.parametrize(
    ("free", "stock"),
    [
        (None, Stock.HIGH),
        (9, Stock.HIGH),
        (8, Stock.MEDIUM),
        (3, Stock.MEDIUM),
        (2, Stock.LOW),
        (1, Stock.LOW),
        (0, Stock.UNAVAILABLE),
    ],
)
def test_stock_is_told_as_coarsely_as_clouds_do(free, stock):
    assert stock_of(free) is stock


@pytest.mark.parametrize(
    ("model", "cloud", "spot", "price"),
    [
        (A100, "any", False, "1.80"),
        (A100, "secure", False, "1.80"),
        (A100, "community", False, "1.40"),
        (A100, "secure", True, "0.90"),
        (A100, "community", True, "0.70"),
        (H100, "any", True, "1.50"),
    ],
)
def test_prices(model, cloud, spot, price):
    assert model.price(cloud, spot=spot) == Decimal(price)


def test_what_only_the_secure_cloud_has():
    assert [A100.sold_in(cloud) for cloud in ("any", "secure", "community")] == [True, True, True]
    assert [H100.sold_in(cloud) for cloud in ("any", "secure", "community")] == [True, True, False]


def test_the_catalogue_has_a_record_per_kind_of_cloud():
    secure, community = catalogue("memory", A100, 1)
    assert (secure.cloud_type, community.cloud_type) == ("secure", "community")
    assert (secure.id, secure.canonical, secure.memory_gb) == (A100.native, "a100_80g", 80)
    assert (secure.price_usd_per_hour, secure.spot_price_usd_per_hour) == (Decimal("1.80"), Decimal("0.900"))
    assert community.price_usd_per_hour == Decimal("1.40")
    assert (secure.stock, secure.regions) == (Stock.LOW, gpus.REGIONS)
    assert [record.cloud_type for record in catalogue("memory", H100, None)] == ["secure"]


def test_what_is_gone_is_free_nowhere():
    (record,) = catalogue("memory", H100, 0)
    assert (record.stock, record.regions) == (Stock.UNAVAILABLE, ())


def test_a_model_without_a_community_price_costs_the_same_everywhere():
    model = Model(canonical="x", native="X", memory_gb=1, secure_usd_per_hour=Decimal("2"))
    assert model.price("community", spot=False) == Decimal("2")
